//! Docker Engine that is not there, goes away and comes back, loses containers and lacks images; and a daemon that is
//! killed beside it. All on an engine of the tests' own, one stage after the other, each bounded in time.

use std::{thread, time::Duration};

use serde_json::json;

use crate::{
    docker::{self, Engine},
    engines::{self, assert_unavailable, eventually, gives_no_dead_one},
    support::{Answer, Daemon, assert_status, configuration, free_port},
};

/// An answer's time: what its limit is, and a second; and another one on a host that is busy with other tests.
const GRACE: Duration = Duration::from_secs(2);
/// Until an engine that is back is noticed: a failure is believed for two seconds.
const NOTICED: Duration = Duration::from_secs(15);

#[test]
fn an_engine_comes_goes_and_loses_things() {
    let Some(mut engine) = Engine::new() else { return };
    let host = engine.host();
    let beside = Daemon::start(&format!(
        "---[execution]\nruntime = \"native\"\n[runtimes.native]\n[runtimes.docker]\nhost = \"{host}\"\n"
    ));
    is_not_there_at_the_start(&beside, &host);
    engine.start();
    engine.has_image_of("bash");
    is_there_after_all(&beside);
    lacks_an_image(&beside);
    drop(beside);

    let docker = docker::configuration(&format!("host = \"{host}\""), "max_concurrent = 4");
    let daemon = Daemon::start(&docker);
    goes_away_in_the_middle(&daemon, &mut engine);
    comes_back(&daemon, &mut engine);
    hangs(&daemon, &engine);
    loses_its_containers(&daemon, &engine);
    outlives_a_daemon(&daemon, &engine);
    assert!(
        daemon.get("/metrics").body.lines().any(|line| line == "sandboxd_leaked_total{runtime=\"docker\"} 0")
    );
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(Duration::from_secs(40)).code(), Some(0));
    assert_eq!(engine.containers(), ["stranger"], "{}", daemon.log());
}

fn on_docker(daemon: &Daemon, code: &str, wall_time_ms: u64) -> (Answer, Duration) {
    engines::run(daemon, "docker", "bash", code, wall_time_ms)
}

#[track_caller]
fn soon_runs(daemon: &Daemon) {
    engines::soon_runs(daemon, "docker", NOTICED);
}

fn is_not_there_at_the_start(beside: &Daemon, host: &str) {
    let (answer, took) = on_docker(beside, "true", 1000);
    assert_unavailable(&answer, &[host, "start it with `systemctl start docker`"]);
    assert!(took < GRACE, "{took:?}");
    assert_status(&beside.run("bash", "true"), "ok");
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let docker = docker::configuration(&format!("host = \"{host}\""), "");
    let config = configuration(folder.path(), &format!("\"127.0.0.1:{port}\""), &docker);
    let default = Daemon::start_with(folder, &config, port);
    default.assert_waits_for_its_engine(&[host, "systemctl start docker"]);
}

fn is_there_after_all(beside: &Daemon) {
    soon_runs(beside);
}

fn lacks_an_image(beside: &Daemon) {
    let (answer, _) = engines::run(beside, "docker", "python", "print(1)", 1000);
    assert_unavailable(&answer, &["sandboxd images build python"]);
}

/// The attached connections of a killed engine end as those of a program that has ended do.
fn goes_away_in_the_middle(daemon: &Daemon, engine: &mut Engine) {
    soon_runs(daemon);
    let limit = Duration::from_secs(5);
    thread::scope(|scope| {
        let run = |code| scope.spawn(move || on_docker(daemon, code, limit.as_millis() as u64));
        let running = ["sleep 30", "sleep 30", "echo x; sleep 30", "while :; do :; done"].map(run);
        thread::sleep(Duration::from_secs(2));
        engine.kill();
        for (answer, took) in running.map(|running| running.join().unwrap()) {
            assert!(took < limit + GRACE, "{took:?}: {}", answer.body);
            assert!(no_verdict_of_its_own(&answer), "{}", answer.body);
        }
    });
    let (answer, took) = on_docker(daemon, "true", 1000);
    assert_unavailable(&answer, &["start it with `systemctl start docker`"]);
    assert!(took < 2 * GRACE, "{took:?}");
    thread::sleep(Duration::from_millis(1100));
    let readiness = daemon.get("/readyz");
    assert_eq!(readiness.status, 503, "{}", readiness.body);
}

/// Something failed, or the limit has ended it: nothing that the program might have done itself.
fn no_verdict_of_its_own(answer: &Answer) -> bool {
    let status = || answer.json()["status"].as_str().map(str::to_owned);
    matches!(answer.status, 500 | 503) || status().as_deref() == Some("time_limit_exceeded")
}

fn comes_back(daemon: &Daemon, engine: &mut Engine) {
    engine.start();
    soon_runs(daemon);
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(daemon.get("/readyz").status, 200);
    // What stood ready before has died, and is removed as what ran then is.
    let dead = || engine.docker(&["ps", "--all", "--quiet", "--filter", "status=exited"]);
    eventually("the dead are removed", || dead().is_empty());
}

/// It neither answers nor goes away: limits hold all the same.
fn hangs(daemon: &Daemon, engine: &Engine) {
    soon_runs(daemon);
    let limit = Duration::from_secs(3);
    let (answer, took) = thread::scope(|scope| {
        let running = scope.spawn(|| on_docker(daemon, "sleep 30", limit.as_millis() as u64));
        thread::sleep(Duration::from_secs(1));
        engine.signal("-STOP");
        let ended = running.join();
        engine.signal("-CONT");
        ended.unwrap()
    });
    assert!(took < limit + GRACE, "{took:?}: {}", answer.body);
    assert_status(&answer.json(), "time_limit_exceeded");
    soon_runs(daemon);
}

fn loses_its_containers(daemon: &Daemon, engine: &Engine) {
    soon_runs(daemon);
    thread::scope(|scope| {
        let running = scope.spawn(|| on_docker(daemon, "sleep 30", 5000));
        thread::sleep(Duration::from_millis(1500));
        for name in engine.containers() {
            engine.docker(&["rm", "--force", &name]);
        }
        let (answer, took) = running.join().unwrap();
        assert_eq!(answer.status, 500, "{}", answer.body);
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
    gives_no_dead_one(daemon, "docker");
}

/// Killed with twenty programs running; the next one removes what was its own.
fn outlives_a_daemon(living: &Daemon, engine: &Engine) {
    let owner = "org.sandboxd.owner=018f0000000070008000000000000000";
    let labels = ["--label", owner, "--label", "org.sandboxd.sandbox=stranger"];
    engine.docker(
        &[&["create", "--name", "stranger"], &labels[..], &["sandboxd/bash:latest", "true"]].concat(),
    );
    soon_runs(living);
    let docker = docker::configuration(
        &format!("host = \"{}\"\nwarm = 0", engine.host()),
        "max_concurrent = 20\nqueue_timeout_ms = 60000",
    );
    let mortal = Daemon::start(&docker);
    let before = engine.containers();
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| drop(mortal.try_execute(&json!({ "language": "bash", "code": "sleep 50" }))));
        }
        let running = || engine.docker(&["ps", "--quiet"]).lines().count();
        eventually("twenty run", || running() >= 20);
        mortal.signal("-KILL");
    });
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = configuration(folder.path(), &format!("\"127.0.0.1:{port}\""), &docker);
    let next = Daemon::start_with(folder, &config, port);
    next.await_ready();
    soon_runs(&next);
    next.signal("-TERM");
    assert_eq!(next.wait(Duration::from_secs(40)).code(), Some(0));
    let mut after = engine.containers();
    after.retain(|name| !before.contains(name));
    // The living one may have replaced what it keeps ready.
    assert!(
        after.len() <= 2 && engine.containers().contains(&"stranger".to_owned()),
        "{after:?}\n{}",
        next.log()
    );
    soon_runs(living);
}
