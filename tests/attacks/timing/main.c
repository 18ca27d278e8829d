#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *FILES[] = {
    "/proc/timer_list", "/proc/sched_debug", "/sys/kernel/debug/sched/debug", "/proc/latency_stats", "/proc/kpagecount",
    "/sys/kernel/tracing/trace", "/sys/kernel/debug/tracing/trace",
};

/* All processes on one CPU, and this one. */
static int counts(int pid, int cpu) {
    struct perf_event_attr counter;
    memset(&counter, 0, sizeof counter);
    counter.size = sizeof counter;
    counter.type = PERF_TYPE_HARDWARE;
    counter.config = PERF_COUNT_HW_CACHE_MISSES;
    counter.exclude_kernel = 1;
    return syscall(SYS_perf_event_open, &counter, pid, cpu, -1, 0) >= 0;
}

int main(void) {
    for (unsigned n = 0; n < sizeof FILES / sizeof *FILES; n++) {
        char text[64];
        int file = open(FILES[n], O_RDONLY);
        if (file >= 0 && read(file, text, sizeof text) > 0) printf("BROKEN %s can be read\n", FILES[n]);
    }
    if (counts(-1, 0)) puts("BROKEN the misses of a CPU's cache are counted");
    if (counts(0, -1)) puts("BROKEN performance events are given");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        unsigned low, high;
        __asm__ volatile("rdpmc" : "=a"(low), "=d"(high) : "c"(0));
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFSIGNALED(status)) puts("BROKEN the processor's own counters can be read");
    puts("held");
    return 0;
}
