//! The conformance suite on the native runtime. A test program without the usual harness, since the spawner is this
//! very executable, started again; it prints what the usual harness would.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, process::ExitCode, sync::Arc};

use sandboxd_contract::{
    KernelLimits, Runtime,
    testing::{
        conformance::{self, Host},
        holds_every_limit,
    },
};
use sandboxd_native::{DEFAULT_UID_BASE, NativeConfig, NativeRuntime};

const LANES: u32 = 4;

/// Beyond the range of a daemon that may run on the same host.
const UID_BASE: u32 = DEFAULT_UID_BASE + 10_000;

fn main() -> ExitCode {
    sandboxd_native::become_spawner_if_asked();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run())
}

async fn run() -> ExitCode {
    const MIB: u64 = 1 << 20;
    let expected = KernelLimits {
        memory_bytes: 128 * MIB,
        tasks: 64,
        cpu_millis: None,
        open_files: 64,
        file_size_bytes: 64 * MIB,
        disk_bytes: 64 * MIB,
        stack_bytes: 16 * MIB,
    };
    let config = NativeConfig {
        stock: Arc::default(),
        lanes: LANES,
        rootfs: None,
        toolchains: None,
        uid_base: UID_BASE,
        allow_missing: Vec::new(),
        expected,
        most: vec![expected],
        prestart: false,
    };
    let native = NativeRuntime::start("native", config).unwrap();
    if let Err(reason) = holds_every_limit(&native.probe().await) {
        println!("SKIP the native runtime: {reason}");
        return ExitCode::from(u8::from(std::env::var_os("CI").is_some()));
    }
    let (passed, failures) =
        conformance::run(Arc::clone(&native) as Arc<dyn Runtime>, Arc::new(Guests)).await;
    native.shutdown().await.unwrap();
    let mut failures = failures;
    failures
        .extend(cgroups_of_this_process().into_iter().map(|path| format!("after shutdown: {path} is left")));
    for failure in &failures {
        println!("---- {failure}");
    }
    let word = if failures.is_empty() { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {} failed; 0 ignored\n", failures.len());
    ExitCode::from(u8::from(!failures.is_empty()))
}

/// Finds programs that live on, by their users: parked ones and inits are this crate's own, under its own name.
struct Guests;

impl Host for Guests {
    fn leftovers(&self) -> Vec<String> {
        let users = UID_BASE..UID_BASE + 2 * LANES;
        let mut left = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                line.split_whitespace().next().unwrap_or_default().to_owned()
            };
            let ours = field("Uid:").parse().is_ok_and(|user: u32| users.contains(&user));
            if ours && field("Name:") != "sandboxd-lane" && field("State:") != "Z" {
                left.push(format!("{} {}", field("Pid:"), field("Name:")));
            }
        }
        let groups = cgroups_of_this_process()
            .into_iter()
            .filter(|path| path.contains("memory") && path.contains('.'));
        let groups: Vec<_> = groups.collect();
        if groups.len() > LANES as usize {
            left.push(format!("{} cgroups for {LANES} lanes", groups.len()));
        }
        left
    }
}

/// Directories below `sandboxd/<this process>` in any hierarchy.
fn cgroups_of_this_process() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    let own = format!("/sandboxd/{}-", std::process::id());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = entry.path();
                if path.to_string_lossy().contains(&own) {
                    found.push(path.display().to_string());
                }
                folders.push(path);
            }
        }
    }
    found
}
