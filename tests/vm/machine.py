"""What the checks in an emulated machine share: commands, requests over the daemon's socket, and their order.

Each check is a function, in the order of its file; the first that fails ends it. Times are generous: the machine is
emulated.
"""

import http.client
import json
import socket
import subprocess
import sys
import time
import traceback

SOCKET = "/run/sandboxd/sandboxd.sock"
SERVICE = "sandboxd.service"
PATIENCE_S = 120


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def show(name, unit=SERVICE):
    return run("systemctl", "show", "--value", "-p", name, unit).strip()


def wait_for(what, condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not after {PATIENCE_S} s"
        time.sleep(0.1)


def ask(unix_socket, method, path, body, headers):
    connection = http.client.HTTPConnection("localhost", timeout=PATIENCE_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(PATIENCE_S)
    connection.sock.connect(unix_socket)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def request(method, path, body=None):
    headers = {"content-type": "application/json"} if body else {}
    return ask(SOCKET, method, path, body and json.dumps(body), headers)


def execute(code, **more):
    status, text = request("POST", "/api/execute", {"language": "python", "code": code, **more})
    assert status == 200, f"{status} {text}"
    return json.loads(text)


def works():
    answer = execute("print(6 * 7)")
    assert (answer["status"], answer["stdout"]) == ("ok", "42\n"), answer


def memory_and_tasks_have_an_end():
    answer = execute("b = bytearray(512 << 20)\nprint(len(b))", limits={"memory_bytes": 64 << 20})
    assert answer["status"] == "memory_limit_exceeded", answer
    many = "import os, time\nfor _ in range(99):\n    if os.fork() == 0:\n        time.sleep(9)"
    answer = execute(many, limits={"processes": 16})
    assert answer["status"] == "runtime_error" and "BlockingIOError" in answer["stderr"], answer


def main(what, names):
    """Runs every function of these names that begins with check_, and tells how it went."""
    checks = [(name, check) for name, check in list(names.items()) if name.startswith("check_")]
    for name, check in checks:
        name = name.removeprefix("check_")
        began = time.monotonic()
        try:
            check()
        except Exception:  # Whatever it is, it is told.
            print(f"test {name} ... FAILED")
            journal = run("journalctl", "-b", "--no-pager", "-n", "30", "-o", "short-monotonic")
            for line in (traceback.format_exc() + journal).splitlines():
                print(f"    {line[:300]}")
            print("== failed", flush=True)
            sys.exit(1)
        print(f"test {name} ... ok ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"== passed: {len(checks)} checks of {what}", flush=True)
