//! Which executors are installed on which runtime, at which version: found out by running each one's version command
//! in a sandbox of that runtime, so that what is believed is what programs will meet. What was found is kept.
//!
//! ```text
//!  Never ──look──> Found{each executor: Installed | Missing | Failed}   Failed: looked for again when asked for
//!            └──> Unavailable for a while, then looked at again
//! ```
//!
//! One look at a time for each runtime, in a task of its own: it goes on when who asked for it has gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sandboxd_contract::{Exit, Probe, Runtime, RuntimeError};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::custody::Custody;
use super::signals::signal_name;
use super::supervise::Outcome;
use super::{EngineConfig, ExecuteError, probe};
use crate::executors::{Catalog, Executor, Version};

/// A runtime's `probe` may take a second.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Version commands at once: of all runtimes' sandboxes for looking, some stay free for readiness.
const LOOKS_AT_ONCE: usize = 2;
/// How long a failure is believed before it is looked at again.
pub(super) const FAILURE_KEPT: Duration = Duration::from_secs(2);

/// What is known of every executor on one runtime, by its id.
pub(super) type Findings = HashMap<String, Finding>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    Installed {
        version: Version,
        /// How long its version command took.
        took: Duration,
    },
    /// It is not there; one sentence with the package to install.
    Missing(String),
    /// It could not be found out.
    Failed(String),
}

pub(super) struct Discovery {
    config: EngineConfig,
    catalog: Catalog,
    places: Vec<Arc<Place>>,
    custody: Arc<Custody>,
    tasks: TaskTracker,
    /// Ends every look.
    stop: CancellationToken,
}

/// A runtime and what is known of it.
struct Place {
    runtime: Arc<dyn Runtime>,
    looking: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

#[derive(Default, Clone)]
struct Known {
    probe: Option<Probe>,
    findings: Option<Arc<Findings>>,
    /// When something could last not be found out, and why the whole runtime could not be looked at.
    failed: Option<(Instant, Option<String>)>,
}

impl Discovery {
    pub(super) fn new(
        config: EngineConfig,
        catalog: Catalog,
        runtimes: Vec<Arc<dyn Runtime>>,
        custody: Arc<Custody>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let place = |runtime| {
            Arc::new(Place { runtime, looking: tokio::sync::Mutex::default(), known: Mutex::default() })
        };
        let places = runtimes.into_iter().map(place).collect();
        Arc::new(Self { config, catalog, places, custody, tasks, stop })
    }

    pub(super) fn runtimes(&self) -> impl Iterator<Item = &Arc<dyn Runtime>> {
        self.places.iter().map(|place| &place.runtime)
    }

    /// What a runtime said when it was last asked, and what was found on it.
    pub(super) fn known(&self, runtime: &str) -> (Option<Probe>, Option<Arc<Findings>>) {
        let known = self.place(runtime).map(|place| place.known()).unwrap_or_default();
        (known.probe, known.findings)
    }

    /// Looks at a runtime anew.
    ///
    /// # Errors
    /// [`ExecuteError::RuntimeUnavailable`]; [`ExecuteError::Internal`] when there is none of this name.
    pub(super) async fn refresh(self: &Arc<Self>, runtime: &str) -> Result<(), ExecuteError> {
        self.look(runtime, None).await.map(drop)
    }

    /// What is installed on a runtime; looked for now if it never was. Of the executors in `wanted`, those that could
    /// not be looked for last time are looked for again.
    ///
    /// # Errors
    /// As for [`Self::refresh`].
    pub(super) async fn findings(
        self: &Arc<Self>,
        runtime: &str,
        wanted: &[&Arc<Executor>],
    ) -> Result<Arc<Findings>, ExecuteError> {
        match self.place(runtime).and_then(|place| place.settled(wanted)) {
            Some(settled) => settled,
            None => self.look(runtime, Some(wanted)).await,
        }
    }

    /// Runs the version command that was quickest, of those that are installed on `runtime`.
    ///
    /// # Errors
    /// One sentence why nothing can be run.
    pub(super) async fn try_out(self: Arc<Self>, runtime: String) -> Result<(), String> {
        let findings = self.findings(&runtime, &[]).await.map_err(|error| error.to_string())?;
        let took = |executor: &&Arc<Executor>| match findings.get(&executor.id) {
            Some(Finding::Installed { took, .. }) => *took,
            _ => Duration::MAX,
        };
        let quickest = self.catalog.iter().filter(|executor| took(executor) < Duration::MAX).min_by_key(took);
        let (Some(executor), Some(place)) = (quickest, self.place(&runtime)) else {
            return Err(format!("no language is installed on runtime {runtime}"));
        };
        let ran = probe::version_command(executor, &place.runtime, &self.config, &self.custody).await;
        match judge_look(executor, ran, Duration::ZERO) {
            Finding::Installed { .. } => Ok(()),
            Finding::Missing(reason) | Finding::Failed(reason) => Err(format!("runtime {runtime}: {reason}")),
        }
    }

    fn place(&self, runtime: &str) -> Option<&Arc<Place>> {
        self.places.iter().find(|place| place.runtime.name() == runtime)
    }

    /// `wanted` is for whom an answer that somebody else has found meanwhile is good enough.
    async fn look(
        self: &Arc<Self>,
        runtime: &str,
        wanted: Option<&[&Arc<Executor>]>,
    ) -> Result<Arc<Findings>, ExecuteError> {
        let Some(place) = self.place(runtime) else {
            return Err(ExecuteError::Internal(format!("there is no runtime {runtime}")));
        };
        let wanted = wanted.map(|wanted| wanted.iter().copied().cloned().collect::<Vec<_>>());
        let (place, discovery) = (Arc::clone(place), Arc::clone(self));
        let look = self.tasks.spawn(async move {
            let _looking = place.looking.lock().await;
            let wanted = wanted.as_ref().map(|wanted| wanted.iter().collect::<Vec<_>>());
            if let Some(settled) = wanted.as_deref().and_then(|wanted| place.settled(wanted)) {
                return settled;
            }
            tokio::select! {
                biased;
                () = discovery.stop.cancelled() => Err(ExecuteError::Draining),
                found = discovery.look_at(&place, wanted.is_none()) => found,
            }
        });
        look.await.unwrap_or_else(|error| Err(ExecuteError::Internal(format!("discovery: {error}"))))
    }

    /// Asks the runtime, then looks for every executor; where `anew` is not asked for, only for those that are not
    /// known yet.
    async fn look_at(self: &Arc<Self>, place: &Place, anew: bool) -> Result<Arc<Findings>, ExecuteError> {
        let runtime = &place.runtime;
        let probe = timeout(PROBE_TIMEOUT, runtime.probe()).await.map_err(|_| {
            place.failed(None, format!("it did not say within {} s what it can do", PROBE_TIMEOUT.as_secs()))
        })?;
        if let Err(reason) = probe.available.clone() {
            return Err(place.failed(Some(probe), reason));
        }
        let before = place.known().findings.filter(|_| !anew).unwrap_or_default();
        let settled = |executor: &&Arc<Executor>| {
            matches!(before.get(&executor.id), Some(Finding::Installed { .. } | Finding::Missing(_)))
        };
        let open = self.catalog.iter().filter(|executor| !settled(executor)).cloned().collect();
        let mut findings = Findings::clone(&before);
        findings.extend(self.look_for(open, runtime).await);
        place.found(probe, findings)
    }

    async fn look_for(
        self: &Arc<Self>,
        executors: Vec<Arc<Executor>>,
        runtime: &Arc<dyn Runtime>,
    ) -> Vec<(String, Finding)> {
        let mut looks = JoinSet::new();
        let mut findings = Vec::with_capacity(executors.len());
        for executor in executors {
            if looks.len() == LOOKS_AT_ONCE {
                findings.extend(looks.join_next().await.and_then(Result::ok));
            }
            let (discovery, runtime) = (Arc::clone(self), Arc::clone(runtime));
            looks.spawn(async move {
                let begun = Instant::now();
                let ran =
                    probe::version_command(&executor, &runtime, &discovery.config, &discovery.custody).await;
                let finding = judge_look(&executor, ran, begun.elapsed());
                tracing::info!(runtime = runtime.name(), executor = executor.id, ?finding, "looked for");
                (executor.id.clone(), finding)
            });
        }
        while let Some(look) = looks.join_next().await {
            findings.extend(look.ok());
        }
        findings
    }
}

impl Place {
    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What needs no look: findings in which all of `wanted` are settled, or a failure that is still fresh. Where nothing
    /// was found at all, whoever wants to run anything wants what could not be looked for.
    fn settled(&self, wanted: &[&Arc<Executor>]) -> Option<Result<Arc<Findings>, ExecuteError>> {
        let known = self.known();
        let fresh = known.failed.filter(|(at, _)| at.elapsed() < FAILURE_KEPT);
        if let Some((_, Some(reason))) = fresh {
            return Some(Err(self.unavailable(reason)));
        }
        let findings = known.findings?;
        let open =
            |executor: &&Arc<Executor>| matches!(findings.get(&executor.id), None | Some(Finding::Failed(_)));
        let any = |is: fn(&Finding) -> bool| findings.values().any(is);
        let nothing = !any(|finding| matches!(finding, Finding::Installed { .. }))
            && any(|finding| matches!(finding, Finding::Failed(_)));
        (fresh.is_some() || !(nothing || wanted.iter().any(open))).then_some(Ok(findings))
    }

    fn failed(&self, probe: Option<Probe>, reason: String) -> ExecuteError {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.probe = probe.or(known.probe.take());
        known.failed = Some((Instant::now(), Some(reason.clone())));
        self.unavailable(reason)
    }

    /// A runtime on which nothing at all could be looked for is unavailable.
    fn found(&self, probe: Probe, findings: Findings) -> Result<Arc<Findings>, ExecuteError> {
        let failure = |finding: &Finding| match finding {
            Finding::Failed(reason) => Some(reason.clone()),
            Finding::Installed { .. } | Finding::Missing(_) => None,
        };
        let failures = findings.values().filter_map(failure).collect::<Vec<_>>();
        let all_failed = failures.len() == findings.len();
        let first = failures.into_iter().next();
        let findings = Arc::new(findings);

        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.probe = Some(probe);
        known.findings = Some(Arc::clone(&findings));
        known.failed = first.clone().map(|reason| (Instant::now(), all_failed.then_some(reason)));
        match first {
            Some(reason) if all_failed => Err(self.unavailable(reason)),
            _ => Ok(findings),
        }
    }

    fn unavailable(&self, reason: String) -> ExecuteError {
        let runtime = self.runtime.name().to_owned();
        ExecuteError::RuntimeUnavailable { runtime, reason, retry_after: FAILURE_KEPT }
    }
}

/// Why none of these executors can be used although one of them may be there: it could not be found out.
pub(super) fn trouble(findings: &Findings, executors: &[&Arc<Executor>]) -> Option<String> {
    let findings = || executors.iter().filter_map(|executor| findings.get(&executor.id));
    if findings().any(|finding| matches!(finding, Finding::Installed { .. })) {
        return None;
    }
    findings().find_map(|finding| match finding {
        Finding::Failed(reason) => Some(reason.clone()),
        Finding::Installed { .. } | Finding::Missing(_) => None,
    })
}

/// What the run of a version command says.
fn judge_look(executor: &Executor, ran: Result<Outcome, RuntimeError>, took: Duration) -> Finding {
    let command = executor.version_command.join(" ");
    let missing = |what: String| match executor.packages.as_slice() {
        [] => Finding::Missing(what),
        [package] => Finding::Missing(format!("{what}; it comes with the package {package}")),
        packages => Finding::Missing(format!("{what}; it comes with the packages {}", packages.join(", "))),
    };
    let outcome = match ran {
        Ok(outcome) => outcome,
        Err(error @ RuntimeError::NotStarted { .. }) => return missing(error.to_string()),
        Err(error) => return Finding::Failed(error.to_string()),
    };
    if outcome.evidence.wall_ran_out || outcome.evidence.cpu_ran_out {
        return Finding::Failed(format!("{command} took too long"));
    }
    if outcome.evidence.exit != Exit::Code(0) {
        return missing(format!("{command} {}", ended(outcome.evidence.exit)));
    }
    let printed = [&outcome.stdout.bytes, &outcome.stderr.bytes].map(|bytes| String::from_utf8_lossy(bytes));
    match Version::find(&printed.join("\n")) {
        Some(version) => Finding::Installed { version, took },
        None => missing(format!("{command} printed no version")),
    }
}

fn ended(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("ended with exit code {code}"),
        Exit::Signal(signal) => format!("ended with {}", signal_name(signal)),
    }
}
