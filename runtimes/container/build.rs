//! Builds the agent as a static program, so that the daemon can carry it along and no image needs to hold it.

#![allow(clippy::disallowed_types, reason = "a build script's work is to run other programs")]
#![allow(clippy::expect_used, reason = "a build script fails by panicking")]

use std::{env, fs, path::Path, process::Command};

/// What an outer cargo, or a person, says of how this crate is built, and not of how the agent is.
const NOT_THE_AGENTS: &[&str] = &[
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "CLIPPY_ARGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

fn main() {
    let variable = |name: &str| env::var(name).expect("cargo sets it");
    let (out, target) = (variable("OUT_DIR"), variable("TARGET"));
    let workspace = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../..");
    let watch = |path: &str| println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    watch("Cargo.lock");
    watch("Cargo.toml");
    watch("runtimes/container/build.rs");
    for source in ["agent", "files", "inside"] {
        watch(&format!("runtimes/{source}/Cargo.toml"));
        watch(&format!("runtimes/{source}/src"));
    }
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .args(["build", "--package", "sandboxd-agent", "--bin", "sandboxd-agent", "--profile", "agent"])
        .args(["--frozen", "--quiet", "--target", &target])
        .arg("--manifest-path")
        .arg(workspace.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(format!("{out}/agent"))
        // No loader and no library of an image's is needed to start it.
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    for name in NOT_THE_AGENTS {
        cargo.env_remove(name);
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "the agent could not be built: {status}");
    let built = format!("{out}/agent/{target}/agent/sandboxd-agent");
    fs::copy(built, format!("{out}/sandboxd-agent")).expect("the agent was built");
}
