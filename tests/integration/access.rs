//! Who comes in, and how much of the daemon is whose: tokens over TCP, users of a Unix socket, and what the configuration has
//! to say before other hosts may ask.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::Command,
    thread,
};

use serde_json::{Value, json};

use crate::{
    engines::eventually,
    support::{BINARY, Daemon, configuration, free_port, try_serve},
};

/// A token, as an operator makes one, and the lines for the file.
fn new_token(name: &str) -> (String, String) {
    let output = Command::new(BINARY).args(["token", name]).output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    let lines = said.lines().skip_while(|line| !line.starts_with('[')).collect::<Vec<_>>().join("\n");
    (String::from_utf8(output.stdout).unwrap().trim().to_owned(), lines)
}

/// A daemon that knows these tokens.
fn guarded(tokens: &str, extra: &str) -> Daemon {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.toml");
    fs::write(&file, tokens).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let port = free_port();
    let listen = format!("\"127.0.0.1:{port}\", \"unix:{}/socket\"", folder.path().display());
    let extra = format!("[auth]\ntokens = {file:?}\n{extra}");
    let config = configuration(folder.path(), &listen, &extra);
    let daemon = Daemon::start_with(folder, &config, port);
    daemon.await_ready();
    daemon
}

/// Status, headers that matter, and body.
fn ask(daemon: &Daemon, token: Option<&str>, request: &Value) -> (u16, String, String, Value) {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let mut post =
        agent.post(format!("{}/api/execute", daemon.url)).header("content-type", "application/json");
    if let Some(token) = token {
        post = post.header("authorization", format!("Bearer {token}"));
    }
    let mut answer = post.send(request.to_string()).unwrap();
    let header = |name: &str| {
        answer.headers().get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    };
    let (challenge, retry) = (header("www-authenticate"), header("retry-after"));
    let text = answer.body_mut().read_to_string().unwrap();
    (answer.status().as_u16(), challenge, retry, serde_json::from_str(&text).unwrap())
}

fn hello() -> Value {
    json!({ "language": "bash", "code": "echo hello" })
}

#[test]
fn over_tcp_a_token_is_needed_and_probes_need_none() {
    let (token, lines) = new_token("ci");
    let daemon = guarded(&lines, "");
    assert_eq!(ask(&daemon, Some(&token), &hello()).3["stdout"], "hello\n");
    for wrong in [None, Some("sbx_wrong"), Some(&token[..20])] {
        let (status, challenge, _, problem) = ask(&daemon, wrong, &hello());
        assert_eq!((status, &problem["code"]), (401, &json!("unauthorized")), "{problem:#}");
        assert!(challenge.starts_with("Bearer"), "{challenge}");
    }
    for (path, status) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/openapi.json", 200),
        ("/metrics", 401),
        ("/api/languages", 401),
        ("/nothing", 401),
    ] {
        assert_eq!(daemon.get(path).status, status, "{path}");
    }
    // The permissions of a Unix socket are its guard.
    let mut socket = UnixStream::connect(daemon.folder().join("socket")).unwrap();
    socket.write_all(b"GET /api/languages HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:.100}");
    assert!(!daemon.log().contains(&token));
}

#[test]
fn a_token_has_its_share_and_no_more() {
    let (token, lines) = new_token("small");
    let (other, more) = new_token("other");
    let limits = "requests_per_minute = 4\nmax_concurrent = 1\nlanguages = [\"bash\"]";
    let daemon = guarded(&format!("{lines}\n{limits}\n{more}\n"), "[execution]\nmax_concurrent = 4");
    let (status, _, _, problem) = ask(&daemon, Some(&token), &json!({ "language": "python", "code": "1" }));
    assert_eq!((status, &problem["code"], &problem["field"]), (403, &json!("forbidden"), &json!("language")));
    thread::scope(|scope| {
        let sleeping =
            scope.spawn(|| ask(&daemon, Some(&token), &json!({ "language": "bash", "code": "sleep 3" })).0);
        eventually("it runs", || {
            let busy = "sandboxd_sandboxes{runtime=\"native\",state=\"busy\"} 1";
            daemon_metrics(&daemon, &other).lines().any(|line| line == busy)
        });
        let (status, _, retry, problem) = ask(&daemon, Some(&token), &hello());
        assert_eq!((status, &problem["code"]), (429, &json!("rate_limited")), "{problem:#}");
        assert!(retry.parse::<u64>().is_ok());
        // Others are not held up.
        assert_eq!(ask(&daemon, Some(&other), &hello()).0, 200);
        assert_eq!(sleeping.join().unwrap(), 200);
    });
    eventually("the minute's share is used up", || {
        let (status, _, retry, problem) = ask(&daemon, Some(&token), &hello());
        status == 429 && problem["detail"].as_str().unwrap().contains("4 times a minute") && retry != "1"
    });
    assert_eq!(ask(&daemon, Some(&other), &hello()).0, 200);
}

#[test]
fn a_token_may_have_less_than_everybody() {
    let (token, lines) = new_token("student");
    let ceilings = "limits = { wall_time_ms = 3000, memory_bytes = 67108864 }\ncompile_limits.processes = 20";
    let daemon = guarded(&format!("{lines}\n{ceilings}\n"), "");
    let with = |more: Value| {
        let mut request = json!({ "language": "bash", "code": "ulimit -t; sleep 5" });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask(&daemon, Some(&token), &request)
    };
    for (more, field) in [
        (json!({ "limits": { "wall_time_ms": 3001 } }), "limits.wall_time_ms"),
        (json!({ "limits": { "memory_bytes": 67108865 } }), "limits.memory_bytes"),
        (json!({ "language": "c", "compile_limits": { "processes": 21 } }), "compile_limits.processes"),
    ] {
        let (status, _, _, problem) = with(more);
        assert_eq!((status, &problem["code"]), (422, &json!("limit_too_high")), "{problem:#}");
        assert_eq!(problem["field"], field);
    }
    // What is not asked for keeps below it too, whatever the default.
    let (_, _, _, answer) = with(json!({}));
    assert_eq!(
        (&answer["status"], &answer["limit"]),
        (&json!("time_limit_exceeded"), &json!("wall_time_ms"))
    );
    assert!(answer["error"].as_str().unwrap().contains("3000"), "{answer:#}");
}

/// What a browser asks before, and is told with, a request of a page of another origin.
#[test]
fn pages_of_named_origins_may_ask() {
    let daemon = Daemon::start("cors_origins = [\"https://play.example.org\"]\n---");
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let header = |answer: &ureq::http::Response<ureq::Body>, name: &str| {
        answer.headers().get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_lowercase())
    };
    for (origin, allowed) in
        [("https://play.example.org", "https://play.example.org"), ("https://evil.example.org", "")]
    {
        let preflight = ureq::http::Request::options(format!("{}/api/execute", daemon.url))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type")
            .body(())
            .unwrap();
        let answer = agent.run(preflight).unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(header(&answer, "access-control-allow-origin"), allowed);
        assert!(header(&answer, "access-control-allow-methods").contains("post"));
        assert!(header(&answer, "access-control-allow-headers").contains("authorization"));
        let answer =
            agent.get(format!("{}/api/languages", daemon.url)).header("origin", origin).call().unwrap();
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "access-control-allow-origin")),
            (200, allowed.into())
        );
        assert!(header(&answer, "access-control-expose-headers").contains("x-execution-id"));
    }
    let silent = Daemon::start("");
    let answer = silent.get("/api/languages");
    assert_eq!(answer.header("access-control-expose-headers"), "");
    let folder = tempfile::tempdir().unwrap();
    for origin in ["play.example.org", "https://play.example.org/", "https://Play.example.org", "null"] {
        let server = format!("cors_origins = {origin:?}\n---");
        let (code, said) = try_serve(&configuration(folder.path(), "\"127.0.0.1:1\"", &server));
        assert!(
            code == Some(78) && said.contains("server.cors_origins: ") && said.contains("is no origin"),
            "{said}"
        );
    }
}

/// One client's flood does not starve another: its single request is served in turn, not behind all of them.
#[test]
fn a_flood_of_one_does_not_starve_another() {
    let (flood, lines) = new_token("flood");
    let (other, more) = new_token("other");
    let daemon =
        guarded(&format!("{lines}\n{more}\n"), "[execution]\nmax_concurrent = 1\nqueue_timeout_ms = 60000");
    let slow = json!({ "language": "bash", "code": "sleep 0.2" });
    thread::scope(|scope| {
        let all: Vec<_> = (0..20).map(|_| scope.spawn(|| ask(&daemon, Some(&flood), &slow).3)).collect();
        eventually("they wait", || {
            let metrics = daemon_metrics(&daemon, &other);
            metrics.lines().any(|line| line == "sandboxd_queue_length 19")
        });
        let answer = ask(&daemon, Some(&other), &hello()).3;
        let floods: Vec<_> = all.into_iter().map(|one| one.join().unwrap()).collect();
        let waited = |answer: &Value| answer["timing"]["queue_us"].as_u64().unwrap();
        // Many of the flood came before it, and waited longer all the same.
        let longer = floods.iter().filter(|one| waited(one) > waited(&answer)).count();
        assert!(longer >= 10, "only {longer} of the flood waited longer");
    });
}

fn daemon_metrics(daemon: &Daemon, token: &str) -> String {
    let get = ureq::get(format!("{}/metrics", daemon.url)).header("authorization", format!("Bearer {token}"));
    get.call().unwrap().body_mut().read_to_string().unwrap()
}

#[test]
fn nothing_is_open_to_other_hosts_by_accident() {
    let folder = tempfile::tempdir().unwrap();
    let listen = format!("\"0.0.0.0:{}\"", free_port());
    let (code, said) = try_serve(&configuration(folder.path(), &listen, ""));
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("server.listen") && said.contains("auth.open_to_anyone = true"), "{said}");
    let tokens = folder.path().join("tokens.toml");
    fs::write(&tokens, "[ci]\nsha256 = \"short\"\n").unwrap();
    for (mode, words) in [(0o644, "chmod 0640"), (0o600, "ci.sha256: 64 hexadecimal digits")] {
        fs::set_permissions(&tokens, fs::Permissions::from_mode(mode)).unwrap();
        let auth = format!("[auth]\ntokens = {tokens:?}");
        let (code, said) = try_serve(&configuration(folder.path(), &listen, &auth));
        assert!(code == Some(78) && said.contains(words), "{said}");
    }
    let port = free_port();
    let config =
        configuration(folder.path(), &format!("\"0.0.0.0:{port}\""), "[auth]\nopen_to_anyone = true");
    let daemon = Daemon::start_with(folder, &config, port);
    daemon.await_ready();
}

#[test]
fn a_unix_socket_for_some_users() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let listen = format!("\"127.0.0.1:{port}\", \"unix:{}/socket\"", folder.path().display());
    let config = configuration(folder.path(), &listen, "[auth]\nunix_users = [\"nobody\"]");
    let daemon = Daemon::start_with(folder, &config, port);
    daemon.await_ready();
    let mut socket = UnixStream::connect(daemon.folder().join("socket")).unwrap();
    socket.write_all(b"GET /api/languages HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("\"code\":\"forbidden\""), "{answer}");
}

#[test]
fn names_that_can_be_no_token() {
    for name in ["", "a b", "a.b", &"x".repeat(65)] {
        let output = Command::new(BINARY).args(["token", name]).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{name:?}");
    }
    assert_ne!(new_token("a").0, new_token("a").0);
}

/// DNS rebinding: a name of somebody else's that leads to this host makes a browser take the daemon for a part of that site.
#[test]
fn a_page_that_came_by_a_borrowed_name_runs_nothing() {
    let evil = "http://evil.example:8080";
    let ask = |daemon: &Daemon, host: &str, origin: &str| {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let request = agent.post(format!("{}/api/execute", daemon.url)).header("host", host);
        let request = request.header("origin", origin).header("content-type", "application/json");
        let mut answer = request.send(r#"{"language": "bash", "code": "echo 1"}"#).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    let daemon = Daemon::start("");
    let (status, said) = ask(&daemon, "evil.example:8080", evil);
    assert_eq!(status, 403, "{said}");
    assert!(said.contains("server.cors_origins") && said.contains("forbidden"), "{said}");
    assert_eq!(ask(&daemon, "localhost:8080", "http://localhost:8080").0, 200);
    let named = Daemon::start(&format!("cors_origins = [{evil:?}]\n---"));
    assert_eq!(ask(&named, "evil.example:8080", evil).0, 200);
}
