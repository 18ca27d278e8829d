//! What breaks, and what is left then: nothing, once the daemon has started again.

use std::{
    fs,
    os::unix::net::UnixListener,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{Daemon, assert_status, configuration, free_port, try_serve};

/// Live processes whose command line holds `mark`.
fn processes(mark: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(mark)).collect()
}

/// Our cgroups, in whatever hierarchy.
pub(crate) fn cgroups(instance: &str) -> Vec<String> {
    let found = Command::new("find")
        .args(["/sys/fs/cgroup", "-type", "d", "-path"])
        .arg(format!("*/sandboxd/{instance}*"))
        .output()
        .unwrap();
    String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn kill_9_in_the_middle_of_20_runs_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = configuration(
        folder.path(),
        &format!("\"127.0.0.1:{port}\""),
        "---[execution]\nmax_concurrent = 20\n",
    );
    let daemon = Daemon::start_with(folder, &config, port);
    daemon.await_ready();
    let mark = format!("{}.5", 40_000 + daemon.pid());
    thread::scope(|scope| {
        let callers: Vec<_> = (0..20)
            .map(|_| {
                let request =
                    json!({ "language": "bash", "code": format!("setsid sleep {mark} & sleep {mark}") });
                let daemon = &daemon;
                scope.spawn(move || drop(daemon.try_execute(&request)))
            })
            .collect();
        let deadline = Instant::now() + Duration::from_secs(20);
        while processes(&mark).len() < 40 {
            assert!(Instant::now() < deadline, "only {} programs run", processes(&mark).len());
            thread::sleep(Duration::from_millis(20));
        }
        let instance = format!("{}-", daemon.pid());
        daemon.signal("-KILL");
        thread::sleep(Duration::from_secs(1));
        assert_eq!(processes(&mark), Vec::<String>::new());
        drop(callers);
        let again = Daemon::start("");
        assert_eq!(cgroups(&instance), Vec::<String>::new());
        assert_status(&again.run("bash", "true"), "ok");
    });
}

/// Children of every thread of a process.
pub(crate) fn children(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().map(|word| word.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

pub(crate) fn spawner(daemon: &Daemon) -> i32 {
    let named = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("sandboxd-spawn"))
    };
    children(daemon.pid()).into_iter().find(named).expect("a spawner")
}

/// Everything below the daemon, by name.
pub(crate) fn descendants(daemon: &Daemon) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    let mut above = vec![daemon.pid()];
    while let Some(pid) = above.pop() {
        for child in children(pid) {
            let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
            found.push((child, name.trim().to_owned()));
            above.push(child);
        }
    }
    found
}

#[test]
fn kill_9_leaves_no_interpreter_that_waits() {
    let daemon = Daemon::start("");
    let waiting = || descendants(&daemon).into_iter().any(|(_, name)| name.starts_with("python3"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while !waiting() {
        assert!(Instant::now() < deadline, "{:?}\n{}", descendants(&daemon), daemon.log());
        thread::sleep(Duration::from_millis(20));
    }
    let all = descendants(&daemon);
    let instance = format!("{}-", daemon.pid());
    daemon.signal("-KILL");
    thread::sleep(Duration::from_secs(1));
    // What is dead and not reaped has no command line.
    let lives = |(pid, name): &&(i32, String)| {
        let of = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        of("comm").trim() == name && !of("cmdline").is_empty()
    };
    assert_eq!(all.iter().filter(lives).collect::<Vec<_>>(), Vec::<&(i32, String)>::new());
    let _again = Daemon::start("");
    assert_eq!(cgroups(&instance), Vec::<String>::new());
}

/// It may have ended by itself just now.
pub(crate) fn kill(pid: i32) {
    let _gone = Command::new("kill").args(["-9", &pid.to_string()]).output();
}

/// A request that meets the death itself may fail; one soon after must not.
fn soon_runs_again(daemon: &Daemon) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let answer = daemon.try_execute(&json!({ "language": "bash", "code": "true" })).unwrap();
        if answer.status == 200 {
            assert_status(&answer.json(), "ok");
            return;
        }
        assert!(matches!(answer.status, 500 | 503), "{}", answer.body);
        assert!(Instant::now() < deadline, "{}\n{}", answer.body, daemon.log());
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_killed_spawner_or_lane_is_replaced() {
    let daemon = Daemon::start("");
    for _ in 0..3 {
        let lane = children(spawner(&daemon))[0];
        kill(lane);
        soon_runs_again(&daemon);
    }
    let dead = spawner(&daemon);
    kill(dead);
    soon_runs_again(&daemon);
    assert_ne!(spawner(&daemon), dead);
}

/// Whoever kills a sandbox from outside has not ended the program: that is a failure, and no verdict.
#[test]
fn an_init_that_is_killed_is_no_verdict() {
    let daemon = Daemon::start("");
    thread::scope(|scope| {
        let mark = format!("{}.75", 30_000 + daemon.pid());
        let request = json!({ "language": "bash", "code": format!("sleep {mark}") });
        let daemon = &daemon;
        let running = scope.spawn(move || daemon.try_execute(&request).unwrap());
        let deadline = Instant::now() + Duration::from_secs(20);
        let runs = |pid: i32| {
            fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(&mark))
        };
        let below = |init: &i32| {
            children(*init).into_iter().any(|pid| runs(pid) || children(pid).into_iter().any(&runs))
        };
        let init = loop {
            let mut inits = children(spawner(daemon)).into_iter().flat_map(children);
            if let Some(init) = inits.find(below) {
                break init;
            }
            assert!(Instant::now() < deadline, "the program does not run");
            thread::sleep(Duration::from_millis(20));
        };
        kill(init);
        let answer = running.join().unwrap();
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (500, Some("internal")),
            "{}",
            answer.body
        );
    });
    soon_runs_again(&daemon);
}

#[test]
fn sigterm_drains() {
    let daemon = Daemon::start("");
    thread::scope(|scope| {
        let running = scope.spawn(|| daemon.run("bash", "sleep 1; echo finished"));
        thread::sleep(Duration::from_millis(500));
        daemon.signal("-TERM");
        thread::sleep(Duration::from_millis(100));
        let refused = daemon.post("/api/execute", "application/json", br#"{"language":"bash","code":""}"#);
        assert_eq!((refused.status, refused.json()["code"].as_str()), (503, Some("draining")));
        assert_eq!(running.join().unwrap()["stdout"], "finished\n");
    });
    let instance = format!("{}-", daemon.pid());
    assert_eq!(daemon.wait(Duration::from_secs(5)).code(), Some(0));
    assert_eq!(cgroups(&instance), Vec::<String>::new());
}

#[test]
fn draining_has_an_end() {
    let daemon = Daemon::start("shutdown_timeout_ms = 500\n---");
    thread::scope(|scope| {
        scope.spawn(|| drop(daemon.try_execute(&json!({ "language": "bash", "code": "sleep 55" }))));
        thread::sleep(Duration::from_millis(500));
        daemon.signal("-TERM");
        assert_eq!(daemon.wait(Duration::from_secs(5)).code(), Some(0));
    });
}

#[test]
fn a_second_signal_ends_the_wait_and_the_client_is_told() {
    let daemon = Daemon::start("");
    thread::scope(|scope| {
        let running = scope.spawn(|| daemon.try_execute(&json!({ "language": "bash", "code": "sleep 55" })));
        thread::sleep(Duration::from_millis(500));
        daemon.signal("-TERM");
        thread::sleep(Duration::from_millis(300));
        daemon.signal("-TERM");
        assert_eq!(daemon.wait(Duration::from_secs(3)).code(), Some(0));
        let answer = running.join().unwrap().unwrap();
        assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("draining")));
    });
}

fn serve_with(listen: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    try_serve(&configuration(folder.path(), listen, ""))
}

#[test]
fn a_taken_port_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, error) = serve_with(&format!("{address:?}"));
    assert_eq!(code, Some(71), "{error}");
    assert!(error.contains(&address) && error.contains("listens there already"), "{error}");
}

#[test]
fn a_socket_of_a_live_daemon_is_refused_and_one_of_a_dead_daemon_reused() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let (code, error) = serve_with(&format!("\"unix:{}\"", socket.display()));
    assert_eq!(code, Some(71), "{error}");
    assert!(error.contains("s.sock"), "{error}");
    drop(listener);
    assert!(Path::new(&socket).exists(), "left over, as by a dead daemon");
    let port = free_port();
    let config =
        configuration(folder.path(), &format!("\"127.0.0.1:{port}\", \"unix:{}\"", socket.display()), "");
    let daemon = Daemon::start_with(folder, &config, port);
    daemon.await_ready();
    assert!(std::os::unix::net::UnixStream::connect(&socket).is_ok());
    daemon.signal("-TERM");
    daemon.wait(Duration::from_secs(5));
    assert!(!Path::new(&socket).exists(), "removed at the end");
}
