//! From a [`ContainerSpec`] to what the API is sent: what a sandbox of Docker Engine is, on one page, and pure. Called
//! when a container is made or its limits change.
//!
//! Each field is here for a reason that stands beside it. Deliberately absent: a seccomp profile (the engine's own is
//! kept) and anything that an image could bring along and that would change what runs.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount,
    MountType, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use sandboxd_container::{
    ContainerSpec,
    backend::{
        AGENT_CAPABILITIES, AGENT_PATH, DISK_DIR, DISK_INODES, GVISOR_TMP_GUARD, GVISOR_TMP_GUARD_OPTIONS,
        OWNER_LABEL, SANDBOX_LABEL, image_of,
    },
    host_tasks,
};
use sandboxd_contract::{KernelLimit, KernelLimits, Result, RuntimeError};

use crate::{agent_volume, host::Ceilings};

/// Between that of whatever else the host runs and that of programs, which is 1000.
const AGENT_OOM_SCORE: i64 = 500;
/// A window of the CPU bandwidth controller, in microseconds: the kernel's default.
const CPU_PERIOD_US: i64 = 100_000;
/// What the engine takes as a container's memory at least.
const MIN_MEMORY_BYTES: u64 = 6 << 20;
/// The kernel's least quota is a thousandth of a second.
const MIN_CPU_MILLIS: u32 = 10;

/// The hard limits under which the agent installs a program's own: more than any configuration has use for, and no more
/// than any kernel takes.
const OPEN_FILES: u64 = 65_536;
/// The agent's own stack: with an unlimited one, the kernel would lay out memory the old way, from below.
const AGENT_STACK_BYTES: u64 = 8 << 20;
/// The agent's own descriptors.
const AGENT_OPEN_FILES: u64 = 1024;

/// What the engine at hand is like.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) oci_runtime: String,
    pub(crate) gvisor: bool,
    /// It sees this host's files, so the agent can be mounted; else a volume of its own has it.
    pub(crate) shares_files: bool,
    pub(crate) cgroup_v1: bool,
    pub(crate) ceilings: Option<Ceilings>,
}

/// # Errors
/// [`RuntimeError::LimitNotHeld`] for a limit that the engine would refuse.
pub(crate) fn create_body(spec: &ContainerSpec, target: &Target) -> Result<ContainerCreateBody> {
    Ok(ContainerCreateBody {
        image: Some(image_of(&spec.executor)),
        hostname: Some("sandbox".to_owned()),
        // Over whatever the image says: the agent is root until it has become the program's user.
        user: Some("0:0".to_owned()),
        entrypoint: Some(vec![AGENT_PATH.to_owned()]),
        cmd: Some(Vec::new()),
        working_dir: Some("/".to_owned()),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() }),
        network_disabled: Some(true),
        open_stdin: Some(true),
        // A connection that breaks is not the agent's end of file: the daemon decides what dies.
        stdin_once: Some(false),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        // The agent has nothing to say when it is told to stop; without this an engine that ends, or comes back to find
        // containers running, would give each ten seconds for it.
        stop_signal: Some("SIGKILL".to_owned()),
        tty: Some(false),
        labels: Some(HashMap::from([
            (OWNER_LABEL.to_owned(), spec.owner.clone()),
            (SANDBOX_LABEL.to_owned(), spec.name.clone()),
        ])),
        host_config: Some(host_config(spec, target)?),
        ..Default::default()
    })
}

/// # Errors
/// [`RuntimeError::LimitNotHeld`] for a limit that the engine would refuse.
pub(crate) fn update_body(limits: &KernelLimits, gvisor: bool) -> Result<ContainerUpdateBody> {
    // A program that shall have next to nothing finds a little more than that: the engine takes no less.
    let memory = number(limits.memory_bytes.max(MIN_MEMORY_BYTES));
    Ok(ContainerUpdateBody {
        memory: Some(memory),
        memory_swap: Some(memory),
        pids_limit: Some(tasks(limits, gvisor)),
        cpu_period: Some(CPU_PERIOD_US),
        // -1 lifts a quota that the container was made with; 0 would leave it.
        cpu_quota: Some(cpu_quota(limits)?.unwrap_or(-1)),
        ..Default::default()
    })
}

fn host_config(spec: &ContainerSpec, target: &Target) -> Result<HostConfig> {
    let memory = memory(&spec.limits)?;
    let quota = cpu_quota(&spec.limits)?;
    Ok(HostConfig {
        runtime: Some(target.oci_runtime.clone()),

        // What it may see and do.
        network_mode: Some("none".to_owned()),
        // No shared memory of its own mount, which would be a second disk.
        ipc_mode: Some("none".to_owned()),
        readonly_rootfs: Some(true),
        privileged: Some(false),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(
            AGENT_CAPABILITIES.iter().map(|name| name.trim_start_matches("CAP_").to_owned()).collect(),
        ),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        tmpfs: Some(tmpfs(spec, target)),
        mounts: Some(vec![agent_mount(spec, target)?]),

        // What it may use.
        memory: Some(memory),
        // Memory and swap together: no swap.
        memory_swap: Some(memory),
        // Holds it where swap is not accounted for; only v1 has it.
        memory_swappiness: target.cgroup_v1.then_some(0),
        pids_limit: Some(tasks(&spec.limits, target.gvisor)),
        // Not NanoCpus, which an update can't lift again.
        cpu_period: quota.map(|_| CPU_PERIOD_US),
        cpu_quota: quota,
        ulimits: Some(ulimits(target.ceilings)),
        // When memory runs out, the host's or the container's own, sandboxes go first, and programs before their agents.
        oom_score_adj: Some(AGENT_OOM_SCORE),

        // What the engine must not do with it.
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        init: Some(false),
        auto_remove: Some(false),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        ..Default::default()
    })
}

fn tmpfs(spec: &ContainerSpec, target: &Target) -> HashMap<String, String> {
    // The engine would add noexec; programs are compiled and run there.
    let disk =
        format!("rw,exec,nosuid,nodev,mode=0755,size={},nr_inodes={DISK_INODES}", spec.limits.disk_bytes);
    let mut all = HashMap::from([(DISK_DIR.to_owned(), disk)]);
    if target.gvisor {
        all.insert(GVISOR_TMP_GUARD.to_owned(), GVISOR_TMP_GUARD_OPTIONS.join(","));
    }
    all
}

/// As a mount, not as a bind: of a file that is not there, a bind makes a folder.
fn agent_mount(spec: &ContainerSpec, target: &Target) -> Result<Mount> {
    if !target.shares_files {
        return Ok(agent_volume::mount(&spec.agent, true));
    }
    let source = spec.agent.to_str().ok_or_else(|| {
        RuntimeError::sandbox(
            "docker: mount the agent",
            format!("{} is not UTF-8, as the API wants paths", spec.agent.display()),
        )
    })?;
    Ok(Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_owned()),
        target: Some(AGENT_PATH.to_owned()),
        read_only: Some(true),
        ..Default::default()
    })
}

fn memory(limits: &KernelLimits) -> Result<i64> {
    if limits.memory_bytes < MIN_MEMORY_BYTES {
        return Err(RuntimeError::LimitNotHeld {
            limit: KernelLimit::Memory,
            reason: format!("Docker Engine takes {MIN_MEMORY_BYTES} bytes at least"),
        });
    }
    Ok(number(limits.memory_bytes))
}

fn cpu_quota(limits: &KernelLimits) -> Result<Option<i64>> {
    match limits.cpu_millis {
        Some(millis) if millis < MIN_CPU_MILLIS => Err(RuntimeError::LimitNotHeld {
            limit: KernelLimit::Cpu,
            reason: format!("the kernel takes {MIN_CPU_MILLIS} thousandths of a CPU at least"),
        }),
        millis => Ok(millis.map(|millis| i64::from(millis) * CPU_PERIOD_US / 1000)),
    }
}

fn tasks(limits: &KernelLimits, gvisor: bool) -> i64 {
    number(host_tasks(limits.tasks, gvisor))
}

/// The agent can lower these for the program and not raise them. A hard limit above the engine's own would fail the
/// start, so none is.
fn ulimits(ceilings: Option<Ceilings>) -> Vec<ResourcesUlimits> {
    const UNLIMITED: u64 = u64::MAX;
    let limit = |name: &str, soft: u64, hard: u64, ceiling: Option<u64>| {
        let hard = hard.min(ceiling.unwrap_or(UNLIMITED));
        let word = |value: u64| i64::try_from(value).unwrap_or(-1);
        ResourcesUlimits {
            name: Some(name.to_owned()),
            soft: Some(word(soft.min(hard))),
            hard: Some(word(hard)),
        }
    };
    let known = ceilings.unwrap_or_default();
    let mut limits = vec![
        // 1 and not 0: that stops also a core dump that the host hands to a program of its own.
        limit("core", 1, 1, known.core),
        limit("fsize", UNLIMITED, UNLIMITED, known.file_size_bytes),
        limit("stack", AGENT_STACK_BYTES, UNLIMITED, known.stack_bytes),
    ];
    // An engine that may not raise its own starts nothing that asks for more; what it has itself is seldom less.
    limits.extend(ceilings.map(|known| limit("nofile", AGENT_OPEN_FILES, OPEN_FILES, known.open_files)));
    limits
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use serde::Serialize;

    use super::*;

    fn spec() -> ContainerSpec {
        ContainerSpec {
            name: "box-7".to_owned(),
            owner: "lab-1".to_owned(),
            executor: "python".to_owned(),
            limits: KernelLimits {
                memory_bytes: 256 << 20,
                tasks: 64,
                cpu_millis: Some(1500),
                open_files: 256,
                file_size_bytes: 64 << 20,
                disk_bytes: 128 << 20,
                stack_bytes: 64 << 20,
            },
            agent: PathBuf::from("/usr/lib/sandboxd/agent"),
        }
    }

    fn target(oci_runtime: &str) -> Target {
        Target {
            oci_runtime: oci_runtime.to_owned(),
            gvisor: oci_runtime == "runsc",
            shares_files: true,
            cgroup_v1: false,
            ceilings: Some(Ceilings::default()),
        }
    }

    /// Holds what the API is sent against a file. To take over a change: `UPDATE_SNAPSHOTS=1 cargo test`.
    fn assert_snapshot(name: &str, sent: &impl Serialize) {
        let path = format!("{}/tests/snapshots/{name}.json", env!("CARGO_MANIFEST_DIR"));
        // By way of a value: its keys are sorted.
        let value = serde_json::to_value(sent).unwrap();
        let text = serde_json::to_string_pretty(&value).unwrap() + "\n";
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, fs::read_to_string(&path).unwrap(), "{path}");
    }

    #[test]
    fn runc_on_this_host() {
        assert_snapshot("runc", &create_body(&spec(), &target("runc")).unwrap());
    }

    #[test]
    fn gvisor_where_the_engine_may_not_raise_limits() {
        let ceilings = Ceilings { core: Some(0), open_files: Some(20_000), ..Ceilings::default() };
        let target = Target { ceilings: Some(ceilings), cgroup_v1: true, ..target("runsc") };
        let mut spec = spec();
        spec.limits.cpu_millis = None;
        assert_snapshot("gvisor", &create_body(&spec, &target).unwrap());
    }

    #[test]
    fn an_engine_elsewhere_has_the_agent_in_a_volume() {
        let target = Target { shares_files: false, ceilings: None, ..target("runc") };
        assert_snapshot("elsewhere", &create_body(&spec(), &target).unwrap());
    }

    #[test]
    fn other_limits() {
        assert_snapshot("update", &update_body(&spec().limits, false).unwrap());
        let open = KernelLimits { cpu_millis: None, ..spec().limits };
        assert_eq!(update_body(&open, false).unwrap().cpu_quota, Some(-1));
    }

    #[test]
    fn a_limit_that_would_be_refused_is_named() {
        let mut spec = spec();
        spec.limits.memory_bytes = 1 << 20;
        let refused = create_body(&spec, &target("runc")).unwrap_err();
        assert!(matches!(refused, RuntimeError::LimitNotHeld { limit: KernelLimit::Memory, .. }));
        spec.limits.memory_bytes = u64::MAX;
        spec.limits.cpu_millis = Some(1);
        let refused = create_body(&spec, &target("runc")).unwrap_err();
        assert!(matches!(refused, RuntimeError::LimitNotHeld { limit: KernelLimit::Cpu, .. }));
    }
}
