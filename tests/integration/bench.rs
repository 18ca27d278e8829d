//! `sandboxd bench`, on a daemon that runs already and on one of its own: that it measures, never how fast.

use std::process::Command;

use serde_json::Value;

use crate::support::{BINARY, shared};

fn bench(arguments: &[&str]) -> Value {
    let quick = ["bench", "--json", "--time-ms", "80"];
    let output = Command::new(BINARY).args(quick).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ways(answer: &Value) -> Vec<(&str, u64, &str)> {
    let check = |row: &Value| {
        assert!(row["runs"].as_u64() > Some(0), "{row:#}");
        assert_eq!(row["errors"], 0, "{row:#}");
        assert!(row["whole"]["p99_ms"].as_f64() >= row["whole"]["p50_ms"].as_f64(), "{row:#}");
    };
    let rows = answer["rows"].as_array().unwrap();
    rows.iter().for_each(check);
    let mut ways = Vec::new();
    for row in rows {
        let (work, who) = (row["work"].as_str().unwrap(), row["who"].as_str().unwrap());
        ways.push((work, row["concurrency"].as_u64().unwrap(), who));
    }
    ways
}

#[test]
fn a_daemon_that_runs_already() {
    let url = &shared().url;
    let answer = bench(&[
        "--url",
        url,
        "--language",
        "binary",
        "--language",
        "c",
        "--concurrency",
        "1",
        "--concurrency",
        "2",
    ]);
    let compiled =
        |count| ["by hand, compiled", "by hand", "ready", "cold"].map(|way| ("c", count, way)).into_iter();
    let binary = |count| ["by hand", "ready"].map(|way| ("binary", count, way)).into_iter();
    let expected: Vec<_> = binary(1).chain(binary(2)).chain(compiled(1)).chain(compiled(2)).collect();
    assert_eq!(ways(&answer), expected);
    // Somebody else's daemon shows no memory.
    assert_eq!(answer["rss_idle_bytes"], Value::Null);
    let ready = answer["rows"].as_array().unwrap().iter().find(|row| row["who"] == "ready").unwrap();
    assert!(ready["p50_to_floor"].as_f64() > Some(0.0), "{ready:#}");
    assert!(ready["parts"]["run"]["p50_ms"].as_f64() > Some(0.0), "{ready:#}");
}

#[test]
fn a_daemon_of_its_own() {
    let answer = bench(&["--language", "python", "--concurrency", "1"]);
    assert_eq!(ways(&answer), ["by hand", "ready", "cold"].map(|way| ("python", 1, way)));
    assert!(answer["rss_idle_bytes"].as_u64() > Some(0));
}

#[test]
fn a_bench_that_makes_no_sense() {
    for (arguments, code) in [
        (&["--language", "cobol"][..], 64),
        (&["--url", "ftp://a"], 64),
        (&["--concurrency", "0"], 64),
        (&["--url", "unix:/nowhere/at/all"], 1),
    ] {
        let output = Command::new(BINARY).arg("bench").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}
