//! One program in one sandbox, from its start to its end: feeds it, reads it, watches its limits, kills it, measures
//! it. Ends with what happened; what that is called is decided in `verdict`.
//!
//! ```text
//!             the program ended ─────────────────────────────────────────┐
//!  started ──┤                                                           ├─> drained ─> measured ─> Outcome
//!             a breach (canceled, output, wall, CPU) ─> killed ─> ended ─┘
//!                                                        └ or not acknowledged in time: the sandbox is
//!                                                          destroyed anyway, so the answer does not wait
//! ```
//!
//! All the while stdin is written and both outputs are read, each at its own pace, so that no full pipe can hold up
//! another.

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use sandboxd_contract::{Exit, Facts, Process, RuntimeError, Sandbox, Signal, Started};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::capture::{Capture, Captured};
use super::verdict::Evidence;
use super::{Event, LimitName, Limits, Stream, Usage};

/// A killed program's end is waited for so long, then its pipes, then its figures: an answer comes at most a second
/// after its limit, whatever state the sandbox is in.
const KILL_TIMEOUT: Duration = Duration::from_millis(500);
const KILLED_DRAIN_TIMEOUT: Duration = Duration::from_millis(100);
const KILLED_FACTS_TIMEOUT: Duration = Duration::from_millis(400);
/// A program that ended by itself has its pipes read to their end, which the runtime promises to come, and its
/// figures waited for: without them there is no verdict.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
const FACTS_TIMEOUT: Duration = Duration::from_secs(2);

/// The CPU time is never looked at more often than this.
const CPU_POLL_MIN: Duration = Duration::from_millis(5);
/// Nor more seldom, though more CPUs than we know of would be needed for that to matter: with the kill behind it, the
/// program is gone within 100 ms of its limit.
const CPU_POLL_MAX: Duration = Duration::from_millis(50);
/// So many failed looks in a row mean that the CPU limit can't be held.
const CPU_POLL_FAILURES: u32 = 3;
const CPU_POLL_TIMEOUT: Duration = Duration::from_millis(400);

/// What a program is held to, and who listens.
pub(super) struct Watch<'a> {
    pub limits: &'a Limits,
    pub cancel: &'a CancellationToken,
    pub consumer: Option<mpsc::Sender<Event>>,
    /// CPUs that the program could keep busy at once.
    pub cpus: u32,
}

/// What happened. Numbers only.
#[derive(Debug)]
pub(super) struct Outcome {
    pub evidence: Evidence,
    pub usage: Usage,
    pub stdout: Captured,
    pub stderr: Captured,
}

/// Why a program is killed.
#[derive(Debug)]
enum Breach {
    Canceled,
    Output,
    WallTime,
    CpuTime,
    /// A limit can't be watched any more.
    Blind(RuntimeError),
}

/// How it ended: by itself or for a breach.
struct Ending {
    exit: Exit,
    breach: Option<Breach>,
    wall_time: Duration,
}

/// # Errors
/// [`RuntimeError::NotStarted`] when the program turns out not to be executable; any other error is the sandbox's.
pub(super) async fn supervise(
    sandbox: &dyn Sandbox,
    started: Started,
    input: Bytes,
    watch: Watch<'_>,
) -> Result<Outcome, RuntimeError> {
    let Started { since: begun, mut process, stdin, stdout, stderr } = started;
    let capture = |stream, reader| {
        Capture::new(stream, reader, watch.limits.get(LimitName::OutputBytes), watch.consumer.clone())
    };
    let mut stdout = capture(Stream::Stdout, stdout);
    let mut stderr = capture(Stream::Stderr, stderr);

    let overflow = Notify::new();
    let streams = async {
        tokio::join!(feed(stdin, input), read(&mut stdout, &overflow), read(&mut stderr, &overflow));
        pending().await
    };
    let ending = tokio::select! {
        ending = end(&mut *process, sandbox, &watch, &overflow, begun) => ending?,
        ending = streams => ending,
    };
    drain(&mut stdout, &mut stderr, ending.breach.is_some()).await?;
    let after = final_facts(sandbox, &ending).await?;
    conclude(ending, &watch, after, stdout, stderr)
}

/// Waits for the end, or brings it about.
async fn end(
    process: &mut dyn Process,
    sandbox: &dyn Sandbox,
    watch: &Watch<'_>,
    overflow: &Notify,
    begun: Instant,
) -> Result<Ending, RuntimeError> {
    let breach = tokio::select! {
        biased;
        exit = process.wait() => {
            return Ok(Ending { exit: exit?, breach: None, wall_time: begun.elapsed() });
        }
        () = watch.cancel.cancelled() => Breach::Canceled,
        () = overflow.notified() => Breach::Output,
        () = sleep_until(begun + watch.limits.wall_time()) => Breach::WallTime,
        spent = cpu_spent(sandbox, watch) => match spent {
            Ok(()) => Breach::CpuTime,
            Err(error) => Breach::Blind(error),
        },
    };
    let exit = kill(process).await;
    Ok(Ending { exit, breach: Some(breach), wall_time: begun.elapsed() })
}

/// Kills the program and waits for its end. Where none is told, the sandbox is about to be destroyed, which kills for
/// good, and the ending is the signal that was sent.
async fn kill(process: &mut dyn Process) -> Exit {
    const SIGKILL: i32 = 9;
    let killed = async {
        process.signal(Signal::Kill).await?;
        process.wait().await
    };
    match timeout(KILL_TIMEOUT, killed).await {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => {
            tracing::warn!(%error, "a killed program's end was not told");
            Exit::Signal(SIGKILL)
        }
        Err(_elapsed) => {
            tracing::warn!("a killed program's end was not told in time");
            Exit::Signal(SIGKILL)
        }
    }
}

/// Ends when the CPU time is spent. With every CPU busy, what is left can't be spent before the next look.
async fn cpu_spent(sandbox: &dyn Sandbox, watch: &Watch<'_>) -> Result<(), RuntimeError> {
    let limit = watch.limits.cpu_time();
    let mut used = Duration::ZERO;
    let mut failures = 0;
    loop {
        let soonest = limit.saturating_sub(used) / watch.cpus.max(1);
        sleep(soonest.clamp(CPU_POLL_MIN, CPU_POLL_MAX)).await;
        match measured(sandbox, CPU_POLL_TIMEOUT).await {
            Ok(facts) => match facts.cpu_time {
                Some(now) if now >= limit => return Ok(()),
                Some(now) => (used, failures) = (now, 0),
                // Not to be known here: `probe` has said so.
                None => pending().await,
            },
            Err(error) => {
                failures += 1;
                if failures == CPU_POLL_FAILURES {
                    return Err(error);
                }
            }
        }
    }
}

/// A program that was killed has its verdict without its figures; they are then said to be unknown.
async fn final_facts(sandbox: &dyn Sandbox, ending: &Ending) -> Result<Facts, RuntimeError> {
    if ending.breach.is_none() {
        return measured(sandbox, FACTS_TIMEOUT).await;
    }
    Ok(measured(sandbox, KILLED_FACTS_TIMEOUT).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "a killed program's figures are not known");
        Facts::default()
    }))
}

async fn measured(sandbox: &dyn Sandbox, patience: Duration) -> Result<Facts, RuntimeError> {
    timeout(patience, sandbox.facts())
        .await
        .unwrap_or_else(|_| Err(RuntimeError::sandbox("facts", "took too long")))
}

/// Writes all of stdin, then closes it. A program that reads none of it, or ends while there is more, is no error.
async fn feed(mut stdin: Box<dyn AsyncWrite + Send + Unpin>, input: Bytes) {
    if stdin.write_all(&input).await.is_ok() {
        let _closed = stdin.shutdown().await;
    }
}

async fn read(capture: &mut Capture, overflow: &Notify) {
    capture.read().await;
    if capture.overflowed() {
        overflow.notify_one();
        capture.discard().await;
    }
}

/// Reads what is still in the pipes of a program that has ended.
async fn drain(stdout: &mut Capture, stderr: &mut Capture, killed: bool) -> Result<(), RuntimeError> {
    let patience = if killed { KILLED_DRAIN_TIMEOUT } else { DRAIN_TIMEOUT };
    let _cut = timeout(patience, async { tokio::join!(stdout.read(), stderr.read()) }).await;
    if killed {
        // What came is what there is.
        return Ok(());
    }
    for (name, capture) in [("stdout", stdout), ("stderr", stderr)] {
        if let Some(error) = capture.failure() {
            return Err(RuntimeError::sandbox(format!("read {name}"), error));
        }
        if capture.is_open() {
            return Err(RuntimeError::sandbox(format!("read {name}"), "it did not end with the program"));
        }
    }
    Ok(())
}

fn conclude(
    ending: Ending,
    watch: &Watch<'_>,
    after: Facts,
    stdout: Capture,
    stderr: Capture,
) -> Result<Outcome, RuntimeError> {
    let (canceled, wall_ran_out, cpu_ran_out) = match ending.breach {
        Some(Breach::Blind(error)) => return Err(error),
        Some(Breach::Canceled) => (true, false, false),
        Some(Breach::WallTime) => (false, true, false),
        Some(Breach::CpuTime) => (false, false, true),
        Some(Breach::Output) | None => (false, false, false),
    };
    let evidence = Evidence {
        canceled,
        out_of_memory: after.oom_kills > Some(0),
        overflowed: match (stdout.overflowed(), stderr.overflowed()) {
            (true, _) => Some(Stream::Stdout),
            (false, true) => Some(Stream::Stderr),
            (false, false) => None,
        },
        wall_ran_out,
        // A program that ended between two looks has its limit all the same.
        cpu_ran_out: cpu_ran_out || after.cpu_time.is_some_and(|time| time >= watch.limits.cpu_time()),
        exit: ending.exit,
    };
    let usage = Usage {
        wall_time: ending.wall_time,
        cpu_time: after.cpu_time,
        memory_peak_bytes: after.memory_peak_bytes,
        processes_peak: after.tasks_peak,
        process_limit_hits: after.task_limit_hits,
    };
    Ok(Outcome { evidence, usage, stdout: stdout.close(), stderr: stderr.close() })
}
