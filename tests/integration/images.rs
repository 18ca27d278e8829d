//! `sandboxd images`, with the Docker Engine that answers on this host.

use std::{
    io::Write,
    process::{Command, Output},
};

use serde_json::Value;

use crate::{docker, support::BINARY};

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
