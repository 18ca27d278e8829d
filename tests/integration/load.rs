//! Many at once: nothing mixes, nothing grows, and whoever hangs up is forgotten.

use std::{
    fs,
    io::Write,
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::everywhere::{Case, cases};
use crate::support::{Daemon, assert_status, shared};

pub(crate) const ON_ANY_RUNTIME: &[Case] = cases![sixty_four_at_once_never_mix,];

#[test]
fn sixty_four_at_once_never_mix() {
    let daemon = shared();
    thread::scope(|scope| {
        for number in 0..64 {
            scope.spawn(move || {
                let code = "import sys\nname = sys.stdin.read()\nopen('mine', 'w').write(name)\nprint(name * 100, end='')\nprint(open('mine').read(), file=sys.stderr)";
                let name = format!("<{number}>");
                let answer = daemon.execute(&json!({ "language": "python", "code": code, "stdin": name }));
                assert_status(&answer, "ok");
                assert_eq!(answer["stdout"], name.repeat(100));
                assert_eq!(answer["stderr"], format!("{name}\n"));
            });
        }
    });
}

/// The most memory that a process has had, its binary's own pages aside: those of a debug build are many.
pub(crate) fn peak_bytes(pid: i32) -> u64 {
    own_bytes(pid, "VmHWM:")
}

/// What /proc/PID/status says of a process's memory, its binary's own pages aside.
pub(crate) fn own_bytes(pid: i32, which: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    (kib(which) - kib("RssFile:")) * 1024
}

#[test]
fn a_flood_of_output_does_not_grow_the_daemon() {
    let daemon = Daemon::start("");
    thread::scope(|scope| {
        for _ in 0..8 {
            let daemon = &daemon;
            scope.spawn(move || {
                let answer = daemon.execute(&json!({ "language": "bash", "code": "yes & yes >&2" , "limits": { "output_bytes": 1 << 20 } }));
                assert!(answer["status"] == "output_limit_exceeded" || answer["status"] == "ok", "{}", answer["status"]);
            });
            scope.spawn(move || {
                let answer = daemon.execute(
                    &json!({ "language": "bash", "code": "exec yes", "limits": { "output_bytes": 1 << 20 } }),
                );
                assert_status(&answer, "output_limit_exceeded");
            });
        }
    });
    // One that takes all the output there may be, again and again: nothing of it stays.
    for _ in 0..4 {
        let most = json!({ "language": "bash", "code": "exec yes", "limits": { "output_bytes": 16 << 20 } });
        assert_status(&daemon.execute(&most), "output_limit_exceeded");
    }
    let peak = peak_bytes(daemon.pid());
    assert!(peak < 60 << 20, "{} MiB at its highest", peak >> 20);
}

#[test]
fn a_client_that_hangs_up_ends_its_program() {
    let daemon = Daemon::start("---[execution]\nmax_concurrent = 1\n");
    let body = json!({ "language": "bash", "code": "sleep 55" }).to_string();
    let mut stream = TcpStream::connect(daemon.url.trim_start_matches("http://")).unwrap();
    write!(stream, "POST /api/execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    thread::sleep(Duration::from_millis(500));
    drop(stream);
    let began = Instant::now();
    assert_status(&daemon.run("bash", "true"), "ok");
    assert!(began.elapsed() < Duration::from_secs(5), "the only place was still taken");
}
