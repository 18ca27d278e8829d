//! Compiled programs that are kept, seen from outside.

use serde_json::{Value, json};

use crate::support::{Daemon, assert_status};

const SUM: &str = "#include <cstdio>\nint main() { int unused; int a, b; std::scanf(\"%d %d\", &a, &b); std::printf(\"%d\\n\", a + b); }\n";

fn sum(daemon: &Daemon, stdin: &str) -> Value {
    let answer = daemon.execute(&json!({ "language": "cpp", "code": SUM, "stdin": stdin }));
    assert_status(&answer, "ok");
    answer
}

#[test]
fn the_second_time_is_not_compiled() {
    let daemon = Daemon::start("");
    let (first, second) = (sum(&daemon, "1 2"), sum(&daemon, "20 22"));
    assert_eq!((&first["stdout"], &second["stdout"]), (&json!("3\n"), &json!("42\n")));
    let (first, second) = (&first["compile"], &second["compile"]);
    assert_eq!((&first["cached"], &second["cached"]), (&json!(false), &json!(true)));
    assert!(first["stderr"].as_str().unwrap().contains("unused"), "{first:#}");
    assert_eq!(first["stderr"], second["stderr"]);
    assert_eq!((&second["exit_code"], &second["status"]), (&json!(0), &json!("ok")));
    assert_eq!(second["usage"]["cpu_time_us"], 0);
    assert!(first["time_ms"].as_u64() > second["time_ms"].as_u64());

    let metrics = daemon.get("/metrics").body;
    for line in ["sandboxd_compile_cache_hits_total 1", "sandboxd_compile_cache_misses_total 1"] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    // Other limits of the run make no other program.
    let limits = json!({ "wall_time_ms": 300, "memory_bytes": 64 << 20 });
    let code = format!("{SUM}// then\n");
    let limited =
        daemon.execute(&json!({ "language": "cpp", "code": SUM, "stdin": "1 1", "limits": limits }));
    assert_eq!(limited["compile"]["cached"], true);
    assert_eq!(daemon.execute(&json!({ "language": "cpp", "code": code }))["compile"]["cached"], false);
}

#[test]
fn a_hit_skips_no_limit_of_the_run() {
    let daemon = Daemon::start("");
    let forever =
        json!({ "language": "c", "code": "int main(void) { for (;;); }", "limits": { "wall_time_ms": 300 } });
    for cached in [false, true] {
        let answer = daemon.execute(&forever);
        assert_status(&answer, "time_limit_exceeded");
        assert_eq!(answer["compile"]["cached"], cached);
    }
}

#[test]
fn what_does_not_compile_is_not_kept() {
    let daemon = Daemon::start("");
    for _ in 0..2 {
        let answer = daemon.run("c", "int main(void) { return }");
        assert_status(&answer, "compile_error");
        assert_eq!(answer["compile"]["cached"], false);
    }
}

#[test]
fn switched_off() {
    let daemon = Daemon::start("---[cache]\nmax_bytes = 0\n");
    for _ in 0..2 {
        assert_eq!(sum(&daemon, "1 2")["compile"]["cached"], false);
    }
}
