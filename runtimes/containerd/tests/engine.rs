//! The backend against a containerd that answers: what a container is, what is left of it, and what is told when it
//! can't be made. In place of the agent there is a shell that does what it is told on its stdin.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that finds what it did not expect stops there")]

use std::{
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use sandboxd_container::backend::{Backend, Container, ContainerSpec, Leftover, Witness};
use sandboxd_containerd::{ContainerdBackend, ContainerdConfig};
use sandboxd_contract::{KernelLimits, RuntimeError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

const LIMITS: KernelLimits = KernelLimits {
    memory_bytes: 128 << 20,
    tasks: 32,
    cpu_millis: Some(1000),
    open_files: 256,
    file_size_bytes: 16 << 20,
    disk_bytes: 8 << 20,
    stack_bytes: 8 << 20,
};
/// Every executor's image would do.
const EXECUTOR: &str = "python";
const RUNTIMES: [&str; 2] = ["runc", "runsc"];
const A_LONG_TIME: Duration = Duration::from_secs(60);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A backend, and a daemon's name that is this test's alone.
struct House {
    backend: ContainerdBackend,
    owner: String,
    state: tempfile::TempDir,
    gvisor: bool,
}

/// `None` where there is nothing to test with, which is a failure where it must not be.
async fn house(oci_runtime: &str) -> Option<House> {
    let state = tempfile::tempdir().unwrap();
    let owner = format!("engine-test-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut config = ContainerdConfig::new(state.path().join("state"));
    config.oci_runtime = oci_runtime.to_owned();
    let backend = ContainerdBackend::new(config);
    let gvisor = match backend.examine().await {
        Ok(examined) => examined.gvisor,
        Err(reason) => return skip(&reason),
    };
    let house = House { backend, owner, state, gvisor };
    match house.create().await {
        Ok(container) => container.handle.remove().await.unwrap(),
        Err(RuntimeError::Unavailable { reason }) if reason.contains("no image") => return skip(&reason),
        Err(error) => panic!("{oci_runtime}: {error}"),
    }
    Some(house)
}

fn skip<T>(reason: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    println!("SKIP: {reason}");
    None
}

impl House {
    fn spec(&self) -> ContainerSpec {
        let name = format!("{}-{}", self.owner, NEXT.fetch_add(1, Ordering::Relaxed));
        let owner = self.owner.clone();
        ContainerSpec { name, owner, executor: EXECUTOR.to_owned(), limits: LIMITS, agent: self.shell() }
    }

    fn shell(&self) -> PathBuf {
        let path = self.state.path().join("shell");
        let mut options = std::fs::OpenOptions::new();
        if let Ok(mut file) = options.create_new(true).write(true).mode(0o755).open(&path) {
            file.write_all(b"#!/bin/sh\nPATH=/usr/bin:/bin; export PATH\necho ready\nexec sh\n").unwrap();
        }
        path
    }

    async fn create(&self) -> Result<Container, RuntimeError> {
        self.backend.create(&self.spec()).await
    }

    /// What is there with this daemon's name.
    async fn left(&self) -> Vec<Leftover> {
        let mut all = self.backend.list().await.unwrap();
        all.retain(|leftover| leftover.owner.as_ref() == Some(&self.owner));
        all
    }

    async fn is_empty(&self) -> bool {
        let files = std::fs::read_dir(self.state.path().join("state/fifo"));
        let no_files = files.is_ok_and(|files| files.count() == 0);
        self.left().await.is_empty() && no_files
    }
}

/// Waits for the shell, has it run this line and says what it printed.
async fn run(container: &mut Container, line: &str) -> String {
    let talk = async {
        let mut output = BufReader::new(&mut container.stdout);
        container.stdin.write_all(format!("{line}\necho; echo the end\n").as_bytes()).await.unwrap();
        let (mut all, mut line) = (String::new(), String::new());
        while output.read_line(&mut line).await.unwrap() > 0 && line != "the end\n" {
            if line != "ready\n" {
                all.push_str(&line);
            }
            line.clear();
        }
        assert_eq!(line, "the end\n", "the shell ended: {all}");
        all.trim().to_owned()
    };
    tokio::time::timeout(A_LONG_TIME, talk).await.unwrap()
}

#[tokio::test]
async fn a_container_speaks_is_listed_and_is_gone_once_removed() {
    for runtime in RUNTIMES {
        let Some(house) = house(runtime).await else { return };
        let mut container = house.create().await.unwrap();
        assert_eq!(run(&mut container, "echo 'hello ä'").await, "hello ä", "{runtime}");
        assert!(Path::new(&format!("/proc/{}", container.pid.unwrap())).exists());
        assert_eq!(container.handle.witness().await.unwrap().running, Some(true));
        assert_eq!(house.left().await.len(), 1);
        container.handle.remove().await.unwrap();
        container.handle.remove().await.unwrap();
        assert_eq!(
            container.handle.witness().await.unwrap(),
            Witness { running: Some(false), ..Witness::default() }
        );
        let mut rest = Vec::new();
        container.stdout.read_to_end(&mut rest).await.unwrap();
        assert!(house.is_empty().await, "{runtime}");
    }
}

#[tokio::test]
async fn a_container_is_as_bare_as_it_should_be() {
    for runtime in RUNTIMES {
        let Some(house) = house(runtime).await else { return };
        let mut container = house.create().await.unwrap();
        for (line, expected) in [
            ("id -u", "0"),
            ("hostname", "sandbox"),
            ("grep CapEff /proc/self/status | tail -c 6", "001e3"),
            ("grep CapBnd /proc/self/status | tail -c 6", "001e3"),
            ("touch /etc/x 2>/dev/null || echo refused", "refused"),
            ("echo x 2>/dev/null >/.sandboxd/agent || echo refused", "refused"),
            ("mkdir /box/work && echo x >/box/work/x && cat /box/work/x", "x"),
            ("head -c 9000000 /dev/zero >/box/big 2>/dev/null || echo full", "full"),
            ("ls /sys/class 2>/dev/null || echo none", "none"),
            ("env | grep -v -e ^PWD= -e ^PATH= -e ^HOME= -e ^_= -e ^OLDPWD= -e ^SHLVL= || echo none", "none"),
            ("grep -c : /proc/net/dev", "1"),
        ] {
            assert_eq!(run(&mut container, line).await, expected, "{runtime}: {line}");
        }
        if !house.gvisor {
            for (line, expected) in [
                (
                    "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t\\n'",
                    "NoNewPrivs:1Seccomp:2",
                ),
                ("unshare -r true 2>/dev/null || echo refused", "refused"),
                ("echo 1 2>/dev/null >/proc/sys/kernel/panic || echo refused", "refused"),
                ("df -i /box | awk 'END {print $2}'", "65536"),
                ("ulimit -c -H; cat /proc/self/oom_score_adj", "0\n500"),
            ] {
                assert_eq!(run(&mut container, line).await, expected, "{runtime}: {line}");
            }
        }
        container.handle.remove().await.unwrap();
    }
}

#[tokio::test]
async fn what_can_not_be_made_leaves_nothing() {
    for runtime in RUNTIMES {
        let Some(house) = house(runtime).await else { return };
        let agent = house.state.path().join("nobody");
        let refused = house.backend.create(&ContainerSpec { agent, ..house.spec() }).await;
        assert!(matches!(refused, Err(RuntimeError::Unavailable { .. })), "{runtime}");
        assert!(house.is_empty().await, "{runtime}");
        // It is there and nothing that can be executed.
        let agent = house.state.path().join("empty");
        std::fs::write(&agent, "").unwrap();
        match house.backend.create(&ContainerSpec { agent, ..house.spec() }).await {
            Err(error) => assert!(matches!(error, RuntimeError::Unavailable { .. }), "{runtime}"),
            Ok(container) => container.handle.remove().await.unwrap(),
        }
        assert!(house.is_empty().await, "{runtime}");
    }
}

#[tokio::test]
async fn a_name_that_is_taken_stays_with_whom_it_is() {
    let Some(house) = house("runc").await else { return };
    let spec = house.spec();
    let mut first = house.backend.create(&spec).await.unwrap();
    assert!(house.backend.create(&spec).await.is_err());
    let other = ContainerSpec { owner: format!("{}-other", house.owner), ..spec };
    assert!(house.backend.create(&other).await.is_err());
    assert_eq!(run(&mut first, "echo alive").await, "alive");
    first.handle.remove().await.unwrap();
    assert!(house.is_empty().await);
}

#[tokio::test]
async fn a_missing_image_is_told_with_what_makes_it() {
    let Some(house) = house("runc").await else { return };
    let spec = ContainerSpec { executor: "absent".to_owned(), ..house.spec() };
    let Err(RuntimeError::Unavailable { reason }) = house.backend.create(&spec).await else { panic!("made") };
    assert!(reason.contains("sandboxd images build absent"), "{reason}");
}

#[tokio::test]
async fn a_containerd_that_is_not_there_is_told() {
    let state = tempfile::tempdir().unwrap();
    let mut config = ContainerdConfig::new(state.path().to_owned());
    config.address = state.path().join("nobody.sock");
    let backend = ContainerdBackend::new(config);
    let reason = backend.examine().await.unwrap_err();
    assert!(reason.contains("nobody.sock") && reason.contains("systemctl start containerd"), "{reason}");
    assert!(matches!(backend.list().await, Err(RuntimeError::Unavailable { .. })));
}

#[tokio::test]
async fn whoever_stops_waiting_leaves_nothing() {
    let Some(house) = house("runc").await else { return };
    for wait_ms in [0, 5, 20, 60, 120] {
        // A container that was there in time is the caller's.
        if let Ok(made) = tokio::time::timeout(Duration::from_millis(wait_ms), house.create()).await {
            made.unwrap().handle.remove().await.unwrap();
        }
    }
    let began = Instant::now();
    while !house.is_empty().await {
        assert!(began.elapsed() < A_LONG_TIME);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_leftover_is_removed_by_another_backend() {
    for runtime in RUNTIMES {
        let Some(house) = house(runtime).await else { return };
        let container = house.create().await.unwrap();
        std::mem::forget(container);
        let mut config = ContainerdConfig::new(house.state.path().join("state"));
        config.oci_runtime = "runc".to_owned();
        let later = ContainerdBackend::new(config);
        for leftover in later.list().await.unwrap() {
            if leftover.owner.as_ref() == Some(&house.owner) {
                leftover.handle.remove().await.unwrap();
            }
        }
        assert!(house.is_empty().await, "{runtime}");
    }
}

#[tokio::test]
async fn output_that_nobody_reads_does_not_hold_up_the_end() {
    for runtime in RUNTIMES {
        let Some(house) = house(runtime).await else { return };
        let mut container = house.create().await.unwrap();
        container.stdin.write_all(b"yes\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let began = Instant::now();
        container.handle.remove().await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(1900), "{runtime}: {:?}", began.elapsed());
        assert!(house.is_empty().await, "{runtime}");
    }
}

#[tokio::test]
async fn other_limits_are_installed_while_it_runs() {
    let Some(house) = house("runc").await else { return };
    let mut container = house.create().await.unwrap();
    let more = KernelLimits { memory_bytes: 200 << 20, tasks: 7, cpu_millis: None, ..LIMITS };
    container.handle.update(&more).await.unwrap();
    let refused = run(&mut container, "(for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done) 2>&1").await;
    assert!(refused.to_lowercase().contains("fork"), "{refused}");
    container.handle.remove().await.unwrap();
}

#[tokio::test]
async fn gvisor_says_that_limits_stay() {
    let Some(house) = house("runsc").await else { return };
    let container = house.create().await.unwrap();
    let refused = container.handle.update(&LIMITS).await;
    assert!(matches!(refused, Err(RuntimeError::LimitNotHeld { .. })));
    container.handle.remove().await.unwrap();
}
