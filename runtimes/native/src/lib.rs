//! The embedded runtime: sandboxes made of Linux namespaces, cgroups, seccomp and landlock. Nothing to install.
//!
//! A small spawner process keeps one lane for each sandbox that may be in use; each lane keeps one single-use slot
//! ready. `protocol` draws who talks to whom. The daemon side is asynchronous (`pool`, `lane_client`, `sandbox`); the
//! other side is ordinary code of one thread (`spawner`, `lane`, `slot`, `init`, `guest`). All `unsafe` is in `sys`.
//!
//! A program that embeds this crate calls [`become_spawner_if_asked`] first thing in `main`.

mod ahead;
mod cpu_clock;
mod demand;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guest;
mod init;
mod landlock;
mod lane;
mod lane_client;
mod launching;
mod packet;
mod pool;
mod protocol;
mod put;
mod rootfs;
mod sandbox;
mod seccomp;
mod slot;
mod spawner;
mod spawner_link;
mod sys;

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use nix::{
    sys::resource::{Resource, getrlimit},
    unistd::geteuid,
};
use sandboxd_cgroup::{Layout, Subtree};
use sandboxd_contract::{
    KernelLimit, KernelLimits, LimitSupport, Probe, Result, Runtime, RuntimeError, Sandbox, SandboxSpec,
    Stock, Swept,
};
use tokio::sync::OnceCell;

use crate::{
    pool::Pool,
    protocol::{Setup, SlotLimits},
    sandbox::NativeSandbox,
    spawner_link::Keeper,
};

pub use crate::sys::hand_large_buffers_back;

/// The first of our own user ids, where the configuration names none: beyond what distributions, systemd and
/// containers hand out.
pub const DEFAULT_UID_BASE: u32 = 1_900_000_000;

#[derive(Debug, Clone)]
pub struct NativeConfig {
    /// Sandboxes that can exist at once, at most [`NativeConfig::MAX_LANES`].
    pub lanes: u32,
    /// A root filesystem of the operator's, instead of the host's /usr and a made /etc.
    pub rootfs: Option<PathBuf>,
    /// The folder of prepared toolchains, seen read-only in every sandbox.
    pub toolchains: Option<PathBuf>,
    /// As root: the first of the user and group ids that belong to nobody else; two for each lane.
    pub uid_base: u32,
    /// Limits that this host may lack, by the operator's own word.
    pub allow_missing: Vec<KernelLimit>,
    /// What the first slots are made for; later ones follow demand.
    pub expected: KernelLimits,
    /// What may be asked for at most.
    pub most: Vec<KernelLimits>,
    /// Whether interpreters may wait for programs: what is not asked for again is not worth it.
    pub prestart: bool,
    /// Where it is counted what stands ready.
    pub stock: Arc<Stock>,
}

impl NativeConfig {
    pub const MAX_LANES: u32 = 1024;
}

/// When this process was executed to be a spawner, becomes it and never returns; otherwise does nothing. To be called
/// before anything else, while the process has one thread.
pub fn become_spawner_if_asked() {
    let mut arguments = std::env::args_os();
    let asked = arguments.next().is_some_and(|name| name.as_encoded_bytes() == spawner::NAME.to_bytes());
    if asked && arguments.next().is_none() {
        spawner::run();
    }
}

pub struct NativeRuntime {
    name: String,
    config: NativeConfig,
    layout: Option<Layout>,
    /// The cgroups, or why there are none.
    subtree: std::result::Result<Arc<Subtree>, String>,
    /// `Some` as root: lanes have users of their own. `None`: they live in a user namespace.
    uid_base: Option<u32>,
    pool: Arc<Pool>,
    opened: OnceCell<()>,
}

impl NativeRuntime {
    /// Sets the runtime up without making a sandbox yet; lanes start with the first probe or launch.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] when not even a thread can be made. What else this host lacks is told by `probe`.
    pub fn start(name: &str, config: NativeConfig) -> Result<Arc<Self>> {
        let layout = Layout::detect();
        let subtree = match &layout {
            Ok(layout) => Subtree::create(layout, &instance()).map(Arc::new),
            Err(error) => Err(error.clone()),
        };
        let uid_base = (geteuid().is_root() && users_are_mapped(&config)).then_some(config.uid_base);
        let setup = Setup {
            rootfs: path_text(config.rootfs.as_ref()),
            toolchains: path_text(config.toolchains.as_ref()),
            uid_base,
            lanes: config.lanes,
            cgroup_tags: Vec::new(),
        };
        let keeper =
            Keeper::start(setup, subtree.as_ref().ok().map(Arc::clone)).map_err(RuntimeError::unavailable)?;
        let pool = Pool::new(keeper, uid_base, config.lanes, config.prestart, Arc::clone(&config.stock));
        Ok(Arc::new(Self {
            name: name.to_owned(),
            config,
            layout: layout.ok(),
            subtree: subtree.map_err(|error| error.to_string()),
            uid_base,
            pool,
            opened: OnceCell::new(),
        }))
    }

    /// Starts the spawner and the lanes, once.
    async fn open(&self) -> Result<()> {
        let open = || async {
            self.pool.link().await.map_err(RuntimeError::unavailable)?;
            self.pool.open(SlotLimits::of(&self.config.expected));
            Ok(())
        };
        self.opened.get_or_try_init(open).await.map(drop)
    }

    /// `None` when the limit is held.
    fn gap(&self, limit: KernelLimit) -> Option<String> {
        if let Some(resource) = resource_of(limit) {
            return self.config.most.iter().find_map(|most| beyond_us(limit, resource, most));
        }
        match &self.subtree {
            Ok(subtree) => subtree.gap(controller_of(limit)?),
            Err(reason) => controller_of(limit).map(|_| reason.clone()),
        }
    }

    fn support(&self, limit: KernelLimit) -> LimitSupport {
        match self.gap(limit) {
            None => LimitSupport::Held,
            Some(reason) if self.is_asked_for(limit) && !self.config.allow_missing.contains(&limit) => {
                LimitSupport::Missing(reason)
            }
            Some(reason) => LimitSupport::Waived(reason),
        }
    }

    /// CPU bandwidth is the one limit that a daemon may do without altogether.
    fn is_asked_for(&self, limit: KernelLimit) -> bool {
        limit != KernelLimit::Cpu || self.config.expected.cpu_millis.is_some()
    }

    /// Makes a sandbox and destroys it: the only proof that it can be done.
    async fn prove(&self) -> std::result::Result<(), String> {
        self.open().await.map_err(|error| error.to_string())?;
        let spec = SandboxSpec::once("", self.config.expected);
        let slot = self.pool.take(&spec).await.map_err(|error| error.to_string())?;
        NativeSandbox::new(Arc::clone(&self.pool), slot).destroy().await.map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Runtime for NativeRuntime {
    fn name(&self) -> &str {
        &self.name
    }

    async fn probe(&self) -> Probe {
        let available = self.prove().await;
        let limits = KernelLimit::ALL.map(|limit| (limit, self.support(limit))).to_vec();
        let mode = match self.uid_base {
            Some(base) => {
                let last = base + 2 * self.config.lanes - 1;
                format!("root, with users {base} to {last} for programs")
            }
            None => "unprivileged, in a user namespace".to_owned(),
        };
        let landlock = match self.pool.link().await {
            Ok(link) if link.landlock_abi > 0 => format!("ABI {}", link.landlock_abi),
            Ok(_) => "none in this kernel".to_owned(),
            Err(_) => "not known".to_owned(),
        };
        let cgroups = self.layout.as_ref().map_or_else(|| "none".to_owned(), Layout::describe);
        let details = vec![
            ("isolation", "namespaces, seccomp, no capabilities, no network".to_owned()),
            ("mode", mode),
            ("landlock", landlock),
            ("cgroups", cgroups),
            ("sandboxes", self.config.lanes.to_string()),
        ];
        Probe { available, limits, details }
    }

    async fn launch(&self, spec: &SandboxSpec) -> Result<Box<dyn Sandbox>> {
        let asked = KernelLimit::ALL
            .into_iter()
            .filter(|limit| *limit != KernelLimit::Cpu || spec.limits.cpu_millis.is_some());
        for limit in asked {
            if let Some(reason) = self.gap(limit)
                && !self.config.allow_missing.contains(&limit)
            {
                return Err(RuntimeError::LimitNotHeld { limit, reason });
            }
        }
        self.open().await?;
        let slot = self.pool.take(spec).await?;
        Ok(Box::new(NativeSandbox::new(Arc::clone(&self.pool), slot)))
    }

    async fn sweep(&self) -> Result<Swept> {
        let Some(layout) = self.layout.clone() else { return Ok(Swept::default()) };
        let swept = tokio::task::spawn_blocking(move || sandboxd_cgroup::sweep(&layout)).await;
        match swept {
            Ok(Ok(swept)) => Ok(Swept { sandboxes: swept.groups, processes: swept.processes }),
            Ok(Err(error)) => Err(RuntimeError::sandbox("sweep", error)),
            Err(error) => Err(RuntimeError::sandbox("sweep", error)),
        }
    }

    async fn shutdown(&self) -> Result<()> {
        self.pool.close().await;
        let Ok(subtree) = self.subtree.as_ref().map(Arc::clone) else { return Ok(()) };
        match tokio::task::spawn_blocking(move || subtree.remove()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(RuntimeError::sandbox("remove the cgroups", error)),
            Err(error) => Err(RuntimeError::sandbox("remove the cgroups", error)),
        }
    }
}

/// Names this daemon among others on the host, living and dead.
fn instance() -> String {
    let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{:x}", std::process::id(), started.as_nanos())
}

/// A container's root may have few users only.
fn users_are_mapped(config: &NativeConfig) -> bool {
    let first = u64::from(config.uid_base);
    let last = first + 2 * u64::from(config.lanes);
    let covers = |path: &str| {
        std::fs::read_to_string(path).is_ok_and(|map| {
            map.lines().any(|line| {
                let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
                match (numbers.next(), numbers.next(), numbers.next()) {
                    (Some(inner), Some(_), Some(count)) => inner <= first && last <= inner + count,
                    _ => false,
                }
            })
        })
    };
    covers("/proc/self/uid_map") && covers("/proc/self/gid_map")
}

fn path_text(path: Option<&PathBuf>) -> Option<String> {
    path.map(|path| path.display().to_string())
}

fn controller_of(limit: KernelLimit) -> Option<sandboxd_cgroup::Controller> {
    match limit {
        KernelLimit::Memory => Some(sandboxd_cgroup::Controller::Memory),
        KernelLimit::Tasks => Some(sandboxd_cgroup::Controller::Pids),
        KernelLimit::Cpu => Some(sandboxd_cgroup::Controller::Cpu),
        KernelLimit::OpenFiles | KernelLimit::FileSize | KernelLimit::Disk | KernelLimit::Stack => None,
    }
}

fn resource_of(limit: KernelLimit) -> Option<Resource> {
    match limit {
        KernelLimit::OpenFiles => Some(Resource::RLIMIT_NOFILE),
        KernelLimit::FileSize => Some(Resource::RLIMIT_FSIZE),
        KernelLimit::Stack => Some(Resource::RLIMIT_STACK),
        KernelLimit::Memory | KernelLimit::Tasks | KernelLimit::Cpu | KernelLimit::Disk => None,
    }
}

/// A program's hard limit is at most ours: getrlimit(2). Why `most` can't be had under it.
fn beyond_us(limit: KernelLimit, resource: Resource, most: &KernelLimits) -> Option<String> {
    let wanted = match limit {
        KernelLimit::OpenFiles => most.open_files,
        KernelLimit::FileSize => most.file_size_bytes,
        _ => most.stack_bytes,
    };
    let (_, hard) = getrlimit(resource).ok()?;
    (wanted > hard).then(|| {
        let name = limit.name();
        format!(
            "programs may ask for {wanted} and this process has {hard} at most ({resource:?}): raise its own hard limit, or \
             lower {name} in the maxima of the configuration"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_above_our_own_is_told() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let mut most = KernelLimits {
            memory_bytes: 0,
            tasks: 0,
            cpu_millis: None,
            open_files: hard,
            file_size_bytes: 0,
            disk_bytes: 0,
            stack_bytes: 0,
        };
        let told = |most: &KernelLimits| beyond_us(KernelLimit::OpenFiles, Resource::RLIMIT_NOFILE, most);
        assert_eq!(told(&most), None);
        most.open_files += 1;
        assert!(told(&most).is_some_and(|reason| reason.contains("lower open_files in the maxima")));
    }
}
