//! The conformance suite on containers: one run for each engine and OCI runtime, with what only the engine can tell of
//! leftovers. For test programs without the usual harness, whose output it prints.

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use sandboxd_contract::{
    Runtime,
    testing::{
        conformance::{self, Host},
        holds_every_limit,
    },
};

use crate::{Backend, ContainerConfig, ContainerRuntime, ReadyPolicy};

/// Sandboxes kept ready while the suite runs: some cases meet one that was made ahead, some one that is made now.
const WARM: usize = 1;

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// An engine to run the suite on.
pub struct Candidate {
    pub name: &'static str,
    pub backend: Arc<dyn Backend>,
}

/// Runs the suite on each and sums up as the usual harness does. An engine that is not there is skipped, with its
/// reason, and a failure where CI is set.
pub fn run(candidates: Vec<Candidate>) -> ExitCode {
    let tokio = match tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build() {
        Ok(tokio) => tokio,
        Err(error) => {
            println!("start the asynchronous runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (mut passed, mut failures) = (0, Vec::new());
    for candidate in candidates {
        println!("\nconformance on {}", candidate.name);
        let folder = std::env::temp_dir().join(format!("sandboxd-conformance-{}", std::process::id()));
        let run = tokio.block_on(run_one(&candidate, &folder));
        // It is empty but for the agent when all went well.
        let _ = std::fs::remove_dir_all(&folder);
        match run {
            Ok((well, badly)) => {
                passed += well;
                failures.extend(badly.into_iter().map(|failure| format!("{}: {failure}", candidate.name)));
            }
            Err(reason) => {
                println!("SKIP the conformance suite on {}: {reason}", candidate.name);
                if std::env::var_os("CI").is_some() {
                    failures.push(format!("{} was skipped: {reason}", candidate.name));
                }
            }
        }
    }
    for failure in &failures {
        println!("---- {failure}");
    }
    let word = if failures.is_empty() { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {} failed; 0 ignored\n", failures.len());
    ExitCode::from(u8::from(!failures.is_empty()))
}

/// The number of passed cases and the failures, or why it could not be run.
async fn run_one(candidate: &Candidate, folder: &Path) -> Result<(usize, Vec<String>), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let config = ContainerConfig {
        stock: Arc::default(),
        state_dir: folder.to_owned(),
        engine: "tested".to_owned(),
        ready: ReadyPolicy { warm: WARM, max_ready: WARM, max_memory_bytes: u64::MAX },
        start_timeout: START_TIMEOUT * conformance::slack(),
        allow_missing: Vec::new(),
    };
    let runtime = ContainerRuntime::start(candidate.name, Arc::clone(&candidate.backend), config)
        .map_err(|error| error.to_string())?;
    holds_every_limit(&runtime.probe().await)?;
    let host = Containers { backend: Arc::clone(&candidate.backend), owner: runtime.owner().to_owned() };
    let host = Arc::new(host);
    let (passed, mut failures) =
        conformance::run(Arc::clone(&runtime) as Arc<dyn Runtime>, Arc::clone(&host) as Arc<dyn Host>).await;
    if let Err(error) = runtime.shutdown().await {
        failures.push(format!("shutdown: {error}"));
    }
    failures.extend(host.all().into_iter().map(|name| format!("after shutdown: {name} is left")));
    Ok((passed, failures))
}

/// What carries our name at the engine.
struct Containers {
    backend: Arc<dyn Backend>,
    owner: String,
}

impl Containers {
    /// Asked from a thread of its own, since whoever asks can't wait.
    fn all(&self) -> Vec<String> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let list = || {
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            let listing = async { tokio::time::timeout(PATIENCE, self.backend.list()).await };
            tokio.block_on(listing).ok()?.ok()
        };
        let listed = std::thread::scope(|scope| scope.spawn(list).join().ok().flatten());
        match listed {
            None => vec!["the engine does not say what is left".to_owned()],
            Some(all) => all
                .into_iter()
                .filter(|leftover| leftover.owner.as_ref() == Some(&self.owner))
                .map(|leftover| leftover.sandbox)
                .collect(),
        }
    }
}

impl Host for Containers {
    fn leftovers(&self) -> Vec<String> {
        let all = self.all();
        if all.len() <= WARM { Vec::new() } else { all }
    }
}
