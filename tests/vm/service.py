#!/usr/bin/python3
"""Our package under a real systemd with cgroup v2: what an operator does, and what must be left afterwards.

Runs as root in the machine of service.sh and of engines.sh.
"""

import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

from machine import SERVICE, SOCKET, execute, main, memory_and_tasks_have_an_end, request, run, show, wait_for, works

CGROUP = pathlib.Path("/sys/fs/cgroup/sandboxd.slice")


def processes():
    """Every process of the user, and every process in a cgroup of ours."""
    found = set()
    user = int(run("id", "-u", "sandboxd"))
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            ours = "/sandboxd.slice" in (folder / "cgroup").read_text()
            if ours or os.stat(folder).st_uid == user:
                found.add(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def instances():
    """One for each daemon that made cgroups which are still there."""
    return sorted(path.name for path in CGROUP.glob("sandboxd.service/sandboxd/*") if path.is_dir())


def check_it_is_installed_and_starts():
    run("dpkg", "-i", "/sandboxd.deb")
    assert show("ActiveState") == "active"
    assert run("systemctl", "is-enabled", SERVICE, "sandboxd.socket").split() == ["enabled", "enabled"]
    status = pathlib.Path(f"/proc/{show('MainPID')}/status").read_text()
    uid = run("id", "-u", "sandboxd").strip()
    assert uid != "0" and re.search(rf"^Uid:\t{uid}\t{uid}\t{uid}\t{uid}$", status, re.M), status
    for kind in ["Inh", "Prm", "Eff", "Bnd", "Amb"]:
        assert re.search(rf"^Cap{kind}:\t0+$", status, re.M), status
    mode = run("stat", "-c", "%U %G %a", SOCKET).strip()
    assert mode == "root sandboxd 660", mode
    assert show("StatusText").startswith("0 running, 0 queued"), show("StatusText")


def check_doctor_is_content():
    """Under everything that the unit holds back, in a cgroup of its own."""
    unit = pathlib.Path(f"/usr/lib/systemd/system/{SERVICE}").read_text()
    unit = re.sub(r"(?m)^(Requires|After|Watchdog|Restart|Also|WantedBy).*\n", "", unit)
    unit = unit.replace("Type=notify", "Type=oneshot").replace("sandboxd serve", "sandboxd doctor")
    unit = unit.replace("[Service]", "[Service]\nStandardOutput=file:/run/doctor")
    pathlib.Path("/run/systemd/system").mkdir(exist_ok=True)
    pathlib.Path("/run/systemd/system/doctor.service").write_text(unit)
    run("systemctl", "daemon-reload")
    subprocess.run(["systemctl", "start", "doctor.service"], check=False)
    said = pathlib.Path("/run/doctor").read_text()
    bad = [line for line in said.splitlines() if not re.match(r"ok |degraded +language ", line)]
    assert said and not bad, said
    assert show("Result", "doctor.service") == "success", said
    assert len(re.findall(r"(?m)^ok .*: limit \w+ +held$", said)) >= 7, said


def check_verdicts_come_from_delegated_cgroups():
    works()
    memory_and_tasks_have_an_end()
    answer = execute("while True: pass", limits={"wall_time_ms": 10000, "cpu_time_ms": 500})
    assert answer["status"] == "time_limit_exceeded", answer
    # A sandbox that ran out of memory is a verdict, and nothing that systemd acts on.
    assert (show("ActiveState"), show("NRestarts")) == ("active", "0")
    works()


def check_the_daemon_has_no_network():
    links = run("nsenter", "-t", show("MainPID"), "-n", "cat", "/proc/self/net/dev")
    assert [line.split(":")[0].strip() for line in links.splitlines()[2:]] == ["lo"], links


def check_a_killed_daemon_is_followed_by_a_clean_one():
    before, old = processes(), instances()
    assert len(old) == 1, old

    def lost():
        try:
            execute("import time; time.sleep(9)")
        except (OSError, http.client.HTTPException):
            answers.append("lost")

    answers = []
    client = threading.Thread(target=lost)
    client.start()
    wait_for("a program that runs", lambda: show("StatusText").startswith("1 running"))
    before |= processes()
    run("systemctl", "kill", "-s", "KILL", "--kill-who=main", SERVICE)
    wait_for("a restart", lambda: (show("NRestarts"), show("ActiveState")) == ("1", "active"))
    client.join()
    assert answers == ["lost"], answers
    left = before & processes()
    assert not left, left
    now = instances()
    assert len(now) == 1 and now != old, (old, now)
    works()


def check_a_daemon_that_hangs_is_replaced():
    folder = pathlib.Path(f"/run/systemd/system/{SERVICE}.d")
    folder.mkdir()
    (folder / "soon.conf").write_text("[Service]\nWatchdogSec=8\nTimeoutAbortSec=1\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", SERVICE)
    # It is fed, for it lives for longer than that.
    hung = show("MainPID")
    time.sleep(20)
    assert show("MainPID") == hung, "a daemon that works was replaced"
    os.kill(int(hung), signal.SIGSTOP)
    wait_for("another daemon", lambda: show("ActiveState") == "active" and show("MainPID") not in ("0", hung))
    (folder / "soon.conf").unlink()
    run("systemctl", "daemon-reload")
    works()


def check_a_clock_that_is_set_changes_no_limit():
    daemon = show("MainPID")
    answers = []
    for code, limit in [("import time; time.sleep(3); print(1)", 20000), ("import time; time.sleep(60)", 4000)]:
        program = threading.Thread(target=lambda: answers.append(execute(code, limits={"wall_time_ms": limit})))
        program.start()
        wait_for("a program that runs", lambda: show("StatusText").startswith("1 running"))
        for step in ["+1 hour", "-3 hours", "+2 hours"]:
            run("date", "--set", step)
        program.join()
    ended, killed = answers
    assert (ended["status"], ended["stdout"]) == ("ok", "1\n"), ended
    assert (killed["status"], killed["limit"]) == ("time_limit_exceeded", "wall_time_ms"), killed
    assert 3000 <= ended["execution_time_ms"] < 8000 and 4000 <= killed["execution_time_ms"] < 9000, answers
    # Nor does the watchdog, for which something is really run in the meantime.
    run("date", "--set", "+1 day")
    time.sleep(20)
    works()
    assert show("MainPID") == daemon
    run("date", "--set", "-1 day")


def check_executions_are_found_in_the_journal_by_their_fields():
    answer = execute("raise SystemExit(7)")
    match = [f"_SYSTEMD_UNIT={SERVICE}", "SANDBOXD_STATUS=runtime_error", f"SANDBOXD_ID={answer['id']}"]
    found = lambda: run("journalctl", "-b", "-q", "-o", "json", *match)
    wait_for("its event", found)
    event = json.loads(found())
    fields = ["MESSAGE", "SYSLOG_IDENTIFIER", "PRIORITY", "SANDBOXD_LANGUAGE", "SANDBOXD_RUNTIME"]
    expected = ["executed", "sandboxd", "5", "python", "native"]
    assert [event.get(field) for field in fields] == expected, event
    assert int(event["SANDBOXD_TOTAL_US"]) > 0, event


def check_a_reload_is_taken_whole_or_not_at_all():
    config = pathlib.Path("/etc/sandboxd/config.toml")
    pid = show("MainPID")
    program = {"language": "python", "code": "print(1)", "limits": {"wall_time_ms": 6000}}
    config.write_text("[limits.max]\nwall_time_ms = 5000\n")
    run("systemctl", "reload", SERVICE)
    wait_for("the new maximum", lambda: request("POST", "/api/execute", program)[0] == 422)
    works()
    config.write_text("[limits.max]\nwall_time_ms = 7000\nsurprise = 1\n")
    run("systemctl", "reload", SERVICE)
    wait_for("a refusal", lambda: "not reloaded" in run("journalctl", "-b", "-u", SERVICE, "--no-pager", "-o", "cat"))
    assert request("POST", "/api/execute", program)[0] == 422
    config.unlink()
    run("systemctl", "reload", SERVICE)
    wait_for("the old maximum", lambda: request("POST", "/api/execute", program)[0] == 200)
    assert (show("MainPID"), show("ActiveState")) == (pid, "active")


def refuses_nobody(what):
    """While the daemon is replaced by another, every request gets its answer."""
    over = threading.Event()
    answers = []

    def client():
        while not over.is_set():
            try:
                answers.append(request("GET", "/healthz")[0])
            except (OSError, http.client.HTTPException) as error:
                answers.append(repr(error))

    asking = threading.Thread(target=client)
    asking.start()
    time.sleep(1)
    old = show("MainPID")
    what()
    assert show("MainPID") != old
    time.sleep(1)
    over.set()
    asking.join()
    assert len(answers) > 5 and set(answers) == {200}, answers


def check_a_restart_refuses_nobody():
    refuses_nobody(lambda: run("systemctl", "restart", SERVICE))


def check_an_upgrade_refuses_nobody():
    refuses_nobody(lambda: run("dpkg", "-i", "/sandboxd.deb"))
    works()


def check_a_connection_starts_it():
    run("systemctl", "stop", SERVICE)
    assert show("ActiveState") == "inactive"
    assert not processes() and not (CGROUP / SERVICE).exists(), processes()
    works()
    assert show("ActiveState") == "active"


def check_nothing_is_left_when_it_is_stopped():
    run("systemctl", "stop", SERVICE, "sandboxd.socket")
    assert show("Result") == "success", show("Result")
    assert not processes(), processes()
    wait_for("an empty slice", lambda: not [path for path in CGROUP.glob("*") if path.is_dir()])
    assert not os.path.exists(SOCKET)
    journal = run("journalctl", "-b", "-u", SERVICE, "--no-pager", "-o", "cat")
    assert "could not shut down cleanly" not in journal, journal


def check_a_purge_leaves_nothing():
    run("dpkg", "--purge", "sandboxd")
    for path in ["/usr/bin/sandboxd", "/var/lib/sandboxd", "/etc/sandboxd", "/usr/lib/systemd/system/" + SERVICE]:
        assert not os.path.exists(path), path
    left = [str(path) for path in pathlib.Path("/etc/systemd/system").rglob("sandboxd*")]
    assert not left, left
    for database in ["passwd", "group"]:
        assert "sandboxd" not in pathlib.Path(f"/etc/{database}").read_text()


main("the service", globals())
