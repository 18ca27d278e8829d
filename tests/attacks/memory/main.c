#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
    for (int mib = 0; mib < 4096; mib++) {
        char *block = malloc(1 << 20);
        if (!block) return 0;
        memset(block, mib, 1 << 20);
    }
    puts("BROKEN 4 GiB of memory");
}
