//! From what a container is to be to the runtime specification that runc and runsc read: pure, and shown in full by
//! `tests/snapshots`. Deliberately absent: limits of single processes, which the agent installs, and whatever would
//! kill the agent together with the program.
//!
//! Called by `launch`, and for new limits by `handle`.

use std::{collections::HashMap, path::PathBuf};

use oci_spec::{
    OciSpecError,
    runtime::{
        Capabilities, Capability, Linux, LinuxCapabilities, LinuxCpu, LinuxDeviceCgroup, LinuxMemory,
        LinuxNamespace, LinuxNamespaceType, LinuxPids, LinuxResources, Mount, MountBuilder,
        PosixRlimitBuilder, PosixRlimitType, Process, Root, Spec, User,
    },
};
use sandboxd_container::{
    backend::{
        AGENT_CAPABILITIES, AGENT_PATH, ContainerSpec, DISK_DIR, DISK_INODES, GVISOR_TMP_GUARD,
        GVISOR_TMP_GUARD_OPTIONS, OWNER_LABEL, SANDBOX_LABEL,
    },
    host_tasks,
};
use sandboxd_contract::KernelLimits;

use crate::seccomp;

/// The version of the specification: what the oldest runtimes that we meet know.
const OCI_VERSION: &str = "1.0.2";
const HOSTNAME: &str = "sandbox";
/// When the whole host runs out of memory, sandboxes go before what serves them; the program's own value is higher.
const OOM_SCORE_ADJ: i32 = 500;
/// Not 0: for 1 byte alone the kernel starts no program of the host's to take a core dump.
const CORE_BYTES: u64 = 1;
const CPU_PERIOD_US: u64 = 100_000;
/// A tmpfs that holds devices and links and nothing else.
const DEV_BYTES: u64 = 64 * 1024;
/// What of this host and its engine shapes a specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) cgroup_v2: bool,
    /// Memory and swap can be limited together. Without, swap is only avoided.
    pub(crate) swap_accounting: bool,
    pub(crate) gvisor: bool,
}

pub(crate) fn spec(spec: &ContainerSpec, cgroups_path: &str, host: Host) -> Result<Spec, OciSpecError> {
    let mut root = Root::default();
    root.set_path(PathBuf::from("rootfs")).set_readonly(Some(true));
    let mut out = Spec::default();
    out.set_version(OCI_VERSION.to_owned())
        .set_root(Some(root))
        .set_hostname(Some(HOSTNAME.to_owned()))
        .set_process(Some(process()?))
        .set_mounts(Some(mounts(spec, host)?))
        .set_linux(Some(linux(spec, cgroups_path, host)?))
        .set_annotations(Some(labels(spec)));
    Ok(out)
}

/// What is installed by a cgroup, at creation and by an update.
pub(crate) fn resources(limits: &KernelLimits, host: Host) -> LinuxResources {
    let memory_bytes = signed(limits.memory_bytes);
    let mut memory = LinuxMemory::default();
    memory.set_limit(Some(memory_bytes));
    if host.swap_accounting {
        memory.set_swap(Some(memory_bytes));
    } else if !host.cgroup_v2 {
        memory.set_swappiness(Some(0));
    }
    let mut pids = LinuxPids::default();
    pids.set_limit(signed(host_tasks(limits.tasks, host.gvisor)));
    let mut cpu = LinuxCpu::default();
    let quota_us = limits.cpu_millis.map_or(-1, |millis| i64::from(millis) * signed(CPU_PERIOD_US) / 1000);
    cpu.set_period(Some(CPU_PERIOD_US)).set_quota(Some(quota_us));
    let mut resources = LinuxResources::default();
    resources.set_memory(Some(memory)).set_pids(Some(pids)).set_cpu(Some(cpu));
    resources
}

/// What every part of a container carries, so that a later daemon knows whose it is.
pub(crate) fn labels(spec: &ContainerSpec) -> HashMap<String, String> {
    HashMap::from([
        (OWNER_LABEL.to_owned(), spec.owner.clone()),
        (SANDBOX_LABEL.to_owned(), spec.name.clone()),
    ])
}

fn process() -> Result<Process, OciSpecError> {
    let allowed: Capabilities = AGENT_CAPABILITIES
        .iter()
        .map(|name| name.trim_start_matches("CAP_").parse::<Capability>())
        .map(|parsed| parsed.map_err(|error| OciSpecError::Other(error.to_string())))
        .collect::<Result<_, _>>()?;
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(Some(allowed.clone()))
        .set_effective(Some(allowed.clone()))
        .set_permitted(Some(allowed))
        .set_inheritable(Some(Capabilities::new()))
        .set_ambient(Some(Capabilities::new()));
    let core =
        PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitCore).soft(CORE_BYTES).hard(CORE_BYTES);
    let mut process = Process::default();
    process
        .set_terminal(Some(false))
        .set_user(User::default())
        .set_args(Some(vec![AGENT_PATH.to_owned()]))
        .set_env(Some(Vec::new()))
        .set_cwd(PathBuf::from("/"))
        .set_capabilities(Some(capabilities))
        // No other limit is set: one above the engine's own hard limit would need a capability, and the agent lowers
        // what a program may have.
        .set_rlimits(Some(vec![core.build()?]))
        .set_no_new_privileges(Some(true))
        .set_oom_score_adj(Some(OOM_SCORE_ADJ));
    Ok(process)
}

fn mounts(spec: &ContainerSpec, host: Host) -> Result<Vec<Mount>, OciSpecError> {
    let disk_bytes = format!("size={}", spec.limits.disk_bytes);
    let disk_inodes = format!("nr_inodes={DISK_INODES}");
    let dev_bytes = format!("size={DEV_BYTES}");
    let agent = spec.agent.to_string_lossy().into_owned();
    let guard = host.gvisor.then(|| mount(GVISOR_TMP_GUARD, "tmpfs", "tmpfs", &GVISOR_TMP_GUARD_OPTIONS));
    [
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        // The runtime adds null, zero, full, random, urandom and tty. There are no terminals to be had.
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "noexec", "strictatime", "mode=755", &dev_bytes]),
        mount(DISK_DIR, "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=755", &disk_bytes, &disk_inodes]),
        mount(AGENT_PATH, "bind", &agent, &["bind", "ro", "nosuid", "nodev", "private"]),
    ]
    .into_iter()
    .chain(guard)
    .collect()
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Result<Mount, OciSpecError> {
    MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(source)
        .options(options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
        .build()
}

fn linux(spec: &ContainerSpec, cgroups_path: &str, host: Host) -> Result<Linux, OciSpecError> {
    let mut nothing = LinuxDeviceCgroup::default();
    nothing.set_allow(false).set_typ(None).set_major(None).set_minor(None).set_access(Some("rwm".to_owned()));
    let mut resources = resources(&spec.limits, host);
    resources.set_devices(Some(vec![nothing]));
    let mut linux = Linux::default();
    linux
        .set_resources(Some(resources))
        .set_cgroups_path(Some(PathBuf::from(cgroups_path)))
        .set_namespaces(Some(namespaces(host)))
        .set_seccomp(Some(seccomp::profile()?))
        .set_rootfs_propagation(Some("private".to_owned()))
        .set_masked_paths(Some(MASKED.map(str::to_owned).to_vec()))
        .set_readonly_paths(Some(READ_ONLY.map(str::to_owned).to_vec()))
        .set_uid_mappings(None)
        .set_gid_mappings(None)
        .set_devices(None);
    Ok(linux)
}

/// A network namespace without a path is a fresh one, in which nothing is up.
fn namespaces(host: Host) -> Vec<LinuxNamespace> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network, Pid, Uts};
    // On v1 a cgroup namespace only works together with mounts of the hierarchies, and here is none.
    let all = [Pid, Ipc, Uts, Mount, Network].into_iter().chain(host.cgroup_v2.then_some(Cgroup));
    all.map(|typ| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(typ);
        namespace
    })
    .collect()
}

/// Of /proc, what tells of the host. There is no /sys.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];
/// Of /proc, what changes the host.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "oci_tests.rs"]
mod tests;
