"""Primes from a sieve, and the Mersenne numbers they lead to."""
from itertools import islice


def sieve(limit):
    flags = bytearray([1]) * (limit + 1)
    flags[0:2] = b"\0\0"
    for n in range(2, int(limit ** 0.5) + 1):
        if flags[n]:
            flags[n * n::n] = bytes(len(range(n * n, limit + 1, n)))
    return [n for n, flag in enumerate(flags) if flag]


def lucas_lehmer(p):
    if p == 2:
        return True
    m = (1 << p) - 1
    s = 4
    for _ in range(p - 2):
        s = (s * s - 2) % m
    return s == 0


primes = sieve(100_000)
print("primes below 100000:", len(primes))
print("first:", *primes[:15])
print("last:", *primes[-5:])
twins = ((a, b) for a, b in zip(primes, primes[1:]) if b - a == 2)
print("twins:", list(islice(twins, 6)))
print("largest gap:", max((b - a, -a) for a, b in zip(primes, primes[1:]))[0])

exponents = [p for p in primes if p < 700 and lucas_lehmer(p)]
print("Mersenne exponents:", exponents)
biggest = 2 ** exponents[-1] - 1
print(f"2^{exponents[-1]}-1 has {len(str(biggest))} digits:")
text = str(biggest)
for start in range(0, len(text), 60):
    print("  " + text[start:start + 60])
print("divmod:", divmod(-biggest, 1_000_007))
print("inverse:", pow(3, -1, biggest) * 3 % biggest)
