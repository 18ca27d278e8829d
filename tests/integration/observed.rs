//! What an operator sees: every metric there is, read by a real Prometheus, and the dashboard and rules that ask for them.

use std::{
    collections::BTreeSet,
    fs,
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::{Value, json};

use crate::{
    engines::{eventually, skip},
    support::{Daemon, assert_status, free_port},
};

const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards/sandboxd.json");
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards/rules.yml");
const RULES_TEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards/rules_test.yml");
const FAMILIES: &str = include_str!("../../src/telemetry/metrics/families.rs");

/// With something of everything behind it: verdicts, a limit, memory, a compile found again, a request that is none.
fn busy() -> Daemon {
    let daemon = Daemon::start("");
    for code in ["print(1)", "print(2)", "print(3)"] {
        assert_status(&daemon.run("python", code), "ok");
    }
    assert_status(&daemon.run("python", "exit(3)"), "runtime_error");
    let hog = json!({
        "language": "python", "code": "x = b'x' * (1 << 28)", "limits": { "memory_bytes": 1 << 26 },
    });
    assert_status(&daemon.execute(&hog), "memory_limit_exceeded");
    for _ in 0..2 {
        assert_status(&daemon.run("c", "int main(void) { return 0; }"), "ok");
    }
    assert_eq!(daemon.get("/nothing").status, 404);
    daemon
}

pub(crate) fn value(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// The families that the daemon has, by their names in the source.
fn families() -> BTreeSet<&'static str> {
    let names = FAMILIES.split('"').filter(|word| word.starts_with("sandboxd_") && !word.contains(' '));
    names.collect()
}

#[test]
fn every_metric_is_there_and_says_what_happened() {
    let daemon = busy();
    eventually("sandboxes are destroyed", || {
        let metrics = daemon.get("/metrics").body;
        value(&metrics, "sandboxd_sandboxes{runtime=\"native\",state=\"destroying\"}") == Some(0.0)
    });
    let metrics = daemon.get("/metrics").body;
    assert!(families().len() >= 29, "{:?}", families());
    // What containers hold is told by runtimes that have some.
    for name in families().into_iter().filter(|name| *name != "sandboxd_pool_memory_bytes") {
        let is_there = metrics.lines().any(|line| line.starts_with(name));
        assert!(is_there, "{name} has no series after a bit of everything");
    }
    for (series, expected) in [
        ("sandboxd_executions_total{language=\"python\",runtime=\"native\",status=\"ok\"}", 3.0),
        ("sandboxd_executions_total{language=\"python\",runtime=\"native\",status=\"runtime_error\"}", 1.0),
        (
            "sandboxd_execution_limits_total{language=\"python\",limit=\"memory_bytes\",runtime=\"native\"}",
            1.0,
        ),
        ("sandboxd_oom_kills_total{runtime=\"native\"}", 1.0),
        ("sandboxd_execution_part_duration_seconds_count{part=\"compile\",runtime=\"native\"}", 2.0),
        ("sandboxd_execution_part_duration_seconds_count{part=\"queue\",runtime=\"native\"}", 7.0),
        ("sandboxd_execution_cpu_seconds_count{language=\"python\",runtime=\"native\"}", 5.0),
        ("sandboxd_execution_memory_peak_bytes_count{language=\"c\",runtime=\"native\"}", 2.0),
        ("sandboxd_compile_cache_hits_total", 1.0),
        ("sandboxd_compile_cache_misses_total", 1.0),
        ("sandboxd_runtime_up{runtime=\"native\"}", 1.0),
        ("sandboxd_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"}", 1.0),
        ("sandboxd_leaked_total{runtime=\"native\"}", 0.0),
        ("sandboxd_queue_length", 0.0),
        // This very one.
        ("sandboxd_http_requests_in_flight", 1.0),
    ] {
        assert_eq!(value(&metrics, series), Some(expected), "{series}\n{metrics}");
    }
    let taken = ["ready", "cold"].map(|how| {
        value(&metrics, &format!("sandboxd_pool_taken_total{{how=\"{how}\",runtime=\"native\"}}"))
    });
    // Seven programs and one compile, and what the daemon runs by itself.
    assert!(taken.map(Option::unwrap).iter().sum::<f64>() >= 8.0, "{taken:?}");
    assert!(value(&metrics, "process_resident_memory_bytes") > Some(1e6));
}

#[test]
fn who_is_turned_away_is_counted_by_reason() {
    let daemon = Daemon::start("[execution]\nmax_concurrent = 1\nqueue_length = 1\nqueue_timeout_ms = 400");
    thread::scope(|scope| {
        let sleeper =
            || daemon.try_execute(&json!({ "language": "bash", "code": "sleep 2" })).unwrap().status;
        let running = scope.spawn(sleeper);
        eventually("it runs", || {
            let metrics = daemon.get("/metrics").body;
            value(&metrics, "sandboxd_sandboxes{runtime=\"native\",state=\"busy\"}") == Some(1.0)
        });
        let waiting = scope.spawn(sleeper);
        eventually("another waits", || {
            let metrics = daemon.get("/metrics").body;
            value(&metrics, "sandboxd_queue_length") == Some(1.0)
                && value(&metrics, "sandboxd_queue_oldest_wait_seconds") > Some(0.0)
        });
        assert_eq!(sleeper(), 503);
        assert_eq!((running.join().unwrap(), waiting.join().unwrap()), (200, 503));
    });
    let metrics = daemon.get("/metrics").body;
    for reason in ["queue_full", "queue_timeout"] {
        let series = format!("sandboxd_refusals_total{{reason=\"{reason}\"}}");
        assert_eq!(value(&metrics, &series), Some(1.0), "{metrics}");
    }
    assert_eq!(value(&metrics, "sandboxd_queue_oldest_wait_seconds"), Some(0.0));
}

#[test]
fn a_request_is_found_again_in_the_log_and_its_program_is_not() {
    let daemon = Daemon::start("");
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let request = json!({ "language": "python", "code": "print('sec' + 'ret')", "stdin": "secret", "args": ["secret"] });
    let mut answer = ureq::post(format!("{}/api/execute", daemon.url))
        .header("content-type", "application/json")
        .header("x-request-id", "job-7")
        .header("traceparent", format!("00-{trace}-{parent}-01"))
        .send(request.to_string())
        .unwrap();
    assert_eq!(answer.headers()["x-request-id"], "job-7");
    let answer: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    assert_eq!(answer["stdout"], "secret\n");
    let id = answer["id"].as_str().unwrap();
    let event = || {
        let log = daemon.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["message"] == "executed" && line["id"] == id)
    };
    eventually("it is logged", || event().is_some());
    let event = event().unwrap();
    for (field, expected) in [("request_id", "job-7"), ("trace_id", trace), ("parent_id", parent)] {
        assert_eq!(event["span"][field], expected, "{event:#}");
    }
    for field in ["language", "runtime", "status", "queue_us", "sandbox_us", "run_us", "total_us"] {
        assert!(!event[field].is_null(), "{field}: {event:#}");
    }
    assert!(!daemon.log().contains("secret"), "{}", daemon.log());
    // Who brings none gets one.
    assert!(uuid::Uuid::parse_str(daemon.get("/healthz").header("x-request-id")).is_ok());
}

#[test]
fn programs_stand_in_the_log_where_the_operator_wants_them() {
    let daemon = Daemon::start("---[log]\nlog_programs = true\n");
    let long = "x".repeat(100_000);
    let code = format!("print('out' + input()) # {long}");
    let answer =
        daemon.execute(&json!({ "language": "python", "code": code, "stdin": "given", "args": ["asked"] }));
    assert_eq!(answer["stdout"], "outgiven\n");
    let events = || {
        let log = daemon.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["id"] == answer["id"]).collect::<Vec<_>>()
    };
    let find = |message: &str| events().into_iter().find(|event| event["message"] == message);
    eventually("all of it is logged", || find("program output").is_some());
    let file = find("program file").unwrap();
    assert_eq!(file["path"], "main.py");
    // As much as there is room for.
    let content = file["content"].as_str().unwrap();
    assert!(content.starts_with("print('out'") && content.len() == 64 << 10, "{}", content.len());
    let program = find("program").unwrap();
    assert!(
        program["stdin"] == "given" && program["command"].as_str().unwrap().ends_with(" asked"),
        "{program:#}"
    );
    assert_eq!(find("program output").unwrap()["stdout"], "outgiven\n");
}

fn has_prometheus() -> bool {
    let found =
        Command::new("promtool").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
        || skip("prometheus", "promtool is not installed: make/prometheus.sh")
}

#[track_caller]
fn promtool(arguments: &[&str], stdin: &str) {
    let mut promtool = Command::new("promtool");
    promtool.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn promtool_finds_no_fault() {
    if has_prometheus() {
        promtool(&["check", "metrics"], &busy().get("/metrics").body);
        promtool(&["check", "rules", RULES], "");
        promtool(&["test", "rules", RULES_TEST], "");
    }
}

/// Ends with its owner.
struct Prometheus {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn scraping(daemon: &Daemon) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let target = daemon.url.strip_prefix("http://").unwrap();
        let config = format!(
            "global: {{ scrape_interval: 500ms, scrape_timeout: 400ms }}\nrule_files: [{RULES:?}]\n\
             scrape_configs: [{{ job_name: sandboxd, static_configs: [{{ targets: [{target:?}] }}] }}]\n"
        );
        fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let child = Command::new("prometheus")
            .current_dir(&folder)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=error"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, url: format!("http://127.0.0.1:{port}"), _folder: folder }
    }

    /// The one number that a query comes to.
    fn query(&self, query: &str) -> Option<f64> {
        let answer = ureq::get(format!("{}/api/v1/query", self.url)).query("query", query).call();
        let text = answer.ok()?.body_mut().read_to_string().ok()?;
        let answer: Value = serde_json::from_str(&text).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn prometheus_reads_them_and_knows_the_numbers() {
    if !has_prometheus() {
        return;
    }
    let daemon = busy();
    let prometheus = Prometheus::scraping(&daemon);
    for (query, expected) in [
        ("sum(sandboxd_executions_total{status=\"ok\"})", 5.0),
        ("sum(sandboxd_executions_total)", 7.0),
        ("sandboxd_oom_kills_total", 1.0),
        ("sum(sandboxd_execution_duration_seconds_count)", 7.0),
        ("count(sandboxd_build_info)", 1.0),
        ("up{job=\"sandboxd\"}", 1.0),
    ] {
        eventually(query, || prometheus.query(query) == Some(expected));
    }
    daemon.signal("-TERM");
    eventually("it is seen to be down", || prometheus.query("up{job=\"sandboxd\"}") == Some(0.0));
}

/// Metrics that a query names: words that begin as ours do, or as those of every process do.
fn named(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':')));
    words.filter(|word| word.starts_with("sandboxd") || word.starts_with("process_"))
}

#[test]
fn dashboard_and_rules_ask_for_what_there_is() {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(DASHBOARD).unwrap()).unwrap();
    let mut queries = Vec::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels of one id: {panel:#}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{target:#}");
            queries.push(target["expr"].as_str().unwrap().to_owned());
        }
    }
    assert!(queries.len() > 25, "{queries:#?}");
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    queries
        .extend(variables.iter().filter_map(|variable| variable["definition"].as_str().map(str::to_owned)));
    let rules = fs::read_to_string(RULES).unwrap();
    queries.extend(rules.lines().filter(|line| !line.trim_start().starts_with('#')).map(str::to_owned));
    let exported = busy().get("/metrics").body;
    for name in queries.iter().flat_map(|query| named(query)) {
        // The job's name, the file's own groups, and what the rules themselves record.
        let is_own = matches!(name, "sandboxd") || name.contains(':');
        let is_there = exported.lines().any(|line| line.starts_with(name));
        assert!(is_own || is_there, "nothing is called {name}");
    }
}
