#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static void *wait_for_ever(void *unused) { for (;;) pause(); return unused; }
int main(void) {
    int count = 0;
    pthread_t thread;
    while (count < 10000 && pthread_create(&thread, NULL, wait_for_ever, NULL) == 0) count++;
    if (count > 64) printf("BROKEN %d threads\n", count);
    puts("held");
}
