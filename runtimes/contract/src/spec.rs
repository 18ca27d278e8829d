//! What the engine asks for: a sandbox, a command, and the limits that only a kernel can hold.

use std::sync::Arc;

use crate::FilePath;

/// A sandbox to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSpec {
    /// The executor it is for; container runtimes derive the image from it, native does not need it.
    pub executor: String,
    /// The limits it is made for. [`crate::Sandbox::start`] may bring others.
    pub limits: KernelLimits,
    /// What may run in it already when it is handed out.
    pub prestart: Option<Arc<Prestart>>,
    pub demand: Demand,
}

impl SandboxSpec {
    /// One of its kind, with nothing started in it.
    pub fn once(executor: impl Into<String>, limits: KernelLimits) -> Self {
        Self { executor: executor.into(), limits, prestart: None, demand: Demand::Once }
    }
}

/// Whether a sandbox is worth making ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Others like it will be asked for, at any time: a runtime may keep some ready for good.
    Standing,
    /// Others like it may be asked for soon: a runtime may keep some ready for a while.
    Recurring,
    /// None like it is expected.
    Once,
}

/// An interpreter that can be started before its program is there, since it opens the program's file by name, once,
/// when it is ready for it, and does nothing before it has read that to its end. What stands at that name until then is
/// a FIFO, which keeps it waiting; the file takes its place before the interpreter is let go on.
///
/// That is all there is to it: no loader, no other arguments, nothing that the program could see. A runtime starts it
/// under the limits that the sandbox is made with, and only uses it for [`crate::Sandbox::start`] with the very same
/// command and limits on one process, and a put file of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prestart {
    pub command: Command,
    /// The program's file, in the working directory itself.
    pub script: FilePath,
}

/// The limits that a runtime installs before the program's first instruction. Supervised limits (wall time, CPU
/// time, output) are absent on purpose: no runtime can hold them its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelLimits {
    /// Memory of the whole sandbox, files that live in memory included; swap is off.
    pub memory_bytes: u64,
    /// Processes and threads of the whole sandbox, the runtime's own not counted.
    pub tasks: u64,
    /// CPU bandwidth in thousandths of one CPU; `None` leaves it open.
    pub cpu_millis: Option<u32>,
    /// Descriptors of one process: the highest number is one less.
    pub open_files: u64,
    /// Size of any one file.
    pub file_size_bytes: u64,
    /// All that is written to the working directory, temporary files and shared memory files together.
    pub disk_bytes: u64,
    /// Stack of the main thread, arguments and environment included.
    pub stack_bytes: u64,
}

/// The name of a kernel limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KernelLimit {
    Memory,
    Tasks,
    Cpu,
    OpenFiles,
    FileSize,
    Disk,
    Stack,
}

impl KernelLimits {
    /// Whether a process that was started under `other` is under these limits too. The rest is the whole sandbox's,
    /// and can be installed around a process that is there already.
    pub fn same_for_a_process(&self, other: &Self) -> bool {
        let own = |limits: &Self| (limits.open_files, limits.file_size_bytes, limits.stack_bytes);
        own(self) == own(other)
    }
}

impl KernelLimit {
    pub const ALL: [Self; 7] =
        [Self::Memory, Self::Tasks, Self::Cpu, Self::OpenFiles, Self::FileSize, Self::Disk, Self::Stack];

    /// The word for it in the configuration (`allow_missing`) and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Tasks => "processes",
            Self::Cpu => "cpu",
            Self::OpenFiles => "open_files",
            Self::FileSize => "file_size",
            Self::Disk => "disk",
            Self::Stack => "stack",
        }
    }
}

/// A program to be started in [`crate::WORK_DIR`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments, none of them with a NUL. A name without a slash is looked up in the `PATH`
    /// of `env`.
    pub argv: Vec<String>,
    /// The whole environment: nothing is inherited.
    pub env: Vec<(String, String)>,
}

/// A signal that can be sent from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGKILL to the whole tree.
    Kill,
    /// SIGINT to the first process.
    Interrupt,
    /// SIGTERM to the first process.
    Terminate,
    /// SIGHUP to the first process.
    Hangup,
    /// SIGQUIT to the first process.
    Quit,
    /// SIGUSR1 to the first process.
    User1,
    /// SIGUSR2 to the first process.
    User2,
}
