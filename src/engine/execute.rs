//! One execution: admitted, compiled in one sandbox, run in a fresh one, reported. A straight list of steps; how one
//! program is watched is in `supervise`, what becomes of sandboxes in `custody`, what is said of it all in `report`,
//! and what spares a compile in `compile`.
//!
//! ```text
//!  Engine::execute ── admitted ──> a task of its own ──> Report
//!        │ dropped                       │
//!        └──────── cancels ─────────────>│ the program is killed, the sandbox handed over
//!
//!  the task:  [compile: launch put start supervise collect] ─> run: launch put start supervise collect
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sandboxd_contract::{CollectRequest, Collected, Demand, File, Omitted, RuntimeError, SandboxSpec};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::admission::Permit;
use super::artifacts::collect_request;
use super::capture::Captured;
use super::custody::{Lease, Purpose};
use super::plan::PhasePlan;
use super::report::report_phase;
use super::supervise::{Watch, supervise};
use super::{Engine, Event, ExecuteError, PhaseReport, Plan, Report, Timing, Verdict};

const PUT_TIMEOUT: Duration = Duration::from_secs(5);
const COLLECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A consumer of events that takes nothing for so long has given up.
const EVENT_TIMEOUT: Duration = Duration::from_secs(30);

/// An admitted plan.
pub(super) struct Execution {
    pub engine: Arc<Engine>,
    pub plan: Plan,
    pub events: Option<mpsc::Sender<Event>>,
    pub cancel: CancellationToken,
    /// When it was asked for.
    pub asked: Instant,
    pub timing: Timing,
}

/// Why a phase came to no report.
#[derive(Debug)]
pub(super) enum Failure {
    Canceled,
    Runtime(RuntimeError),
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        Self::Runtime(error)
    }
}

/// What a phase is given.
pub(super) struct Job<'a> {
    /// Who runs, for sentences.
    pub subject: &'static str,
    pub phase: &'a PhasePlan,
    pub files: Vec<File>,
    pub stdin: Bytes,
    pub consumer: Option<mpsc::Sender<Event>>,
    pub request: CollectRequest,
    /// Nothing is read out of the sandbox after any other ending than a good one.
    pub only_if_ok: bool,
}

/// A phase that has ended.
pub(super) struct Ended {
    pub report: PhaseReport,
    pub collected: Collected,
    /// Program and collecting; the sandbox's share is in [`Timing::sandbox`] already.
    pub took: Duration,
    /// What the consumer of events has not got yet.
    pub streams: Vec<Captured>,
}

/// An execution that came to a verdict.
pub(super) enum Finished {
    NotCompiled(PhaseReport),
    Ran { compile: Option<PhaseReport>, run: Box<Ended> },
}

impl Execution {
    pub(super) async fn run(mut self, permit: Permit) -> Result<Report, ExecuteError> {
        let finished = self.phases().await;
        self.timing.total = self.asked.elapsed();
        // Nothing runs any more; a consumer that is behind must not keep others waiting.
        drop(permit);
        let answer = finished.map(|finished| self.report(finished)).map_err(|failure| self.error(failure));
        self.record(&answer);
        let (report, streams) = answer?;
        self.hand_on_rest(streams, report.verdict).await?;
        Ok(report)
    }

    /// Gives the consumer of events what it has not got yet. One that is told that it was canceled gets what it takes
    /// right away.
    async fn hand_on_rest(&self, streams: Vec<Captured>, verdict: Verdict) -> Result<(), ExecuteError> {
        for stream in streams {
            if verdict == Verdict::Canceled {
                let _as_far_as_it_goes = stream.hand_on_rest(Duration::ZERO).await;
                continue;
            }
            match self.unless_canceled(stream.hand_on_rest(EVENT_TIMEOUT)).await {
                Ok(Ok(())) => {}
                Ok(Err(_stalled)) => return Err(ExecuteError::Canceled),
                Err(_canceled) => return Err(ExecuteError::Canceled),
            }
        }
        Ok(())
    }

    async fn phases(&mut self) -> Result<Finished, Failure> {
        self.tell(Event::Started { id: self.plan.id }).await?;
        let mut files = std::mem::take(&mut self.plan.files);
        let mut compile = None;
        if let Some(phase) = self.plan.compile.take() {
            let (report, handed_on) = self.compile(&phase, files).await?;
            if report.verdict == Verdict::Canceled {
                return Ok(Finished::NotCompiled(report));
            }
            self.tell(Event::Compiled(report.clone())).await?;
            match handed_on {
                Some(handed_on) => files = handed_on,
                None => return Ok(Finished::NotCompiled(report)),
            }
            compile = Some(report);
        }
        let run = Box::new(self.run_program(files).await?);
        Ok(Finished::Ran { compile, run })
    }

    async fn run_program(&mut self, files: Vec<File>) -> Result<Ended, Failure> {
        let phase = self.plan.run.clone();
        let job = Job {
            subject: "the program",
            phase: &phase,
            files,
            stdin: std::mem::take(&mut self.plan.stdin),
            consumer: self.events.clone(),
            request: collect_request(&self.plan.collect),
            only_if_ok: false,
        };
        let ended = self.phase(job).await?;
        self.timing.run = ended.took;
        Ok(ended)
    }

    /// One phase in a sandbox of its own.
    pub(super) async fn phase(&mut self, job: Job<'_>) -> Result<Ended, Failure> {
        let Job { subject, phase, files, stdin, consumer, request, only_if_ok } = job;
        let launching = Instant::now();
        let spec = SandboxSpec {
            executor: self.plan.executor.id.clone(),
            limits: phase.kernel,
            prestart: phase.prestart.clone(),
            demand: Demand::Recurring,
        };
        let launch = self.engine.custody.launch(&self.plan.runtime, &spec, Purpose::Execution);
        let mut lease = self.unless_canceled(launch).await??;
        self.within(PUT_TIMEOUT, "put", lease.sandbox.put(files)).await?;
        let start = lease.sandbox.start(phase.command.clone(), &phase.kernel);
        let started = self.within(self.engine.config.program_start_timeout(), "start", start).await;
        let running = started.as_ref().map_or_else(|_| Instant::now(), |started| started.since);
        self.timing.sandbox += running.saturating_duration_since(launching);

        let outcome = match started {
            Ok(started) => {
                let (limits, cancel, cpus) = (&phase.limits, &self.cancel, self.engine.cpus);
                let watch = Watch { limits, cancel, consumer, cpus };
                let span = tracing::warn_span!("supervise", id = %self.plan.id);
                let supervised = supervise(&*lease.sandbox, started, stdin, watch).instrument(span);
                supervised.await.map_err(Failure::Runtime)
            }
            Err(failure) => Err(failure),
        };
        let outcome = match outcome {
            Err(Failure::Runtime(RuntimeError::NotStarted { program, reason })) if phase.own_risk => {
                return Ok(Ended::not_started(&program, &reason));
            }
            outcome => outcome?,
        };
        let report = report_phase(subject, &outcome, phase);
        let collected = if only_if_ok && report.verdict != Verdict::Ok {
            Collected::default()
        } else {
            self.collect(&mut lease, &request, &report).await?
        };
        let streams = vec![outcome.stdout, outcome.stderr];
        Ok(Ended { report, collected, took: running.elapsed(), streams })
    }

    /// A sandbox whose program was killed may have gone with it: then there are no files, and it says so. After any
    /// other ending the sandbox has no excuse.
    async fn collect(
        &self,
        lease: &mut Lease,
        request: &CollectRequest,
        report: &PhaseReport,
    ) -> Result<Collected, Failure> {
        if request.globs.is_empty() || report.verdict == Verdict::Canceled {
            return Ok(Collected::default());
        }
        match self.within(COLLECT_TIMEOUT, "collect", lease.sandbox.collect(request)).await {
            Err(Failure::Runtime(error)) if report.limit.is_some() => {
                tracing::warn!(id = %self.plan.id, %error, "no files could be read after the program was killed");
                let omitted = |path: &str| Omitted {
                    path: path.to_owned(),
                    reason: "could not be read after the program was killed",
                };
                let omitted = request.globs.iter().map(|glob| omitted(glob.as_str())).collect();
                Ok(Collected { files: Vec::new(), omitted })
            }
            collected => collected,
        }
    }

    async fn tell(&self, event: Event) -> Result<(), Failure> {
        let Some(events) = &self.events else { return Ok(()) };
        match self.unless_canceled(timeout(EVENT_TIMEOUT, events.send(event))).await? {
            // A consumer that has gone is its own affair: who gives up drops the execution.
            Ok(_sent_or_gone) => Ok(()),
            Err(_elapsed) => Err(Failure::Canceled),
        }
    }

    async fn within<T>(
        &self,
        limit: Duration,
        operation: &'static str,
        call: impl Future<Output = Result<T, RuntimeError>>,
    ) -> Result<T, Failure> {
        match self.unless_canceled(timeout(limit, call)).await? {
            Ok(done) => Ok(done?),
            Err(_elapsed) => Err(RuntimeError::sandbox(operation, "took too long").into()),
        }
    }

    pub(super) async fn unless_canceled<T>(&self, call: impl Future<Output = T>) -> Result<T, Failure> {
        self.cancel.run_until_cancelled(call).await.ok_or(Failure::Canceled)
    }
}
