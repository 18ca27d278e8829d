/* Numbers with more digits than any type has, and how floating point prints. */
#include <math.h>
#include <stdio.h>

#define BASE 1000000000u

struct big {
    size_t size;
    unsigned digits[128];
};

static void multiply(struct big *n, unsigned by)
{
    unsigned long long carry = 0;
    for (size_t i = 0; i < n->size; i++) {
        carry += (unsigned long long)n->digits[i] * by;
        n->digits[i] = carry % BASE;
        carry /= BASE;
    }
    if (carry) n->digits[n->size++] = carry;
}

static void add(struct big *to, const struct big *from)
{
    unsigned carry = 0;
    for (size_t i = 0; i < from->size || carry; i++) {
        if (i == to->size) to->digits[to->size++] = 0;
        carry += to->digits[i] + (i < from->size ? from->digits[i] : 0);
        to->digits[i] = carry % BASE;
        carry /= BASE;
    }
}

static void show(const char *label, const struct big *n)
{
    printf("%s = %u", label, n->digits[n->size - 1]);
    for (size_t i = n->size - 1; i-- > 0;) printf("%09u", n->digits[i]);
    putchar('\n');
}

int main(void)
{
    struct big n = {1, {1}}, a = {1, {0}}, b = {1, {1}};
    char label[16];
    for (unsigned i = 1; i <= 120; i++) {
        multiply(&n, i);
        if (i % 40) continue;
        snprintf(label, sizeof label, "%u!", i);
        show(label, &n);
    }
    for (int i = 0; i < 500; i += 2) add(&a, &b), add(&b, &a);
    show("fibonacci(500)", &a);
    unsigned __int128 wide = (unsigned __int128)0xffffffffffffffff * 0xffffffffffffffff;
    printf("%016llx%016llx\n", (unsigned long long)(wide >> 64), (unsigned long long)wide);
    printf("%.17g %g %g %.3e %010.4f %+d %x\n", 0.1, 1e-5, 123456789.0, 6.02214076e23, -M_PI, 7, -1);
    printf("%f %F %g %a %.0f %.0f %.1f\n", INFINITY, -INFINITY, 1e100, 1.0 / 3, 0.5, 1.5, 0.25);
    printf("%.12f %.12f %.12f\n", tgamma(0.5) * tgamma(0.5), exp(1), cbrt(2) * hypot(3, 4));
    printf("%Lg %d %.6f\n", powl(2.0L, 0.5L), isnan(NAN) != 0, fmod(-7.5, 2));
    return 0;
}
