#include <signal.h>
#include <stdio.h>
#include <unistd.h>
int main(void) {
    signal(SIGTERM, SIG_IGN);
    kill(-1, SIGTERM);
    for (int pid = 1; pid < 70000; pid++)
        if (pid != getpid()) kill(pid, SIGKILL);
    puts("held");
}
