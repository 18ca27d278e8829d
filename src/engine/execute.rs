//! One execution: admitted, compiled in one sandbox, run in a fresh one, reported. A straight list of steps; how one
//! program is watched is in `supervise`, what becomes of sandboxes in `custody`.
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
use sandboxd_contract::{CollectRequest, Collected, Exit, File, Omitted, RuntimeError, SandboxSpec};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::admission::Permit;
use super::artifacts::{artifact_request, collect_request, hand_on};
use super::capture::Captured;
use super::custody::{Lease, Purpose};
use super::plan::PhasePlan;
use super::supervise::{Outcome, Watch, supervise};
use super::verdict::judge;
use super::{Engine, Event, ExecuteError, PhaseReport, Plan, Report, Timing, Usage, Verdict};

const PUT_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(5);
const BEFORE_TIMEOUT: Duration = Duration::from_secs(1);
const COLLECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A consumer of events that takes nothing for so long has given up.
const EVENT_TIMEOUT: Duration = Duration::from_secs(30);
/// What a client is told to wait when its runtime makes no sandboxes.
const RETRY_UNAVAILABLE: Duration = Duration::from_secs(5);
/// The exit code of a program that could not be executed, as shells have it.
const NOT_STARTED: Exit = Exit::Code(127);

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
enum Failure {
    Canceled,
    Runtime(RuntimeError),
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        Self::Runtime(error)
    }
}

/// A phase that has ended.
struct Ended {
    report: PhaseReport,
    collected: Collected,
    /// Program and collecting; the sandbox's share is in [`Timing::sandbox`] already.
    took: Duration,
    /// What the consumer of events has not got yet.
    streams: Vec<Captured>,
}

/// An execution that came to a verdict.
enum Finished {
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
        for stream in streams {
            self.unless_canceled(stream.hand_on_rest(EVENT_TIMEOUT))
                .await
                .and_then(|handed| handed.map_err(|_stalled| Failure::Canceled))
                .map_err(|_| ExecuteError::Canceled)?;
        }
        Ok(report)
    }

    async fn phases(&mut self) -> Result<Finished, Failure> {
        self.tell(Event::Started { id: self.plan.id }).await?;
        let mut files = std::mem::take(&mut self.plan.files);
        let mut compile = None;
        if let Some(phase) = self.plan.compile.take() {
            let (report, handed_on) = self.compile(&phase, files).await?;
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

    /// The files for the run phase, if there is to be one.
    async fn compile(
        &mut self,
        phase: &PhasePlan,
        files: Vec<File>,
    ) -> Result<(PhaseReport, Option<Vec<File>>), Failure> {
        let run_limits = self.plan.run.limits;
        let request = artifact_request(self.plan.executor.artifacts(), &files, &run_limits);
        let ended = self.phase("the compiler", phase, files.clone(), Bytes::new(), &request, None).await?;
        self.timing.compile = ended.took;
        let mut report = ended.report;
        if report.verdict != Verdict::Ok {
            return Ok((report, None));
        }
        match hand_on(files, ended.collected, &run_limits) {
            Ok(files) => Ok((report, Some(files))),
            Err(error) => {
                // It ended well, and yet there is no program that could run.
                report.verdict = Verdict::RuntimeError;
                report.error = Some(error);
                Ok((report, None))
            }
        }
    }

    async fn run_program(&mut self, files: Vec<File>) -> Result<Ended, Failure> {
        let phase = self.plan.run.clone();
        let stdin = std::mem::take(&mut self.plan.stdin);
        let request = collect_request(&self.plan.collect);
        let events = self.events.clone();
        let ended = self.phase("the program", &phase, files, stdin, &request, events).await?;
        self.timing.run = ended.took;
        Ok(ended)
    }

    /// One phase in a sandbox of its own.
    async fn phase(
        &mut self,
        subject: &'static str,
        phase: &PhasePlan,
        files: Vec<File>,
        stdin: Bytes,
        request: &CollectRequest,
        consumer: Option<mpsc::Sender<Event>>,
    ) -> Result<Ended, Failure> {
        let launching = Instant::now();
        let spec = SandboxSpec { executor: self.plan.executor.id.clone(), limits: phase.kernel };
        let launch = self.engine.custody.launch(&self.plan.runtime, &spec, Purpose::Execution);
        let mut lease = self.unless_canceled(launch).await??;
        self.within(PUT_TIMEOUT, "put", lease.sandbox.put(files)).await?;
        let before = self.within(BEFORE_TIMEOUT, "facts", lease.sandbox.facts()).await?;
        let start = lease.sandbox.start(phase.command.clone(), &phase.kernel);
        let started = self.within(START_TIMEOUT, "start", start).await;
        self.timing.sandbox += launching.elapsed();

        let running = Instant::now();
        let outcome = match started {
            Ok(started) => {
                let (limits, cancel, cpus) = (&phase.limits, &self.cancel, self.engine.cpus);
                let watch = Watch { limits, cancel, consumer, cpus, before };
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
        let collected = self.collect(&mut lease, request, &report).await?;
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

    async fn unless_canceled<T>(&self, call: impl Future<Output = T>) -> Result<T, Failure> {
        self.cancel.run_until_cancelled(call).await.ok_or(Failure::Canceled)
    }

    fn report(&self, finished: Finished) -> (Report, Vec<Captured>) {
        let (verdict, compile, run) = match finished {
            Finished::Ran { compile, run } => (run.report.verdict, compile, Some(run)),
            // Who gave up has not written a program that does not compile.
            Finished::NotCompiled(report) if report.verdict == Verdict::Canceled => {
                (Verdict::Canceled, Some(report), None)
            }
            Finished::NotCompiled(report) => (Verdict::CompileError, Some(report), None),
        };
        let (run, collected, streams) = match run {
            Some(ended) => (Some(ended.report), ended.collected, ended.streams),
            None => (None, Collected::default(), Vec::new()),
        };
        let error = run.as_ref().or(compile.as_ref()).and_then(|decisive| decisive.error.clone());
        let report = Report {
            id: self.plan.id,
            language: self.plan.executor.id.clone(),
            version: self.plan.version.clone(),
            runtime: self.plan.runtime.name().to_owned(),
            verdict,
            error,
            compile,
            run,
            timing: self.timing,
            files: collected.files,
            omitted: collected.omitted,
        };
        (report, streams)
    }

    fn error(&self, failure: Failure) -> ExecuteError {
        let error = match failure {
            Failure::Canceled => return ExecuteError::Canceled,
            Failure::Runtime(error) => error,
        };
        tracing::error!(id = %self.plan.id, runtime = self.plan.runtime.name(), %error, "the sandbox failed");
        match error {
            RuntimeError::Unavailable { reason } => ExecuteError::RuntimeUnavailable {
                runtime: self.plan.runtime.name().to_owned(),
                reason,
                retry_after: RETRY_UNAVAILABLE,
            },
            // The daemon should not have started without that limit: trying again changes nothing.
            error @ (RuntimeError::LimitNotHeld { .. }
            | RuntimeError::NotStarted { .. }
            | RuntimeError::Sandbox { .. }) => ExecuteError::Internal(error.to_string()),
        }
    }

    /// One event and one count for each execution, without a byte of what it was given or what it said.
    fn record(&self, answer: &Result<(Report, Vec<Captured>), ExecuteError>) {
        let (verdict, limit) = match answer {
            Ok((report, _)) => (report.verdict, limit_of(report)),
            Err(ExecuteError::Canceled) => (Verdict::Canceled, None),
            Err(_) => (Verdict::InternalError, None),
        };
        let (language, runtime) = (self.plan.language(), self.plan.runtime());
        self.engine.metrics.executed(language, runtime, verdict, self.timing.total);
        let us = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        tracing::info!(
            id = %self.plan.id,
            language,
            version = self.plan.version,
            runtime,
            status = verdict.as_str(),
            limit,
            queue_us = us(self.timing.queue),
            sandbox_us = us(self.timing.sandbox),
            compile_us = us(self.timing.compile),
            run_us = us(self.timing.run),
            total_us = us(self.timing.total),
            "executed"
        );
    }
}

fn limit_of(report: &Report) -> Option<&'static str> {
    let phase = report.run.as_ref().or(report.compile.as_ref())?;
    phase.limit.map(|limit| limit.as_str())
}

fn report_phase(subject: &str, outcome: &Outcome, phase: &PhasePlan) -> PhaseReport {
    let judgement = judge(subject, &outcome.evidence, &phase.limits);
    PhaseReport {
        verdict: judgement.verdict,
        limit: judgement.limit,
        error: judgement.error,
        exit: outcome.evidence.exit,
        stdout: outcome.stdout.bytes.clone(),
        stderr: outcome.stderr.bytes.clone(),
        output_truncated: outcome.stdout.truncated || outcome.stderr.truncated,
        usage: outcome.usage,
    }
}

impl Ended {
    /// A program that could not be executed, for a reason that lies with the submission.
    fn not_started(program: &str, reason: &str) -> Self {
        let report = PhaseReport {
            verdict: Verdict::RuntimeError,
            limit: None,
            error: Some(format!("{program} could not be started: {reason}")),
            exit: NOT_STARTED,
            stdout: Bytes::new(),
            stderr: Bytes::new(),
            output_truncated: false,
            usage: Usage::default(),
        };
        Self { report, collected: Collected::default(), took: Duration::ZERO, streams: Vec::new() }
    }
}
