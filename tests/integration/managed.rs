//! The daemon as the service of a manager, whose part the test plays: sockets that are passed, and what the manager is
//! told. A real one is met in tests/vm.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{BINARY, Daemon, configuration, free_port};

/// What a manager does at last: sockets from 3 on, their number, and for whom they are.
const PASS_TWO: &str = r#"
exec 3<&0 4<&1 </dev/null >/dev/null
export LISTEN_FDS=2 LISTEN_PID=$$
exec "$0" "$@"
"#;

/// A daemon whose sockets the test holds. In its configuration it listens elsewhere.
fn with_sockets(tcp: &TcpListener, unix: impl Into<OwnedFd>) -> Daemon {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), &format!("\"127.0.0.1:{}\"", free_port()), "");
    let mut command = Command::new("sh");
    command.args(["-c", PASS_TWO, BINARY]).env_clear();
    command.stdin(Stdio::from(OwnedFd::from(tcp.try_clone().unwrap()))).stdout(Stdio::from(unix.into()));
    Daemon::start_by(command, folder, &config, tcp.local_addr().unwrap().port())
}

fn ask_health(mut stream: impl Read + Write) -> String {
    let mut answer = String::new();
    let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    match asked.and_then(|()| stream.read_to_string(&mut answer)) {
        Ok(_) => answer.lines().next().unwrap_or("closed without an answer").to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn sockets_that_are_passed_are_used_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let daemon = with_sockets(&tcp, unix.try_clone().unwrap());
    daemon.await_ready();
    assert_eq!(daemon.run("python", "print(1)")["stdout"], "1\n");
    assert_eq!(ask_health(UnixStream::connect(&path).unwrap()), "HTTP/1.1 200 OK");
    // No address of the configuration, and no program, has any of them.
    let listening: Vec<_> =
        daemon.log().lines().filter(|line| line.contains("listening")).map(str::to_owned).collect();
    assert_eq!(listening.len(), 2, "{listening:#?}");
    let open = "import os; print(sorted(os.listdir('/proc/self/fd')))";
    assert_eq!(daemon.run("python", open)["stdout"], "['0', '1', '2', '3']\n");
    daemon.signal("-TERM");
    assert!(daemon.wait(Duration::from_secs(30)).success());
    assert!(path.exists());
}

#[test]
fn a_restart_refuses_nobody() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let unix = UnixListener::bind(folder.path().join("s.sock")).unwrap();
    let address = tcp.local_addr().unwrap();
    let mut daemon = with_sockets(&tcp, unix.try_clone().unwrap());
    daemon.await_ready();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = || {
            let mut answers = Vec::new();
            while !over.load(Relaxed) {
                answers.push(ask_health(TcpStream::connect(address).unwrap()));
            }
            answers
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        for _ in 0..2 {
            // It finishes what runs, which takes a while.
            let request = json!({ "language": "python", "code": "import time; time.sleep(1)" });
            let slow = scope.spawn({
                let url = daemon.url.clone();
                move || {
                    let request = request.to_string();
                    ureq::post(format!("{url}/api/execute"))
                        .header("content-type", "application/json")
                        .send(request.as_bytes())
                        .map(|answer| answer.status().as_u16())
                }
            });
            thread::sleep(Duration::from_millis(300));
            daemon.signal("-TERM");
            assert!(daemon.wait(Duration::from_secs(30)).success());
            daemon = with_sockets(&tcp, unix.try_clone().unwrap());
            assert_eq!(slow.join().unwrap().unwrap(), 200);
            daemon.await_ready();
        }
        over.store(true, Relaxed);
        for client in clients {
            let answers = client.join().unwrap();
            assert!(answers.len() > 10, "{answers:?}");
            let bad: Vec<_> = answers.iter().filter(|answer| *answer != "HTTP/1.1 200 OK").collect();
            assert!(bad.is_empty(), "{bad:?} of {}", answers.len());
        }
    });
}

#[test]
fn what_can_not_be_listened_on_ends_the_start() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let datagrams = UnixDatagram::unbound().unwrap();
    let daemon = with_sockets(&tcp, datagrams);
    assert_eq!(daemon.wait(Duration::from_secs(30)).code(), Some(71));
    assert!(daemon.log().contains("socket 1 of those that were passed: neither TCP nor"), "{}", daemon.log());
    let (connected, _other) = UnixStream::pair().unwrap();
    let daemon = with_sockets(&tcp, connected);
    assert_eq!(daemon.wait(Duration::from_secs(30)).code(), Some(71));
    assert!(daemon.log().contains("not listening"), "{}", daemon.log());
}

/// Reads what the manager is told until `wanted` was; gives back all of it.
fn told(manager: &UnixDatagram, wanted: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut all = String::new();
    let mut message = [0; 4096];
    while !all.lines().any(|line| line.starts_with(wanted)) {
        assert!(Instant::now() < deadline, "never told {wanted}: {all}");
        if let Ok(length) = manager.recv(&mut message) {
            all.push_str(std::str::from_utf8(&message[..length]).unwrap());
            all.push('\n');
        }
    }
    all
}

#[test]
fn the_manager_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let port = free_port();
    let config = configuration(folder.path(), &format!("\"127.0.0.1:{port}\""), "");
    let mut command = Command::new(BINARY);
    command.env_clear().env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2000000");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let daemon = Daemon::start_by(command, folder, &config, port);
    let first = told(&manager, "READY=1");
    assert!(first.starts_with("READY=1\nSTATUS=0 running, 0 queued\n"), "{first}");
    // Whoever waited for that may ask at once.
    assert_eq!(daemon.get("/healthz").status, 200);
    for _ in 0..2 {
        told(&manager, "WATCHDOG=1");
    }
    thread::scope(|scope| {
        scope.spawn(|| daemon.run("python", "import time; time.sleep(5)"));
        told(&manager, "STATUS=1 running, 0 queued");
    });
    told(&manager, "STATUS=0 running, 0 queued");
    daemon.signal("-HUP");
    let reloading = told(&manager, "RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    told(&manager, "READY=1");
    std::fs::write(&config, "surprise = 1").unwrap();
    daemon.signal("-HUP");
    told(&manager, "RELOADING=1");
    let refused = told(&manager, "READY=1");
    assert!(refused.contains("STATUS=not reloaded: ") && refused.contains("surprise"), "{refused}");
    daemon.signal("-TERM");
    let last = told(&manager, "STOPPING=1");
    assert!(!last.contains("no program can be run"), "{last}");
    assert!(daemon.wait(Duration::from_secs(30)).success());
}

#[test]
fn a_shells_limit_on_open_files_is_not_the_daemons() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let config = configuration(folder.path(), &format!("\"127.0.0.1:{port}\""), "");
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -Sn 256; exec \"$@\"", "sh", BINARY])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let daemon = Daemon::start_by(command, folder, &config, port);
    daemon.await_ready();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let (soft, hard) = (line.split_whitespace().nth(3), line.split_whitespace().nth(4));
    assert_eq!(soft, hard, "{line}");
    // A program's own is what was asked for, all the same.
    assert_eq!(daemon.run("bash", "ulimit -Hn")["stdout"], "256\n");
}

#[test]
fn a_manager_that_is_not_where_it_said_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = configuration(folder.path(), &format!("\"127.0.0.1:{port}\""), "");
    let mut command = Command::new(BINARY);
    command
        .env_clear()
        .env("NOTIFY_SOCKET", "/nowhere/notify.sock")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let daemon = Daemon::start_by(command, folder, &config, port);
    assert_eq!(daemon.wait(Duration::from_secs(30)).code(), Some(71));
    // The log is read by a thread, which may be behind the end of the process.
    let began = std::time::Instant::now();
    while !daemon.log().contains("/nowhere/notify.sock") {
        assert!(began.elapsed() < Duration::from_secs(10), "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}
