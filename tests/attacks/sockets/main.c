#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
static void connects(const char *host, int port) {
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
    inet_pton(AF_INET, host, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd >= 0 && (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)) printf("BROKEN connected to %s:%d\n", host, port);
    close(fd);
}
int main(void) {
    int families[] = { AF_PACKET, AF_VSOCK, 38 /* AF_ALG */, AF_BLUETOOTH };
    for (unsigned at = 0; at < sizeof families / sizeof *families; at++)
        if (socket(families[at], SOCK_RAW, 0) >= 0) printf("BROKEN a socket of family %d\n", families[at]);
    if (socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0) puts("BROKEN a raw socket");
    for (int port = 1; port < 200; port++) connects("127.0.0.1", port);
    connects("127.0.0.1", 8080);
    connects("169.254.169.254", 80);
    connects("8.8.8.8", 53);
    const char *names[] = { "/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/dbus/system_bus_socket", "/run/systemd/notify" };
    for (unsigned at = 0; at < sizeof names / sizeof *names; at++) {
        struct sockaddr_un to = { .sun_family = AF_UNIX };
        strcpy(to.sun_path, names[at]);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0) printf("BROKEN connected to %s\n", names[at]);
        close(fd);
    }
    puts("held");
}
