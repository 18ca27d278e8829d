//! What a runtime reports. Numbers only: the engine alone names them.

use std::time::Duration;

use crate::KernelLimit;

/// How the first process of a sandbox ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It ended by itself, with this exit code (0 to 255).
    Code(i32),
    /// This signal ended it (a number of signal(7)).
    Signal(i32),
}

/// Use of resources by one whole sandbox, from the program's start: what making it ready has cost is the runtime's own
/// and not in here. `None` is "can't be known here", never a guess and never 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// User and system time of every process, reaped ones included.
    pub cpu_time: Option<Duration>,
    /// Highest memory charge, page cache and tmpfs included.
    pub memory_peak_bytes: Option<u64>,
    /// How many processes the kernel killed for memory.
    pub oom_kills: Option<u64>,
    /// Most tasks alive at once, the runtime's own not counted.
    pub tasks_peak: Option<u64>,
    /// How often a new task was refused by the task limit.
    pub task_limit_hits: Option<u64>,
}

/// What a runtime can do on this host.
#[derive(Debug, Clone)]
pub struct Probe {
    /// `Err` with one sentence, the mending command in it where there is one, when it can't run at all.
    pub available: Result<(), String>,
    /// Every kernel limit, once each.
    pub limits: Vec<(KernelLimit, LimitSupport)>,
    /// Name and value of what an operator should know: isolation layers, versions, modes.
    pub details: Vec<(&'static str, String)>,
}

impl Probe {
    /// The limits that are neither held nor named as an accepted gap.
    pub fn missing(&self) -> impl Iterator<Item = (KernelLimit, &str)> {
        self.limits.iter().filter_map(|(limit, support)| match support {
            LimitSupport::Missing(reason) => Some((*limit, reason.as_str())),
            LimitSupport::Held | LimitSupport::Waived(_) => None,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitSupport {
    Held,
    /// Can't be held, for this reason, and the configuration says that this is accepted.
    Waived(String),
    /// Can't be held, for this reason: the daemon refuses to start.
    Missing(String),
}

/// What a sweep found and removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    pub sandboxes: usize,
    pub processes: usize,
}
