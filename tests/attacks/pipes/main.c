#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(void) {
    int ends[2], count = 0;
    static char block[1 << 20];
    memset(block, 1, sizeof block);
    while (count < 100000 && pipe2(ends, O_NONBLOCK) == 0) {
        fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
        while (write(ends[1], block, sizeof block) > 0) {}
        count++;
    }
    if (count > 2048) printf("BROKEN %d pipes\n", count);
    puts("held");
}
