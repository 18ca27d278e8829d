//! The answer of `POST /api/execute`. It borrows from the engine's report, so that outputs are written into the body
//! straight from where the engine gathered them.

use std::borrow::Cow;
use std::time::Duration;

use base64::display::Base64Display;
use base64::prelude::BASE64_STANDARD;
use sandboxd_contract::{CollectedFile, Exit, Omitted};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::Encoding;
use crate::engine::{PhaseReport, Report, Timing, Usage, signal_name};

/// What came of running a program. 200, whatever the program did.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct ExecuteResponse<'a> {
    /// UUIDv7 of this execution; also in the logs and in `X-Execution-Id`.
    #[schema(format = "uuid")]
    id: String,
    /// The executor's id.
    language: &'a str,
    version: &'a str,
    runtime: &'a str,
    #[schema(value_type = Status)]
    status: &'static str,
    /// Of the run phase; empty after a failed compile.
    #[schema(value_type = String)]
    stdout: Text<'a>,
    /// Of the run phase; after a failed compile, the compiler's.
    #[schema(value_type = String)]
    stderr: Text<'a>,
    /// One sentence for a person; null when `status` is `ok`.
    #[schema(required)]
    error: Option<&'a str>,
    /// Wall time of the run phase; 0 where it never ran.
    execution_time_ms: u64,
    /// Null when a signal ended the program, and when it never ran.
    #[schema(required)]
    exit_code: Option<i32>,
    /// Such as `SIGSEGV`.
    #[schema(required)]
    signal: Option<Cow<'static, str>>,
    /// Whether stdout or stderr was cut at `output_bytes`.
    output_truncated: bool,
    /// The name of the limit that ended it.
    #[schema(required)]
    limit: Option<&'static str>,
    /// Null for a language that is not compiled.
    #[schema(required)]
    compile: Option<CompileOutput<'a>>,
    usage: UsageOutput,
    timing: TimingOutput,
    /// What `collect` matched.
    files: Vec<FileOutput<'a>>,
    /// What `collect` matched too, but could not be handed back.
    omitted_files: Vec<OmittedOutput<'a>>,
}

/// The verdict.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "the document's list of the words; a test holds it to the engine's")]
pub(in crate::http) enum Status {
    Ok,
    CompileError,
    MemoryLimitExceeded,
    OutputLimitExceeded,
    TimeLimitExceeded,
    RuntimeError,
    Canceled,
    InternalError,
}

/// What the compiler did.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct CompileOutput<'a> {
    #[schema(value_type = Status)]
    status: &'static str,
    #[schema(value_type = String)]
    stdout: Text<'a>,
    #[schema(value_type = String)]
    stderr: Text<'a>,
    #[schema(required)]
    exit_code: Option<i32>,
    #[schema(required)]
    signal: Option<Cow<'static, str>>,
    #[schema(required)]
    limit: Option<&'static str>,
    /// Wall time of the compiler; of finding what it made when `cached`.
    time_ms: u64,
    /// Whether what an earlier compile of the same made was used: the words are those of then, the usage is this
    /// request's own.
    cached: bool,
    output_truncated: bool,
    usage: UsageOutput,
}

/// Resources used by one phase; what the runtime can't know is null.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Usage)]
pub(in crate::http) struct UsageOutput {
    wall_time_us: u64,
    #[schema(required)]
    cpu_time_us: Option<u64>,
    #[schema(required)]
    memory_peak_bytes: Option<u64>,
    #[schema(required)]
    processes_peak: Option<u64>,
    /// How often a new process or thread was refused.
    #[schema(required)]
    process_limit_hits: Option<u64>,
}

/// Where this request's own time went.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Timing)]
pub(in crate::http) struct TimingOutput {
    queue_us: u64,
    sandbox_us: u64,
    compile_us: u64,
    run_us: u64,
    total_us: u64,
}

/// A file of the working directory.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct FileOutput<'a> {
    path: &'a str,
    #[schema(value_type = String)]
    content: Text<'a>,
    encoding: Encoding,
    /// In bytes, before any encoding.
    size: usize,
}

#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct OmittedOutput<'a> {
    path: &'a str,
    reason: &'static str,
}

/// How many bytes of outputs and files a body will hold, before any encoding.
pub(in crate::http) fn size_hint(report: &Report) -> usize {
    let outputs = |phase: &PhaseReport| phase.stdout.len() + phase.stderr.len();
    let phases = report.compile.iter().chain(&report.run).map(outputs).sum::<usize>();
    phases + report.files.iter().map(|file| file.content.len() + file.path.len()).sum::<usize>()
}

/// The body for a report.
///
/// # Errors
/// Never in practice: texts and numbers have a JSON form.
pub(in crate::http) fn body(report: &Report, encoding: Encoding) -> Result<Vec<u8>, serde_json::Error> {
    let mut body = Vec::with_capacity(1024 + size_hint(report) * 4 / 3);
    serde_json::to_writer(&mut body, &ExecuteResponse::of(report, encoding))?;
    Ok(body)
}

impl<'a> ExecuteResponse<'a> {
    pub(in crate::http) fn of(report: &'a Report, encoding: Encoding) -> Self {
        let text = |bytes: &'a [u8]| Text { bytes, encoding };
        // Where the program never ran, the compiler is what the answer is about.
        let failed_compile = report.compile.as_ref().filter(|_| report.run.is_none());
        let last = report.run.as_ref().or(failed_compile);
        Self {
            id: report.id.to_string(),
            language: &report.language,
            version: &report.version,
            runtime: &report.runtime,
            status: report.verdict.as_str(),
            stdout: text(report.run.as_ref().map_or(&[], |run| &run.stdout)),
            stderr: text(last.map_or(&[], |phase| &phase.stderr)),
            error: report.error.as_deref(),
            execution_time_ms: report.run.as_ref().map_or(0, |run| millis(run.usage.wall_time)),
            exit_code: report.run.as_ref().and_then(|run| exit_code(run.exit)),
            signal: report.run.as_ref().and_then(|run| signal(run.exit)),
            output_truncated: last.is_some_and(|phase| phase.output_truncated),
            limit: last.and_then(|phase| phase.limit).map(|limit| limit.as_str()),
            compile: report.compile.as_ref().map(|phase| CompileOutput::of(phase, encoding)),
            usage: report.run.as_ref().map(|run| run.usage.into()).unwrap_or_default(),
            timing: report.timing.into(),
            files: report.files.iter().map(|file| FileOutput::of(file, encoding)).collect(),
            omitted_files: report.omitted.iter().map(OmittedOutput::of).collect(),
        }
    }
}

impl<'a> CompileOutput<'a> {
    fn of(phase: &'a PhaseReport, encoding: Encoding) -> Self {
        Self {
            status: phase.verdict.as_str(),
            stdout: Text { bytes: &phase.stdout, encoding },
            stderr: Text { bytes: &phase.stderr, encoding },
            exit_code: exit_code(phase.exit),
            signal: signal(phase.exit),
            limit: phase.limit.map(|limit| limit.as_str()),
            time_ms: millis(phase.usage.wall_time),
            cached: phase.cached,
            output_truncated: phase.output_truncated,
            usage: phase.usage.into(),
        }
    }
}

impl From<Usage> for UsageOutput {
    fn from(usage: Usage) -> Self {
        Self {
            wall_time_us: micros(usage.wall_time),
            cpu_time_us: usage.cpu_time.map(micros),
            memory_peak_bytes: usage.memory_peak_bytes,
            processes_peak: usage.processes_peak,
            process_limit_hits: usage.process_limit_hits,
        }
    }
}

impl From<Timing> for TimingOutput {
    fn from(timing: Timing) -> Self {
        Self {
            queue_us: micros(timing.queue),
            sandbox_us: micros(timing.sandbox),
            compile_us: micros(timing.compile),
            run_us: micros(timing.run),
            total_us: micros(timing.total),
        }
    }
}

impl<'a> FileOutput<'a> {
    fn of(file: &'a CollectedFile, encoding: Encoding) -> Self {
        let content = Text { bytes: &file.content, encoding };
        Self { path: &file.path, content, encoding, size: file.content.len() }
    }
}

impl<'a> OmittedOutput<'a> {
    fn of(omitted: &'a Omitted) -> Self {
        Self { path: &omitted.path, reason: omitted.reason }
    }
}

fn exit_code(exit: Exit) -> Option<i32> {
    match exit {
        Exit::Code(code) => Some(code),
        Exit::Signal(_) => None,
    }
}

fn signal(exit: Exit) -> Option<Cow<'static, str>> {
    match exit {
        Exit::Code(_) => None,
        Exit::Signal(number) => Some(signal_name(number)),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Bytes on their way into a JSON string. Sound UTF-8 is written as it lies in memory.
#[derive(Debug, Clone, Copy)]
struct Text<'a> {
    bytes: &'a [u8],
    encoding: Encoding,
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.encoding {
            Encoding::Utf8 => serializer.serialize_str(&String::from_utf8_lossy(self.bytes)),
            Encoding::Base64 => serializer.collect_str(&Base64Display::new(self.bytes, &BASE64_STANDARD)),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};
    use utoipa::PartialSchema;
    use uuid::Uuid;

    use super::*;
    use crate::engine::{LimitName, Verdict};

    fn phase(verdict: Verdict, exit: Exit, stdout: &'static [u8], stderr: &'static [u8]) -> PhaseReport {
        PhaseReport {
            verdict,
            limit: None,
            error: None,
            exit,
            stdout: Bytes::from_static(stdout),
            stderr: Bytes::from_static(stderr),
            output_truncated: false,
            cached: false,
            usage: Usage { wall_time: Duration::from_micros(12_900), ..Usage::default() },
        }
    }

    fn report(verdict: Verdict, compile: Option<PhaseReport>, run: Option<PhaseReport>) -> Report {
        Report {
            id: Uuid::nil(),
            language: "python".to_owned(),
            version: "3.11.2".to_owned(),
            runtime: "native".to_owned(),
            verdict,
            error: None,
            compile,
            run,
            timing: Timing { queue: Duration::from_micros(3), ..Timing::default() },
            files: Vec::new(),
            omitted: Vec::new(),
        }
    }

    fn answer(report: &Report, encoding: Encoding) -> Value {
        serde_json::from_slice(&body(report, encoding).unwrap()).unwrap()
    }

    #[test]
    fn a_program_that_ran() {
        let mut run = phase(Verdict::Ok, Exit::Code(0), b"a\xff\n", b"");
        run.usage.cpu_time = Some(Duration::from_millis(2));
        let mut report = report(Verdict::Ok, None, Some(run));
        report.files.push(CollectedFile {
            path: "out".to_owned(),
            content: Bytes::from_static(b"\0\xff"),
            executable: false,
        });
        report.omitted.push(Omitted { path: "link".to_owned(), reason: "no regular file" });
        assert_eq!(
            answer(&report, Encoding::Utf8),
            json!({
                "id": "00000000-0000-0000-0000-000000000000", "language": "python", "version": "3.11.2",
                "runtime": "native", "status": "ok", "stdout": "a\u{fffd}\n", "stderr": "", "error": null,
                "execution_time_ms": 12, "exit_code": 0, "signal": null, "output_truncated": false, "limit": null,
                "compile": null,
                "usage": {"wall_time_us": 12900, "cpu_time_us": 2000, "memory_peak_bytes": null,
                    "processes_peak": null, "process_limit_hits": null},
                "timing": {"queue_us": 3, "sandbox_us": 0, "compile_us": 0, "run_us": 0, "total_us": 0},
                "files": [{"path": "out", "content": "\0\u{fffd}", "encoding": "utf8", "size": 2}],
                "omitted_files": [{"path": "link", "reason": "no regular file"}],
            })
        );
        let encoded = answer(&report, Encoding::Base64);
        assert_eq!(encoded["stdout"], "Yf8K");
        assert_eq!(encoded["files"][0]["content"], "AP8=");
        assert_eq!(encoded["files"][0]["encoding"], "base64");
    }

    #[test]
    fn a_program_that_a_signal_ended() {
        let mut run = phase(Verdict::TimeLimitExceeded, Exit::Signal(9), b"", b"");
        run.limit = Some(LimitName::WallTimeMs);
        let answer = answer(&report(Verdict::TimeLimitExceeded, None, Some(run)), Encoding::Utf8);
        assert_eq!(answer["exit_code"], Value::Null);
        assert_eq!(answer["signal"], "SIGKILL");
        assert_eq!(answer["limit"], "wall_time_ms");
    }

    #[test]
    fn a_program_that_did_not_compile() {
        let compile = phase(Verdict::RuntimeError, Exit::Code(1), b"note", b"wrong");
        let answer = answer(&report(Verdict::CompileError, Some(compile), None), Encoding::Utf8);
        assert_eq!((&answer["stdout"], &answer["stderr"]), (&json!(""), &json!("wrong")));
        assert_eq!(answer["exit_code"], Value::Null);
        assert_eq!(answer["execution_time_ms"], 0);
        assert_eq!(answer["usage"]["wall_time_us"], 0);
        let compile = &answer["compile"];
        assert_eq!((&compile["status"], &compile["exit_code"]), (&json!("runtime_error"), &json!(1)));
        assert_eq!((&compile["stdout"], &compile["time_ms"]), (&json!("note"), &json!(12)));
    }

    #[test]
    fn the_document_knows_every_status() {
        let schema = serde_json::to_value(Status::schema()).unwrap();
        assert_eq!(schema["enum"], json!(Verdict::ALL.map(Verdict::as_str)));
    }
}
