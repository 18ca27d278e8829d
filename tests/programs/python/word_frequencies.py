"""Count the words of a text that comes in line by line."""
import re
import sys
import unicodedata
from collections import Counter, defaultdict

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def fold(word):
    decomposed = unicodedata.normalize("NFD", word.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


counts = Counter()
spellings = defaultdict(set)
lines = 0
for number, line in enumerate(sys.stdin, start=1):
    lines = number
    line = line.rstrip("\n")
    words = WORD.findall(line)
    for word in words:
        counts[fold(word)] += 1
        spellings[fold(word)].add(word)
    print(f"{number:>2} {len(line):>3} {len(words):>2} {line[:20]!r}")

print(f"{lines} lines, {sum(counts.values())} words, {len(counts)} different")
for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:6]:
    print(f"{word:<10}|{'#' * count:<5}|{count}")
print("spelled in several ways:")
for word, forms in sorted(spellings.items()):
    if len(forms) > 1:
        print(f"  {word}: {', '.join(sorted(forms))}")
for char in "ß€漢😀":
    print(f"U+{ord(char):05X} {unicodedata.category(char)} {len(char.encode())} bytes {unicodedata.name(char)}")
