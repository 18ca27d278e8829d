"""Producers and consumers that take turns, and files they leave behind."""
import asyncio
import csv
import os
import tempfile
from pathlib import Path


async def produce(name, count, out):
    for i in range(count):
        await out.put((name, i * i))
        await asyncio.sleep(0)
    return f"{name} made {count}"


async def consume(inbox, totals):
    while True:
        name, value = await inbox.get()
        totals[name] = totals.get(name, 0) + value
        inbox.task_done()


async def slow():
    try:
        await asyncio.Event().wait()
    finally:
        print("slow: tidied up")


async def main():
    inbox, totals = asyncio.Queue(maxsize=2), {}
    consumers = [asyncio.create_task(consume(inbox, totals)) for _ in range(3)]
    print(*await asyncio.gather(produce("x", 5, inbox), produce("y", 8, inbox)), sep="; ")
    await inbox.join()
    for task in consumers:
        task.cancel()
    print([type(r).__name__ for r in await asyncio.gather(*consumers, return_exceptions=True)])
    try:
        await asyncio.wait_for(slow(), timeout=0.01)
    except asyncio.TimeoutError:
        print("slow: gave up")
    lines = await asyncio.to_thread(lambda: "a\nb\n".splitlines())
    shell = await asyncio.create_subprocess_shell("cat", stdin=-1, stdout=-1)
    print(lines, (await shell.communicate(b"through cat"))[0])
    return totals


totals = asyncio.run(main())
with tempfile.TemporaryDirectory(prefix="totals-") as folder:
    path = Path(folder, "ünï.csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("name", "total"), *sorted(totals.items()), ('qu"ote', "a,b")])
    print(path.read_bytes())
    print([p.name for p in Path(folder).iterdir()], path.stat().st_size)
print("temporary folder gone:", not os.path.exists(folder))
Path("totals.txt").write_text("\n".join(f"{k}={v}" for k, v in totals.items()))
os.replace("totals.txt", "totals.old")
print(sorted(p.name for p in Path().glob("totals.*")), Path("totals.old").read_text().split())
os.remove("totals.old")
