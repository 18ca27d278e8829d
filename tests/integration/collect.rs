//! Files handed back: what matched, and never through a link.

use serde_json::{Value, json};

use crate::everywhere::{Case, cases};
use crate::support::{assert_status, shared, slack};

pub(crate) const ON_ANY_RUNTIME: &[Case] = cases![
    what_matches_comes_back,
    links_and_special_files_stay_behind,
    files_come_back_after_a_failure_too,
    a_hostile_tree_is_bounded,
];

fn collected(code: &str, globs: &[&str]) -> Value {
    shared().execute(&json!({ "language": "bash", "code": code, "collect": globs }))
}

fn paths(answer: &Value) -> Vec<&str> {
    answer["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect()
}

#[test]
fn what_matches_comes_back() {
    let answer = collected(
        "mkdir -p out/deep; echo 1 > out/a.txt; echo 22 > out/deep/b.txt; echo 3 > c.log",
        &["./out/**", "*.txt"],
    );
    assert_status(&answer, "ok");
    assert_eq!(paths(&answer), ["out/a.txt", "out/deep/b.txt"]);
    let file = &answer["files"][1];
    assert_eq!(
        (&file["content"], &file["encoding"], &file["size"]),
        (&json!("22\n"), &json!("utf8"), &json!(3))
    );
}

#[test]
fn links_and_special_files_stay_behind() {
    let code =
        "ln -s /etc/passwd link; ln -s /etc dir; echo x > real; ln real hard; mkfifo pipe; echo y > fine";
    let answer = collected(code, &["*", "**/*"]);
    assert_status(&answer, "ok");
    let found = paths(&answer);
    assert!(found.contains(&"fine"), "{answer:#}");
    for name in ["link", "hard", "real", "pipe"] {
        assert!(!found.contains(&name), "{name}: {answer:#}");
    }
    assert!(!found.iter().any(|path| path.starts_with("dir/")), "{answer:#}");
}

#[test]
fn files_come_back_after_a_failure_too() {
    let answer = shared().execute(&json!({
        "language": "bash", "code": "echo partial > result; sleep 60", "collect": ["result"],
        "limits": { "wall_time_ms": 300 * slack() }, "output_encoding": "base64",
    }));
    assert_status(&answer, "time_limit_exceeded");
    assert_eq!(answer["files"][0]["content"], "cGFydGlhbAo=");
    assert_eq!(answer["files"][0]["encoding"], "base64");
}

#[test]
fn a_hostile_tree_is_bounded() {
    let code = "for i in $(seq 60); do mkdir d && cd d || break; done; cd /box/work; for i in $(seq 3000); do : > f$i; done";
    let answer = collected(code, &["**"]);
    assert!(answer["files"].as_array().unwrap().len() < 3000);
}
