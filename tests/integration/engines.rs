//! What the tests of engines share: programs that a person would type, an engine of a test's own that is started, and
//! what a daemon says while its engine is in trouble.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{Answer, Daemon, assert_status};

/// A line says why nothing is tested, and where nothing may be skipped that is a failure.
pub(crate) fn skip(engine: &str, reason: &str) -> bool {
    println!("SKIP {engine}: {reason}");
    assert!(std::env::var_os("CI").is_none(), "in CI nothing may be skipped: {reason}");
    false
}

/// Runs a program that has to succeed; what it printed.
#[track_caller]
pub(crate) fn succeed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Starts an engine with its log in this file, and waits until it answers. It is the caller's to end from the first
/// moment, also when it never does.
pub(crate) fn start(
    engine: &mut Option<Child>,
    command: &mut Command,
    log: &str,
    answers: impl Fn() -> bool,
) {
    let stderr = fs::File::options().create(true).append(true).open(log).unwrap();
    let path = format!("{}:/usr/local/sbin:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    command.env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    *engine = Some(command.spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(60);
    while !answers() {
        assert!(Instant::now() < deadline, "{}", fs::read_to_string(log).unwrap());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Ends an engine without a word; its containers live on.
pub(crate) fn kill(engine: &mut Option<Child>) {
    if let Some(mut engine) = engine.take() {
        engine.kill().unwrap();
        engine.wait().unwrap();
    }
}

pub(crate) fn signal(engine: Option<&Child>, signal: &str) {
    succeed("kill", &[signal, &engine.unwrap().id().to_string()]);
}

/// What the daemon answers, and after how long.
pub(crate) fn run(
    daemon: &Daemon,
    runtime: &str,
    language: &str,
    code: &str,
    wall_time_ms: u64,
) -> (Answer, Duration) {
    let began = Instant::now();
    let request = json!({
        "language": language, "code": code, "runtime": runtime, "limits": { "wall_time_ms": wall_time_ms },
    });
    (daemon.try_execute(&request).unwrap(), began.elapsed())
}

/// A request succeeds within the time it takes to notice.
#[track_caller]
pub(crate) fn soon_runs(daemon: &Daemon, runtime: &str, noticed: Duration) {
    let deadline = Instant::now() + noticed;
    loop {
        let (answer, _) = run(daemon, runtime, "bash", "echo again", 5000);
        if answer.status == 200 {
            assert_status(&answer.json(), "ok");
            assert_eq!(answer.json()["stdout"], "again\n");
            return;
        }
        assert!(Instant::now() < deadline, "{}\n{}", answer.body, daemon.log());
        thread::sleep(Duration::from_millis(100));
    }
}

/// Those that stood ready have gone as well, and nobody is given one.
#[track_caller]
pub(crate) fn gives_no_dead_one(daemon: &Daemon, runtime: &str) {
    for _ in 0..4 {
        let (answer, _) = run(daemon, runtime, "bash", "echo fine", 5000);
        let body = &answer.body;
        assert_eq!(
            (answer.status, &answer.json()["stdout"]),
            (200, &json!("fine\n")),
            "{body}\n{}",
            daemon.log()
        );
    }
}

/// One sentence that says what mends it, and when to come again.
#[track_caller]
pub(crate) fn assert_unavailable(answer: &Answer, words: &[&str]) {
    let code = answer.json()["code"].as_str().map(str::to_owned);
    assert_eq!((answer.status, code.as_deref()), (503, Some("runtime_unavailable")), "{}", answer.body);
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    for word in words {
        assert!(detail.contains(word), "{word}: {detail}");
    }
    assert!(answer.header("retry-after").parse::<u64>().is_ok());
}

#[track_caller]
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}
