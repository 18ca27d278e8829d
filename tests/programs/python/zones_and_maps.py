"""Time zones, a locale, a file in memory, processes and a pool of threads: what leans on the system below."""
import concurrent.futures
import datetime
import locale
import mmap
import multiprocessing
import os
import time

os.environ["TZ"] = "CET-1CEST,M3.5.0,M10.5.0/3"
time.tzset()
print(datetime.datetime.fromtimestamp(1700000000).isoformat(), time.strftime("%Z", time.localtime(1720000000)))
print(locale.setlocale(locale.LC_ALL, "C.UTF-8"), "ä".upper())

with open("mapped", "w+b") as file:
    file.truncate(1 << 16)
    with mmap.mmap(file.fileno(), 0) as memory:
        memory[100:105] = b"hello"
        memory.flush()
    file.seek(100)
    print(file.read(5))


def square(n):
    return n * n


def child(pipe):
    pipe.send(os.getpid() != os.getppid())


if __name__ == "__main__":
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        print(sum(pool.map(square, range(100))))
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=child, args=(there,))
    process.start()
    print(here.recv(), process.join(), process.exitcode)
