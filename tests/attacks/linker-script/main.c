#include <stdio.h>
int main(void) { puts("BROKEN /etc/shadow was there to be read"); }
