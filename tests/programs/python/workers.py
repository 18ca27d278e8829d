"""The same sums by threads, by a pool of threads and by processes."""
import queue
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing import Pool


def collatz(n):
    steps = 0
    while n != 1:
        n, steps = n // 2 if n % 2 == 0 else 3 * n + 1, steps + 1
    return steps


def longest(bounds):
    return max((collatz(n), -n) for n in range(*bounds))


def by_threads(jobs, count):
    todo, done, lock = queue.Queue(), {}, threading.Lock()

    def work():
        while (job := todo.get()) is not None:
            result = longest(job)
            with lock:
                done[job] = result

    threads = [threading.Thread(target=work, name=f"worker-{i}") for i in range(count)]
    [thread.start() for thread in threads]
    for job in [*jobs, *[None] * count]:
        todo.put(job)
    [thread.join() for thread in threads]
    return [done[job] for job in jobs]


if __name__ == "__main__":
    jobs = [(start, start + 2000) for start in range(1, 10_001, 2000)]
    first = by_threads(jobs, 4)
    with ThreadPoolExecutor(max_workers=3) as pool:
        futures = {pool.submit(longest, job): job for job in jobs}
        finished = {futures[future]: future.result() for future in as_completed(futures)}
    with Pool(2) as pool:
        third = pool.map(longest, jobs)
    print("threads and executor agree:", first == [finished[job] for job in jobs])
    print("threads and processes agree:", first == third)
    for (low, high), (steps, n) in zip(jobs, first):
        print(f"{low:>5}..{high - 1:<5} {-n:>5} takes {steps}")
    barrier, order = threading.Barrier(3), []
    turns = [threading.Event() for _ in range(4)]

    def in_turn(i):
        barrier.wait()
        turns[i].wait()
        order.append(i)
        turns[i + 1].set()
    crew = [threading.Thread(target=in_turn, args=(i,)) for i in (2, 0, 1)]
    [t.start() for t in crew]
    turns[0].set()
    [t.join() for t in crew]
    print("in turn:", order, "left:", threading.active_count())
