//! What the daemon itself may lack: room in its folders, leave to write them, descriptors, processes; and a cgroup that does
//! not go. Every request gets its result or a problem, soon; readiness tells the truth; and it works again once there is enough.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    docker,
    engines::{eventually, skip, succeed},
    faults::cgroups,
    support::{BINARY, Daemon, assert_status, configuration, free_port},
};

/// Far more than an answer takes, and less than any wait that nobody would notice.
const SOON: Duration = Duration::from_secs(15);

fn is_root() -> bool {
    nix::unistd::geteuid().is_root() || skip("what the daemon lacks", "only root can take it away")
}

/// A daemon, started by a command that takes what follows as another's, in a folder that `arrange` has seen.
fn start(mut command: Command, extra: &str, arrange: impl FnOnce(&Path, &mut Command)) -> Daemon {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = configuration(folder.path(), &format!("\"127.0.0.1:{port}\""), extra);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    arrange(folder.path(), &mut command);
    let daemon = Daemon::start_by(command, folder, &config, port);
    daemon.await_ready();
    daemon
}

/// Its cache and its state on a file system of their own, so small that nothing fits in for long.
fn start_on_a_small_disk(prepare: bool) -> Daemon {
    const SCRIPT: &str = "mount -t tmpfs -o size=96k none \"$0\" && mkdir \"$0/cache\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", SCRIPT]);
    let extra = format!("---[executors]\nprepare = {prepare}\n[cache]\nmax_bytes = 1073741824\n");
    start(command, &extra, |folder, command| {
        let disk = folder.join("disk");
        fs::create_dir(&disk).unwrap();
        command.arg(&disk).arg(BINARY).env("SANDBOXD_STATE_DIR", &disk);
    })
}

/// Another each time.
fn hello(number: u32) -> serde_json::Value {
    let code = format!("#include <stdio.h>\nint main(void) {{ printf(\"%d\\n\", {number}); return 0; }}");
    json!({ "language": "c", "code": code })
}

#[test]
fn a_full_disk_costs_no_answer() {
    if !is_root() {
        return;
    }
    let daemon = start_on_a_small_disk(true);
    for number in 0..12 {
        let answer = daemon.execute(&hello(number));
        assert_status(&answer, "ok");
        assert_eq!(answer["stdout"], format!("{number}\n"));
    }
    // What could not be kept is compiled again, and what could is not harmed by it.
    assert_eq!(daemon.execute(&hello(11))["stdout"], "11\n");
    assert_eq!(daemon.execute(&hello(0))["stdout"], "0\n");
    assert_eq!(daemon.get("/readyz").status, 200);
    assert!(daemon.log().contains("No space left on device"), "{}", daemon.log());
}

#[test]
fn a_disk_that_becomes_read_only_costs_no_answer() {
    if !is_root() {
        return;
    }
    let daemon = start_on_a_small_disk(false);
    let disk = daemon.folder().join("disk").display().to_string();
    succeed(
        "nsenter",
        &["--mount", "--target", &daemon.pid().to_string(), "mount", "-o", "remount,ro", &disk],
    );
    for number in 0..2 {
        assert_eq!(daemon.execute(&hello(number))["stdout"], format!("{number}\n"));
    }
    assert_status(&daemon.run("python", "print(1)"), "ok");
    assert_eq!(daemon.get("/readyz").status, 200);
    assert!(daemon.log().contains("Read-only file system"), "{}", daemon.log());
}

#[test]
fn limits_that_this_process_can_not_give_are_told_before_the_start() {
    let listen = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("prlimit");
    command.args(["--nofile=100:100", BINARY, "serve"]).env("SANDBOXD_SERVER__LISTEN", listen);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("lower open_files in the maxima"), "{said}");
}

/// Many at once, where there are descriptors for few.
#[test]
fn descriptors_that_run_out_keep_nobody_waiting_for_good() {
    let mut command = Command::new("prlimit");
    command.args(["--nofile=100:100", BINARY]);
    let few = "open_files = 64";
    let extra =
        format!("---[execution]\nmax_concurrent = 4\n[limits.max]\n{few}\n[compile_limits.max]\n{few}\n");
    let daemon = start(command, &extra, |_, _| {});
    thread::scope(|scope| {
        for _ in 0..60 {
            scope.spawn(|| {
                let began = Instant::now();
                // A connection may be refused or cut; an answer is a result or says what is wrong.
                if let Ok(answer) = daemon.try_execute(&json!({ "language": "bash", "code": "sleep 0.3" })) {
                    assert!([200, 500, 503].contains(&answer.status), "{answer:?}");
                }
                assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
            });
        }
    });
    soon_works(&daemon);
    let address = daemon.url.strip_prefix("http://").unwrap();
    let silent: Vec<_> = (0..200).map(|_| TcpStream::connect(address)).collect();
    assert!(silent.iter().filter(|connection| connection.is_ok()).count() > 50);
    drop(silent);
    soon_works(&daemon);
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(SOON).code(), Some(0), "{}", daemon.log());
}

#[test]
fn processes_that_run_out_are_told_and_made_again_when_there_are_some() {
    let pids = Path::new("/sys/fs/cgroup/pids");
    let reason = "no hierarchy of the first version counts processes here";
    if !is_root() || !(pids.join("cgroup.procs").exists() || skip("scarce processes", reason)) {
        return;
    }
    let group = pids.join(format!("scarce-{}", std::process::id()));
    fs::create_dir(&group).unwrap();
    let daemon = start(inside(&group), "", |_, _| {});
    fs::write(group.join("pids.max"), "1").unwrap();
    // What was made ahead is used up, and nothing follows.
    let ask = || {
        let began = Instant::now();
        let answer = daemon.try_execute(&json!({ "language": "bash", "code": "true" })).unwrap();
        assert!([200, 500, 503].contains(&answer.status), "{answer:?}");
        assert!(began.elapsed() < 2 * SOON, "{:?}", began.elapsed());
        answer.status
    };
    let statuses: Vec<_> = thread::scope(|scope| {
        let asking: Vec<_> = (0..12).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    assert!(statuses.iter().any(|status| *status != 200), "nothing was missing: {}", daemon.log());
    fs::write(group.join("pids.max"), "max").unwrap();
    soon_works(&daemon);
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(SOON).code(), Some(0), "{}", daemon.log());
    eventually("an empty group", || fs::remove_dir(&group).is_ok());
}

/// As many of the largest answers at once as clients like, in a daemon that may have 512 MiB: what it holds follows that.
#[test]
fn memory_that_is_short_is_not_overdrawn() {
    let hierarchy = Path::new("/sys/fs/cgroup/memory");
    let reason = "no hierarchy of the first version limits memory here";
    if !is_root() || !(hierarchy.join("cgroup.procs").exists() || skip("scarce memory", reason)) {
        return;
    }
    let group = hierarchy.join(format!("scarce-{}", std::process::id()));
    fs::create_dir(&group).unwrap();
    fs::write(group.join("memory.limit_in_bytes"), (512 << 20).to_string()).unwrap();
    let daemon = start(inside(&group), "---[execution]\nmax_concurrent = 2\n", |_, _| {});
    let code = "head -c 16777216 /dev/zero | tr '\\0' a";
    let request = json!({ "language": "bash", "code": code, "limits": { "output_bytes": 16_777_216 } });
    let statuses: Vec<_> = thread::scope(|scope| {
        let asking: Vec<_> =
            (0..40).map(|_| scope.spawn(|| daemon.try_execute(&request).unwrap().status)).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&200), "{statuses:?}");
    soon_works(&daemon);
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(SOON).code(), Some(0), "{}", daemon.log());
    eventually("an empty group", || fs::remove_dir(&group).is_ok());
}

/// The daemon, from its first moment in that group.
fn inside(group: &Path) -> Command {
    const SCRIPT: &str = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT]).arg(group).arg(BINARY);
    command
}

/// A group that something is mounted on can't be removed: EBUSY.
#[test]
fn a_cgroup_that_does_not_go_harms_nobody_and_goes_with_a_later_start() {
    if !is_root() {
        return;
    }
    let daemon = Daemon::start("");
    let instance = format!("{}-", daemon.pid());
    let busy = cgroups(&instance).into_iter().min_by_key(String::len).unwrap();
    succeed("mount", &["--bind", &busy, &busy]);
    assert_status(&daemon.run("bash", "true"), "ok");
    daemon.signal("-TERM");
    let ended = daemon.wait(SOON);
    let log = daemon.log();
    let other = Daemon::start("");
    assert_status(&other.run("bash", "true"), "ok");
    let left = cgroups(&instance);
    succeed("umount", &[&busy]);
    assert_eq!(left, [busy], "only what is in use stays");
    assert!(log.contains("EBUSY") || log.contains("busy"), "{ended}: {log}");
    // Whoever else starts meanwhile sweeps as well, and holds a group's lock for that moment.
    eventually("a start that removes it", || {
        drop(Daemon::start(""));
        cgroups(&instance).is_empty()
    });
}

/// A guest kernel's memory can be limited in its cgroup alone.
#[test]
fn gvisor_without_leave_to_write_cgroups_is_told_before_the_start() {
    const SCRIPT: &str = "for point in /sys/fs/cgroup /sys/fs/cgroup/memory; do \
        mountpoint -q $point && mount -o remount,bind,ro $point; done; exec \"$0\" doctor";
    if !is_root() || !docker::answers() || !docker::has_runtime("runsc") {
        return;
    }
    let doctor = |command: &mut Command| {
        let command = command.env("SANDBOXD_RUNTIMES__DOCKER__KIND", "docker");
        let output = command.env("SANDBOXD_RUNTIMES__DOCKER__OCI_RUNTIME", "runsc").output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let memory = |said: String| said.lines().find(|line| line.contains("limit memory")).map(str::to_owned);
    let held = memory(doctor(Command::new(BINARY).arg("doctor"))).unwrap();
    assert!(held.starts_with("ok ") && held.ends_with("held"), "{held}");
    let said = memory(doctor(Command::new("unshare").args(["--mount", "sh", "-c", SCRIPT, BINARY]))).unwrap();
    assert!(said.starts_with("missing ") && said.contains("gvisor.conf"), "{said}");
}

fn soon_works(daemon: &Daemon) {
    eventually("a program that runs", || {
        daemon
            .try_execute(&json!({ "language": "bash", "code": "echo 42" }))
            .is_ok_and(|answer| answer.status == 200 && answer.json()["stdout"] == "42\n")
    });
    // One program ran; what others have left behind may still be on its way out.
    eventually("readiness", || daemon.get("/readyz").status == 200);
}
