"""Have other programs do the work."""
import os
import signal
import subprocess
import sys

towns = ["Oslo 709", "Bergen 289", "Trondheim 212", "Stavanger 149", "Bærum 129"]
text = "\n".join(towns) + "\n"
plain = dict(os.environ, LC_ALL="C")

done = subprocess.run(["sort", "-k2,2n"], input=text, capture_output=True, encoding="utf-8", env=plain)
print(done.stdout, end="")

first = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
second = subprocess.Popen(["sort", "-r"], stdin=first.stdout, stdout=subprocess.PIPE, env=plain)
first.stdout.close()
first.stdin.write(text.encode())
first.stdin.close()
print(second.communicate()[0].decode().split("\n")[0], first.wait(), second.returncode)

done = subprocess.run("echo out; echo err >&2; exit 7", shell=True, capture_output=True, text=True)
print(done.returncode, repr(done.stdout), repr(done.stderr))
try:
    subprocess.run(["sh", "-c", "exit 3"], check=True)
except subprocess.CalledProcessError as error:
    print("failed:", error.returncode)
try:
    subprocess.run(["no-such-program-here"])
except FileNotFoundError as error:
    print("missing:", error.filename)
try:
    subprocess.run(["cat"], stdin=subprocess.PIPE, input=b"x" * 300_000, stdout=subprocess.DEVNULL, timeout=30)
except ValueError as error:
    print("ValueError:", error)

sleeper = subprocess.Popen(["sh", "-c", "read line"], stdin=subprocess.PIPE)
sleeper.terminate()
print("ended by", signal.Signals(-sleeper.wait()).name)

code = "import sys; print(sum(map(int, sys.stdin)), sys.argv[1:])"
numbers = "\n".join(map(str, range(1000)))
print(subprocess.check_output([sys.executable, "-c", code, "a b", "ü"], input=numbers, text=True), end="")

sys.stdout.flush()
child = os.fork()
if child == 0:
    os.write(1, b"from the child\n")
    os._exit(5)
print("child left with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
