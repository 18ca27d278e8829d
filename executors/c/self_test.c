#include <math.h>
#include <stdio.h>

int main(int argc, char **argv) {
    int n;
    if (argc != 2 || scanf("%d", &n) != 1)
        return 1;
    printf("%d %s %.3f\n", n + 1, argv[1], sqrt(n - 39.0));
}
