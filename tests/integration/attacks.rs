//! The hostile programs of `tests/attacks`, by `sandboxd attack-test`: all of them on native and in Docker's containers, a few
//! under gVisor, where each takes longer.

use std::{fs, process::Command};

use serde_json::Value;

use crate::{containerd, docker, support::BINARY};

/// What a kernel of its own could get wrong, not only slowly.
const UNDER_GVISOR: [&str; 9] = [
    "collected-links",
    "daemon",
    "fork-bomb",
    "host-files",
    "memory-of-children",
    "neighbours",
    "neighbours-again",
    "rights",
    "sockets",
];

/// Runs attacks on the one runtime that there is in this configuration.
fn attack(runtimes: &str, attacks: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let text = format!(
        "state_dir = {:?}\n[execution]\ncpu_millis = 1500\n{runtimes}\n",
        folder.path().join("state")
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(BINARY);
    command.arg("attack-test").arg("--json").arg("--config").arg(&config);
    for attack in attacks {
        command.args(["--attack", attack]);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// The names of those that did not hold, and how many were tried.
fn broken(answer: &Value) -> (Vec<String>, usize) {
    let attacks = answer["attacks"].as_array().unwrap();
    let broken = attacks.iter().filter(|attack| attack["held"] != true);
    let told = |attack: &Value| format!("{}: {}", attack["name"].as_str().unwrap(), attack["reason"]);
    (broken.map(told).collect(), attacks.iter().filter(|attack| attack["asked"] == true).count())
}

#[test]
fn all_hold_on_native() {
    let (broken, tried) = broken(&attack("", &[]));
    assert_eq!(broken, Vec::<String>::new());
    assert!(tried >= 30, "{tried}");
}

#[test]
fn all_hold_in_docker() {
    if !docker::answers() {
        return;
    }
    let (mut broken, tried) = broken(&attack("[runtimes.docker]\nwarm = 0", &[]));
    // The default filter of engines before 25 answers it, and it is the engine's: SECURITY.md says so.
    broken.retain(|attack| !attack.starts_with("io-uring: "));
    assert_eq!(broken, Vec::<String>::new());
    assert!(tried >= 30, "{tried}");
}

#[test]
fn they_hold_under_gvisor() {
    if !containerd::answers() {
        return;
    }
    let runsc = containerd::newer_runsc().unwrap_or("runsc");
    let runtime = format!("[runtimes.containerd]\nwarm = 0\noci_runtime = {runsc:?}");
    let (broken, tried) = broken(&attack(&runtime, &UNDER_GVISOR));
    assert_eq!((broken, tried), (Vec::new(), UNDER_GVISOR.len()));
}

#[test]
fn one_that_does_not_exist_is_told() {
    let output = Command::new(BINARY).args(["attack-test", "--attack", "none"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no attack \"none\"; there are "));
}
