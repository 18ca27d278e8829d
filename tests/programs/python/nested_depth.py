"""Functions that call themselves rather often."""
import sys
from functools import lru_cache

sys.setrecursionlimit(15_000)


def build(depth):
    return [] if depth == 0 else [depth, build(depth - 1)]


def total(tree):
    return tree[0] + total(tree[1]) if tree else 0


def ackermann(m, n):
    if m == 0:
        return n + 1
    if n == 0:
        return ackermann(m - 1, 1)
    return ackermann(m - 1, ackermann(m, n - 1))


@lru_cache(maxsize=None)
def partitions(n, largest):
    if n == 0:
        return 1
    if n < 0 or largest == 0:
        return 0
    return partitions(n - largest, largest) + partitions(n, largest - 1)


def hanoi(n, source, target, spare):
    if n:
        yield from hanoi(n - 1, source, spare, target)
        yield source + target
        yield from hanoi(n - 1, spare, target, source)


def forever(n):
    return forever(n + 1) + 1


print("sum of a tree 10000 deep:", total(build(10_000)))
print("ackermann(2, 9) =", ackermann(2, 9))
print("ackermann(3, 6) =", ackermann(3, 6))
print("partitions of 200:", partitions(200, 200))
print("hanoi:", " ".join(hanoi(4, "a", "c", "b")))
print("moves for 12 discs:", sum(1 for _ in hanoi(12, "a", "c", "b")))
try:
    forever(0)
except RecursionError as error:
    print("RecursionError:", str(error)[:32])
