#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
int main(void) {
    char letter = 'x';
    for (int fd = 0; fd < 3; fd++)
        if (ioctl(fd, TIOCSTI, &letter) == 0) printf("BROKEN typed into %d\n", fd);
    int terminal = open("/dev/tty", O_RDWR);
    if (terminal >= 0 && ioctl(terminal, TIOCSTI, &letter) == 0) puts("BROKEN typed into the terminal");
    const char *consoles[] = { "/dev/console", "/dev/tty0", "/dev/tty1", "/dev/ttyS0" };
    for (unsigned at = 0; at < sizeof consoles / sizeof *consoles; at++)
        if (open(consoles[at], O_WRONLY | O_NONBLOCK) >= 0) printf("BROKEN %s can be written\n", consoles[at]);
    puts("held");
}
