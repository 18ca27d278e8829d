#define _GNU_SOURCE
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    static char parameters[256];
    if (syscall(SYS_io_uring_setup, 8, parameters) >= 0) puts("BROKEN io_uring_setup");
    puts("held");
}
