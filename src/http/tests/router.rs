//! Requests to the router itself, without a connection.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Frame;
use sandboxd_contract::RuntimeError;
use sandboxd_contract::testing::fake::{Call, Fault};
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use super::*;

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

async fn whole(response: Response) -> Answer {
    let (head, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    Answer { status: head.status, headers: head.headers, text }
}

impl House {
    async fn send(&self, request: http::Request<Body>) -> Answer {
        whole(self.router.clone().oneshot(request).await.unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(http::Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, body: impl Into<Body>) -> Answer {
        let request = http::Request::post("/api/execute").header("content-type", "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn execute(&self, body: Value) -> Answer {
        self.post(body.to_string()).await
    }

    async fn python(&self, arg: &str) -> Value {
        let answer = self.execute(json!({"language": "py", "code": "", "args": [arg]})).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }
}

/// Holds an answer to the rules of every problem.
fn assert_problem(answer: &Answer, status: u16, code: &str) {
    let body = answer.json();
    assert_eq!(answer.status, status, "{body}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!((&body["code"], &body["status"]), (&json!(code), &json!(status)), "{body}");
    for text in ["type", "title", "detail", "id"] {
        assert!(body[text].as_str().is_some_and(|text| !text.is_empty()), "{text}: {body}");
    }
    let id = Uuid::parse_str(body["id"].as_str().unwrap()).unwrap();
    assert_eq!(id.get_version_num(), 7);
    assert_eq!(answer.header("retry-after").is_some(), status == 503, "{body}");
}

#[tokio::test]
async fn a_program_is_run() {
    let house = house();
    let answer = house.execute(json!({"language": "Python", "version": "3", "code": "print('hello')"})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    assert_eq!(answer.header("x-execution-id"), body["id"].as_str());
    assert_eq!(body["language"], "python");
    assert_eq!(body["version"], "3.11.2");
    assert_eq!(body["runtime"], "fake");
    assert_eq!(body["status"], "ok");
    assert_eq!(body["stdout"], "hello\n");
    assert_eq!(body["exit_code"], 0);
    for null in ["error", "signal", "limit", "compile"] {
        assert_eq!(body[null], Value::Null, "{null}");
    }
    let document: Value = house.get("/openapi.json").await.json();
    for (part, name) in [(&body, "ExecuteResponse"), (&body["usage"], "Usage"), (&body["timing"], "Timing")] {
        let promised = document["components"]["schemas"][name]["required"].as_array().unwrap();
        assert_eq!(promised.len(), part.as_object().unwrap().len(), "{name}");
        assert!(promised.iter().all(|field| part.get(field.as_str().unwrap()).is_some()), "{name}: {part}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_verdict() {
    let house = house();
    for (arg, status, exit_code, signal, limit) in [
        ("fail", "runtime_error", json!(3), Value::Null, Value::Null),
        ("die", "runtime_error", Value::Null, json!("SIGSEGV"), Value::Null),
        ("hang", "time_limit_exceeded", Value::Null, json!("SIGKILL"), json!("wall_time_ms")),
        ("flood", "output_limit_exceeded", Value::Null, json!("SIGKILL"), json!("output_bytes")),
        ("oom", "memory_limit_exceeded", json!(1), Value::Null, json!("memory_bytes")),
    ] {
        let body = house.python(arg).await;
        assert_eq!(body["status"], status, "{arg}");
        if arg != "flood" && arg != "oom" {
            assert_eq!((&body["exit_code"], &body["signal"]), (&exit_code, &signal), "{arg}");
        }
        assert_eq!(body["limit"], limit, "{arg}");
        assert!(body["error"].is_string(), "{arg}");
        assert_eq!(body["output_truncated"], arg == "flood", "{arg}");
    }
}

#[tokio::test]
async fn what_goes_in_and_comes_out() {
    let house = house();
    let answer = house
        .execute(json!({"language": "py", "code": "", "args": ["echo"], "stdin": "/wBh",
            "stdin_encoding": "base64", "output_encoding": "base64"}))
        .await;
    assert_eq!(answer.json()["stdout"], "/wBh");
    assert_eq!(house.python("bytes").await["stdout"], "\u{fffd}\0");
    let answer =
        house.execute(json!({"language": "py", "code": "", "args": ["write"], "collect": ["*.txt"]})).await;
    let file = json!({"path": "out.txt", "content": "written", "encoding": "utf8", "size": 7});
    assert_eq!(answer.json()["files"], json!([file]));
}

#[tokio::test]
async fn compiling() {
    let house = house();
    let body = house.execute(json!({"language": "c", "code": "int main;"})).await.json();
    assert_eq!((&body["status"], &body["compile"]["status"]), (&json!("ok"), &json!("ok")), "{body}");
    assert_eq!(body["compile"]["exit_code"], 0);
    let wrong = json!({"language": "c", "code": "", "compile_args": ["-Dwrong"]});
    let body = house.execute(wrong).await.json();
    assert_eq!(body["status"], "compile_error");
    assert_eq!((&body["stdout"], &body["stderr"]), (&json!(""), &json!("main.c:1: wrong\n")));
    assert_eq!(body["compile"]["status"], "runtime_error");
    assert_eq!(body["execution_time_ms"], 0);
}

#[tokio::test]
async fn what_is_refused() {
    let house = house();
    for (body, code, field) in [
        (json!({"language": "py"}), "invalid_request", json!("code")),
        (json!({"language": "py", "code": "", "codee": ""}), "unknown_field", json!("codee")),
        (json!({"language": "klingon", "code": ""}), "unknown_language", json!("language")),
        (json!({"language": "py", "code": "", "runtime": "vm"}), "unknown_runtime", json!("runtime")),
        (
            json!({"language": "py", "code": "", "limits": {"processes": 513}}),
            "limit_too_high",
            json!("limits.processes"),
        ),
        (
            json!({"language": "py", "code": "", "limits": {"processes": 0}}),
            "invalid_request",
            json!("limits.processes"),
        ),
        (
            json!({"language": "py", "files": [{"path": "../a", "content": ""}]}),
            "invalid_path",
            json!("files[0].path"),
        ),
    ] {
        let answer = house.execute(body).await;
        assert_problem(&answer, 422, code);
        assert_eq!(answer.json()["field"], field);
        assert_eq!(answer.header("x-execution-id"), answer.json()["id"].as_str());
    }
    let answer = house.execute(json!({"language": "x", "code": "", "limits": {"open_files": 5000}})).await;
    assert_eq!(answer.json()["errors"].as_array().map(Vec::len), Some(2), "{}", answer.text);
    assert_problem(&house.post("{").await, 400, "invalid_json");
    assert_eq!(house.runtime.started().len(), house.runtime.calls(Call::Start));
}

#[tokio::test]
async fn content_types() {
    let house = house();
    let body = json!({"language": "py", "code": ""}).to_string();
    let send = async |content_type: Option<&str>| {
        let mut request = http::Request::post("/api/execute");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        house.send(request.body(Body::from(body.clone())).unwrap()).await
    };
    for good in ["application/json", "Application/JSON; charset=utf-8"] {
        assert_eq!(send(Some(good)).await.status, 200, "{good}");
    }
    for bad in [None, Some("text/plain"), Some("application/jsonp"), Some("")] {
        assert_problem(&send(bad).await, 415, "unsupported_media_type");
    }
    let packed = http::Request::post("/api/execute").header("content-type", "application/json");
    let packed = packed.header("content-encoding", "gzip").body(Body::from(body.clone())).unwrap();
    assert_problem(&house.send(packed).await, 415, "unsupported_media_type");
}

#[tokio::test]
async fn bodies_have_an_end() {
    let house = house();
    let size = |size: usize| format!(r#"{{"language":"py","code":"{}"}}"#, " ".repeat(size - 27));
    let max = house.server.max_body_bytes;
    assert_eq!(size(max).len(), max);
    assert_eq!(house.post(size(max)).await.status, 200);
    let answer = house.post(size(max + 1)).await;
    assert_problem(&answer, 413, "payload_too_large");
    assert!(answer.header("x-execution-id").is_some());
    // A length that is not announced.
    let pieces = Pieces(max / 1000 + 1);
    assert_problem(&house.post(Body::new(pieces)).await, 413, "payload_too_large");
}

/// So many pieces of 1000 bytes each, which nobody has announced.
struct Pieces(usize);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(left) = self.0.checked_sub(1) else { return Poll::Ready(None) };
        self.0 = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 1000])))))
    }
}

/// A body that never comes.
struct Silent;

impl HttpBody for Silent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_that_dawdle() {
    let house = house();
    assert_problem(&house.post(Body::new(Silent)).await, 408, "request_timeout");
}

#[tokio::test]
async fn paths_and_methods() {
    let house = house();
    for path in ["/api/executes", "/api/execute/", "/", "/api"] {
        assert_problem(&house.get(path).await, 404, "not_found");
    }
    for (method, path, allow) in [
        (Method::GET, "/api/execute", "POST"),
        (Method::DELETE, "/api/execute", "POST"),
        (Method::POST, "/api/languages", "GET,HEAD"),
        (Method::PUT, "/healthz", "GET,HEAD"),
    ] {
        let request = http::Request::builder().method(&method).uri(path).body(Body::from("x")).unwrap();
        let answer = house.send(request).await;
        assert_problem(&answer, 405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
    for path in ["/api/languages", "/api/runtimes", "/healthz", "/readyz", "/metrics", "/openapi.json"] {
        let get = house.get(path).await;
        assert_eq!(get.status, 200, "{path}: {}", get.text);
        let head = house.send(http::Request::head(path).body(Body::empty()).unwrap()).await;
        assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
}

#[tokio::test]
async fn too_much_to_do() {
    let house = house_with(1, 0, server());
    house.engine.discover("fake").await.unwrap();
    let hanging = tokio::spawn(
        house.router.clone().oneshot(
            http::Request::post("/api/execute")
                .header("content-type", "application/json")
                .body(Body::from(json!({"language": "py", "code": "", "args": ["hang"]}).to_string()))
                .unwrap(),
        ),
    );
    while house.engine.stats().running == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let answer = house.execute(json!({"language": "py", "code": ""})).await;
    assert_problem(&answer, 503, "overloaded");
    // Whoever drops the answer's future cancels the program.
    hanging.abort();
    while house.runtime.alive() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn shutting_down() {
    let house = house();
    house.engine.begin_drain();
    assert_problem(&house.execute(json!({"language": "py", "code": ""})).await, 503, "draining");
    assert_problem(&house.get("/readyz").await, 503, "draining");
    assert_eq!(house.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_drain_that_takes_too_long() {
    let house = house();
    let hanging = async { house.execute(json!({"language": "py", "code": "", "args": ["hang"]})).await };
    let impatient = async {
        while house.engine.stats().running == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!house.engine.drained(Duration::from_millis(1)).await);
    };
    let (answer, ()) = tokio::join!(hanging, impatient);
    assert_problem(&answer, 503, "draining");
}

#[tokio::test]
async fn sandboxes_that_fail() {
    let house = house();
    house.engine.discover("fake").await.unwrap();
    house.runtime.disturb(Call::Start, Fault::fail(9, RuntimeError::sandbox("start", "secret path")));
    let answer = house.execute(json!({"language": "py", "code": ""})).await;
    assert_problem(&answer, 500, "internal");
    assert!(!answer.text.contains("secret"));
    assert_eq!(answer.header("x-execution-id"), answer.json()["id"].as_str());
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_not_there() {
    let house = house();
    house.runtime.disturb(Call::Probe, Fault::fail(99, RuntimeError::unavailable("no kernel")));
    house.runtime.disturb(Call::Launch, Fault::fail(99, RuntimeError::unavailable("no kernel")));
    assert_problem(&house.execute(json!({"language": "py", "code": ""})).await, 503, "runtime_unavailable");
    assert_problem(&house.get("/readyz").await, 503, "runtime_unavailable");
    let runtimes = house.get("/api/runtimes").await.json();
    assert_eq!(runtimes["runtimes"][0]["available"], false);
    assert!(runtimes["runtimes"][0]["reason"].is_string());
}

#[tokio::test]
async fn languages_and_runtimes() {
    let house = house();
    house.engine.discover("fake").await.unwrap();
    let languages = house.get("/api/languages").await.json();
    let languages = languages["languages"].as_array().unwrap();
    let python = languages.iter().find(|language| language["id"] == "python").unwrap();
    assert_eq!(python["available"], true);
    assert_eq!(python["version"], "3.11.2");
    assert_eq!(python["compiled"], false);
    assert!(python.get("reason").is_none());
    assert_eq!(python["runtimes"], json!([{"runtime": "fake", "available": true, "version": "3.11.2"}]));
    assert!(python["example"]["code"].as_str().is_some_and(|code| !code.is_empty()));
    let runtimes = house.get("/api/runtimes").await.json();
    let fake = &runtimes["runtimes"][0];
    assert_eq!((&fake["name"], &fake["kind"]), (&json!("fake"), &json!("native")));
    assert_eq!((&fake["default"], &fake["available"]), (&json!(true), &json!(true)));
    assert_eq!(fake["limits"]["memory"], json!({"held": true}));
    assert_eq!(fake["limits"].as_object().map(serde_json::Map::len), Some(7));
}

#[tokio::test]
async fn answers_are_counted() {
    let house = house();
    house.python("fail").await;
    house.get("/no/such/path").await;
    let made_up = http::Request::builder().method("BREW").uri("/healthz").body(Body::empty()).unwrap();
    house.send(made_up).await;
    let metrics = house.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4"));
    for line in [
        r#"sandboxd_http_requests_total{method="POST",route="/api/execute",status="200"} 1"#,
        r#"sandboxd_http_requests_total{method="GET",route="none",status="404"} 1"#,
        r#"sandboxd_http_requests_total{method="other",route="/healthz",status="405"} 1"#,
        r#"sandboxd_http_request_duration_seconds_count{route="/api/execute"} 1"#,
        r#"sandboxd_executions_total{language="python",runtime="fake",status="runtime_error"} 1"#,
    ] {
        assert!(metrics.text.lines().any(|found| found == line), "{line}\n{}", metrics.text);
    }
}

#[tokio::test]
async fn a_fault_of_our_own() {
    let panics = get(async || -> &'static str { panic!("oh") });
    let router: Router = Router::new().route("/", panics).layer(from_fn(around::catch_panic));
    let request = http::Request::get("/").body(Body::empty()).unwrap();
    let answer = whole(router.oneshot(request).await.unwrap()).await;
    assert_problem(&answer, 500, "internal");
    assert!(!answer.text.contains("oh\""));
    assert_eq!(answer.header("x-execution-id"), answer.json()["id"].as_str());
}
