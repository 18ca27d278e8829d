//! `sandboxd images`, with the Docker Engine and the containerd that answer on this host.

use std::{
    io::Write,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::Value;

use crate::{containerd, docker, engines, support::BINARY};

fn images(arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .arg("images")
        .args(arguments)
        .env("SANDBOXD_RUNTIMES__DOCKER__KIND", "docker")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn an_image_is_built_listed_and_checked() {
    if !docker::answers() {
        return;
    }
    let built = images(&["build", "python"]);
    assert_code(&built, 0);
    assert!(text(&built.stdout).starts_with("python: built in "), "{}", text(&built.stdout));
    assert!(text(&built.stderr).contains("Successfully tagged sandboxd/python:latest"));

    let listed = images(&["list", "--json"]);
    assert_code(&listed, 0);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let all = listed["images"].as_array().unwrap();
    let python = all.iter().find(|image| image["language"] == "python").unwrap();
    assert_eq!(python["image"], "sandboxd/python:latest", "{python}");
    assert!(python["size_bytes"].as_u64().unwrap() > 50_000_000, "{python}");
    assert!(all.iter().any(|image| image["language"] == "java"), "{listed}");

    let checked = images(&["check", "python"]);
    assert_code(&checked, 0);
    assert!(text(&checked.stdout).starts_with("python 3."), "{}", text(&checked.stdout));
}

#[test]
fn a_build_that_fails_says_what_the_step_said() {
    if !docker::answers() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let language = folder.path().join("broken");
    std::fs::create_dir(&language).unwrap();
    let manifest = r#"name = "Broken"
extensions = ["broken"]
packages = ["no-such-package-anywhere"]
version_command = ["true"]
[source]
name = "main"
[run]
command = ["true"]
[example]
file = "hello"
[self_test]
file = "hello"
stdout = ""
"#;
    std::fs::write(language.join("executor.toml"), manifest).unwrap();
    std::fs::write(language.join("hello"), "").unwrap();
    let output = Command::new(BINARY)
        .args(["images", "build", "--quiet", "broken"])
        .env("SANDBOXD_RUNTIMES__DOCKER__KIND", "docker")
        .env("SANDBOXD_EXECUTORS__DIRS", folder.path())
        .output()
        .unwrap();
    assert_code(&output, 1);
    let said = text(&output.stdout);
    assert!(said.starts_with("broken: failed: build sandboxd/broken:latest: step "), "{said}");
    assert!(said.contains("Unable to locate package no-such-package-anywhere"), "{said}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn an_archive_that_is_none_is_refused() {
    let missing = images(&["import", "/nonexistent/images.tar"]);
    assert_code(&missing, 66);
    assert!(text(&missing.stderr).contains("/nonexistent/images.tar"), "{}", text(&missing.stderr));
    if !docker::answers() {
        return;
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"no archive").unwrap();
    let refused = images(&["import", file.path().to_str().unwrap()]);
    assert_code(&refused, 1);
    assert!(text(&refused.stderr).contains("import "), "{}", text(&refused.stderr));
}

#[test]
fn what_makes_no_sense_is_told_in_one_line() {
    let cases: [(&[&str], i32, &str); 4] = [
        (&["build", "cobol"], 64, "cobol"),
        (&["list", "--runtime", "moon"], 64, "moon"),
        (&["list", "--runtime", "docker"], 69, "/nonexistent.sock"),
        (&["build", "python", "--quiet"], 69, "/nonexistent.sock"),
    ];
    for (arguments, code, words) in cases {
        let output = Command::new(BINARY)
            .arg("images")
            .args(arguments)
            .env("SANDBOXD_RUNTIMES__DOCKER__HOST", "unix:///nonexistent.sock")
            .output()
            .unwrap();
        assert_code(&output, code);
        let error = text(&output.stderr);
        assert!(error.contains(words) && error.trim_end().lines().count() == 1, "{error}");
    }
    let output = Command::new(BINARY).args(["images", "list"]).output().unwrap();
    assert_code(&output, 78);
    assert!(
        text(&output.stderr).contains("SANDBOXD_RUNTIMES__DOCKER__KIND=docker"),
        "{}",
        text(&output.stderr)
    );
    let output = Command::new(BINARY).args(["images", "list", "--runtime", "native"]).output().unwrap();
    assert_code(&output, 64);
}

/// A namespace of the test's own in the containerd that answers, and all in it gone at its end.
struct Namespace(String);

impl Namespace {
    fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        containerd::answers().then(|| Self(format!("sandboxd-test-{}-{number}", std::process::id())))
    }

    fn images(&self, arguments: &[&str]) -> Output {
        Command::new(BINARY)
            .arg("images")
            .args(arguments)
            .env("SANDBOXD_RUNTIMES__CONTAINERD__KIND", "containerd")
            .env("SANDBOXD_RUNTIMES__CONTAINERD__NAMESPACE", &self.0)
            .env("SANDBOXD_STATE_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/images"))
            .output()
            .unwrap()
    }

    fn ctr(&self, arguments: &[&str]) -> String {
        let output = containerd::ctr(containerd::SOCKET, &[&["--namespace", &self.0], arguments].concat());
        assert_code(&output, 0);
        text(&output.stdout)
    }

    fn python(&self) -> Value {
        let listed = self.images(&["list", "--json"]);
        assert_code(&listed, 0);
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        let all = listed["images"].as_array().unwrap();
        all.iter().find(|image| image["language"] == "python").unwrap().clone()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        for name in self.ctr(&["images", "ls", "-q"]).lines() {
            self.ctr(&["images", "rm", "--sync", name]);
        }
        self.ctr(&["namespaces", "rm", &self.0]);
    }
}

#[test]
fn an_image_of_docker_is_brought_to_containerd() {
    let Some(namespace) = Namespace::new() else { return };
    if !docker::answers() {
        return;
    }
    assert_code(&images(&["build", "python"]), 0);
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("python.tar");
    let archive = archive.to_str().unwrap();
    let address = "http://docker/images/get?names=sandboxd/python:latest";
    let saved =
        Command::new("curl").args(["-fsS", "--unix-socket", docker::SOCKET, "-o", archive, address]).output();
    assert_code(&saved.unwrap(), 0);

    // The second time it finds all that the first has brought.
    for _ in 0..2 {
        let imported = namespace.images(&["import", archive]);
        assert_code(&imported, 0);
        assert_eq!(text(&imported.stdout), "sandboxd/python:latest\n");
    }
    let python = namespace.python();
    let in_docker: Value = serde_json::from_slice(&images(&["list", "--json"]).stdout).unwrap();
    let all = in_docker["images"].as_array().unwrap();
    assert!(all.iter().any(|image| image["id"] == python["id"]), "{python} is none of {in_docker}");
    assert!(python["size_bytes"].as_u64().unwrap() > 50_000_000, "{python}");
    let checked = namespace.images(&["check", "python"]);
    assert_code(&checked, 0);

    assert_eq!(namespace.ctr(&["leases", "ls", "-q"]), "");
    let complete = namespace.ctr(&["images", "check"]);
    assert!(complete.contains("complete ("), "{complete}");
    // As ctr writes it: a layout of the OCI, from which it comes back.
    let layout = folder.path().join("layout.tar");
    let layout = layout.to_str().unwrap();
    namespace.ctr(&["images", "export", layout, "docker.io/sandboxd/python:latest"]);
    namespace.ctr(&["images", "rm", "--sync", "docker.io/sandboxd/python:latest"]);
    assert_eq!(namespace.python()["image"], Value::Null);
    assert_eq!(namespace.ctr(&["snapshots", "ls"]).lines().count(), 1, "all of it is gone with its name");
    assert_code(&namespace.images(&["import", layout]), 0);
    assert_eq!(namespace.python()["id"], python["id"]);
}

#[test]
fn an_image_is_made_without_docker() {
    let Some(namespace) = Namespace::new() else { return };
    let built = namespace.images(&["build", "python"]);
    if !nix::unistd::geteuid().is_root() {
        assert_code(&built, 69);
        assert!(text(&built.stderr).contains("as root only"), "{}", text(&built.stderr));
        return;
    }
    if text(&built.stderr).contains("apt-get install mmdebstrap") {
        engines::skip("containerd", "mmdebstrap is not installed");
        return;
    }
    assert_code(&built, 0);
    assert!(text(&built.stdout).starts_with("python: built in "), "{}", text(&built.stdout));
    assert!(namespace.python()["size_bytes"].as_u64().unwrap() > 50_000_000);
    let checked = namespace.images(&["check", "python"]);
    assert_code(&checked, 0);
    assert!(text(&checked.stdout).starts_with("python 3."), "{}", text(&checked.stdout));
    assert_eq!(namespace.ctr(&["leases", "ls", "-q"]), "");
}

#[test]
fn an_archive_that_is_none_is_refused_by_containerd_too() {
    let Some(namespace) = Namespace::new() else { return };
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[7; 2048]).unwrap();
    let refused = namespace.images(&["import", file.path().to_str().unwrap()]);
    assert_code(&refused, 1);
    assert!(text(&refused.stderr).contains("no tar archive"), "{}", text(&refused.stderr));
    assert_code(&namespace.images(&["import", "/nonexistent/images.tar"]), 66);
}
