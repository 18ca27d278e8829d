//! What the engine says of itself: languages, runtimes, load. Plain values for the doors to show; how each becomes
//! known is in `discovery` and `admission`.

use std::sync::Arc;

use sandboxd_contract::Probe;

use crate::executors::Executor;

/// One executor, and how it stands with it on each runtime.
#[derive(Debug, Clone)]
pub struct LanguageStatus {
    pub executor: Arc<Executor>,
    /// In the order of the configured runtimes, each once.
    pub runtimes: Vec<LanguageOnRuntime>,
}

#[derive(Debug, Clone)]
pub struct LanguageOnRuntime {
    /// The runtime's name in the configuration.
    pub runtime: String,
    pub installation: Installation,
}

/// What is known of an executor on a runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installation {
    Installed {
        version: String,
    },
    /// One sentence: why it can't be used, with the package to install where that helps.
    Missing {
        reason: String,
    },
    /// Nobody has asked for this runtime yet.
    NotLookedFor,
}

#[derive(Debug, Clone)]
pub struct RuntimeStatus {
    /// Its name in the configuration.
    pub name: String,
    /// `native`, `docker` or `containerd`.
    pub kind: String,
    /// Whether it is the one that a submission without a runtime gets.
    pub default: bool,
    /// What it said last; `None` before it was ever asked.
    pub probe: Option<Probe>,
}

/// The load, at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub running: usize,
    pub waiting: usize,
    /// Whether new work is refused because the daemon shuts down.
    pub draining: bool,
}
