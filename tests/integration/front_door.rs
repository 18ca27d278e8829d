//! Clients that want all of the daemon's memory or connections: what they get, and that others are served meanwhile.

use std::net::TcpStream;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use crate::{
    engines::eventually,
    load::peak_bytes,
    support::{Daemon, assert_status},
};

const CROWD: usize = 10_000;

/// This process holds their other ends.
fn may_open_many_files() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(
        hard as usize > CROWD + 1000,
        "no process may have {CROWD} connections here: RLIMIT_NOFILE is {hard}"
    );
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

fn crowd(daemon: &Daemon) -> Vec<TcpStream> {
    let address = daemon.url.strip_prefix("http://").unwrap();
    (0..CROWD).map(|_| TcpStream::connect(address).unwrap()).collect()
}

fn assert_works(daemon: &Daemon) {
    assert_status(&daemon.run("bash", "echo hello"), "ok");
}

#[test]
fn ten_thousand_that_say_nothing_cost_little() {
    may_open_many_files();
    let daemon = Daemon::start("max_connections = 12000\nheader_read_timeout_ms = 600000\n---");
    assert_works(&daemon);
    let before = peak_bytes(daemon.pid());
    let crowd = crowd(&daemon);
    assert_works(&daemon);
    let open = |metrics: &str| metrics.lines().any(|line| line.starts_with("sandboxd_http_connections 100"));
    // A busy host takes them in a moment later than they are made.
    eventually("ten thousand connections", || open(&daemon.get("/metrics").body));
    let each = (peak_bytes(daemon.pid()) - before) / CROWD as u64;
    assert!(each < 24 << 10, "{each} bytes for each connection");
    drop(crowd);
}

#[test]
fn ten_thousand_that_say_nothing_keep_nobody_out() {
    may_open_many_files();
    let daemon = Daemon::start("header_read_timeout_ms = 600000\n---");
    let crowd = crowd(&daemon);
    for _ in 0..5 {
        assert_works(&daemon);
    }
    drop(crowd);
}

/// Bodies that are small and mean much, or are large and mean nothing.
#[test]
fn json_that_would_burst_is_answered_and_forgotten() {
    let daemon = Daemon::start("");
    assert_works(&daemon);
    let post = |body: &str| daemon.post("/api/execute", "application/json", body.as_bytes());
    let deep =
        |open: &str, count: usize| format!(r#"{{"language":"bash","code":"","args":{}"#, open.repeat(count));
    let object = |member: &str| format!(r#"{{"language":"bash","code":"",{member}}}"#);
    let before = peak_bytes(daemon.pid());
    for (body, status, code) in [
        (deep("[", 4_000_000), 422, "invalid_request"),
        (deep("{\"a\":", 1_000_000), 422, "invalid_request"),
        (format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), 400, "invalid_json"),
        (object(r#""code":"twice""#), 422, "invalid_request"),
        (object(r#""stdin":"\ud800""#), 400, "invalid_json"),
        (object(r#""stdin":"\udc00\ud800""#), 400, "invalid_json"),
        (object(r#""limits":{"memory_bytes":1e999999999}"#), 400, "invalid_json"),
        (object(&format!(r#""limits":{{"memory_bytes":{}}}"#, "9".repeat(1_000_000))), 400, "invalid_json"),
        (object(r#""limits":{"memory_bytes":-0.0}"#), 422, "invalid_request"),
        (object(&format!(r#""args":[{}""]"#, "\"\",".repeat(2_000_000))), 422, "invalid_request"),
        (
            object(&format!(
                r#""env":{{{}"z":""}}"#,
                (0..300_000).map(|n| format!("\"{n}\":\"\",")).collect::<String>()
            )),
            422,
            "invalid_request",
        ),
        (
            object(&(0..300_000).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(",")),
            422,
            "unknown_field",
        ),
    ] {
        let answer = post(&body);
        let problem = answer.json();
        assert_eq!((answer.status, &problem["code"]), (status, &json!(code)), "{body:.80}: {problem:#}");
        assert!(answer.body.len() < 64 << 10, "{body:.80}: {} bytes of answer", answer.body.len());
    }
    let grown = peak_bytes(daemon.pid()) - before;
    assert!(grown < 256 << 20, "{grown} bytes");
    assert_works(&daemon);
}
