//! The engine: takes a submission, runs it in sandboxes of a runtime, holds its limits and passes the verdict.
//!
//! ```text
//!  Submission ─plan─> Plan ─execute─> admission ─> [compile | cache] ─> run ─> verdict ─> Report
//!                      ^                             supervise, each in a sandbox of its own
//!              discovery: what is installed          custody: made, given up, destroyed behind the answer
//! ```
//!
//! Here is the engine's door: what others call, and how the parts are put together. Deliberately absent: HTTP and
//! every wire format (the doors translate), how a sandbox is made (the runtimes know), and any one language (the
//! executors' manifests say it all).

mod admission;
mod artifacts;
mod cache;
mod capture;
mod compile;
mod config;
mod custody;
mod discovery;
mod execute;
mod plan;
mod probe;
mod program_log;
mod readiness;
mod report;
mod signals;
mod status;
mod supervise;
mod types;
mod verdict;

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use sandboxd_contract::Runtime;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use self::admission::Admission;
use self::cache::CompileCache;
use self::custody::{Custody, Purpose};
use self::discovery::{Discovery, Finding};
use self::execute::Execution;
use self::plan::Ground;
use self::readiness::Readiness;
use crate::executors::{Catalog, Executor};
use crate::telemetry::{Metrics, Refusal};

pub use cache::{CacheConfig, CacheSurvey};
pub use config::EngineConfig;
pub(crate) use plan::kernel_limits;
pub use plan::{
    MAX_ARG_BYTES, MAX_ARGS, MAX_ENV, MAX_FILES, MAX_FILES_BYTES, MAX_GLOBS, MAX_STDIN_BYTES,
    MAX_WORDS_BYTES, Plan, PlanError,
};
pub use signals::signal_name;
pub use status::{Installation, LanguageOnRuntime, LanguageStatus, RuntimeStatus, Stats};
pub use types::*;

/// After a drain that took too long: how long the canceled may take to be gone.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs submissions; one of them for the whole daemon.
pub struct Engine {
    config: EngineConfig,
    catalog: Catalog,
    metrics: Arc<Metrics>,
    admission: Admission,
    custody: Arc<Custody>,
    discovery: Arc<Discovery>,
    cache: Option<Arc<CompileCache>>,
    readiness: Readiness,
    /// CPUs that one program could keep busy at once.
    cpus: u32,
    draining: AtomicBool,
    /// Cancels everything.
    stop: CancellationToken,
    /// Everything that has to be over before the daemon may end.
    tasks: TaskTracker,
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
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let EngineConfig { max_concurrent, queue_length, queue_timeout, .. } = config;
        let custody = Arc::new(Custody::new(&config, tasks.clone(), Arc::clone(&metrics)));
        let discovery = Discovery::new(
            config.clone(),
            catalog.clone(),
            runtimes,
            Arc::clone(&custody),
            tasks.clone(),
            stop.clone(),
        );
        let readiness = Readiness::new(config.start_timeout);
        let cache = config.cache.as_ref();
        let cache = cache.and_then(|cache| CompileCache::open(cache, tasks.clone(), Arc::clone(&metrics)));
        let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
        Arc::new(Self {
            admission: Admission::new(max_concurrent, queue_length, queue_timeout, Arc::clone(&metrics)),
            config,
            catalog,
            metrics,
            custody,
            discovery,
            cache,
            readiness,
            cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
            draining: AtomicBool::new(false),
            stop,
            tasks,
        })
    }

    /// Asks a runtime what it can do and finds out which executors are installed on it, by running the version
    /// command of each in a sandbox. Called at start for the default runtime; every other one is looked at when it
    /// is first asked for. What was found stays until this is called again.
    ///
    /// # Errors
    /// [`ExecuteError::RuntimeUnavailable`]; [`ExecuteError::Internal`] when no runtime has this name.
    pub async fn discover(&self, runtime: &str) -> Result<(), ExecuteError> {
        self.discovery.refresh(runtime).await?;
        if self.config.keep_ready {
            self.ask_ahead(runtime).await;
        }
        Ok(())
    }

    /// Lets a runtime see what it will be asked for, by asking for one of each and giving it back unused. Whatever
    /// fails here is met again by a request, which is told so.
    async fn ask_ahead(&self, runtime: &str) {
        let Some(place) = self.discovery.runtimes().find(|place| place.name() == runtime) else { return };
        let (_, findings) = self.discovery.known(runtime);
        for executor in self.catalog.iter() {
            let finding = findings.as_ref().and_then(|findings| findings.get(&executor.id));
            if !matches!(finding, Some(Finding::Installed { .. })) {
                continue;
            }
            for spec in plan::usual_specs(executor, &self.config) {
                let launch = self.custody.launch(place, &spec, Purpose::Probe);
                if let Some(Err(error)) = self.stop.run_until_cancelled(launch).await {
                    tracing::debug!(runtime, executor = executor.id, %error, "no sandbox could be made ahead");
                    break;
                }
            }
        }
    }

    /// Checks a submission against the catalog, the limits and what is installed.
    ///
    /// # Errors
    /// Every violation at once; without any, that the runtime is unavailable now.
    pub async fn plan(&self, submission: Submission) -> Result<Plan, PlanError> {
        let asked = submission.runtime.as_deref().unwrap_or(&self.config.default_runtime);
        let runtime = self.discovery.runtimes().find(|runtime| runtime.name() == asked);
        let named = self.catalog.named(&submission.language);
        let known = match runtime {
            Some(runtime) if !named.is_empty() => Some(self.discovery.findings(runtime.name(), &named).await),
            _ => None,
        };
        let (findings, trouble) = match known {
            None => (None, None),
            Some(Err(error)) => (None, Some(error)),
            Some(Ok(findings)) => match discovery::trouble(&findings, &named) {
                Some(reason) => (None, Some(unavailable(asked, reason))),
                None => (Some(findings), None),
            },
        };
        let ground = Ground {
            config: &self.config,
            catalog: &self.catalog,
            runtime,
            runtime_names: self.discovery.runtimes().map(|runtime| runtime.name()).collect(),
            findings: findings.as_deref(),
        };
        match (plan::plan(submission, &ground), trouble) {
            (Err(violations), _) => Err(PlanError::Invalid(violations)),
            (Ok(_), Some(trouble)) => Err(PlanError::Execute(trouble)),
            (Ok(plan), None) => Ok(plan),
        }
    }

    /// Runs a plan and answers when it has ended. Dropping the future cancels: the program is killed and its sandbox
    /// destroyed behind it. `events` gets what happens as it happens; a consumer that is slow delays the answer but
    /// never the program, and one that has gone is no error.
    ///
    /// # Errors
    /// See [`ExecuteError`]; whatever the program did is a report.
    pub async fn execute(
        self: &Arc<Self>,
        plan: Plan,
        events: Option<mpsc::Sender<Event>>,
    ) -> Result<Report, ExecuteError> {
        let asked = Instant::now();
        let _under_way = self.tasks.token();
        if self.draining.load(Relaxed) {
            self.metrics.refused(Refusal::Draining);
            return Err(ExecuteError::Draining);
        }
        let admitted = self.stop.run_until_cancelled(self.admission.admit(&plan.client)).await;
        let permit = admitted.ok_or(ExecuteError::Canceled)??;
        let timing = Timing { queue: asked.elapsed(), ..Timing::default() };

        if self.config.log_programs {
            program_log::given(&plan);
        }
        let cancel = self.stop.child_token();
        let _dropped = cancel.clone().drop_guard();
        let execution = Execution { engine: Arc::clone(self), plan, events, cancel, asked, timing };
        let ended = self.tasks.spawn(execution.run(permit).in_current_span()).await;
        ended.unwrap_or_else(|panic| Err(ExecuteError::Internal(format!("the execution failed: {panic}"))))
    }

    /// Every executor, and how it stands with it on each runtime.
    pub fn languages(&self) -> Vec<LanguageStatus> {
        let known: Vec<_> = self
            .discovery
            .runtimes()
            .map(|runtime| (runtime.name(), self.discovery.known(runtime.name()).1))
            .collect();
        let status = |executor: &Arc<Executor>| {
            let on_runtime = |(runtime, findings): &(&str, Option<Arc<discovery::Findings>>)| {
                let finding = findings.as_ref().and_then(|findings| findings.get(&executor.id));
                LanguageOnRuntime { runtime: (*runtime).to_owned(), installation: installation(finding) }
            };
            LanguageStatus {
                executor: Arc::clone(executor),
                runtimes: known.iter().map(on_runtime).collect(),
            }
        };
        self.catalog.iter().map(status).collect()
    }

    /// Every configured runtime, and what it said when it was last asked.
    pub fn runtimes(&self) -> Vec<RuntimeStatus> {
        let status = |runtime: &Arc<dyn Runtime>| {
            let name = runtime.name().to_owned();
            let kind = self.config.runtime_kinds.get(&name).unwrap_or(&name).clone();
            let (probe, _) = self.discovery.known(&name);
            RuntimeStatus { kind, default: name == self.config.default_runtime, name, probe }
        };
        self.discovery.runtimes().map(status).collect()
    }

    /// Whether code can be run: really runs something through the default runtime. The answer is kept for about a
    /// second, and concurrent callers share one run.
    ///
    /// # Errors
    /// One sentence with the reason.
    pub async fn ready(&self) -> Result<(), String> {
        if self.draining.load(Relaxed) {
            return Err(ExecuteError::Draining.to_string());
        }
        let runtime = self.config.default_runtime.clone();
        self.readiness.ask(&self.tasks, Arc::clone(&self.discovery).try_out(runtime)).await
    }

    pub fn stats(&self) -> Stats {
        Stats {
            running: self.admission.running(),
            waiting: self.admission.waiting(),
            draining: self.draining.load(Relaxed),
        }
    }

    /// For the doors, which count and time what they answer.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Refuses new work with [`ExecuteError::Draining`] from now on; what is queued or running goes on.
    pub fn begin_drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Waits until nothing is queued, running or being destroyed, at most for `limit`; then cancels what is left
    /// and waits for that. Answers whether all work came to its own end.
    pub async fn drained(&self, limit: Duration) -> bool {
        self.begin_drain();
        self.tasks.close();
        if timeout(limit, self.tasks.wait()).await.is_ok() {
            return true;
        }
        self.stop.cancel();
        if timeout(CANCEL_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "not everything that was canceled is gone");
        }
        false
    }
}

fn unavailable(runtime: &str, reason: String) -> ExecuteError {
    ExecuteError::RuntimeUnavailable {
        runtime: runtime.to_owned(),
        reason,
        retry_after: discovery::FAILURE_KEPT,
    }
}

fn installation(finding: Option<&Finding>) -> Installation {
    match finding {
        Some(Finding::Installed { version, .. }) => Installation::Installed { version: version.to_string() },
        Some(Finding::Missing(reason) | Finding::Failed(reason)) => {
            Installation::Missing { reason: reason.clone() }
        }
        None => Installation::NotLookedFor,
    }
}

#[cfg(test)]
mod tests;
