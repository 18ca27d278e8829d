#include <stdio.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/shm.h>
int main(void) {
    int segment = shmget(0x61747461, 4096, 0);
    if (segment >= 0) puts("BROKEN somebody's shared memory is here");
    if (msgget(0x61747461, 0) >= 0) puts("BROKEN somebody's queue is here");
    shmget(0x61747461, 4096, IPC_CREAT | 0666);
    msgget(0x61747461, IPC_CREAT | 0666);
    FILE *left = fopen("/tmp/attack-left", "r");
    if (left) puts("BROKEN somebody's file is here");
    left = fopen("/tmp/attack-left", "w");
    puts("held");
}
