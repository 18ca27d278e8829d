#include <stdio.h>
int main(void) { puts("held"); }
#include "/etc/shadow"
