//! What sandboxd asks of an engine that makes containers. It says how, never when, how many or whether.
//!
//! Every call to an engine has a deadline of the backend's own, and every container, snapshot, lease and pipe that it
//! makes carries the owner's and the sandbox's name, so that a later daemon finds what a dead one left.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use sandboxd_contract::{KernelLimit, KernelLimits, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use uuid::Uuid;

/// Where the agent is seen in every container, read-only.
pub const AGENT_PATH: &str = "/.sandboxd/agent";
/// The tmpfs of every container: [`sandboxd_contract::WORK_DIR`] and the other folders that count as its disk.
pub const DISK_DIR: &str = "/box";
/// Where gVisor finds no /tmp, or an empty one, it mounts a tmpfs of its own there, without any size: a second disk, which
/// no limit holds. Something must lie in it, and this is the least that can: a tmpfs that is empty and stays so.
pub const GVISOR_TMP_GUARD: &str = "/box/tmp/.sandboxd";
pub const GVISOR_TMP_GUARD_OPTIONS: [&str; 6] = ["ro", "noexec", "nosuid", "nodev", "mode=0555", "size=4096"];
/// Inodes of that tmpfs, each charged to the program's memory.
pub const DISK_INODES: u64 = 64 * 1024;
/// The label, or whatever an engine calls it, with the name of the daemon that made something.
pub const OWNER_LABEL: &str = "org.sandboxd.owner";
/// The label with the sandbox's name.
pub const SANDBOX_LABEL: &str = "org.sandboxd.sandbox";
const NAME_PREFIX: &str = "sandboxd-";
/// What the agent may do until the program is started as somebody else: chown(2) and write what it puts, become the
/// program's user, empty the bounding set, kill what it does not own. Everything else is dropped.
pub const AGENT_CAPABILITIES: [&str; 6] =
    ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID"];

/// The image of an executor: made by `sandboxd images build`, or brought by `sandboxd images import`.
pub fn image_of(executor: &str) -> String {
    format!("sandboxd/{executor}:latest")
}

/// The executor whose image has this name, if it is one's.
pub fn executor_of(image: &str) -> Option<&str> {
    image.strip_prefix("sandboxd/")?.strip_suffix(":latest")
}

/// One engine, as configured.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Reaches the engine and finds out what it is; changes nothing.
    ///
    /// # Errors
    /// One sentence with the command that mends it where there is one.
    async fn examine(&self) -> std::result::Result<Examined, String>;

    /// Creates a container and starts it. The agent is its first process and says Hello on `stdout` when it is ready.
    ///
    /// # Errors
    /// Nothing is left then. [`sandboxd_contract::RuntimeError::Unavailable`] when the engine can't be reached or the
    /// image is not there, with the command that makes it.
    async fn create(&self, spec: &ContainerSpec) -> Result<Container>;

    /// Everything of any sandboxd that this engine holds, whole or in parts.
    async fn list(&self) -> Result<Vec<Leftover>>;
}

/// What can be done with one container.
#[async_trait]
pub trait Handle: Send + Sync + 'static {
    /// Installs other limits on memory, tasks and CPU bandwidth, where this host's cgroups can't be written directly.
    async fn update(&self, limits: &KernelLimits) -> Result<()>;

    /// What the engine knows of it: the second witness.
    async fn witness(&self) -> Result<Witness>;

    /// CPU time by the engine's word, for a container whose cgroup can't be read; `None` where it does not say. An engine
    /// may take a second for it.
    async fn cpu_time(&self) -> Option<Duration> {
        None
    }

    /// Whether the engine has told that something in it was killed for memory, as far as it was heard by now; costs no
    /// call. `None` where it is not listened to: here the cgroup says it first.
    fn saw_out_of_memory(&self) -> Option<bool> {
        None
    }

    /// Kills everything in it and removes all of it; idempotent, also when parts are gone. Never twice at once.
    async fn remove(&self) -> Result<()>;
}

/// What a backend found out about its engine.
#[derive(Debug, Clone)]
pub struct Examined {
    /// Name and value of what an operator should know: versions, OCI runtime, storage and cgroup driver.
    pub details: Vec<(&'static str, String)>,
    /// The OCI runtime is gVisor: a kernel of its own between program and host. Its threads count as the container's
    /// tasks, its memory as the container's, and a kill for memory takes the whole container.
    pub gvisor: bool,
    /// Limits that this engine can't install, and why.
    pub missing: Vec<(KernelLimit, String)>,
    /// The engine's containers are processes of this very host.
    pub local: bool,
}

/// A container to be made.
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    /// The sandbox's name, which is no other's, of a-z, 0-9 and `-`.
    pub name: String,
    /// The name of the daemon that makes it.
    pub owner: String,
    pub executor: String,
    /// Memory, tasks, CPU bandwidth and disk; what one process may use is the agent's to install.
    pub limits: KernelLimits,
    /// The agent's file on this host.
    pub agent: PathBuf,
}

/// A container that was made and started.
pub struct Container {
    pub handle: std::sync::Arc<dyn Handle>,
    /// Its first process as this host sees it.
    pub pid: Option<i32>,
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// Ends when the container does; or when only the connection does, so that an end is to be confirmed.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
}

/// The name of a new sandbox.
pub(crate) fn new_name() -> String {
    format!("{NAME_PREFIX}{}", Uuid::now_v7().simple())
}

/// Whether a sandbox may have this name, so that what nothing else tells of is sandboxd's.
pub fn is_sandbox_name(name: &str) -> bool {
    name.strip_prefix(NAME_PREFIX).is_some_and(|unique| unique.len() == 32 && Uuid::try_parse(unique).is_ok())
}

/// Something that an earlier daemon may have left.
pub struct Leftover {
    /// The name of the daemon that made it; nobody's when the engine itself has lost it, and then it is anybody's to
    /// remove.
    pub owner: Option<String>,
    /// The sandbox's name.
    pub sandbox: String,
    pub handle: std::sync::Arc<dyn Handle>,
}

/// An engine's word on one container. `None` is "it does not say".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Witness {
    /// Whether its first process is alive; `None` also when the engine can't be asked.
    pub running: Option<bool>,
    /// Whether the kernel killed something in it for memory.
    pub out_of_memory: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_is_known_by_its_name() {
        assert!(is_sandbox_name(&new_name()));
        for other in ["sandboxd-", "sandboxd-web", "web", "sandboxd-01936b3c-3f4e-7000-8000-000000000000"] {
            assert!(!is_sandbox_name(other), "{other}");
        }
    }
}
