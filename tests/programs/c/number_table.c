/* Prints a long table about whole numbers: factors, divisors, Collatz steps, roots. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAST 6000

static int smallest_factor[LAST + 1];

static int collatz(uint64_t n)
{
    int steps = 0;
    for (; n != 1; steps++) n = n % 2 ? 3 * n + 1 : n / 2;
    return steps;
}

static char *factors(int n, char *text, size_t room)
{
    size_t used = 0;
    text[0] = '\0';
    while (n > 1 && used < room) {
        int p = smallest_factor[n], power = 0;
        for (; n % p == 0; n /= p) power++;
        used += snprintf(text + used, room - used, power > 1 ? "%s%d^%d" : "%s%d", used ? "*" : "", p, power);
    }
    return text;
}

int main(void)
{
    char text[64];
    long primes = 0, divisor_sum = 0;
    for (int i = 2; i <= LAST; i++) {
        if (smallest_factor[i]) continue;
        for (int j = i; j <= LAST; j += i)
            if (!smallest_factor[j]) smallest_factor[j] = i;
    }
    printf("%5s %-16s %9s %7s %10s %10s %6s\n", "n", "factors", "sum", "collatz", "sqrt", "ln", "hex");
    for (int n = 1; n <= LAST; n++) {
        long sum = 0;
        for (int d = 1; d * d <= n; d++)
            if (n % d == 0) sum += d * d == n ? d : d + n / d;
        primes += n > 1 && smallest_factor[n] == n;
        divisor_sum += sum;
        printf("%5d %-16s %9ld %7d %10.5f %10.7f %#6x%s\n", n, factors(n, text, sizeof text), sum, collatz(n), sqrt(n),
               log(n), n, sum == 2L * n ? " perfect" : "");
    }
    printf("%ld primes, %ld in all; %" PRIu64 " %" PRId64 "\n", primes, divisor_sum, UINT64_MAX, INT64_MIN);
    return EXIT_SUCCESS;
}
