/* Statistics of the lines on standard input, which may be of any length. */
#include <ctype.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t code_points(const char *s)
{
    size_t n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

int main(void)
{
    char *line = NULL, longest[64] = "";
    size_t room = 0, most = 0;
    ssize_t length;
    int number = 0, numbers = 0;
    double mean = 0, squares = 0, low = DBL_MAX, high = -DBL_MAX;

    while ((length = getline(&line, &room, stdin)) != -1) {
        number++;
        if (length > 0 && line[length - 1] == '\n') line[--length] = '\0';
        char *rest = line, *word, *end;
        int words = 0;
        if (code_points(line) > most) {
            most = code_points(line);
            snprintf(longest, sizeof longest, "%s", line);
        }
        while ((word = strsep(&rest, " \t,;")) != NULL) {
            if (!*word) continue;
            words++;
            double value = strtod(word, &end);
            if (*end || !isfinite(value)) continue;
            numbers++;
            double delta = value - mean;
            mean += delta / numbers;
            squares += delta * (value - mean);
            low = fmin(low, value);
            high = fmax(high, value);
        }
        printf("line %d: %zd bytes, %d words\n", number, length, words);
    }
    free(line);
    printf("%d lines, longest of %zu characters: %.24s\n", number, most, longest);
    if (numbers > 1) {
        printf("%d numbers from %g to %g\n", numbers, low, high);
        printf("mean %.6f, deviation %.6f\n", mean, sqrt(squares / (numbers - 1)));
        printf("mean as %e, %a, rounded %ld\n", mean, round(mean), lround(mean));
    }
    for (const char *p = longest; *p && p < longest + 12; p++) putchar(isalpha((unsigned char)*p) ? toupper(*p) : '.');
    putchar('\n');
    return ferror(stdin) ? EXIT_FAILURE : EXIT_SUCCESS;
}
