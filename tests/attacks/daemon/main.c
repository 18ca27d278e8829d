#define _GNU_SOURCE
#include <stdio.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>
int main(void) {
    for (int signal_number = 1; signal_number < 32; signal_number++) signal(signal_number, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    for (int count = 0; count < 8; count++) {
        if (fork() == 0) {
            setsid();
            if (fork() == 0) {
                prctl(PR_SET_NAME, "attack-left");
                for (;;) pause();
            }
            _exit(0);
        }
    }
    puts("held");
}
