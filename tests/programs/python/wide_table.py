"""A long table: numbers in several bases and notations. Arguments: rows, and bases."""
import sys

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def in_base(n, base):
    digits = []
    while True:
        n, digit = divmod(n, base)
        digits.append(DIGITS[digit])
        if n == 0:
            return "".join(reversed(digits))


def roman(n):
    text = ""
    for value, letters in ((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"),
                           (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")):
        text += letters * (n // value)
        n %= value
    return text


rows, bases = int(sys.argv[1]), [int(arg) for arg in sys.argv[2:]]
print(f"{'n':>5}", *(f"{'base ' + str(base):>13}" for base in bases), f"{'roman':<16}{'1/n':>12}{'sqrt':>12}", sep=" ")
length = 0
for n in range(1, rows + 1):
    line = " ".join([f"{n:>5}", *(f"{in_base(n, base):>13}" for base in bases),
                     f"{roman(n):<16}{1 / n:>12.3e}{n ** 0.5:>12.6f}"])
    length += len(line) + 1
    print(line)
print(length, "characters above, the heading not counted")
