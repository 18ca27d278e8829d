//! What an execution is told of: to the client as a report or an error, to the operator as one event and one count.
//! What happened was decided before; the words for a phase are `verdict`'s.

use std::time::Duration;

use bytes::Bytes;
use sandboxd_contract::{Collected, Exit, RuntimeError};

use super::capture::Captured;
use super::execute::{Ended, Execution, Failure, Finished};
use super::plan::PhasePlan;
use super::program_log;
use super::supervise::Outcome;
use super::verdict::judge;
use super::{ExecuteError, LimitName, PhaseReport, Report, Usage, Verdict};
use crate::telemetry::{self, Refusal};

/// What a client is told to wait when its runtime makes no sandboxes.
const RETRY_UNAVAILABLE: Duration = Duration::from_secs(5);
/// The exit code of a program that could not be executed, as shells have it.
const NOT_STARTED: Exit = Exit::Code(127);

impl Execution {
    pub(super) fn report(&self, finished: Finished) -> (Report, Vec<Captured>) {
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

    pub(super) fn error(&self, failure: Failure) -> ExecuteError {
        let error = match failure {
            Failure::Canceled => return ExecuteError::Canceled,
            Failure::Runtime(error) => error,
        };
        tracing::error!(id = %self.plan.id, runtime = self.plan.runtime.name(), %error, "the sandbox failed");
        self.engine.metrics.runtime_failed(self.plan.runtime.name(), &error);
        if matches!(error, RuntimeError::Unavailable { .. }) {
            self.engine.metrics.refused(Refusal::RuntimeUnavailable);
        }
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

    /// One event and one count for each execution, without a byte of what it was given or what it said, unless the operator
    /// wants that too.
    pub(super) fn record(&self, answer: &Result<(Report, Vec<Captured>), ExecuteError>) {
        let (verdict, limit) = match answer {
            Ok((report, _)) => (report.verdict, limit_of(report)),
            Err(ExecuteError::Canceled) => (Verdict::Canceled, None),
            Err(_) => (Verdict::InternalError, None),
        };
        let (language, runtime) = (self.plan.language(), self.plan.runtime());
        let usage = match answer {
            Ok((report, _)) => report.run.as_ref().map(|run| run.usage),
            Err(_) => None,
        };
        self.engine.metrics.executed(&telemetry::metrics::Execution {
            language,
            runtime,
            verdict,
            limit,
            usage,
            timing: &self.timing,
        });
        let us = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        tracing::info!(
            id = %self.plan.id,
            language,
            version = self.plan.version,
            runtime,
            status = verdict.as_str(),
            limit = limit.map(LimitName::as_str),
            queue_us = us(self.timing.queue),
            sandbox_us = us(self.timing.sandbox),
            compile_us = us(self.timing.compile),
            run_us = us(self.timing.run),
            total_us = us(self.timing.total),
            "executed"
        );
        if let Ok((report, _)) = answer
            && self.engine.config.log_programs
        {
            program_log::said(report);
        }
    }
}

fn limit_of(report: &Report) -> Option<LimitName> {
    report.run.as_ref().or(report.compile.as_ref())?.limit
}

pub(super) fn report_phase(subject: &str, outcome: &Outcome, phase: &PhasePlan) -> PhaseReport {
    let judgement = judge(subject, &outcome.evidence, &phase.limits);
    PhaseReport {
        verdict: judgement.verdict,
        limit: judgement.limit,
        error: judgement.error,
        exit: outcome.evidence.exit,
        stdout: outcome.stdout.bytes.clone(),
        stderr: outcome.stderr.bytes.clone(),
        output_truncated: outcome.stdout.truncated || outcome.stderr.truncated,
        cached: false,
        usage: outcome.usage,
    }
}

impl Ended {
    /// A program that could not be executed, for a reason that lies with the submission.
    pub(super) fn not_started(program: &str, reason: &str) -> Self {
        let report = PhaseReport {
            verdict: Verdict::RuntimeError,
            limit: None,
            error: Some(format!("{program} could not be started: {reason}")),
            exit: NOT_STARTED,
            stdout: Bytes::new(),
            stderr: Bytes::new(),
            output_truncated: false,
            cached: false,
            usage: Usage::default(),
        };
        Self { report, collected: Collected::default(), took: Duration::ZERO, streams: Vec::new() }
    }
}
