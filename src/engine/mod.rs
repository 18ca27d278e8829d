//! The engine: takes a submission, runs it in sandboxes of a runtime, holds its limits and passes the verdict.

mod config;
mod plan;
mod status;
mod types;

use std::sync::Arc;
use std::time::Duration;

use sandboxd_contract::Runtime;
use tokio::sync::mpsc;

use crate::executors::Catalog;
use crate::telemetry::Metrics;

pub use config::EngineConfig;
pub use plan::{Plan, PlanError};
pub use status::{Installation, LanguageOnRuntime, LanguageStatus, RuntimeStatus, Stats};
pub use types::*;

/// Runs submissions; one of them for the whole daemon.
pub struct Engine {
    config: EngineConfig,
    catalog: Catalog,
    runtimes: Vec<Arc<dyn Runtime>>,
    metrics: Arc<Metrics>,
}

impl Engine {
    pub fn new(
        config: EngineConfig,
        catalog: Catalog,
        runtimes: Vec<Arc<dyn Runtime>>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        for runtime in &runtimes {
            metrics.announce_runtime(runtime.name());
        }
        Arc::new(Self { config, catalog, runtimes, metrics })
    }

    /// Asks a runtime what it can do and finds out which executors are installed on it, by running the version
    /// command of each in a sandbox. Called at start for the default runtime; every other one is looked at when it
    /// is first asked for. What was found stays until this is called again.
    ///
    /// # Errors
    /// [`ExecuteError::RuntimeUnavailable`]; [`ExecuteError::Internal`] when no runtime has this name.
    pub async fn discover(&self, runtime: &str) -> Result<(), ExecuteError> {
        Err(ExecuteError::Internal(format!("there is no runtime {runtime}")))
    }

    /// Checks a submission against the catalog, the limits and what is installed.
    ///
    /// # Errors
    /// Every violation at once; or that the runtime is unavailable now.
    pub async fn plan(&self, _submission: Submission) -> Result<Plan, PlanError> {
        Err(PlanError::Execute(ExecuteError::Draining))
    }

    /// Runs a plan and answers when it has ended. Dropping the future cancels: the program is killed and its sandbox
    /// destroyed behind it. `events` gets what happens as it happens; a consumer that is slow delays the answer but
    /// never the program, and one that has gone is no error.
    ///
    /// # Errors
    /// See [`ExecuteError`]; whatever the program did is a report.
    pub async fn execute(
        self: &Arc<Self>,
        _plan: Plan,
        _events: Option<mpsc::Sender<Event>>,
    ) -> Result<Report, ExecuteError> {
        Err(ExecuteError::Draining)
    }

    /// Every executor, and how it stands with it on each runtime.
    pub fn languages(&self) -> Vec<LanguageStatus> {
        let unknown = |runtime: &Arc<dyn Runtime>| LanguageOnRuntime {
            runtime: runtime.name().to_owned(),
            installation: Installation::NotLookedFor,
        };
        let status = |executor: &Arc<_>| LanguageStatus {
            executor: Arc::clone(executor),
            runtimes: self.runtimes.iter().map(unknown).collect(),
        };
        self.catalog.iter().map(status).collect()
    }

    /// Every configured runtime, and what it said when it was last asked.
    pub fn runtimes(&self) -> Vec<RuntimeStatus> {
        let status = |runtime: &Arc<dyn Runtime>| {
            let name = runtime.name().to_owned();
            let kind = self.config.runtime_kinds.get(&name).unwrap_or(&name).clone();
            RuntimeStatus { kind, default: name == self.config.default_runtime, name, probe: None }
        };
        self.runtimes.iter().map(status).collect()
    }

    /// Whether code can be run: really runs something through the default runtime. The answer is kept for about a
    /// second, and concurrent callers share one run.
    ///
    /// # Errors
    /// One sentence with the reason.
    pub async fn ready(&self) -> Result<(), String> {
        Err("no language is installed".to_owned())
    }

    pub fn stats(&self) -> Stats {
        Stats::default()
    }

    /// For the doors, which count and time what they answer.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Refuses new work with [`ExecuteError::Draining`] from now on; what is queued or running goes on.
    pub fn begin_drain(&self) {}

    /// Waits until nothing is queued, running or being destroyed, at most for `timeout`; then cancels what is left
    /// and waits for that. Answers whether all work came to its own end.
    pub async fn drained(&self, _timeout: Duration) -> bool {
        true
    }
}
