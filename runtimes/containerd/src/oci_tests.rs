//! The specifications in full, for people to read: `UPDATE_SNAPSHOTS=1` writes them anew.

use std::path::Path;

use super::*;

const RUNC_V1: Host = Host { cgroup_v2: false, swap_accounting: true, gvisor: false };
const RUNC_V2: Host = Host { cgroup_v2: true, swap_accounting: true, gvisor: false };
const RUNSC_V1: Host = Host { cgroup_v2: false, swap_accounting: false, gvisor: true };

fn container() -> ContainerSpec {
    ContainerSpec {
        name: "sandbox-1".to_owned(),
        owner: "house".to_owned(),
        executor: "python".to_owned(),
        limits: KernelLimits {
            memory_bytes: 256 << 20,
            tasks: 64,
            cpu_millis: Some(1500),
            open_files: 256,
            file_size_bytes: 16 << 20,
            disk_bytes: 64 << 20,
            stack_bytes: 8 << 20,
        },
        agent: PathBuf::from("/usr/lib/sandboxd/agent"),
    }
}

fn check(name: &str, spec: &Spec) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        let mut value = serde_json::to_value(spec).unwrap();
        sort_capabilities(&mut value);
        std::fs::write(&path, format!("{}\n", serde_json::to_string_pretty(&value).unwrap())).unwrap();
    }
    let expected: Spec = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(&expected, spec, "{name} tells otherwise; UPDATE_SNAPSHOTS=1 writes it anew");
}

/// Sets have no order, files have.
fn sort_capabilities(value: &mut serde_json::Value) {
    for list in value["process"]["capabilities"].as_object_mut().unwrap().values_mut() {
        list.as_array_mut().unwrap().sort_by_key(|name| name.as_str().map(str::to_owned));
    }
}

#[test]
fn runc_on_cgroup_v1() {
    check(
        "runc-cgroup-v1.json",
        &spec(&container(), "/sandboxd-containerd/house.sandbox-1", RUNC_V1).unwrap(),
    );
}

#[test]
fn runc_on_cgroup_v2_under_systemd() {
    let path = "sandboxd-containerd.slice:house:sandbox-1";
    check("runc-cgroup-v2-systemd.json", &spec(&container(), path, RUNC_V2).unwrap());
}

#[test]
fn runsc_without_swap_accounting() {
    check(
        "runsc-cgroup-v1.json",
        &spec(&container(), "/sandboxd-containerd/house.sandbox-1", RUNSC_V1).unwrap(),
    );
}

#[test]
fn an_open_cpu_limit_is_written_too_since_an_update_may_lift_one() {
    let limits = KernelLimits { cpu_millis: None, ..container().limits };
    assert_eq!(resources(&limits, RUNC_V1).cpu().as_ref().unwrap().quota(), Some(-1));
}

#[test]
fn numbers_beyond_what_a_kernel_takes_stay_limits() {
    let limits = KernelLimits { memory_bytes: u64::MAX, tasks: u64::MAX, ..container().limits };
    let resources = resources(&limits, RUNSC_V1);
    assert_eq!(resources.memory().unwrap().limit(), Some(i64::MAX));
    assert_eq!(resources.pids().unwrap().limit(), i64::MAX);
}

#[test]
fn nothing_but_the_agents_capabilities() {
    let spec = spec(&container(), "/x", RUNC_V1).unwrap();
    let capabilities = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap().clone();
    assert_eq!(capabilities.bounding().as_ref().unwrap().len(), AGENT_CAPABILITIES.len());
    assert!(capabilities.ambient().as_ref().unwrap().is_empty());
    assert!(capabilities.inheritable().as_ref().unwrap().is_empty());
}
