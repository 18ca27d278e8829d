//! What goes out besides the binary: the commands of the documentation, the image of the daemon that they make, and the
//! manifests for Kubernetes.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::{containerd, docker, engines::skip, support::BINARY};

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/kubernetes/bin/python");

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// On this host; those for a machine with systemd are run in the emulated one.
#[test]
fn every_command_of_the_documentation_does_what_it_says() {
    let root = nix::unistd::geteuid().is_root();
    if !docker::answers() || !containerd::answers() || !(root || skip("the documentation", "it takes root")) {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let folder = Path::new(BINARY).parent().unwrap().display();
    let mut pages = vec![repository().join("README.md")];
    pages.extend(pages_in("docs"));
    let output = Command::new(repository().join("tests/docs.py"))
        .arg("host")
        .args(pages)
        .env("PATH", format!("{folder}:{}", env::var("PATH").unwrap()))
        .env("PROFILE", "dev")
        .env("SANDBOXD_STATE_DIR", state.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

fn pages_in(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join(folder)).unwrap();
    let mut pages: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    assert!(pages.len() > 5, "{pages:?}");
    pages
}

fn fits(manifests: &[PathBuf]) -> Output {
    Command::new(PYTHON)
        .arg(repository().join("tests/integration/kubernetes.py"))
        .args(manifests)
        .output()
        .unwrap()
}

#[test]
fn manifests_fit_their_schemas() {
    if !Path::new(PYTHON).exists() && !skip("kubernetes", "it is not in .cache: make test puts it there") {
        return;
    }
    let folder = repository().join("packaging/kubernetes");
    let manifests = ["sandboxd", "monitoring", "scaling"].map(|name| folder.join(format!("{name}.yaml")));
    let output = fits(&manifests);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output).lines().count(), 8, "{}", said(&output));

    let elsewhere = tempfile::tempdir().unwrap();
    for (manifest, sound, broken) in [
        ("sandboxd", "readinessProbe:", "readynessProbe:"),
        ("scaling", "minReplicas: 1", "minReplicas: one"),
        ("monitoring", "interval: 15s", "interval: 15 s"),
        ("monitoring", "path: /metrics", "paths: /metrics"),
    ] {
        let text = fs::read_to_string(folder.join(format!("{manifest}.yaml"))).unwrap();
        assert!(text.contains(sound), "{manifest}: {sound}");
        let path = elsewhere.path().join("broken.yaml");
        fs::write(&path, text.replace(sound, broken)).unwrap();
        assert!(!fits(&[path]).status.success(), "{broken}");
    }
}

/// The configuration for the cluster is one that the daemon takes.
#[test]
fn the_configuration_in_the_manifests_is_sound() {
    let text = fs::read_to_string(repository().join("packaging/kubernetes/sandboxd.yaml")).unwrap();
    let (_, rest) = text.split_once("config.toml: |\n").unwrap();
    let (configuration, _) = rest.split_once("---").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens.toml");
    fs::write(&tokens, "").unwrap();
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o640)).unwrap();
    let lines = configuration.lines().map(|line| line.strip_prefix("    ").unwrap_or_default());
    let configuration = lines
        .collect::<Vec<_>>()
        .join("\n")
        .replace("/etc/sandboxd/tokens/tokens.toml", &tokens.display().to_string());
    let path = folder.path().join("config.toml");
    fs::write(&path, configuration).unwrap();
    let output =
        Command::new(BINARY).args(["languages", "--packages", "--config"]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}
