//! Containers kept ready follow what is asked for, on the real engines, as `/metrics` tells it.

use std::thread;

use serde_json::json;

use crate::{
    containerd, docker,
    engines::eventually,
    observed::value,
    support::{Daemon, assert_status},
};

const RUNNING_AT_ONCE: &str = "queue_timeout_ms = 60000\nmax_concurrent = 8";
/// More come at once than may stand ready, and far more than do without a rush.
const ASKS: usize = 6;
const MAX_READY: usize = 4;
const POOL: &str = "warm = 1\n[pool]\nmax_ready = 4";

#[test]
fn docker_has_as_many_ready_as_come_at_once() {
    if docker::answers() {
        follows_a_rush("docker", &(docker::configuration("", RUNNING_AT_ONCE) + POOL));
    }
}

#[test]
fn containerd_has_as_many_ready_as_come_at_once() {
    if containerd::answers() {
        follows_a_rush("containerd", &(containerd::configuration("runc", RUNNING_AT_ONCE) + POOL));
    }
}

fn follows_a_rush(runtime: &str, configuration: &str) {
    let daemon = Daemon::start(configuration);
    let metric = |series: &str| value(&daemon.get("/metrics").body, series).unwrap_or(0.0);
    let ready = || metric(&format!("sandboxd_pool_sandboxes{{runtime=\"{runtime}\",state=\"ready\"}}"));
    let found = || metric(&format!("sandboxd_pool_taken_total{{how=\"ready\",runtime=\"{runtime}\"}}"));
    rush(&daemon, ASKS);
    // What stands ready of the other languages makes room, as soon as nobody has asked for it in a while.
    eventually("everyone of a rush finds one ready", || {
        let before = found();
        ready() == MAX_READY as f64 && {
            rush(&daemon, MAX_READY);
            found() - before == MAX_READY as f64
        }
    });
    eventually("they are ready again", || ready() == MAX_READY as f64);
    let held = metric(&format!("sandboxd_pool_memory_bytes{{runtime=\"{runtime}\"}}"));
    let each_mib = held / MAX_READY as f64 / f64::from(1 << 20);
    assert!((3.0..32.0).contains(&each_mib), "{each_mib} MiB for each");
}

fn rush(daemon: &Daemon, asks: usize) {
    let request = json!({ "language": "bash", "code": "echo $((6 * 7))" });
    thread::scope(|scope| {
        for _ in 0..asks {
            scope.spawn(|| assert_status(&daemon.execute(&request), "ok"));
        }
    });
}
