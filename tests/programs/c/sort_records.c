/* Sorts a few records by the keys named as arguments, with qsort and by hand. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct planet {
    const char *name;
    double radius;
    int moons;
};

static const struct planet planets[] = {
    {"Mercury", 2439.7, 0}, {"Venus", 6051.8, 0},    {"Earth", 6371.0, 1},    {"Mars", 3389.5, 2},
    {"Jupiter", 69911, 95}, {"Saturn", 58232, 146}, {"Uranus", 25362.0, 28}, {"Neptune", 24622, 16},
};
enum { COUNT = sizeof planets / sizeof *planets };

#define COMPARE(a, b) (((a) > (b)) - ((a) < (b)))
#define BY(field) (((const struct planet *)a)->field), (((const struct planet *)b)->field)

static int by_name(const void *a, const void *b) { return strcmp(BY(name)); }
static int by_radius(const void *a, const void *b) { return COMPARE(((const struct planet *)a)->radius, ((const struct planet *)b)->radius); }
static int by_moons(const void *a, const void *b)
{
    int order = COMPARE(((const struct planet *)b)->moons, ((const struct planet *)a)->moons);
    return order ? order : by_name(a, b);
}

static void heap_sort(int *v, size_t n)
{
    for (size_t start = n / 2, end = n; end > 1;) {
        if (start > 0) {
            start--;
        } else {
            int t = v[--end];
            v[end] = v[0], v[0] = t;
        }
        for (size_t root = start, child; (child = 2 * root + 1) < end; root = child) {
            if (child + 1 < end && v[child] < v[child + 1]) child++;
            if (v[root] >= v[child]) break;
            int t = v[root];
            v[root] = v[child], v[child] = t;
        }
    }
}

int main(int argc, char **argv)
{
    static const struct { const char *key; int (*compare)(const void *, const void *); } orders[] = {
        {"name", by_name}, {"radius", by_radius}, {"moons", by_moons}};
    for (int i = 1; i < argc; i++) {
        size_t o;
        for (o = 0; o < sizeof orders / sizeof *orders; o++) {
            if (strcmp(argv[i], orders[o].key) != 0) continue;
            struct planet copy[COUNT];
            memcpy(copy, planets, sizeof planets);
            qsort(copy, COUNT, sizeof *copy, orders[o].compare);
            printf("by %s:\n", argv[i]);
            for (int p = 0; p < COUNT; p++) printf("  %-8s %9.1f %4d\n", copy[p].name, copy[p].radius, copy[p].moons);
            break;
        }
        if (o == sizeof orders / sizeof *orders) printf("no order called \"%s\" (%zu bytes)\n", argv[i], strlen(argv[i]));
    }
    int v[20];
    for (unsigned i = 0, x = 7; i < 20; i++, x = x * 1103515245u + 12345u) v[i] = (int)(x >> 16 & 0x3ff) - 512;
    heap_sort(v, 20);
    for (int i = 0; i < 20; i++) printf("%d%c", v[i], i < 19 ? ' ' : '\n');
    return 0;
}
