//! containerd that is not there, goes away and comes back, loses containers, shims and images, has no room left, and is
//! shared with others; and a daemon that is killed beside it. All on a containerd of the test's own, one stage after
//! the other, each bounded in time.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    containerd::Engine,
    docker,
    engines::{self, assert_unavailable, eventually, gives_no_dead_one, succeed},
    support::{Answer, Daemon, assert_status, free_port},
};

/// What an answer may take beyond its program's limit.
const GRACE: Duration = Duration::from_secs(2);
/// Until an engine that is back is noticed, and what it has left is removed.
const NOTICED: Duration = Duration::from_secs(40);
const STRANGER: &str = "stranger";

#[test]
fn an_engine_comes_goes_and_loses_things() {
    let Some(mut engine) = Engine::new() else { return };
    if !docker::answers() {
        return;
    }
    is_not_there_at_the_start(&engine);
    engine.start();
    engine.has_image_of("bash");
    stranger_comes(&engine);
    let daemon = start(&engine, "max_concurrent = 4");
    lacks_an_image(&daemon);

    restarts_in_the_middle(&daemon, &mut engine);
    hangs(&daemon, &engine);
    loses_a_shim(&daemon, &engine);
    stops_a_shim(&daemon, &engine);
    loses_its_containers(&daemon, &engine);
    loses_an_image(&daemon, &engine);
    has_no_room_left(&daemon, &engine);
    let leaked = "sandboxd_leaked_total{runtime=\"containerd\"} 0";
    assert!(daemon.get("/metrics").body.lines().any(|line| line == leaked), "{}", daemon.log());
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(NOTICED).code(), Some(0), "{}", daemon.log());
    nothing_is_left(&engine, "after SIGTERM");

    outlives_a_daemon(&engine);
    nothing_is_left(&engine, "after kill -9 and another daemon");
    assert!(engine.ctr(&["leases", "ls", "-q"]).contains(STRANGER));
}

/// A daemon with this engine alone, and a state folder of its own that outlives it.
fn start(engine: &Engine, execution: &str) -> Daemon {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = write_configuration(engine, &folder, port, execution);
    let daemon = Daemon::start_with(folder, &config, port);
    daemon.await_ready();
    daemon
}

fn write_configuration(
    engine: &Engine,
    folder: &tempfile::TempDir,
    port: u16,
    execution: &str,
) -> std::path::PathBuf {
    let config = folder.path().join("config.toml");
    let text = format!(
        "state_dir = {:?}\n[server]\nlisten = [\"127.0.0.1:{port}\"]\n[executors]\nprepare = false\n\
         [execution]\nqueue_timeout_ms = 60000\n{execution}\n[runtimes.containerd]\naddress = {:?}\n",
        engine.path("sandboxd"),
        engine.address()
    );
    fs::write(&config, text).unwrap();
    config
}

fn run(daemon: &Daemon, code: &str, wall_time_ms: u64) -> (Answer, Duration) {
    engines::run(daemon, "containerd", "bash", code, wall_time_ms)
}

#[track_caller]
fn soon_runs(daemon: &Daemon) {
    engines::soon_runs(daemon, "containerd", NOTICED);
}

fn is_not_there_at_the_start(engine: &Engine) {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let config = write_configuration(engine, &folder, port, "");
    let daemon = Daemon::start_with(folder, &config, port);
    daemon.assert_waits_for_its_engine(&[&engine.address(), "systemctl start containerd"]);
}

fn lacks_an_image(daemon: &Daemon) {
    let (answer, _) = engines::run(daemon, "containerd", "python", "print(1)", 1000);
    assert_unavailable(&answer, &["sandboxd images build python"]);
}

/// Somebody else's container, snapshot and lease in the same namespace.
fn stranger_comes(engine: &Engine) {
    engine.ctr(&["containers", "create", "docker.io/sandboxd/bash:latest", STRANGER, "true"]);
    engine.ctr(&["leases", "create", "--id", STRANGER]);
}

/// Shims live on without containerd, and with them the programs and their pipes.
fn restarts_in_the_middle(daemon: &Daemon, engine: &mut Engine) {
    soon_runs(daemon);
    let limit = Duration::from_secs(6);
    thread::scope(|scope| {
        let run = |code| scope.spawn(move || run(daemon, code, 6000));
        let running =
            ["sleep 3; echo done", "sleep 3; echo done", "sleep 30", "while :; do :; done"].map(run);
        thread::sleep(Duration::from_secs(2));
        engine.kill();
        thread::sleep(Duration::from_secs(2));
        for (index, (answer, took)) in running.map(|running| running.join().unwrap()).into_iter().enumerate()
        {
            assert!(took < limit + GRACE, "{took:?}: {}", answer.body);
            let expected = if index < 2 { "ok" } else { "time_limit_exceeded" };
            assert_status(&answer.json(), expected);
        }
    });
    // Nothing is ready any more at some point, and nothing can be made.
    let deadline = Instant::now() + NOTICED;
    loop {
        let (answer, took) = run(daemon, "true", 1000);
        assert!(took < Duration::from_secs(1) + 2 * GRACE, "{took:?}: {}", answer.body);
        if answer.status != 200 {
            assert_unavailable(&answer, &["systemctl start containerd"]);
            break;
        }
        assert!(Instant::now() < deadline, "{}", daemon.log());
    }
    engine.start();
    soon_runs(daemon);
    // What could not be removed meanwhile is.
    eventually("the dead are removed", || engine.tasks().len() <= 4 && engine.containers().len() <= 5);
}

/// It neither answers nor goes away: limits hold all the same.
fn hangs(daemon: &Daemon, engine: &Engine) {
    soon_runs(daemon);
    let (answer, took) = thread::scope(|scope| {
        let running = scope.spawn(|| run(daemon, "sleep 30", 3000));
        thread::sleep(Duration::from_secs(1));
        engine.signal("-STOP");
        let ended = running.join();
        engine.signal("-CONT");
        ended.unwrap()
    });
    assert!(took < Duration::from_secs(3) + GRACE, "{took:?}: {}", answer.body);
    assert_status(&answer.json(), "time_limit_exceeded");
    soon_runs(daemon);
}

fn loses_a_shim(daemon: &Daemon, engine: &Engine) {
    soon_runs(daemon);
    thread::scope(|scope| {
        let running = scope.spawn(|| run(daemon, "sleep 30", 8000));
        thread::sleep(Duration::from_millis(1500));
        let shims = engine.shims();
        for shim in &shims {
            Command::new("kill").args(["-9", &shim.to_string()]).status().unwrap();
        }
        eventually("the shims are gone", || !engine.shims().iter().any(|shim| shims.contains(shim)));
        let (answer, took) = running.join().unwrap();
        assert_eq!(answer.status, 500, "{}", answer.body);
        assert!(took < Duration::from_secs(8), "{took:?}");
    });
    gives_no_dead_one(daemon, "containerd");
}

/// One that hangs for good is killed in the end, and its container removed.
fn stops_a_shim(daemon: &Daemon, engine: &Engine) {
    soon_runs(daemon);
    thread::scope(|scope| {
        let running = scope.spawn(|| run(daemon, "exec sleep 31.25", 3000));
        let sleeping = || shim_of("sleep\x0031.25\x00", &engine.shims());
        eventually("it runs", || sleeping().is_some());
        let shim = sleeping().unwrap().to_string();
        succeed("kill", &["-STOP", &shim]);
        let (answer, took) = running.join().unwrap();
        assert!(took < Duration::from_secs(3) + GRACE, "{took:?}: {}", answer.body);
        eventually("the shim is gone", || !engine.shims().iter().any(|other| other.to_string() == shim));
    });
    soon_runs(daemon);
}

/// The one above the process with this command line.
fn shim_of(command_line: &str, shims: &[i32]) -> Option<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let own = |entry: &fs::DirEntry| {
        fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|line| line == command_line)
    };
    let mut pid: i32 = entries.filter(own).find_map(|entry| entry.file_name().to_str()?.parse().ok())?;
    while !shims.contains(&pid) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        pid = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
    }
    Some(pid)
}

fn loses_its_containers(daemon: &Daemon, engine: &Engine) {
    soon_runs(daemon);
    thread::scope(|scope| {
        let running = scope.spawn(|| run(daemon, "sleep 30", 8000));
        thread::sleep(Duration::from_millis(1500));
        for id in engine.tasks() {
            engine.try_ctr(&["tasks", "rm", "--force", &id]);
            // The daemon may have been faster with the rest.
            engine.try_ctr(&["containers", "rm", &id]);
        }
        let (answer, took) = running.join().unwrap();
        assert_eq!(answer.status, 500, "{}", answer.body);
        assert!(took < Duration::from_secs(8), "{took:?}");
    });
    gives_no_dead_one(daemon, "containerd");
}

/// With its name everything goes that only the name kept, but not from under what runs on it.
fn loses_an_image(daemon: &Daemon, engine: &Engine) {
    soon_runs(daemon);
    let (answer, _) = thread::scope(|scope| {
        let running = scope.spawn(|| run(daemon, "sleep 3; bc <<<6*7", 8000));
        thread::sleep(Duration::from_millis(1500));
        engine.ctr(&["images", "rm", "--sync", "docker.io/sandboxd/bash:latest"]);
        running.join().unwrap()
    });
    assert_eq!((answer.status, &answer.json()["stdout"]), (200, &json!("42\n")), "{}", answer.body);
    let deadline = Instant::now() + NOTICED;
    loop {
        let (answer, _) = run(daemon, "true", 1000);
        if answer.status != 200 {
            assert_unavailable(&answer, &["sandboxd images build bash"]);
            break;
        }
        assert!(Instant::now() < deadline, "{}", daemon.log());
    }
    engine.has_image_of("bash");
    soon_runs(daemon);
}

/// Nothing can be made, and what was half made does not stay.
fn has_no_room_left(daemon: &Daemon, engine: &Engine) {
    soon_runs(daemon);
    let filler = engine.path("root/filler");
    let _full = Command::new("dd").args(["if=/dev/zero", "bs=1M", &format!("of={filler}")]).output();
    for _ in 0..4 {
        // Those that stood ready need no room.
        let (answer, took) = run(daemon, "echo fine", 2000);
        assert!(matches!(answer.status, 200 | 500 | 503), "{}", answer.body);
        assert!(took < Duration::from_secs(15), "{took:?}");
    }
    fs::remove_file(filler).unwrap();
    soon_runs(daemon);
}

fn outlives_a_daemon(engine: &Engine) {
    let mortal = start(engine, "max_concurrent = 12");
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| drop(mortal.try_execute(&json!({ "language": "bash", "code": "sleep 50" }))));
        }
        eventually("all run", || engine.tasks().len() >= 12);
        mortal.signal("-KILL");
    });
    assert!(
        engine.tasks().len() >= 12 && !engine.pipes().is_empty() && !engine.active_snapshots().is_empty()
    );
    let lost = ["a-shim", &format!("sandboxd-{}", "0".repeat(32))].map(|id| engine.loses_track_of_a_shim(id));
    let next = start(engine, "");
    soon_runs(&next);
    next.signal("-TERM");
    assert_eq!(next.wait(NOTICED).code(), Some(0), "{}", next.log());
    // Of those that the engine had lost, somebody else's is not ours to end.
    eventually("only somebody else's shim is left", || engine.shims().len() == 1);
    engine.shims().iter().for_each(|shim| drop(succeed("kill", &["-KILL", &shim.to_string()])));
    drop(lost);
}

/// Owners of this engine's daemons have all gone: what any of them had is told by its name.
#[track_caller]
fn nothing_is_left(engine: &Engine, when: &str) {
    assert_eq!(engine.containers(), [STRANGER], "{when}");
    assert_eq!(engine.tasks(), Vec::<String>::new(), "{when}");
    assert_eq!(engine.active_snapshots(), [STRANGER], "{when}");
    assert_eq!(engine.ctr(&["leases", "ls", "-q"]).trim(), STRANGER, "{when}");
    assert_eq!(engine.pipes(), Vec::<std::ffi::OsString>::new(), "{when}");
    // A shim ends by itself once its task is gone.
    eventually(&format!("no shim is left {when}"), || engine.shims().is_empty());
}
