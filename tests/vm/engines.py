#!/usr/bin/python3
"""Docker and containerd under a real systemd with cgroup v2, with our package and its drop-ins: the same verdicts as
anywhere, and nothing left of a daemon that was killed; containerd with gVisor as well.

Runs as root in the machine of engines.sh, after service.py.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess

from machine import SERVICE, ask, execute, main, memory_and_tasks_have_an_end, request, run, show, wait_for, works

IMAGES = "/payload/images.tar"
DOCKER = "/run/docker.sock"
CONFIG = pathlib.Path("/etc/sandboxd/config.toml")
DROP_INS = pathlib.Path(f"/etc/systemd/system/{SERVICE}.d")
# Users need no such limits; here everything takes many times as long.
CONFIGURATION = """
[execution]
runtime = "{kind}"
max_concurrent = 2
start_timeout_ms = 120000
[limits.default]
wall_time_ms = 60000
cpu_time_ms = 60000
[limits.max]
wall_time_ms = 60000
[runtimes.{kind}]
oci_runtime = "{oci_runtime}"
"""


def docker(method, path, body=None, length=0):
    headers = {"content-type": "application/x-tar", "content-length": str(length)} if body else {}
    status, text = ask(DOCKER, method, path, body, headers)
    assert status == 200, f"{status} {text}"
    return text


def shims():
    """Of containers of any kind."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if os.path.basename(words[0]).startswith(b"containerd-shim"):
            found.append(words)
    return found


def cgroups():
    """Those of sandboxes, wherever they are."""
    root = pathlib.Path("/sys/fs/cgroup")
    return [str(path) for pattern in ["*sandboxd-0*", "docker-*.scope"] for path in root.rglob(pattern)]


def left():
    containers = run("ctr", "-n", "sandboxd", "containers", "ls", "-q").split()
    return [containers, json.loads(docker("GET", "/containers/json?all=1")), shims(), cgroups()]


def start(kind, oci_runtime):
    """The daemon with this runtime alone, as its drop-ins say."""
    run("systemctl", "stop", SERVICE)
    CONFIG.write_text(CONFIGURATION.format(kind=kind, oci_runtime=oci_runtime))
    CONFIG.parent.chmod(0o755)
    shutil.rmtree(DROP_INS, ignore_errors=True)
    DROP_INS.mkdir(parents=True)
    for name in [kind] if oci_runtime == "runc" else [kind, "gvisor"]:
        shutil.copy(f"/{name}.conf", DROP_INS)
    run("systemctl", "daemon-reload")
    run("systemctl", "start", SERVICE)
    wait_for("readiness", lambda: request("GET", "/readyz")[0] == 200)


def verdicts():
    works()
    memory_and_tasks_have_an_end()
    answer = execute("while True: pass", limits={"cpu_time_ms": 500})
    assert (answer["status"], answer["limit"]) == ("time_limit_exceeded", "cpu_time_ms"), answer
    # A kill is no verdict about memory.
    answer = execute("import os; os.kill(os.getpid(), 9)")
    assert (answer["status"], answer["signal"]) == ("runtime_error", "SIGKILL"), answer
    works()


def killed():
    before = show("NRestarts")
    run("systemctl", "kill", "-s", "KILL", "--kill-who=main", SERVICE)
    wait_for("a restart", lambda: (show("NRestarts") != before, show("ActiveState")) == (True, "active"))
    wait_for("readiness", lambda: request("GET", "/readyz")[0] == 200)
    works()
    run("systemctl", "stop", SERVICE)
    assert show("Result") == "success", show("Result")
    wait_for("nothing left", lambda: not any(left()))


def all_hold(kind, oci_runtime="runc"):
    start(kind, oci_runtime)
    (runtime,) = json.loads(request("GET", "/api/runtimes")[1])["runtimes"]
    assert runtime["available"] and all(limit["held"] for limit in runtime["limits"].values()), runtime
    driver = runtime["details"].get("cgroups") or runtime["details"]["cgroup"]
    assert driver == "v2, systemd", runtime
    print(f"    {runtime['details']}")
    verdicts()
    killed()


def tests_pass(*command, **environment):
    """As root, with nothing of the service's between them and the engine."""
    environment = {**os.environ, "CI": "1", "TEST_SLACK": "20", **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    result = re.search(r"^test result: .*$", done.stdout, re.M)
    assert done.returncode == 0 and result, done.stdout + done.stderr
    print(f"    {result[0]}")
    wait_for("nothing left", lambda: not any(left()))


def conforms(kind, oci_runtime="runc"):
    tests_pass(f"/conformance-{kind}", SANDBOXD_TEST_OCI_RUNTIMES=oci_runtime)


# What a client sees, by the tests whose languages are here.
CONTRACT = ["limits::", "execute::", "collect::", "errors::"]
OTHER_LANGUAGES = ["compile", "no_further_descriptor", "requests_that_can_not_be_believed", "a_fork_bomb_is_gone_soon"]


def keeps_the_contract(kind, runtime="runc"):
    topics = {"CONTRACT_CASES": ",".join(CONTRACT), "CONTRACT_WITHOUT": ",".join(OTHER_LANGUAGES)}
    tests_pass("/contract", "--nocapture", f"everywhere::{kind}_with_{runtime}_is_no_other", **topics)


def check_engines_start():
    run("mkdir", "-p", "/payload")
    run("mount", "-o", "ro", "/dev/vdb", "/payload")
    pathlib.Path("/etc/docker").mkdir(exist_ok=True)
    daemon = {"bridge": "none", "iptables": False, "ip6tables": False}
    pathlib.Path("/etc/docker/daemon.json").write_text(json.dumps(daemon))
    run("systemctl", "start", "containerd", "docker")
    run("dpkg", "-i", "/sandboxd.deb")
    with open(IMAGES, "rb") as images:
        docker("POST", "/images/load", images, os.path.getsize(IMAGES))
    os.environ["SANDBOXD_RUNTIMES__CONTAINERD__KIND"] = "containerd"
    run("sandboxd", "images", "import", IMAGES)


def check_native_keeps_the_contract():
    without = [word for part in OTHER_LANGUAGES for word in ("--skip", part)]
    tests_pass("/contract", "--nocapture", "--test-threads=2", *CONTRACT, *without)


def check_docker_holds():
    all_hold("docker")


def check_docker_conforms():
    conforms("docker")


def check_docker_keeps_the_contract():
    keeps_the_contract("docker")


def check_containerd_holds():
    all_hold("containerd")


def check_containerd_conforms():
    conforms("containerd")


def check_containerd_keeps_the_contract():
    keeps_the_contract("containerd")


def check_gvisor_holds():
    all_hold("containerd", "runsc")


def check_gvisor_conforms():
    conforms("containerd", "runsc")


def check_gvisor_keeps_the_contract():
    keeps_the_contract("containerd", "gvisor")


main("the engines", globals())
