//! What crosses the engine's door: a submission going in, a report coming out. No wire format: the doors
//! translate. Everything in a [`Submission`] is as somebody asked for it; [`super::plan`] makes it believable.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sandboxd_contract::{CollectedFile, Exit, Omitted};
use uuid::Uuid;

/// One program to be run, as asked for.
#[derive(Debug, Clone, Default)]
pub struct Submission {
    pub language: String,
    pub version: Option<String>,
    pub source: Source,
    pub entry: Option<String>,
    pub stdin: Bytes,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub compile_args: Option<Vec<String>>,
    pub limits: LimitRequest,
    pub compile_limits: LimitRequest,
    pub runtime: Option<String>,
    pub collect: Vec<String>,
    pub client: ClientKey,
    pub ceilings: Ceilings,
}

/// What whoever asks may have at most, where that is less than what the configuration lets everybody have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ceilings {
    pub run: LimitRequest,
    pub compile: LimitRequest,
}

/// Who asks: an opaque word, equal for all that share a line in the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ClientKey(Arc<str>);

impl ClientKey {
    pub fn new(word: &str) -> Self {
        Self(word.into())
    }
}

#[derive(Debug, Clone)]
pub enum Source {
    /// One file, under the executor's own source name.
    Code(Bytes),
    Files(Vec<SubmittedFile>),
}

impl Default for Source {
    fn default() -> Self {
        Self::Code(Bytes::new())
    }
}

#[derive(Debug, Clone)]
pub struct SubmittedFile {
    pub path: String,
    pub content: Bytes,
    pub executable: bool,
}

/// The nine limits, by their names in requests, configuration and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LimitName {
    WallTimeMs,
    CpuTimeMs,
    MemoryBytes,
    Processes,
    OutputBytes,
    FileSizeBytes,
    DiskBytes,
    OpenFiles,
    StackBytes,
}

impl LimitName {
    pub const ALL: [Self; 9] = [
        Self::WallTimeMs,
        Self::CpuTimeMs,
        Self::MemoryBytes,
        Self::Processes,
        Self::OutputBytes,
        Self::FileSizeBytes,
        Self::DiskBytes,
        Self::OpenFiles,
        Self::StackBytes,
    ];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|limit| limit.as_str() == name)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::WallTimeMs => "wall_time_ms",
            Self::CpuTimeMs => "cpu_time_ms",
            Self::MemoryBytes => "memory_bytes",
            Self::Processes => "processes",
            Self::OutputBytes => "output_bytes",
            Self::FileSizeBytes => "file_size_bytes",
            Self::DiskBytes => "disk_bytes",
            Self::OpenFiles => "open_files",
            Self::StackBytes => "stack_bytes",
        }
    }
}

/// A full set of limits, one number each, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits([u64; LimitName::ALL.len()]);

impl Limits {
    /// In the order of [`LimitName::ALL`].
    pub const fn new(values: [u64; LimitName::ALL.len()]) -> Self {
        Self(values)
    }

    pub fn get(&self, name: LimitName) -> u64 {
        self.0[name as usize]
    }

    pub fn set(&mut self, name: LimitName, value: u64) {
        self.0[name as usize] = value;
    }

    pub fn wall_time(&self) -> Duration {
        Duration::from_millis(self.get(LimitName::WallTimeMs))
    }

    pub fn cpu_time(&self) -> Duration {
        Duration::from_millis(self.get(LimitName::CpuTimeMs))
    }
}

/// Limits as somebody asked for them: any may be left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitRequest([Option<u64>; LimitName::ALL.len()]);

impl LimitRequest {
    pub fn get(&self, name: LimitName) -> Option<u64> {
        self.0[name as usize]
    }

    pub fn set(&mut self, name: LimitName, value: Option<u64>) {
        self.0[name as usize] = value;
    }
}

/// Defaults and maxima of one phase, as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitPolicy {
    pub default: Limits,
    pub max: Limits,
}

const MIB: u64 = 1 << 20;

impl LimitPolicy {
    /// For somebody who may have less: maxima as low as these, and defaults that keep below them.
    #[must_use]
    pub fn within(mut self, ceilings: &LimitRequest) -> Self {
        for name in LimitName::ALL {
            let max =
                ceilings.get(name).map_or(self.max.get(name), |ceiling| ceiling.min(self.max.get(name)));
            self.max.set(name, max);
            self.default.set(name, self.default.get(name).min(max));
        }
        self
    }

    /// The built-in policy of the run phase.
    pub const RUN: Self = Self {
        default: Limits::new([10_000, 10_000, 256 * MIB, 64, MIB, 64 * MIB, 256 * MIB, 256, 64 * MIB]),
        max: Limits::new([
            60_000,
            60_000,
            2048 * MIB,
            512,
            16 * MIB,
            1024 * MIB,
            1024 * MIB,
            4096,
            256 * MIB,
        ]),
    };
    /// The built-in policy of the compile phase.
    pub const COMPILE: Self = Self {
        default: Limits::new([30_000, 30_000, 1024 * MIB, 256, MIB, 256 * MIB, 512 * MIB, 1024, 64 * MIB]),
        max: Limits::new([
            120_000,
            120_000,
            4096 * MIB,
            1024,
            16 * MIB,
            1024 * MIB,
            2048 * MIB,
            4096,
            256 * MIB,
        ]),
    };
}

/// Something in a submission that can't be believed. All of them come back at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub kind: ViolationKind,
    /// Where, as a client would write it: `limits.memory_bytes`, `files[2].path`.
    pub field: String,
    /// One sentence: what is wrong and what is allowed.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => out.write_str(&self.message),
            field => write!(out, "{field}: {}", self.message),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViolationKind {
    InvalidRequest,
    UnknownField,
    UnknownLanguage,
    UnknownRuntime,
    LimitTooHigh,
    InvalidPath,
}

impl ViolationKind {
    /// The `code` of the HTTP contract.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::UnknownField => "unknown_field",
            Self::UnknownLanguage => "unknown_language",
            Self::UnknownRuntime => "unknown_runtime",
            Self::LimitTooHigh => "limit_too_high",
            Self::InvalidPath => "invalid_path",
        }
    }
}

/// The one word that an outcome comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    Ok,
    CompileError,
    MemoryLimitExceeded,
    OutputLimitExceeded,
    TimeLimitExceeded,
    RuntimeError,
    Canceled,
    InternalError,
}

impl Verdict {
    pub const ALL: [Self; 8] = [
        Self::Ok,
        Self::CompileError,
        Self::MemoryLimitExceeded,
        Self::OutputLimitExceeded,
        Self::TimeLimitExceeded,
        Self::RuntimeError,
        Self::Canceled,
        Self::InternalError,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::CompileError => "compile_error",
            Self::MemoryLimitExceeded => "memory_limit_exceeded",
            Self::OutputLimitExceeded => "output_limit_exceeded",
            Self::TimeLimitExceeded => "time_limit_exceeded",
            Self::RuntimeError => "runtime_error",
            Self::Canceled => "canceled",
            Self::InternalError => "internal_error",
        }
    }
}

/// What happened to one phase.
#[derive(Debug, Clone)]
pub struct PhaseReport {
    pub verdict: Verdict,
    /// The limit that ended it, if one did.
    pub limit: Option<LimitName>,
    /// One sentence for a person; `None` when the verdict is [`Verdict::Ok`].
    pub error: Option<String>,
    pub exit: Exit,
    pub stdout: Bytes,
    pub stderr: Bytes,
    pub output_truncated: bool,
    /// What an earlier compile made was used, and its words; no process ran.
    pub cached: bool,
    pub usage: Usage,
}

/// Resources used by one phase. `None`: the runtime can't know it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub wall_time: Duration,
    pub cpu_time: Option<Duration>,
    pub memory_peak_bytes: Option<u64>,
    pub processes_peak: Option<u64>,
    pub process_limit_hits: Option<u64>,
}

/// Where a request's own time went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    pub queue: Duration,
    pub sandbox: Duration,
    pub compile: Duration,
    pub run: Duration,
    pub total: Duration,
}

/// The answer to a submission.
#[derive(Debug, Clone)]
pub struct Report {
    pub id: Uuid,
    /// The executor's id and version, and the runtime's name in the configuration.
    pub language: String,
    pub version: String,
    pub runtime: String,
    pub verdict: Verdict,
    /// One sentence for a person; `None` when the verdict is [`Verdict::Ok`].
    pub error: Option<String>,
    pub compile: Option<PhaseReport>,
    /// `None` when the program never ran.
    pub run: Option<PhaseReport>,
    pub timing: Timing,
    pub files: Vec<CollectedFile>,
    /// What `collect` matched but could not be handed back.
    pub omitted: Vec<Omitted>,
}

/// Why there is no report.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExecuteError {
    #[error("{reason}")]
    Overloaded { reason: String, retry_after: Duration },
    #[error("the daemon is shutting down and takes no new work")]
    Draining,
    #[error("runtime {runtime}: {reason}")]
    RuntimeUnavailable { runtime: String, reason: String, retry_after: Duration },
    #[error("canceled")]
    Canceled,
    /// The sandbox failed, not the program.
    #[error("{0}")]
    Internal(String),
}

/// What happens while a submission runs, for doors that stream.
#[derive(Debug, Clone)]
pub enum Event {
    Started { id: Uuid },
    Compiled(PhaseReport),
    Output { stream: Stream, data: Bytes },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}
