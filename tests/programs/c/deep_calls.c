/* Deep recursion: about thirty megabytes of stack, then some classics. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
    struct node *left, *right;
    int key;
};

static __attribute__((noinline)) long descend(int depth, const unsigned char *above)
{
    volatile unsigned char frame[256];
    memset((void *)frame, above[0] + 1, sizeof frame);
    if (depth == 0) return frame[255];
    long below = descend(depth - 1, (const unsigned char *)frame);
    return below + frame[depth % 256];
}

static struct node *insert(struct node *tree, int key)
{
    if (!tree) {
        tree = calloc(1, sizeof *tree);
        if (!tree) exit(EXIT_FAILURE);
        tree->key = key;
    } else if (key < tree->key) {
        tree->left = insert(tree->left, key);
    } else if (key > tree->key) {
        tree->right = insert(tree->right, key);
    }
    return tree;
}

static int height(const struct node *tree)
{
    if (!tree) return 0;
    int left = height(tree->left), right = height(tree->right);
    return 1 + (left > right ? left : right);
}

static unsigned ackermann(unsigned m, unsigned n)
{
    return m == 0 ? n + 1 : n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

int main(void)
{
    unsigned char start = 0;
    printf("descended 100000 frames: %ld\n", descend(100000, &start));
    struct node *list = NULL, *tree = NULL;
    for (int i = 5000; i > 0; i--) list = insert(list, i);
    for (int i = 0; i < 5000; i++) tree = insert(tree, (int)((i * 2654435761u) % 5003));
    printf("height of a list %d, of a tree %s\n", height(list), height(tree) < 60 ? "fair" : "poor");
    printf("ackermann: %u %u %u\n", ackermann(1, 10), ackermann(2, 20), ackermann(3, 9));
    return 0;
}
