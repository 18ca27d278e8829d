//! `[runtimes.NAME]`: which keys each kind has and what they may be. A new kind is a shape in `shape`, a variant of
//! [`RuntimeKind`] and an arm here.

use std::collections::BTreeMap;

use sandboxd_container::ReadyPolicy;
use sandboxd_containerd::CgroupDriver;
use sandboxd_contract::KernelLimit;
use sandboxd_native::NativeConfig;
use toml::{Table, Value};

use super::check::{Check, Number, TIB};
use super::shape::{ContainerdShape, DockerShape, NativeShape, PoolShape};
use super::{ContainerdSettings, DockerSettings, NativeSettings, PoolSettings, RuntimeConfig, RuntimeKind};

const MAX_NAME_BYTES: usize = 32;

const KINDS: [&str; 3] = ["native", "docker", "containerd"];

/// Sandboxes kept ready for each executor: each is a container that waits.
const WARM: Number = Number { default: 2, min: 0, max: 64, unit: "sandboxes for each executor" };

const MAX_READY: Number = Number { default: 32, min: 0, max: 1024, unit: "sandboxes of one runtime" };

const DOCKER_HOST: &str = "unix:///var/run/docker.sock";
const CONTAINERD_ADDRESS: &str = "/run/containerd/containerd.sock";
const CONTAINERD_NAMESPACE: &str = "sandboxd";
const SNAPSHOTTER: &str = "overlayfs";
const OCI_RUNTIME: &str = "runc";

/// What the tables of all runtimes depend on.
pub(super) struct Common {
    pub max_concurrent: usize,
    /// Which `warm` of each completes.
    pub ready: ReadyPolicy,
}

/// `[pool]`.
pub(super) fn ready(check: &mut Check<'_>, written: &PoolShape) -> ReadyPolicy {
    let memory = Number { default: 1 << 30, min: 0, max: TIB, unit: "bytes of one runtime" };
    ReadyPolicy {
        warm: 0,
        max_ready: check.count("pool.max_ready", written.max_ready, &MAX_READY),
        max_memory_bytes: check.number("pool.max_memory_bytes", written.max_memory_bytes, &memory),
    }
}

/// The runtime of a configuration that names none.
pub(super) fn built_in(name: &str, max_concurrent: usize) -> RuntimeConfig {
    let settings = NativeSettings {
        allow_missing: Vec::new(),
        rootfs: None,
        uid_base: sandboxd_native::DEFAULT_UID_BASE,
        lanes: default_lanes(max_concurrent),
    };
    RuntimeConfig { name: name.to_owned(), kind: RuntimeKind::Native(settings) }
}

/// Every table, in the order of names; `None` for one that can't be believed, which was noted.
pub(super) fn all(
    check: &mut Check<'_>,
    tables: BTreeMap<String, Table>,
    common: &Common,
) -> Vec<Option<RuntimeConfig>> {
    if tables.is_empty() {
        check.layers.complain("runtimes", "has no runtime in it");
    }
    let read = |(name, table)| runtime(check, name, table, common);
    let runtimes: Vec<_> = tables.into_iter().map(read).collect();
    refuse_shared_users(check, &runtimes);
    runtimes
}

/// Programs of two runtimes that ran as the same user could reach each other.
fn refuse_shared_users(check: &mut Check<'_>, runtimes: &[Option<RuntimeConfig>]) {
    let ranges: Vec<_> = runtimes
        .iter()
        .flatten()
        .filter_map(|RuntimeConfig { name, kind }| match kind {
            RuntimeKind::Native(native) => Some((name, native.uid_base..native.uid_base + 2 * native.lanes)),
            RuntimeKind::Docker(_) | RuntimeKind::Containerd(_) => None,
        })
        .collect();
    for (index, (name, range)) in ranges.iter().enumerate() {
        for (other, taken) in &ranges[..index] {
            if range.start < taken.end && taken.start < range.end {
                let message =
                    format!("users {} to {} are those of runtimes.{other} too", range.start, range.end - 1);
                check.layers.complain(&format!("runtimes.{name}.uid_base"), &message);
            }
        }
    }
}

fn runtime(check: &mut Check<'_>, name: String, table: Table, common: &Common) -> Option<RuntimeConfig> {
    let prefix = format!("runtimes.{name}");
    if !is_name(&name) {
        let message =
            format!("a name is a letter and up to {} of a to z, 0 to 9, - and _", MAX_NAME_BYTES - 1);
        check.layers.complain(&prefix, &message);
        return None;
    }
    let kind_path = format!("{prefix}.kind");
    // A table that is called like its kind needs no other word for it, which spares a variable in the environment.
    let kind = match table.get("kind") {
        None if KINDS.contains(&name.as_str()) => Some(name.clone()),
        kind => kind.and_then(Value::as_str).map(str::to_owned),
    };
    let kind = match kind.as_deref() {
        Some("native") => {
            let written: NativeShape = check.layers.read(table, &prefix);
            RuntimeKind::Native(native(check, &prefix, written, common.max_concurrent))
        }
        Some("docker") => {
            let written: DockerShape = check.layers.read(table, &prefix);
            RuntimeKind::Docker(docker(check, &prefix, written, common))
        }
        Some("containerd") => {
            let written: ContainerdShape = check.layers.read(table, &prefix);
            RuntimeKind::Containerd(containerd(check, &prefix, written, common))
        }
        Some(other) => {
            check.layers.complain(&kind_path, &format!("{other:?} is no kind: {}", KINDS.join(", ")));
            return None;
        }
        None => {
            check.layers.complain(&kind_path, "must be one of \"native\", \"docker\", \"containerd\"");
            return None;
        }
    };
    Some(RuntimeConfig { name, kind })
}

fn native(
    check: &mut Check<'_>,
    prefix: &str,
    written: NativeShape,
    max_concurrent: usize,
) -> NativeSettings {
    let max_lanes = NativeConfig::MAX_LANES;
    let lanes = Number {
        default: 0,
        min: 0,
        max: max_lanes.into(),
        unit: "sandboxes; 0: three times execution.max_concurrent",
    };
    let uids = Number {
        default: sandboxd_native::DEFAULT_UID_BASE.into(),
        min: 1000,
        max: u64::from(u32::MAX) - 2 * u64::from(max_lanes) - 1,
        unit: "the first of two user ids for each lane",
    };
    let lanes = check.number(&format!("{prefix}.lanes"), written.lanes, &lanes);
    let uid_base = check.number(&format!("{prefix}.uid_base"), written.uid_base, &uids);
    let rootfs = written.rootfs.map(|rootfs| check.absolute(&format!("{prefix}.rootfs"), rootfs));
    NativeSettings {
        allow_missing: allow_missing(check, &format!("{prefix}.allow_missing"), written.allow_missing),
        rootfs,
        uid_base: u32::try_from(uid_base).unwrap_or(sandboxd_native::DEFAULT_UID_BASE),
        lanes: match u32::try_from(lanes).unwrap_or(max_lanes) {
            0 => default_lanes(max_concurrent),
            lanes => lanes,
        },
    }
}

fn docker(check: &mut Check<'_>, prefix: &str, written: DockerShape, common: &Common) -> DockerSettings {
    let host = written.host.unwrap_or_else(|| DOCKER_HOST.to_owned());
    let is_address = match host.split_once("://") {
        Some(("unix", path)) => path.starts_with('/'),
        Some(("tcp", address)) => address.rsplit_once(':').is_some_and(|(name, port)| {
            !name.is_empty() && !name.contains('/') && port.parse::<u16>().is_ok_and(|port| port > 0)
        }),
        _ => false,
    };
    if !is_address {
        let message = format!("{host:?} is neither unix:///a/path nor tcp://host:port");
        check.layers.complain(&format!("{prefix}.host"), &message);
    }
    DockerSettings {
        oci_runtime: word(check, &format!("{prefix}.oci_runtime"), written.oci_runtime, OCI_RUNTIME),
        pool: pool(check, prefix, common, written.warm, written.allow_missing),
        host,
    }
}

fn containerd(
    check: &mut Check<'_>,
    prefix: &str,
    written: ContainerdShape,
    common: &Common,
) -> ContainerdSettings {
    let address = written.address.unwrap_or_else(|| CONTAINERD_ADDRESS.to_owned());
    let oci_runtime = match written.oci_runtime {
        Some(path) if path.starts_with('/') => path,
        oci_runtime => word(check, &format!("{prefix}.oci_runtime"), oci_runtime, OCI_RUNTIME),
    };
    ContainerdSettings {
        address: check.absolute(&format!("{prefix}.address"), address),
        namespace: word(check, &format!("{prefix}.namespace"), written.namespace, CONTAINERD_NAMESPACE),
        oci_runtime,
        snapshotter: word(check, &format!("{prefix}.snapshotter"), written.snapshotter, SNAPSHOTTER),
        cgroup_driver: cgroup_driver(check, &format!("{prefix}.cgroup_driver"), written.cgroup_driver),
        pool: pool(check, prefix, common, written.warm, written.allow_missing),
    }
}

fn cgroup_driver(check: &mut Check<'_>, path: &str, written: Option<String>) -> Option<CgroupDriver> {
    match written.as_deref() {
        None | Some("auto") => None,
        Some("cgroupfs") => Some(CgroupDriver::Cgroupfs),
        Some("systemd") => Some(CgroupDriver::Systemd),
        Some(other) => {
            check.layers.complain(path, &format!("{other:?} is not one of auto, cgroupfs, systemd"));
            None
        }
    }
}

fn pool(
    check: &mut Check<'_>,
    prefix: &str,
    common: &Common,
    warm: Option<i64>,
    missing: Option<Vec<String>>,
) -> PoolSettings {
    PoolSettings {
        ready: ReadyPolicy { warm: check.count(&format!("{prefix}.warm"), warm, &WARM), ..common.ready },
        allow_missing: allow_missing(check, &format!("{prefix}.allow_missing"), missing),
    }
}

/// A name of something of an engine's.
fn word(check: &mut Check<'_>, path: &str, written: Option<String>, default: &str) -> String {
    const MAX_BYTES: usize = 76;
    let word = written.unwrap_or_else(|| default.to_owned());
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let good = word.len() <= MAX_BYTES
        && word.starts_with(|first: char| first.is_ascii_alphanumeric())
        && word.bytes().all(inner);
    if !good {
        let message = format!(
            "{word:?} is no name: a letter or digit, then letters, digits, '.', '_' and '-', {MAX_BYTES} at most"
        );
        check.layers.complain(path, &message);
    }
    word
}

/// One for each execution, one that is being destroyed behind its answer, and one where an interpreter waits.
fn default_lanes(max_concurrent: usize) -> u32 {
    u32::try_from(max_concurrent).unwrap_or(u32::MAX).saturating_mul(3).min(NativeConfig::MAX_LANES)
}

fn allow_missing(check: &mut Check<'_>, path: &str, written: Option<Vec<String>>) -> Vec<KernelLimit> {
    let mut allowed = Vec::new();
    for name in written.unwrap_or_default() {
        match KernelLimit::ALL.into_iter().find(|limit| limit.name() == name) {
            Some(limit) => allowed.push(limit),
            None => {
                let names = KernelLimit::ALL.map(KernelLimit::name).join(", ");
                check.layers.complain(path, &format!("{name:?} is no limit: {names}"));
            }
        }
    }
    allowed
}

fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    name.len() <= MAX_NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(inner)
}
