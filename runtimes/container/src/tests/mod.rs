//! The container side of a sandbox on an engine that is made up: what is kept ready, what is removed and when, and what
//! an agent's silence means. The real engines have tests of their own.

mod engine;
mod lines;
mod rushes;
mod yards;

use std::{sync::Arc, time::Duration};

use sandboxd_contract::{Command, Demand, KernelLimits, SandboxSpec, Stock};

use crate::{agent_binary, owner::Owner, shelves::ReadyPolicy, yard::Yard};
use engine::FakeEngine;

const LIMITS: KernelLimits = KernelLimits {
    memory_bytes: 1 << 20,
    tasks: 4,
    cpu_millis: None,
    open_files: 16,
    file_size_bytes: 1 << 20,
    disk_bytes: 1 << 20,
    stack_bytes: 1 << 20,
};

struct Place {
    engine: Arc<FakeEngine>,
    yard: Arc<Yard>,
    stock: Arc<Stock>,
    folder: tempfile::TempDir,
}

impl Place {
    fn new(warm: usize) -> Self {
        Self::keeping(ReadyPolicy { warm, max_ready: 64, max_memory_bytes: u64::MAX })
    }

    fn keeping(policy: ReadyPolicy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (engine, stock) = (Arc::<FakeEngine>::default(), Arc::<Stock>::default());
        let yard = yard(&folder, &engine, policy, Arc::clone(&stock));
        Self { engine, yard, stock, folder }
    }

    /// Another daemon on the same engine, with the same state folder, which keeps nothing ready.
    fn another(folder: &tempfile::TempDir, engine: &Arc<FakeEngine>) -> Arc<Yard> {
        yard(folder, engine, ReadyPolicy { warm: 0, max_ready: 0, max_memory_bytes: 0 }, Arc::default())
    }
}

const START_TIMEOUT: Duration = Duration::from_secs(10);

fn yard(
    folder: &tempfile::TempDir,
    engine: &Arc<FakeEngine>,
    policy: ReadyPolicy,
    stock: Arc<Stock>,
) -> Arc<Yard> {
    let owner = Owner::claim(&folder.path().join("owners"), "made up").unwrap();
    let agent = agent_binary::install(&folder.path().join("agent")).unwrap();
    Yard::new(Arc::clone(engine) as Arc<dyn crate::Backend>, owner, agent, policy, START_TIMEOUT, stock)
}

fn spec() -> SandboxSpec {
    SandboxSpec { demand: Demand::Recurring, ..SandboxSpec::once("python", LIMITS) }
}

fn command(argv: &[&str]) -> Command {
    Command { argv: argv.iter().map(|word| (*word).to_owned()).collect(), env: Vec::new() }
}

/// Waits in virtual time for what tasks of their own bring about.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
