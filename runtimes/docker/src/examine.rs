//! What the engine says of itself, as an operator should know it. Pure; called when a connection is made.

use bollard::models::{SystemInfo, SystemVersion};
use sandboxd_container::Examined;
use sandboxd_contract::KernelLimit;

use crate::engine::{DockerConfig, Engine};

/// Whether the OCI runtime of this name is gVisor: by its name, or by the program that is registered under it.
pub(crate) fn is_gvisor(oci_runtime: &str, info: &SystemInfo) -> bool {
    let speaks_of_it = |text: &str| text.contains("runsc") || text.contains("gvisor");
    let program = path_of(oci_runtime, info).and_then(|path| path.rsplit('/').next());
    speaks_of_it(oci_runtime) || program.is_some_and(speaks_of_it)
}

/// # Errors
/// When the engine does not know the OCI runtime.
pub(crate) fn examined(
    config: &DockerConfig,
    engine: &Engine,
    version: &SystemVersion,
    info: &SystemInfo,
) -> Result<Examined, String> {
    let name = config.oci_runtime.as_str();
    known(name, &config.host, info)?;
    if engine.target.gvisor && !engine.peer.local {
        return Err(gvisor_elsewhere(&config.host));
    }
    let unknown = || "unknown".to_owned();
    let here = if engine.peer.local { "this host" } else { "not seen from here as processes" };
    let cgroup_version = info.cgroup_version.map_or_else(unknown, |version| format!("v{version}"));
    let cgroup_driver = info.cgroup_driver.map_or_else(unknown, |driver| driver.to_string());
    let details = vec![
        ("engine", format!("Docker Engine {}", version.version.clone().unwrap_or_else(unknown))),
        ("api", version.api_version.clone().unwrap_or_else(unknown)),
        ("host", format!("{} ({here})", config.host)),
        (
            "oci_runtime",
            path_of(name, info).map_or_else(|| name.to_owned(), |path| format!("{name} ({path})")),
        ),
        ("storage_driver", info.driver.clone().unwrap_or_else(unknown)),
        ("cgroup", format!("{cgroup_version}, {cgroup_driver}")),
        ("security", info.security_options.clone().unwrap_or_default().join("; ")),
    ];
    Ok(Examined { details, gvisor: engine.target.gvisor, local: engine.peer.local, missing: missing(info) })
}

fn gvisor_elsewhere(host: &str) -> String {
    format!(
        "gVisor's limits are changed in its cgroups alone, and those of the engine at {host} can't be seen from here: run \
         sandboxd on its host, and where that is in a container, with `--pid host`"
    )
}

/// A name with `io.containerd.` is of a shim, which the engine finds without its being registered.
fn known(name: &str, host: &str, info: &SystemInfo) -> Result<(), String> {
    let registered = info.runtimes.as_ref();
    if name.starts_with("io.containerd.") || registered.is_none_or(|all| all.contains_key(name)) {
        return Ok(());
    }
    let mut names: Vec<_> = registered.into_iter().flat_map(|all| all.keys().map(String::as_str)).collect();
    names.sort_unstable();
    Err(format!(
        "Docker Engine at {host} has no OCI runtime {name}, only {}: register it with `dockerd --add-runtime {name}=<path>`, \
         or \"runtimes\" in /etc/docker/daemon.json, and start dockerd again",
        names.join(", ")
    ))
}

/// The limits that the engine says it can't hold. What it does not speak of it can.
fn missing(info: &SystemInfo) -> Vec<(KernelLimit, String)> {
    let mut missing = Vec::new();
    let mut check = |answer: Option<bool>, limit, what: &str| {
        if answer == Some(false) {
            missing.push((limit, format!("Docker Engine says that its host {what}")));
        }
    };
    check(info.memory_limit, KernelLimit::Memory, "has no memory controller");
    check(
        info.swap_limit,
        KernelLimit::Memory,
        "does not account for swap: swap off, or boot with swapaccount=1",
    );
    check(info.pids_limit, KernelLimit::Tasks, "has no pids controller");
    check(info.cpu_cfs_quota, KernelLimit::Cpu, "has no CPU bandwidth controller");
    missing
}

fn path_of<'info>(name: &str, info: &'info SystemInfo) -> Option<&'info str> {
    info.runtimes.as_ref()?.get(name)?.path.as_deref()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::Runtime;

    use super::*;

    fn info(runtimes: &[(&str, &str)]) -> SystemInfo {
        let runtime = |(name, path): &(&str, &str)| {
            ((*name).to_owned(), Runtime { path: Some((*path).to_owned()), ..Default::default() })
        };
        let runtimes: HashMap<_, _> = runtimes.iter().map(runtime).collect();
        SystemInfo { runtimes: Some(runtimes), ..Default::default() }
    }

    #[test]
    fn gvisor_is_known_by_name_or_by_program() {
        let info = info(&[("safe", "/usr/bin/runsc"), ("runc", "runc"), ("odd", "/opt/runsc/bin/crun")]);
        assert!(is_gvisor("safe", &info));
        assert!(is_gvisor("io.containerd.runsc.v1", &info));
        assert!(!is_gvisor("runc", &info));
        assert!(!is_gvisor("odd", &info));
    }

    #[test]
    fn an_unknown_runtime_is_told_with_those_that_there_are() {
        let info = info(&[("runc", "runc"), ("crun", "crun")]);
        let sentence = known("runsc", "unix:///run/d.sock", &info).unwrap_err();
        assert!(sentence.contains("only crun, runc: register it with `dockerd --add-runtime runsc=<path>`"));
        assert!(known("runc", "", &info).is_ok());
        assert!(known("io.containerd.runsc.v1", "", &info).is_ok());
    }

    #[test]
    fn limits_that_are_not_held_are_named() {
        let info = SystemInfo { memory_limit: Some(true), swap_limit: Some(false), ..Default::default() };
        let missing = missing(&info);
        assert_eq!(missing.len(), 1);
        assert_eq!(missing.first().unwrap().0, KernelLimit::Memory);
    }
}
