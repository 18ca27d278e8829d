//! The backend on a real Docker Engine, with runc and, where it is registered, with runsc. The agent's part is played by
//! this host's shell, which reads from stdin what it shall do; the image is made of that shell's libraries.
//!
//! Prints SKIP and why where no engine answers, which is a failure in CI.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod image;

use std::{path::PathBuf, time::Duration};

use sandboxd_container::{Backend as _, Container, ContainerSpec, Leftover, Witness};
use sandboxd_contract::{KernelLimits, Result, RuntimeError};
use sandboxd_docker::{DockerBackend, DockerConfig};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    time::timeout,
};

const HOST: &str = "unix:///var/run/docker.sock";
/// Longer than anything here takes on a loaded host.
const PATIENCE: Duration = Duration::from_secs(60);
const LIMITS: KernelLimits = KernelLimits {
    memory_bytes: 64 << 20,
    tasks: 16,
    cpu_millis: Some(500),
    open_files: 64,
    file_size_bytes: 16 << 20,
    disk_bytes: 8 << 20,
    stack_bytes: 8 << 20,
};

#[tokio::test]
async fn it_says_what_it_is() {
    for (name, backend) in backends().await {
        let examined = backend.examine().await.unwrap();
        assert_eq!(examined.gvisor, name == "runsc");
        assert!(
            examined.details.iter().any(|(key, value)| *key == "engine" && value.contains("Docker Engine"))
        );
    }
    let Some(_) = backends().await.pop() else { return };
    let sentence = backend("no-such-runtime").examine().await.unwrap_err();
    assert!(sentence.contains("runc") && sentence.contains("--add-runtime no-such-runtime"), "{sentence}");
}

#[tokio::test]
async fn what_is_written_comes_back_and_nothing_is_left() {
    for (name, backend) in backends().await {
        let mut container = backend.create(&spec("echo", name)).await.unwrap();
        assert_eq!(say(&mut container, "echo hello; echo oh >&2").await, "hello");
        assert_eq!(container.handle.witness().await.unwrap().running, Some(true));
        container.handle.remove().await.unwrap();
        container.handle.remove().await.unwrap();
        assert_eq!(container.handle.witness().await.unwrap().running, Some(false));
        // Its connection ends with it.
        let mut rest = Vec::new();
        timeout(PATIENCE, container.stdout.read_to_end(&mut rest)).await.unwrap().unwrap();
        assert_eq!(left(&backend, "echo").await.len(), 0);
    }
}

#[tokio::test]
async fn a_sandbox_is_as_closed_as_it_should_be() {
    for (name, backend) in backends().await {
        let mut container = backend.create(&spec("closed", name)).await.unwrap();
        // What must not be so would print its name.
        let probe = "\
            true 2>/dev/null > /etc/x && printf 'root-is-writable '; \
            true 2>/dev/null > /.sandboxd/agent && printf 'agent-is-writable '; \
            while read -r _ place _; do \
                case $place in /tmp|/box/tmp|/dev/shm) printf 'second-disk ';; esac; \
            done < /proc/mounts; \
            [ -r /.sandboxd/agent ] && printf 'agent '; \
            true > /box/x && printf 'disk '; \
            read -r all < /proc/sys/kernel/hostname; printf \"$all \"; \
            ulimit -Hc";
        assert_eq!(say(&mut container, probe).await, "agent disk sandbox 0", "{name}");
        let status = "while read -r key value; do case $key in CapEff:|NoNewPrivs:) printf \"$value \";; esac; done \
            < /proc/self/status; echo";
        let status = say(&mut container, status).await;
        // The six of the agent; gVisor may not speak of the second.
        assert!(["00000000000001e3 1", "00000000000001e3"].contains(&status.as_str()), "{name}: {status}");
        container.handle.remove().await.unwrap();
    }
}

#[tokio::test]
async fn running_out_of_memory_is_witnessed() {
    for (name, backend) in backends().await {
        let mut container = backend.create(&spec("oom", name)).await.unwrap();
        container.stdin.write_all(b"x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done\n").await.unwrap();
        let mut rest = Vec::new();
        timeout(PATIENCE, container.stdout.read_to_end(&mut rest)).await.unwrap().unwrap();
        let witness = container.handle.witness().await.unwrap();
        assert_eq!((witness.running, witness.out_of_memory), (Some(false), Some(true)), "{name}");
        container.handle.remove().await.unwrap();
    }
}

#[tokio::test]
async fn a_kill_is_not_taken_for_a_want_of_memory() {
    for (name, backend) in backends().await {
        let mut container = backend.create(&spec("exit", name)).await.unwrap();
        container.stdin.write_all(b"exit 137\n").await.unwrap();
        let mut rest = Vec::new();
        timeout(PATIENCE, container.stdout.read_to_end(&mut rest)).await.unwrap().unwrap();
        let witness = container.handle.witness().await.unwrap();
        let expected = Witness { running: Some(false), out_of_memory: Some(false) };
        assert_eq!(witness, expected, "{name}");
        container.handle.remove().await.unwrap();
    }
}

#[tokio::test]
async fn other_limits_are_installed_where_the_runtime_takes_them() {
    for (name, backend) in backends().await {
        let container = backend.create(&spec("update", name)).await.unwrap();
        for memory_bytes in [96 << 20, 32 << 20] {
            let other = KernelLimits { memory_bytes, tasks: 32, cpu_millis: None, ..LIMITS };
            let updated = container.handle.update(&other).await;
            assert_eq!(updated.is_ok(), name != "runsc", "{name}: {updated:?}");
        }
        container.handle.remove().await.unwrap();
    }
}

#[tokio::test]
async fn what_an_earlier_daemon_left_is_found_by_its_owner() {
    for (name, backend) in backends().await {
        let container = backend.create(&spec("left", name)).await.unwrap();
        let found = left(&backend, "left").await;
        assert_eq!(found.len(), 1);
        found.first().unwrap().handle.remove().await.unwrap();
        assert_eq!(left(&backend, "left").await.len(), 0);
        drop(container);
    }
}

#[tokio::test]
async fn a_caller_who_gives_up_leaves_nothing() {
    for (name, backend) in backends().await {
        let spec = spec("gives-up", name);
        timeout(Duration::from_millis(50), backend.create(&spec)).await.map(|_| ()).unwrap_err();
        // It may come into being after that, and must go.
        let empty = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            while !left(&backend, "gives-up").await.is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, empty).await.unwrap();
    }
}

#[tokio::test]
async fn a_missing_image_is_told_with_the_command_that_makes_it() {
    for (name, backend) in backends().await {
        let spec = ContainerSpec { executor: "no-such-language".to_owned(), ..spec("image", name) };
        let reason = unavailable(backend.create(&spec).await);
        assert!(reason.contains("sandboxd images build no-such-language"), "{reason}");
    }
}

#[tokio::test]
async fn an_agent_that_is_missing_leaves_nothing() {
    for (name, backend) in backends().await {
        let spec = ContainerSpec { agent: PathBuf::from("/no/such/agent"), ..spec("agent", name) };
        let reason = unavailable(backend.create(&spec).await);
        assert!(reason.contains("/no/such/agent"), "{reason}");
        assert_eq!(left(&backend, "agent").await.len(), 0);
    }
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_told_with_the_command_that_starts_it() {
    for host in ["unix:///no/such/docker.sock", "tcp://127.0.0.1:1"] {
        let config = DockerConfig { host: host.to_owned(), oci_runtime: "runc".to_owned() };
        let backend = DockerBackend::new(config);
        let sentence = backend.examine().await.unwrap_err();
        assert!(sentence.contains(host) && sentence.contains("start it"), "{sentence}");
        assert_eq!(unavailable(backend.create(&spec("nowhere", "runc")).await), sentence);
        assert!(backend.list().await.is_err());
    }
}

/// A line to the shell, and the line that it answers.
async fn say(container: &mut Container, command: &str) -> String {
    let exchange = async {
        container.stdin.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        let mut line = String::new();
        BufReader::new(&mut container.stdout).read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    };
    timeout(PATIENCE, exchange).await.unwrap()
}

fn unavailable(made: Result<Container>) -> String {
    match made.map(|_| ()).unwrap_err() {
        RuntimeError::Unavailable { reason } => reason,
        other => panic!("{other}"),
    }
}

async fn left(backend: &DockerBackend, test: &str) -> Vec<Leftover> {
    let mut found = backend.list().await.unwrap();
    found.retain(|leftover| leftover.owner == Some(owner(test)));
    found
}

fn owner(test: &str) -> String {
    format!("engine-test-{test}-{}", std::process::id())
}

fn spec(test: &str, oci_runtime: &str) -> ContainerSpec {
    ContainerSpec {
        name: format!("{}-{oci_runtime}", owner(test)),
        owner: owner(test),
        executor: image::EXECUTOR.to_owned(),
        limits: LIMITS,
        agent: PathBuf::from(image::SHELL),
    }
}

fn backend(oci_runtime: &str) -> DockerBackend {
    DockerBackend::new(DockerConfig { host: HOST.to_owned(), oci_runtime: oci_runtime.to_owned() })
}

/// Those that can be tested here, each with the name of its OCI runtime; their image is there.
async fn backends() -> Vec<(&'static str, DockerBackend)> {
    let mut found = Vec::new();
    for name in ["runc", "runsc"] {
        let backend = backend(name);
        match backend.examine().await {
            Ok(_) => found.push((name, backend)),
            Err(sentence) => {
                println!("SKIP {name}: {sentence}");
                assert!(std::env::var_os("CI").is_none(), "{sentence}");
            }
        }
    }
    if !found.is_empty() {
        image::make().await;
    }
    found
}
