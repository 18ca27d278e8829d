/* Files here and in the temporary folder: seeking, mapping, renaming, removing. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct entry {
    uint32_t id;
    char name[16];
};

static void must(int fine, const char *what)
{
    if (!fine) perror(what), exit(EXIT_FAILURE);
}

int main(void)
{
    const char *folder = getenv("TMPDIR");
    char path[4096];
    snprintf(path, sizeof path, "%s/entries-XXXXXX", folder && *folder ? folder : "/tmp");
    int fd = mkstemp(path);
    must(fd >= 0, "mkstemp");
    for (uint32_t i = 0; i < 1000; i++) {
        struct entry entry = {.id = i};
        snprintf(entry.name, sizeof entry.name, "entry %u", i * i);
        must(write(fd, &entry, sizeof entry) == sizeof entry, "write");
    }
    struct entry one;
    must(pread(fd, &one, sizeof one, 777 * sizeof one) == sizeof one, "pread");
    printf("entry %u is \"%s\"\n", one.id, one.name);
    struct stat about;
    must(fstat(fd, &about) == 0, "fstat");
    printf("%lld bytes, mode %o\n", (long long)about.st_size, about.st_mode & 0777);
    struct entry *all = mmap(NULL, about.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(all != MAP_FAILED, "mmap");
    for (int i = 0; i < 500; i++) {
        one = all[i], all[i] = all[999 - i], all[999 - i] = one;
    }
    must(munmap(all, about.st_size) == 0, "munmap");
    must(pread(fd, &one, sizeof one, 0) == sizeof one, "pread");
    printf("now the first is %u\n", one.id);
    must(close(fd) == 0 && unlink(path) == 0, "unlink");
    printf("gone: %s\n", access(path, F_OK) ? strerror(errno) : "no");

    FILE *file = fopen("notes.txt", "w+x");
    must(file != NULL, "fopen");
    for (int i = 0; i < 3; i++) fprintf(file, "%d:\t%05.2f\n", i, i / 3.0);
    fseek(file, -6, SEEK_END);
    fputs("end", file);
    rewind(file);
    for (int c; (c = getc(file)) != EOF;) putchar(c == '\t' ? '~' : c);
    printf("position %ld\n", ftell(file));
    fclose(file);
    must(rename("notes.txt", "notes.old") == 0, "rename");
    printf("%s\n", fopen("notes.txt", "r") ? "still there" : strerror(errno));
    return remove("notes.old");
}
