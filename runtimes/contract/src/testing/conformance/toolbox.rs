//! What cases are made of: a sandbox with defaults, a program run to its end, and checks that speak in sentences.

use std::{sync::Arc, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::slack;
use crate::{
    Command, Demand, Exit, Facts, File, FilePath, KernelLimits, Probe, Runtime, RuntimeError, Sandbox,
    SandboxSpec, Signal, Started,
};

const MIB: u64 = 1 << 20;

pub(super) struct Toolbox {
    runtime: Arc<dyn Runtime>,
}

/// What a program left behind for us.
pub(super) struct Ran {
    pub exit: Exit,
    pub stdout: String,
    pub stderr: String,
    pub facts: Facts,
}

impl Toolbox {
    pub(super) fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime }
    }

    pub(super) async fn probe(&self) -> Probe {
        self.runtime.probe().await
    }

    pub(super) async fn launch(&self) -> Result<Box<dyn Sandbox>, String> {
        self.launch_with(&limits()).await
    }

    pub(super) async fn launch_with(&self, limits: &KernelLimits) -> Result<Box<dyn Sandbox>, String> {
        let spec = SandboxSpec { demand: Demand::Recurring, ..SandboxSpec::once("python", *limits) };
        self.runtime.launch(&spec).await.map_err(told)
    }

    /// Runs a shell script to its end in a sandbox of its own.
    pub(super) async fn shell(&self, script: &str) -> Result<Ran, String> {
        self.run(&["/bin/sh", "-c", script], &limits()).await
    }

    pub(super) async fn python(&self, code: &str) -> Result<Ran, String> {
        self.python_within(code, &limits()).await
    }

    pub(super) async fn python_within(&self, code: &str, limits: &KernelLimits) -> Result<Ran, String> {
        self.run(&["python3", "-c", code], limits).await
    }

    pub(super) async fn run(&self, argv: &[&str], limits: &KernelLimits) -> Result<Ran, String> {
        let mut sandbox = self.launch().await?;
        let ran = run_in(&mut *sandbox, argv, limits).await;
        sandbox.destroy().await.map_err(told)?;
        ran
    }
}

/// Limits that no ordinary case meets.
pub(super) fn limits() -> KernelLimits {
    KernelLimits {
        memory_bytes: 128 * MIB,
        tasks: 64,
        cpu_millis: None,
        open_files: 64,
        file_size_bytes: 64 * MIB,
        disk_bytes: 64 * MIB,
        stack_bytes: 16 * MIB,
    }
}

pub(super) fn command(argv: &[&str]) -> Command {
    let env = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LANG", "C.UTF-8")];
    Command {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
    }
}

pub(super) fn file(path: &str, content: impl Into<bytes::Bytes>) -> Result<File, String> {
    let path = FilePath::parse(path).map_err(|error| format!("{path} {error}"))?;
    Ok(File { path, content: content.into(), executable: false })
}

pub(super) fn told(error: RuntimeError) -> String {
    error.to_string()
}

pub(super) async fn start(sandbox: &mut dyn Sandbox, argv: &[&str]) -> Result<Started, String> {
    sandbox.start(command(argv), &limits()).await.map_err(told)
}

pub(super) async fn run_in(
    sandbox: &mut dyn Sandbox,
    argv: &[&str],
    limits: &KernelLimits,
) -> Result<Ran, String> {
    let started = sandbox.start(command(argv), limits).await.map_err(told)?;
    run_out(sandbox, started).await
}

/// To its end.
pub(super) async fn run_out(sandbox: &mut dyn Sandbox, mut started: Started) -> Result<Ran, String> {
    drop(started.stdin);
    let (stdout, stderr, exit) =
        tokio::join!(read_all(started.stdout), read_all(started.stderr), started.process.wait());
    let exit = exit.map_err(told)?;
    let facts = sandbox.facts().await.map_err(told)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ran { exit, stdout: text(stdout?), stderr: text(stderr?), facts })
}

pub(super) async fn read_all(
    mut stream: Box<dyn tokio::io::AsyncRead + Send + Unpin>,
) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.map_err(|error| format!("read: {error}"))?;
    Ok(bytes)
}

/// Reads until so many bytes have come.
pub(super) async fn read_some(started: &mut Started, count: usize) -> Result<String, String> {
    let mut bytes = vec![0; count];
    started.stdout.read_exact(&mut bytes).await.map_err(|error| format!("read: {error}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(super) async fn write_all(started: &mut Started, bytes: &[u8]) -> Result<(), String> {
    started.stdin.write_all(bytes).await.map_err(|error| format!("write: {error}"))
}

/// Kills and waits; the program must be gone within a second.
pub(super) async fn kill(started: &mut Started) -> Result<Exit, String> {
    started.process.signal(Signal::Kill).await.map_err(told)?;
    match tokio::time::timeout(Duration::from_secs(1) * slack(), started.process.wait()).await {
        Ok(exit) => exit.map_err(told),
        Err(_) => Err("still there a second after the kill".to_owned()),
    }
}

/// Fails with a sentence that names both sides.
pub(super) fn equal<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?} rather than {expected:?}")) }
}

pub(super) fn holds(what: impl std::fmt::Display, condition: bool) -> Result<(), String> {
    if condition { Ok(()) } else { Err(what.to_string()) }
}
