//! The command line: `run`, `doctor`, `languages`, and configurations that are wrong.

use std::{
    fs,
    io::Write,
    process::{Command, Output, Stdio},
};

use crate::support::BINARY;

fn sandboxd(arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(BINARY)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn program(name: &str, code: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, code).unwrap();
    let path = path.display().to_string();
    (folder, path)
}

#[test]
fn run_passes_everything_through() {
    let (_folder, path) =
        program("p.py", "import sys\nprint(sys.stdin.read().upper(), sys.argv[1:])\nsys.exit(3)");
    let output = sandboxd(&["run", &path, "--", "a", "-b"], "input");
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "INPUT ['a', '-b']\n");
    assert!(text(&output.stderr).contains("runtime_error"), "{}", text(&output.stderr));
}

#[test]
fn run_compiles() {
    let (_folder, path) = program("p.c", "#include <stdio.h>\nint main(void) { puts(\"hi\"); }");
    let output = sandboxd(&["run", &path], "");
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), "hi\n".to_owned()),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn kept_programs_are_shown_and_cleared() {
    let (folder, path) = program("p.c", "int main(void) { return 0; }");
    let state = folder.path().join("state");
    let sandboxd = |arguments: &[&str]| {
        let output = Command::new(BINARY).args(arguments).env("SANDBOXD_STATE_DIR", &state).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(sandboxd(&["cache"]).contains("programs  0"));
    sandboxd(&["run", &path]);
    let shown = sandboxd(&["cache"]);
    assert!(shown.contains("programs  1") && shown.contains("of 1024.0 MiB"), "{shown}");
    assert!(sandboxd(&["cache", "clear"]).contains("removed 1 compiled programs"));
    let shown: serde_json::Value = serde_json::from_str(&sandboxd(&["cache", "--json"])).unwrap();
    assert_eq!(shown["entries"], 0);
}

#[test]
fn a_command_line_that_makes_no_sense() {
    for arguments in [&["serve", "--bogus"][..], &["dance"], &[], &["run"]] {
        let output = sandboxd(arguments, "");
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn run_refuses_what_it_does_not_know() {
    let (_folder, path) = program("p.xyz", "");
    let output = sandboxd(&["run", &path], "");
    assert_ne!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("xyz"), "{}", text(&output.stderr));
}

#[test]
fn doctor_is_content_here() {
    let output = sandboxd(&["doctor"], "");
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("ok"));
}

#[test]
fn languages_lists_them() {
    let output = sandboxd(&["languages"], "");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("python"));
}

#[test]
fn a_wrong_configuration_is_told_in_one_line() {
    let cases = [
        ("[server]\nmax_body_byte = 5\n", "server.max_body_byte"),
        ("[server]\nmax_body_bytes = 0\n", "server.max_body_bytes"),
        ("[server]\nmax_body_bytes = \"big\"\n", "server.max_body_bytes"),
        ("[server]\nlisten = [\"nowhere\"]\n", "server.listen"),
        ("[execution]\nruntime = \"vm\"\n", "execution.runtime"),
        ("[runtimes.native]\nkind = \"magic\"\n", "runtimes.native.kind"),
        ("[limits.default]\nmemory_bytes = 99999999999999\n", "limits.default.memory_bytes"),
        (
            "[runtimes.native]\nkind = \"native\"\nallow_missing = [\"gravity\"]\n",
            "runtimes.native.allow_missing",
        ),
        ("not toml", "config.toml"),
    ];
    for (config, key) in cases {
        let (_folder, path) = program("config.toml", config);
        let output = sandboxd(&["serve", "--config", &path], "");
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{config}: {error}");
        assert!(error.contains(key) && error.contains("config.toml"), "{config}: {error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    }
}

#[test]
fn the_environment_overrides_and_is_checked_too() {
    let output =
        Command::new(BINARY).arg("serve").env("SANDBOXD_SERVER__MAX_BODY_BYTES", "0").output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("SANDBOXD_SERVER__MAX_BODY_BYTES"), "{}", text(&output.stderr));
}

#[test]
fn a_configuration_that_is_not_there() {
    let output = sandboxd(&["serve", "--config", "/nonexistent/config.toml"], "");
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("/nonexistent/config.toml"));
}

/// As `sandboxd doctor | head -n 1` does.
#[test]
fn a_reader_that_has_enough_is_no_failure_to_tell_of() {
    let mut child = Command::new(BINARY)
        .args(["languages", "--packages"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(141), String::new()));
}
