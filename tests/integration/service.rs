//! Everything that is no execution: languages, runtimes, health, metrics, OpenAPI, both listeners, both HTTP versions.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use serde_json::json;

use crate::support::{Daemon, configuration, free_port, shared};

#[test]
fn languages_are_listed_with_what_is_missing() {
    let languages = shared().get("/api/languages").json();
    let languages = languages["languages"].as_array().unwrap().clone();
    for id in ["python", "javascript", "c", "cpp", "java", "go", "bash"] {
        let language =
            languages.iter().find(|language| language["id"] == id).unwrap_or_else(|| panic!("{id}"));
        assert_eq!(language["available"], true, "{language:#}");
        assert!(language["version"].as_str().is_some_and(|version| version.contains('.')), "{language:#}");
    }
}

#[test]
fn runtimes_say_which_limits_they_hold() {
    let runtimes = shared().get("/api/runtimes").json();
    let native = &runtimes["runtimes"][0];
    assert_eq!((&native["name"], &native["available"]), (&json!("native"), &json!(true)), "{native:#}");
}

#[test]
fn a_runtime_that_can_not_be_reached_is_listed_and_refused() {
    let daemon = Daemon::start(
        "---[runtimes.native]\n[runtimes.docker]\nhost = \"unix:///nowhere.sock\"\n[execution]\nruntime = \"native\"\n",
    );
    let request = json!({ "language": "bash", "code": "true", "runtime": "docker" });
    let answer = daemon.try_execute(&request).unwrap();
    assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("runtime_unavailable")));
    assert!(answer.body.contains("/nowhere.sock"), "{}", answer.body);
    assert!(answer.header("retry-after").parse::<u64>().is_ok());
    let runtimes = daemon.get("/api/runtimes").json();
    let docker = runtimes["runtimes"].as_array().unwrap().iter().find(|runtime| runtime["name"] == "docker");
    assert_eq!(docker.unwrap()["available"], false, "{runtimes:#}");
}

#[test]
fn health_and_readiness() {
    assert_eq!(shared().get("/healthz").status, 200);
    assert_eq!(shared().get("/readyz").status, 200);
}

#[test]
fn metrics_count_executions() {
    let daemon = Daemon::start("");
    daemon.run("bash", "exit 3");
    daemon.run("bash", "true");
    let answer = daemon.get("/metrics");
    assert!(answer.header("content-type").starts_with("text/plain"));
    for line in [
        r#"sandboxd_executions_total{language="bash",runtime="native",status="runtime_error"} 1"#,
        r#"sandboxd_executions_total{language="bash",runtime="native",status="ok"} 1"#,
        r#"sandboxd_execution_duration_seconds_count{language="bash",runtime="native"} 2"#,
        "sandboxd_queue_length 0",
        "# HELP sandboxd_sandboxes ",
    ] {
        assert!(answer.body.lines().any(|other| other.starts_with(line)), "{line}\n{}", answer.body);
    }
}

#[test]
fn the_openapi_document_names_every_path() {
    let document = shared().get("/openapi.json").json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for path in ["/api/execute", "/api/languages", "/api/runtimes", "/healthz", "/readyz", "/metrics"] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
}

#[test]
fn a_unix_socket_beside_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("deep/s.sock");
    let port = free_port();
    let config =
        configuration(folder.path(), &format!("\"127.0.0.1:{port}\", \"unix:{}\"", socket.display()), "");
    let daemon = Daemon::start_with(folder, &config, port);
    daemon.await_ready();
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn http_2_without_tls() {
    let mut stream = std::net::TcpStream::connect(shared().url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // The client's preface and an empty SETTINGS frame; the server's first frame must be SETTINGS (RFC 9113, 3.4).
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame[3], 4, "{frame:?}");
}
