//! The configuration: read in two stages, from a shape that mirrors what was written to a [`Config`] that the daemon
//! believes, in which nothing is optional that has a default. All violations come back at once.
//!
//! `layers` gathers file and environment, `shape` mirrors them, `check` judges. Nobody reads the environment or the
//! file after this.

mod check;
mod layers;
mod runtimes;
mod shape;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandboxd_container::ReadyPolicy;
use sandboxd_containerd::CgroupDriver;
use sandboxd_contract::KernelLimit;
use tracing_subscriber::filter::Targets;

use crate::engine::LimitPolicy;

/// Everything the daemon was told, believed.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that was read, if one was.
    pub file: Option<PathBuf>,
    /// Where the daemon keeps what outlives it: prepared toolchains, its names for containers.
    pub state_dir: PathBuf,
    pub server: Server,
    pub auth: Auth,
    pub execution: Execution,
    pub run_limits: LimitPolicy,
    pub compile_limits: LimitPolicy,
    /// Folders of executors besides the built-in ones.
    pub executor_dirs: Vec<PathBuf>,
    /// Executors whose interpreters are not started before a program is there.
    pub without_prestart: Vec<String>,
    /// Whether the daemon warms toolchains up when it starts.
    pub prepare_toolchains: bool,
    pub cache: Cache,
    pub log: Log,
    /// At least one, each name once, sorted by name.
    pub runtimes: Vec<RuntimeConfig>,
}

impl Config {
    /// The names of all runtimes, the default one first.
    pub fn runtimes_by_need(&self) -> Vec<String> {
        let default = &self.execution.default_runtime;
        let others = self.runtimes.iter().map(|runtime| &runtime.name).filter(|name| *name != default);
        std::iter::once(default).chain(others).cloned().collect()
    }

    /// Whether the default runtime's programs run in an engine outside of us, that comes and goes and is not ours to mend.
    pub fn depends_on_an_engine(&self) -> bool {
        let default = &self.execution.default_runtime;
        self.runtimes.iter().any(|runtime| runtime.name == *default && runtime.kind.has_images())
    }
}

/// Who may come in; see `access`.
#[derive(Debug, Clone, Default)]
pub struct Auth {
    /// The file of bearer tokens, absolute.
    pub tokens: Option<PathBuf>,
    /// User ids, for Unix sockets; empty: whom their permissions let.
    pub unix_users: Vec<u32>,
}

#[derive(Debug, Clone)]
pub struct Server {
    /// At least one, each once.
    pub listen: Vec<ListenAddress>,
    /// The permission bits of Unix sockets.
    pub socket_mode: u32,
    /// `None`: TCP is in the clear.
    pub tls: Option<TlsFiles>,
    /// Origins whose pages may ask; `*` for all.
    pub cors_origins: Vec<String>,
    pub max_body_bytes: usize,
    pub max_connections: usize,
    /// For the head of a request, and for a connection without one.
    pub header_read_timeout: Duration,
    /// For the rest of it.
    pub body_read_timeout: Duration,
    /// How long running work may go on once the daemon was told to stop.
    pub shutdown_timeout: Duration,
}

/// In PEM, by absolute paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's own certificate first.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Execution {
    /// One of the configured runtimes.
    pub default_runtime: String,
    pub max_concurrent: usize,
    pub queue_length: usize,
    pub queue_timeout: Duration,
    pub start_timeout: Duration,
    /// `None` leaves the CPU bandwidth of a sandbox open.
    pub cpu_millis: Option<u32>,
}

/// Where compiled programs are kept.
#[derive(Debug, Clone)]
pub struct Cache {
    pub folder: PathBuf,
    /// 0 keeps nothing.
    pub max_bytes: u64,
}

#[derive(Debug, Clone)]
pub struct Log {
    pub level: Targets,
    pub format: LogFormat,
    /// Whether what programs are, are given and say stands in the log.
    pub programs: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text where it goes to a terminal, fields where it goes to systemd's journal, else JSON.
    Auto,
    Text,
    Json,
    Journald,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeConfig {
    pub name: String,
    pub kind: RuntimeKind,
}

/// One variant for each kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeKind {
    Native(NativeSettings),
    Docker(DockerSettings),
    Containerd(ContainerdSettings),
}

impl RuntimeKind {
    /// The word for it in the configuration and in answers.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Native(_) => "native",
            Self::Docker(_) => "docker",
            Self::Containerd(_) => "containerd",
        }
    }

    /// Where its sandboxes come from, in words that change when that does.
    pub fn origin(&self) -> String {
        match self {
            Self::Native(native) => format!("native {:?}", native.rootfs),
            Self::Docker(docker) => format!("docker {} {}", docker.host, docker.oci_runtime),
            Self::Containerd(ContainerdSettings { address, namespace, oci_runtime, .. }) => {
                format!("containerd {} {namespace} {oci_runtime}", address.display())
            }
        }
    }

    /// Whether its sandboxes are made from images.
    pub fn has_images(&self) -> bool {
        !matches!(self, Self::Native(_))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativeSettings {
    pub allow_missing: Vec<KernelLimit>,
    pub rootfs: Option<PathBuf>,
    pub uid_base: u32,
    /// Sandboxes that can exist at once.
    pub lanes: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerSettings {
    pub pool: PoolSettings,
    /// `unix://` and a path, or `tcp://`, a host and a port.
    pub host: String,
    /// As it is registered with the engine.
    pub oci_runtime: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerdSettings {
    pub pool: PoolSettings,
    /// The path of its socket.
    pub address: PathBuf,
    pub namespace: String,
    /// `runc`, `runsc`, the path of a binary like them, or the name of a shim.
    pub oci_runtime: String,
    pub snapshotter: String,
    /// `None`: whichever the host has.
    pub cgroup_driver: Option<CgroupDriver>,
}

/// What runtimes that keep containers have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSettings {
    pub ready: ReadyPolicy,
    pub allow_missing: Vec<KernelLimit>,
}

/// What built-in defaults depend on. A value, so that tests need no environment of their own.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    pub variables: Vec<(String, String)>,
    pub cpus: usize,
    pub is_root: bool,
}

impl Surroundings {
    /// Those of this process. A variable that is no UTF-8 becomes text with U+FFFD in it.
    pub fn of_process() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Self {
            variables: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            is_root: nix::unistd::geteuid().is_root(),
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let (_, value) = self.variables.iter().find(|(known, _)| known == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }
}

/// Everything that is wrong with the configuration, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub violations: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.violations.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// Reads `file`, or the usual one, or none; then the environment; and believes the result or says why not.
///
/// # Errors
/// Every violation.
pub fn load(file: Option<&Path>, surroundings: &Surroundings) -> Result<Config, ConfigError> {
    let variables = surroundings.variables.iter();
    let environment = variables.map(|(name, value)| (name.as_str(), value.as_str()));
    check::config(layers::Layers::gather(file, environment), surroundings)
}
