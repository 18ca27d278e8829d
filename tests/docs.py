#!/usr/bin/python3
"""docs.py PLACE PAGE...: runs the commands of those pages that are meant for this place, and compares what they print.

A block of commands says where it holds, "```console host" or "```console systemd". A command begins with "$ " or "# ", and
goes on in the next line after a "\\". Lines below it are what it prints, where "…" is any part of a line and a line of
nothing else is any lines; without such lines it is enough that it succeeds. A block that is named after a file,
"```toml config.toml", is that file. The blocks of a page run one after the other in a folder of its own, make in the
repository; what serves is started, and ended with the next that does or with its page.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

READY = "http://127.0.0.1:8080/readyz"
PATIENCE_S = 900
SERVES = re.compile(r"(make run|(\S+=\S+ )*sandboxd serve)\b")
BLOCK = re.compile(r"^```(\w+) (\S+)\n(.*?)^```$", re.M | re.S)
REPOSITORY = pathlib.Path(__file__).parent.parent
# What a page may expect to lie in its folder.
GIVEN = pathlib.Path("/given")


def commands(block):
    """Pairs of a command and the lines below it."""
    found = []
    for line in block.splitlines():
        if line.startswith(("$ ", "# ")):
            found.append([line[2:], []])
        elif found[-1][0].endswith("\\") and not found[-1][1]:
            found[-1][0] += "\n" + line
        else:
            found[-1][1].append(line)
    return found


def matches(expected, printed):
    parts = []
    for line in expected:
        if line == "…":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(r"[^\n]*".join(map(re.escape, line.split("…"))) + r"[^\n]*\n")
    return re.fullmatch("".join(parts), printed if printed.endswith("\n") else printed + "\n")


def ready():
    try:
        return urllib.request.urlopen(READY, timeout=5).status == 200
    except OSError:
        return False


def place_of(command):
    return REPOSITORY if command.startswith("make ") else "."


def serve(command):
    assert not ready(), f"something else answers at {READY}"
    log = open("serve.log", "w+")
    server = subprocess.Popen(["bash", "-c", command], cwd=place_of(command), stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + PATIENCE_S
    while not ready():
        if server.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            sys.exit(f"{command}: is not ready (exit code {server.poll()})\n{log.read()}")
        time.sleep(0.2)
    return server


def end(server):
    if server is None:
        return
    os.killpg(server.pid, signal.SIGTERM)
    server.wait(PATIENCE_S)


def run(command, expected, page):
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail; {command}"], cwd=place_of(command), timeout=PATIENCE_S, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    if done.returncode or expected and not matches(expected, done.stdout):
        said = "\n".join(expected)
        sys.exit(f"{page}: {command}\nexit code {done.returncode}\n{done.stdout}\nexpected:\n{said}")


def run_page(place, page):
    server = None
    count = 0
    blocks = BLOCK.findall(page.read_text())
    os.chdir(tempfile.mkdtemp(prefix="docs-"))
    if GIVEN.is_dir():
        shutil.copytree(GIVEN, ".", dirs_exist_ok=True)
    try:
        for language, name, block in blocks:
            if language != "console":
                pathlib.Path(name).write_text(block)
            if (language, name) != ("console", place):
                continue
            for command, expected in commands(block):
                print(f"test {page.name}: {command.splitlines()[0]}", flush=True)
                count += 1
                if SERVES.match(command):
                    end(server)
                    server = None
                    server = serve(command)
                else:
                    run(command, expected, page)
    finally:
        end(server)
        shutil.rmtree(os.getcwd())
    return count


# A make that has called us is none of the pages' business.
for name in ["MAKEFLAGS", "MAKELEVEL", "MFLAGS"]:
    os.environ.pop(name, None)
place, pages = sys.argv[1], [pathlib.Path(page).resolve() for page in sys.argv[2:]]
total = sum(run_page(place, page) for page in pages)
assert total, f"no commands for {place}"
print(f"{total} commands")
