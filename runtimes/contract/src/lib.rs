//! What sandboxd asks of a runtime, and nothing else.
//!
//! A runtime makes empty sandboxes, runs one program in each and reports facts. It never decides: wall time,
//! CPU time and output limits stay with the engine, and so do verdicts. What lives here are the three traits,
//! the types that cross them and the errors, one variant for each reaction of the caller. With the feature
//! `testing` come the conformance suite that every runtime passes and the scripted fake that the engine is
//! tested on.
//!
//! Deliberately absent: serde (only the edges serialise), HTTP, verdicts, and any knowledge of languages.

mod error;
mod facts;
mod spec;
mod stock;
#[cfg(feature = "testing")]
pub mod testing;

use async_trait::async_trait;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

pub use error::{Result, RuntimeError};
pub use facts::{Exit, Facts, LimitSupport, Probe, Swept};
pub use sandboxd_files::{
    CollectRequest, Collected, CollectedFile, File, FilePath, Glob, Omitted, PathError, TMP_DIR, WORK_DIR,
};
pub use spec::{Command, Demand, KernelLimit, KernelLimits, Prestart, SandboxSpec, Signal};
pub use stock::{Making, Stock, StockLevel};

/// Where prepared toolchains (build caches, precompiled headers) are seen, read-only, one folder an executor.
pub const TOOLCHAIN_DIR: &str = "/opt/toolchains";

/// A source of sandboxes: one configured instance of native namespaces, Docker Engine or containerd.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// The name it has in the configuration, as it stands in answers and metrics.
    fn name(&self) -> &str;

    /// Says whether it can run here, which limits it can hold and what else an operator should know.
    /// Called at start and by `doctor`; may take a second, changes nothing.
    async fn probe(&self) -> Probe;

    /// Hands out a sandbox that is ready for a program, made ahead or made now. Dropping the future gives up.
    ///
    /// # Errors
    /// On any error nothing is left behind. [`RuntimeError::LimitNotHeld`] when `spec` asks for a limit that
    /// this host can't install and the configuration does not name the gap.
    async fn launch(&self, spec: &SandboxSpec) -> Result<Box<dyn Sandbox>>;

    /// Removes what an earlier daemon that is dead now left behind; idempotent. Called before the first launch.
    async fn sweep(&self) -> Result<Swept>;

    /// Ends every sandbox and removes all that this runtime made on the host; idempotent. No launch succeeds after.
    async fn shutdown(&self) -> Result<()>;
}

/// One isolated place to run one program; used once, then destroyed.
#[async_trait]
pub trait Sandbox: Send + Sync {
    /// Puts files below the working directory, owned by the program's user. Before [`Sandbox::start`] only.
    /// A runtime may defer the work, and its errors, to `start` and [`Process::wait`].
    async fn put(&mut self, files: Vec<File>) -> Result<()>;

    /// Starts the program under `limits`; once per sandbox. Never waits for the program.
    ///
    /// # Errors
    /// [`RuntimeError::LimitNotHeld`] for a limit that can't be installed. A program that can't be executed is
    /// [`RuntimeError::NotStarted`], here or from [`Process::wait`].
    async fn start(&mut self, command: Command, limits: &KernelLimits) -> Result<Started>;

    /// What is known of the sandbox's use of resources so far; after the end, the final figures. Cheap enough to poll.
    async fn facts(&self) -> Result<Facts>;

    /// Reads files out of the working directory once the program has ended: regular files with one name, reached
    /// without following any link.
    async fn collect(&mut self, request: &CollectRequest) -> Result<Collected>;

    /// Kills the whole tree and gives everything back; idempotent, and right at any point of a sandbox's life.
    /// Dropping a sandbox without it must not leak either, but may take longer.
    async fn destroy(&mut self) -> Result<()>;
}

/// The first process of a sandbox.
#[async_trait]
pub trait Process: Send + Sync {
    /// Waits for the end of the first process. By then the runtime has killed whatever it left behind, so the
    /// streams end and nothing changes the working directory any more. Cancel-safe; the answer is sticky.
    async fn wait(&mut self) -> Result<Exit>;

    /// Sends a signal: [`Signal::Kill`] takes the whole tree, whatever it does with sessions, children and stop
    /// signals; any other goes to the first process. Signalling what has ended is not an error.
    async fn signal(&self, signal: Signal) -> Result<()>;
}

/// A started program and its three streams. Dropping `stdin` is the program's end of file; dropping `stdout` or
/// `stderr` closes the reading end.
pub struct Started {
    /// When the program was let go: its wall time counts from here, not from when that was heard of.
    pub since: Instant,
    pub process: Box<dyn Process>,
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
}
