//! What a client sees is the same on every runtime: the tests of programs, limits, files, languages and refusals again, on
//! Docker and on containerd, with runc and with gVisor. Each topic lists its own in `ON_ANY_RUNTIME`; they find their daemon by
//! `support::shared`.
//!
//! CONTRACT_CASES names some of them, by parts of their names, and CONTRACT_WITHOUT those that are left out. Prints SKIP and
//! why where an engine does not answer, which is a failure in CI.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::json;

use crate::{
    collect, containerd, docker,
    engines::skip,
    errors, execute, languages, limits, load,
    support::{BINARY, Daemon, assert_status, configuration, free_port, slack, with_shared},
};

/// A test and its name.
pub(crate) type Case = (&'static str, fn());

/// The list of a topic's tests.
macro_rules! cases {
    ($($test:ident),* $(,)?) => {
        &[$((concat!(module_path!(), "::", stringify!($test)), $test as fn())),*]
    };
}
pub(crate) use cases;

/// Tests at once, where nothing is measured; a machine that is given more time has enough to do with one.
fn at_once() -> usize {
    if slack() > 1 { 1 } else { 2 }
}

/// Of the runtimes.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn docker_with_runc_is_no_other() {
    on_docker("runc", EXECUTION);
}

#[test]
fn docker_with_gvisor_is_no_other() {
    on_docker("runsc", &gvisor_execution());
}

#[test]
fn docker_with_a_newer_gvisor_is_no_other() {
    let newer = "runsc-backports";
    if docker::answers()
        && (docker::has_runtime(newer) || skip("docker", "it has no runtime runsc-backports"))
    {
        on_docker(newer, &gvisor_execution());
    }
}

/// As one on another host, or one whose daemon is in a container: it sees none of our files, and we none of its cgroups.
#[test]
fn docker_elsewhere_is_no_other() {
    if docker::answers() {
        let host = format!("host = \"tcp://{}\"", docker::over_tcp());
        all_pass_on("over TCP", &docker::configuration(&host, EXECUTION));
    }
}

#[test]
fn containerd_with_runc_is_no_other() {
    on_containerd("runc", EXECUTION);
}

#[test]
fn containerd_with_gvisor_is_no_other() {
    on_containerd("runsc", &gvisor_execution());
}

#[test]
fn containerd_with_a_newer_gvisor_is_no_other() {
    match containerd::newer_runsc() {
        Some(newer) => on_containerd(newer, &gvisor_execution()),
        None => drop(skip("containerd", "there is no newer runsc")),
    }
}

/// As the service has it: root for the sake of gVisor's limits, and nothing of what makes a root mighty.
#[test]
fn gvisor_is_limited_by_a_root_without_capabilities() {
    if !containerd::answers() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let runtime = containerd::configuration("runsc", &gvisor_execution());
    let config = configuration(folder.path(), &format!("\"127.0.0.1:{port}\""), &runtime);
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", BINARY]);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    let daemon = Daemon::start_by(command, folder, &config, port);
    daemon.await_ready();
    let hog = json!({"language": "python", "code": "print(len(bytearray(512 << 20)))", "limits": {"memory_bytes": 64 << 20}});
    assert_status(&daemon.execute(&hog), "memory_limit_exceeded");
}

/// An engine takes no limit on memory below 6 MiB; only who can write the cgroup can.
const NOT_ELSEWHERE: [&str; 2] =
    ["a_memory_limit_that_nothing_fits_into", "a_memory_limit_that_holds_no_file"];

const EXECUTION: &str = "queue_timeout_ms = 300000\nmax_concurrent = 4";
/// gVisor's threads wait for each other by spinning: where they have every CPU for themselves, a kernel may not get to its
/// own work for seconds, and the host stands still.
fn gvisor_execution() -> String {
    let times_ms = 10_000 * slack().min(6);
    format!(
        "{EXECUTION}\ncpu_millis = 1500\nstart_timeout_ms = {times_ms}\n\
         [limits.default]\nwall_time_ms = {times_ms}\ncpu_time_ms = {times_ms}"
    )
}

fn on_docker(oci_runtime: &str, execution: &str) {
    if docker::answers() {
        let docker = format!("oci_runtime = \"{oci_runtime}\"");
        all_pass_on(oci_runtime, &docker::configuration(&docker, execution));
    }
}

fn on_containerd(oci_runtime: &str, execution: &str) {
    if containerd::answers() {
        all_pass_on(oci_runtime, &containerd::configuration(oci_runtime, execution));
    }
}

fn all_pass_on(oci_runtime: &str, configuration: &str) {
    let _one_after_the_other = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // Threads of the tests' own hold on to it.
    let daemon: &'static Daemon = Box::leak(Box::new(Daemon::start(configuration)));
    let elsewhere = daemon.is_elsewhere();
    // Limits first and by themselves: on a host that is busy with other programs none can be watched to the millisecond.
    let (mut limits, all_else) = (
        wanted(&[limits::ON_ANY_RUNTIME]),
        wanted(&[
            execute::ON_ANY_RUNTIME,
            collect::ON_ANY_RUNTIME,
            errors::ON_ANY_RUNTIME,
            languages::ON_ANY_RUNTIME,
            load::ON_ANY_RUNTIME,
        ]),
    );
    limits.retain(|(name, _)| !(elsewhere && NOT_ELSEWHERE.iter().any(|not| name.ends_with(not))));
    let failures = [failures(daemon, &limits, 1), failures(daemon, &all_else, at_once())].concat();
    daemon.signal("-TERM");
    let ended = daemon.wait(Duration::from_secs(60));
    let errors: Vec<_> =
        daemon.log().lines().filter(|line| line.contains("\"ERROR\"")).map(str::to_owned).collect();
    assert!(failures.is_empty(), "{oci_runtime}: {} failed: {failures:#?}\n{errors:#?}", failures.len());
    assert_eq!(ended.code(), Some(0), "{}", daemon.log());
}

fn wanted(topics: &[&[Case]]) -> Vec<Case> {
    let mut cases = topics.concat();
    let named = |variable, name: &str| {
        std::env::var(variable).ok().map(|parts| parts.split(',').any(|part| name.contains(part)))
    };
    cases.retain(|(name, _)| {
        named("CONTRACT_CASES", name) != Some(false) && named("CONTRACT_WITHOUT", name) != Some(true)
    });
    cases
}

/// The names of those that fail.
fn failures(daemon: &'static Daemon, cases: &[Case], at_once: usize) -> Vec<&'static str> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let work = || {
            let mut failures = Vec::new();
            while let Some((name, test)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                if catch_unwind(AssertUnwindSafe(|| with_shared(daemon, test))).is_err() {
                    failures.push(*name);
                }
            }
            failures
        };
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}
