/* Children: fork and exec with pipes, popen, signals and their ends. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t caught;
static void on_signal(int number) { caught = number; }

static void explain(const char *what, int status)
{
    if (WIFEXITED(status)) printf("%s exited with %d\n", what, WEXITSTATUS(status));
    if (WIFSIGNALED(status)) printf("%s ended by %s\n", what, strsignal(WTERMSIG(status)));
    fflush(stdout);
}

int main(void)
{
    int to[2], from[2], status;
    setenv("LC_ALL", "C", 1);
    if (pipe(to) || pipe(from)) return perror("pipe"), 1;
    pid_t child = fork();
    if (child == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        close(to[0]), close(to[1]), close(from[0]), close(from[1]);
        execlp("sort", "sort", "-r", (char *)NULL);
        _exit(127);
    }
    close(to[0]), close(from[1]);
    dprintf(to[1], "cherry\napple\nbanana\n");
    close(to[1]);
    FILE *sorted = fdopen(from[0], "r");
    for (char line[80]; fgets(line, sizeof line, sorted);) printf("  %s", line);
    fclose(sorted);
    waitpid(child, &status, 0);
    explain("sort", status);

    FILE *shell = popen("while read a b; do echo \"$b $a\"; done; exit 3", "w");
    fputs("one two\nthree four five\n", shell);
    explain("shell", pclose(shell));
    explain("system", system("exit 42"));
    if ((child = fork()) == 0) {
        execl("/no/such/program", "program", (char *)NULL);
        _exit(errno == ENOENT ? 101 : 102);
    }
    waitpid(child, &status, 0);
    explain("no program", status);
    for (int number = 0, signals[] = {SIGTERM, SIGSEGV, SIGKILL}; number < 3; number++) {
        if ((child = fork()) == 0) raise(signals[number]), _exit(0);
        waitpid(child, &status, 0);
        explain("child", status);
    }
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    printf("caught SIGUSR1: %s; no more children: %s\n", caught == SIGUSR1 ? "yes" : "no", wait(NULL) == -1 ? strerror(errno) : "?");
    return 0;
}
