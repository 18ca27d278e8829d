#include <stdio.h>
__asm__(".section .rodata\ntext: .incbin \"/etc/shadow\"\n.byte 0\n");
int main(void) { puts("BROKEN /etc/shadow was assembled"); }
