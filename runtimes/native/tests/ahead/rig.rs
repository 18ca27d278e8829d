//! A runtime of a test's own with one place for an interpreter that waits, and programs that are run on it.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use sandboxd_contract::{
    Command, Demand, Exit, Facts, File, FilePath, KernelLimits, Prestart, Runtime, SandboxSpec, Signal,
    testing::holds_every_limit,
};
use sandboxd_native::{DEFAULT_UID_BASE, NativeConfig, NativeRuntime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) const MIB: u64 = 1 << 20;

const LANES: u32 = 3;
/// Beyond the range of the conformance suite.
const UID_BASE: u32 = DEFAULT_UID_BASE + 20_000;
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const LIMITS: KernelLimits = KernelLimits {
    memory_bytes: 256 * MIB,
    tasks: 64,
    cpu_millis: None,
    open_files: 256,
    file_size_bytes: 64 * MIB,
    disk_bytes: 64 * MIB,
    stack_bytes: 8 * MIB,
};

pub(crate) struct Rig {
    pub(crate) runtime: Arc<NativeRuntime>,
}

/// What became of a program.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub stdout: String,
    pub stderr: String,
    pub exit: Exit,
    pub facts: Facts,
}

pub(crate) fn command(argv: &[&str]) -> Command {
    let env = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LANG", "C.UTF-8"), ("HOME", "/box/work")];
    Command {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
    }
}

pub(crate) fn file(path: &str, content: &str) -> File {
    File { path: FilePath::parse(path).unwrap(), content: content.to_owned().into(), executable: false }
}

/// An interpreter that waits for a script.
pub(crate) fn spec(argv: &[&str], script: &str) -> SandboxSpec {
    let prestart = Prestart { command: command(argv), script: FilePath::parse(script).unwrap() };
    SandboxSpec {
        executor: String::new(),
        limits: LIMITS,
        prestart: Some(Arc::new(prestart)),
        demand: Demand::Recurring,
    }
}

pub(crate) fn python() -> SandboxSpec {
    spec(&["python3", "main.py"], "main.py")
}

pub(crate) fn node() -> SandboxSpec {
    spec(&["node", "main.js"], "main.js")
}

impl Rig {
    /// `None`, and why, where it can't be.
    pub(crate) async fn new() -> Option<Self> {
        let config = NativeConfig {
            stock: Arc::default(),
            lanes: LANES,
            rootfs: None,
            toolchains: None,
            uid_base: UID_BASE,
            allow_missing: Vec::new(),
            expected: LIMITS,
            most: vec![LIMITS],
            prestart: true,
        };
        let runtime = NativeRuntime::start("native", config).unwrap();
        match holds_every_limit(&runtime.probe().await) {
            Ok(()) => Some(Self { runtime }),
            Err(reason) => {
                println!("SKIP the native runtime: {reason}");
                None
            }
        }
    }

    /// Ends the runtime; nothing may be left.
    pub(crate) async fn close(&self) {
        self.runtime.shutdown().await.unwrap();
        let began = Instant::now();
        while !processes().is_empty() && began.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(processes(), [], "after shutdown");
    }

    /// Asks for it, as the engine does at its start.
    pub(crate) async fn ask(&self, spec: &SandboxSpec) {
        self.runtime.launch(spec).await.unwrap().destroy().await.unwrap();
    }

    /// Until an interpreter of this name has opened its program; its process.
    pub(crate) async fn waiting(&self, name: &str) -> i32 {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let found = processes().into_iter().find(|(pid, found)| found == name && reads_a_fifo(*pid));
            if let Some((pid, _)) = found {
                // And its slot is on offer.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return pid;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no {name} waits: {:?}", processes());
    }

    pub(crate) async fn run(&self, spec: &SandboxSpec, files: &[File]) -> Outcome {
        let start = spec.prestart.as_ref().unwrap().command.clone();
        self.start(spec, files, start, None).await
    }

    /// Both ways: in an interpreter that waits (which is checked), and in one that is started for it.
    pub(crate) async fn both(
        &self,
        spec: &SandboxSpec,
        files: &[File],
        signal: Option<Signal>,
    ) -> [Outcome; 2] {
        let command = spec.prestart.as_ref().unwrap().command.clone();
        self.ask(spec).await;
        let waits = self.waiting(&command.argv[0]).await;
        let ahead = self.start(spec, files, command.clone(), signal).await;
        assert!(!is_alive(waits), "it was not used");
        let plain = SandboxSpec { prestart: None, ..spec.clone() };
        [ahead, self.start(&plain, files, command, signal).await]
    }

    /// A signal is sent behind the first byte of output.
    pub(crate) async fn start(
        &self,
        spec: &SandboxSpec,
        files: &[File],
        command: Command,
        signal: Option<Signal>,
    ) -> Outcome {
        let mut sandbox = self.runtime.launch(spec).await.unwrap();
        sandbox.put(files.to_vec()).await.unwrap();
        let mut started = sandbox.start(command, &spec.limits).await.unwrap();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        // Not every program stays for it.
        let _ = started.stdin.write_all(b"in\n").await;
        drop(started.stdin);
        if let Some(signal) = signal {
            stdout.push(started.stdout.read_u8().await.unwrap());
            started.process.signal(signal).await.unwrap();
        }
        let streams = async {
            tokio::join!(started.stdout.read_to_end(&mut stdout), started.stderr.read_to_end(&mut stderr))
        };
        let (exit, _) = tokio::join!(started.process.wait(), streams);
        let outcome = Outcome {
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            exit: exit.unwrap(),
            facts: sandbox.facts().await.unwrap(),
        };
        sandbox.destroy().await.unwrap();
        outcome
    }
}

/// Those of the programs' users, but for the runtime's own, which have its name.
pub(crate) fn processes() -> Vec<(i32, String)> {
    let of = |pid: i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().unwrap_or_default().to_owned()
        };
        let user: u32 = field("Uid:").parse().ok()?;
        let ours = (UID_BASE..UID_BASE + 2 * LANES).contains(&user);
        (ours && field("Name:") != "sandboxd-lane" && field("State:") != "Z").then(|| (pid, field("Name:")))
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| of(entry.file_name().to_str()?.parse().ok()?)).collect()
}

pub(crate) fn is_alive(pid: i32) -> bool {
    processes().iter().any(|(alive, _)| *alive == pid)
}

/// Its script's name, which nobody finds any more.
fn reads_a_fifo(pid: i32) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| {
        target.to_string_lossy().contains("/main.") && target.to_string_lossy().ends_with("(deleted)")
    })
}
