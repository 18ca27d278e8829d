//! What a client sees is the same on every runtime: the tests of programs, limits, files, languages and refusals again, on
//! Docker with runc and with gVisor. Each topic lists its own in `ON_ANY_RUNTIME`; they find their daemon by
//! `support::shared`.
//!
//! CONTRACT_CASES names some of them, by parts of their names. Prints SKIP and why where Docker does not answer, which is a failure in CI.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use crate::{
    collect, docker, errors, execute, languages, limits, load,
    support::{Daemon, with_shared},
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

/// Tests at once: each has programs of its own, and the host should not be so loaded that limits can't be watched.
const AT_ONCE: usize = 2;

#[test]
fn docker_with_runc_is_no_other() {
    all_pass_on("runc");
}

#[test]
fn docker_with_gvisor_is_no_other() {
    // The newer one where there are two: in that of 2022 even `ls` fails on a newer kernel than its own time's.
    let newer = docker::has_runtime("runsc-backports");
    all_pass_on(if newer { "runsc-backports" } else { "runsc" });
}

fn all_pass_on(oci_runtime: &str) {
    if !docker::answers() {
        return;
    }
    let docker = format!("oci_runtime = \"{oci_runtime}\"");
    let configuration = docker::configuration(
        &docker,
        "queue_timeout_ms = 300000
max_concurrent = 4",
    );
    // Threads of the tests' own hold on to it.
    let daemon: &'static Daemon = Box::leak(Box::new(Daemon::start(&configuration)));
    let topics: [&[Case]; 6] = [
        execute::ON_ANY_RUNTIME,
        limits::ON_ANY_RUNTIME,
        collect::ON_ANY_RUNTIME,
        errors::ON_ANY_RUNTIME,
        languages::ON_ANY_RUNTIME,
        load::ON_ANY_RUNTIME,
    ];
    let mut cases = topics.concat();
    if let Ok(wanted) = std::env::var("CONTRACT_CASES") {
        cases.retain(|(name, _)| wanted.split(',').any(|wanted| name.contains(wanted)));
    }
    let next = AtomicUsize::new(0);
    let failures: Vec<&str> = thread::scope(|scope| {
        let work = || {
            let mut failures = Vec::new();
            while let Some((name, test)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                if catch_unwind(AssertUnwindSafe(|| with_shared(daemon, test))).is_err() {
                    failures.push(*name);
                }
            }
            failures
        };
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    daemon.signal("-TERM");
    let ended = daemon.wait(Duration::from_secs(60));
    assert!(
        failures.is_empty(),
        "{oci_runtime}: {} of {} failed: {failures:#?}",
        failures.len(),
        cases.len()
    );
    assert_eq!(ended.code(), Some(0), "{}", daemon.log());
}
