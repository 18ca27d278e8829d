//! Every refusal: its status, its code, its field, and one clear sentence.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::everywhere::{Case, cases};
use crate::support::{Answer, Daemon, shared};

pub(crate) const ON_ANY_RUNTIME: &[Case] = cases![
    requests_that_can_not_be_believed,
    every_violation_is_told_at_once,
    bodies_that_are_no_json,
    the_framework_answers_with_problems_too,
];

#[track_caller]
fn assert_problem(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{problem:#}");
    assert_eq!(problem["code"], code, "{problem:#}");
    for field in ["type", "title", "detail", "id"] {
        assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {problem:#}");
    }
    problem
}

fn post(body: &[u8]) -> Answer {
    shared().post("/api/execute", "application/json", body)
}

/// Before there is a request that anybody could be asked about.
#[test]
fn heads_that_are_no_http_are_answered_with_problems_too() {
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(200));
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000));
    for (head, status, code) in [
        ("NONSENSE\r\n\r\n", 400, "malformed_request"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "malformed_request"),
        ("POST /api/execute HTTP/1.1\r\nhost: x\r\ncontent-length: nine\r\n\r\n", 400, "malformed_request"),
        (&many, 431, "headers_too_large"),
        (&long, 414, "uri_too_long"),
    ] {
        let mut stream = TcpStream::connect(shared().url.strip_prefix("http://").unwrap()).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (told, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{head:.40}: {told}");
        assert!(told.contains("\r\ncontent-type: application/problem+json\r\n"), "{told}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["code"], &body["status"]), (&json!(code), &json!(status)));
    }
}

#[test]
fn requests_that_can_not_be_believed() {
    let max_args = vec!["x"; 5000];
    let cases = [
        (json!({ "language": "python", "code": "1", "colour": 1 }), "unknown_field", "colour"),
        (
            json!({ "language": "python", "code": "1", "limits": { "memory": 1 } }),
            "unknown_field",
            "limits.memory",
        ),
        (json!({ "language": "cobol", "code": "1" }), "unknown_language", "language"),
        (json!({ "language": "python", "version": "2", "code": "1" }), "unknown_language", "version"),
        (json!({ "language": "python", "code": "1", "runtime": "vm" }), "unknown_runtime", "runtime"),
        (
            json!({ "language": "python", "code": "1", "limits": { "memory_bytes": 1_u64 << 40 } }),
            "limit_too_high",
            "limits.memory_bytes",
        ),
        (
            json!({ "language": "c", "code": "1", "compile_limits": { "wall_time_ms": 121_000 } }),
            "limit_too_high",
            "compile_limits.wall_time_ms",
        ),
        (
            json!({ "language": "python", "code": "1", "limits": { "processes": 0 } }),
            "invalid_request",
            "limits.processes",
        ),
        (
            json!({ "language": "python", "code": "1", "limits": { "processes": -1 } }),
            "invalid_request",
            "limits.processes",
        ),
        (
            json!({ "language": "python", "code": "1", "limits": { "processes": 1.5 } }),
            "invalid_request",
            "limits.processes",
        ),
        (json!({ "language": "python", "code": "1", "limits": [] }), "invalid_request", "limits"),
        (json!({ "code": "1" }), "invalid_request", "language"),
        (json!({ "language": 5, "code": "1" }), "invalid_request", "language"),
        (json!({ "language": "python" }), "invalid_request", "code"),
        (json!({ "language": "python", "code": "1", "files": [] }), "invalid_request", "code"),
        (json!({ "language": "python", "files": [] }), "invalid_request", "files"),
        (
            json!({ "language": "python", "files": [{ "path": "../x", "content": "" }] }),
            "invalid_path",
            "files[0].path",
        ),
        (
            json!({ "language": "python", "files": [{ "path": "/x", "content": "" }] }),
            "invalid_path",
            "files[0].path",
        ),
        (
            json!({ "language": "python", "files": [{ "path": "a\0b", "content": "" }] }),
            "invalid_path",
            "files[0].path",
        ),
        (
            json!({ "language": "python", "files": [{ "path": "a", "content": "" }, { "path": "a", "content": "" }] }),
            "invalid_path",
            "files[1].path",
        ),
        (
            json!({ "language": "python", "files": [{ "path": "a", "content": "" }, { "path": "a/b", "content": "" }], "entry": "a" }),
            "invalid_path",
            "files[1].path",
        ),
        (
            json!({ "language": "python", "files": [{ "path": "a", "content": "" }, { "path": "b", "content": "" }] }),
            "invalid_request",
            "entry",
        ),
        (
            json!({ "language": "python", "files": [{ "path": "a", "content": "" }], "entry": "b" }),
            "invalid_request",
            "entry",
        ),
        (
            json!({ "language": "python", "files": [{ "path": "a", "content": "*", "encoding": "base64" }] }),
            "invalid_request",
            "files[0].content",
        ),
        (
            json!({ "language": "python", "files": [{ "path": "a", "content": "", "encoding": "hex" }] }),
            "invalid_request",
            "files[0].encoding",
        ),
        (
            json!({ "language": "python", "code": "1", "stdin": "*", "stdin_encoding": "base64" }),
            "invalid_request",
            "stdin",
        ),
        (json!({ "language": "python", "code": "1", "args": ["a\0"] }), "invalid_request", "args[0]"),
        (json!({ "language": "python", "code": "1", "args": max_args }), "invalid_request", "args"),
        (json!({ "language": "python", "code": "1", "env": { "A=B": "" } }), "invalid_request", "env"),
        (
            json!({ "language": "python", "code": "1", "compile_args": ["-O3"] }),
            "invalid_request",
            "compile_args",
        ),
        (
            json!({ "language": "python", "code": "1", "collect": ["/etc/*"] }),
            "invalid_request",
            "collect[0]",
        ),
        (
            json!({ "language": "python", "code": "1", "collect": ["a", "{b,c}.txt"] }),
            "invalid_request",
            "collect[1]",
        ),
        (
            json!({ "language": "python", "code": "1", "output_encoding": "latin1" }),
            "invalid_request",
            "output_encoding",
        ),
    ];
    for (request, code, field) in cases {
        let problem = assert_problem(&post(request.to_string().as_bytes()), 422, code);
        assert_eq!(problem["field"], field, "{request}\n{problem:#}");
    }
}

#[test]
fn every_violation_is_told_at_once() {
    let request = json!({ "language": "cobol", "code": "1", "stdin": "*", "stdin_encoding": "base64", "limits": { "processes": 0 } });
    let problem = assert_problem(&post(request.to_string().as_bytes()), 422, "invalid_request");
    let detail = problem["detail"].as_str().unwrap();
    for word in ["cobol", "stdin", "limits.processes"] {
        assert!(detail.contains(word), "{word}: {detail}");
    }
}

#[test]
fn bodies_that_are_no_json() {
    for body in [&b""[..], b"{", b"{}x", b"\xff", b"nul"] {
        assert_problem(&post(body), 400, "invalid_json");
    }
    for body in [&b"[]"[..], b"null", b"5", b"\"x\""] {
        assert_problem(&post(body), 422, "invalid_request");
    }
}

#[test]
fn the_framework_answers_with_problems_too() {
    let daemon = shared();
    assert_problem(&daemon.get("/nowhere"), 404, "not_found");
    let answer = daemon.get("/api/execute");
    assert_problem(&answer, 405, "method_not_allowed");
    assert_eq!(answer.header("allow"), "POST");
    assert_problem(&daemon.post("/healthz", "application/json", b"{}"), 405, "method_not_allowed");
    assert_problem(&daemon.post("/api/execute", "text/plain", b"{}"), 415, "unsupported_media_type");
    let large = format!("{{\"language\":\"python\",\"code\":\"{}\"}}", "x".repeat(9 << 20));
    assert_problem(&post(large.as_bytes()), 413, "payload_too_large");
}

#[test]
fn a_full_queue_is_told_with_the_time_to_come_back() {
    let daemon =
        Daemon::start("---[execution]\nmax_concurrent = 1\nqueue_length = 1\nqueue_timeout_ms = 300\n");
    let slow = json!({ "language": "bash", "code": "sleep 1.5" });
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(|| daemon.try_execute(&slow).unwrap())).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert_eq!(refused.len(), 3, "one runs, one waits too long, two find the queue full");
    for answer in refused {
        assert_problem(answer, 503, "overloaded");
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    }
}
