/* Errors without exceptions: setjmp and longjmp, cleanup, atexit; and text and dates on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static jmp_buf handler;
static char message[128];

static _Noreturn void fail(int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    longjmp(handler, code);
}

static unsigned decode(const unsigned char **at)
{
    const unsigned char *s = *at;
    int more = s[0] < 0x80 ? 0 : s[0] >> 5 == 6 ? 1 : s[0] >> 4 == 14 ? 2 : s[0] >> 3 == 30 ? 3 : -1;
    if (more < 0) fail(2, "byte %#04x begins nothing", s[0]);
    unsigned point = more == 0 ? s[0] : s[0] & (0x3f >> more);
    for (int i = 1; i <= more; i++) {
        if (s[i] >> 6 != 2) fail(3, "byte %#04x after %d", s[i], i);
        point = point << 6 | (s[i] & 0x3f);
    }
    *at += more + 1;
    return point;
}

static void last(void) { puts("atexit: first registered, last to run"); }
static void first(void) { puts("atexit: last registered, first to run"); }
static void tidy(char **text) { printf("freeing \"%s\"\n", *text), free(*text); }

int main(void)
{
    atexit(last), atexit(first);
    static const char *const texts[] = {"aé漢😀", "tr\xc3unc", "\xff!", u8"\u03a9"};
    for (volatile int i = 0; i < 4; i++) {
        int code = setjmp(handler);
        if (code != 0) {
            printf(" -- error %d: %s\n", code, message);
            continue;
        }
        for (const unsigned char *at = (const unsigned char *)texts[i]; *at;) printf("U+%04X ", decode(&at));
        putchar('\n');
    }
    static const long long moments[] = {0, 951827696, -1, 4102444799};
    for (int i = 0; i < 4; i++) {
        char text[64];
        struct tm parts;
        time_t at = moments[i];
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %a, day %j, week %V", gmtime_r(&at, &parts));
        printf("%11lld %s %s\n", moments[i], text, timegm(&parts) == at ? "and back" : "and lost");
    }
    __attribute__((cleanup(tidy))) char *text = strdup("a copy");
    if (strtol("077", NULL, 0) == 63) exit((fputs("leaving with 3\n", stdout), 3));
    return 0;
}
