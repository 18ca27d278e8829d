//! Each limit is held and told by its name; the kernel's word decides about memory.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::everywhere::{Case, cases};
use crate::support::{assert_status, shared, slack};

pub(crate) const ON_ANY_RUNTIME: &[Case] = cases![
    wall_time,
    no_further_descriptor,
    what_was_printed_before_the_end_is_handed_back,
    cpu_time_of_all_processes_together,
    sleeping_is_not_cpu_time,
    memory,
    memory_of_a_child_counts_even_when_its_parent_ends_well,
    a_kill_by_the_program_itself_is_no_memory_limit,
    files_count_as_memory,
    a_memory_limit_that_nothing_fits_into,
    a_memory_limit_that_holds_no_file,
    output,
    output_of_each_stream_for_itself,
    processes,
    a_fork_bomb_ends_and_harms_nobody,
    file_size,
    disk_is_the_working_directory_and_temporary_files_together,
    open_files_and_stack,
];

fn limited(language: &str, code: &str, limits: Value) -> Value {
    shared().execute(&json!({ "language": language, "code": code, "limits": limits }))
}

#[test]
fn wall_time() {
    let late = 100 * u64::from(slack());
    for code in [
        "sleep 60",
        "trap '' TERM INT HUP; while :; do sleep 1; done",
        "kill -STOP $$",
        "setsid sleep 60 & sleep 60",
    ] {
        // What else this host does may hold one of them up; a daemon that is late is late each time.
        let ran = [(); 3].map(|()| {
            let began = Instant::now();
            let answer = limited("bash", code, json!({ "wall_time_ms": 300 }));
            let took = began.elapsed();
            assert_status(&answer, "time_limit_exceeded");
            assert_eq!(answer["limit"], "wall_time_ms");
            assert_eq!((&answer["exit_code"], &answer["signal"]), (&Value::Null, &json!("SIGKILL")));
            assert!(answer["error"].as_str().unwrap().contains("300"), "{answer:#}");
            // Other tests use the same two or more sandboxes, so the whole request may wait; the program may not.
            assert!(took < Duration::from_secs(20));
            answer["execution_time_ms"].as_u64().unwrap()
        });
        assert!(
            ran.iter().all(|ran| *ran >= 300) && ran.iter().any(|ran| *ran <= 300 + late),
            "{ran:?} ms: {code}"
        );
    }
}

#[test]
fn no_further_descriptor() {
    let request = json!({
        "language": "c",
        "code": "#include <stdio.h>\nint main(void) { printf(\"%d\\n\", fopen(\"/dev/null\", \"r\") == NULL); }",
        "compile_args": ["-static"],
        "limits": { "open_files": 1 },
    });
    let answer = shared().execute(&request);
    assert_status(&answer, "ok");
    assert_eq!(answer["stdout"], "1\n", "what it was started with stays open, and that is all");
}

#[test]
fn what_was_printed_before_the_end_is_handed_back() {
    let answer = limited("bash", "echo first; sleep 60", json!({ "wall_time_ms": 500 * slack() }));
    assert_eq!(answer["stdout"], "first\n");
}

#[test]
fn cpu_time_of_all_processes_together() {
    let code = "import os\nos.fork()\nos.fork()\nwhile True: pass";
    let answer = limited("python", code, json!({ "cpu_time_ms": 500, "wall_time_ms": 20000 }));
    assert_status(&answer, "time_limit_exceeded");
    assert_eq!(answer["limit"], "cpu_time_ms");
    if shared().is_elsewhere() {
        // The engine says once a second how much it was so far.
        assert!(answer["execution_time_ms"].as_u64().unwrap() < 4000, "{answer:#}");
        return;
    }
    let used = answer["usage"]["cpu_time_us"].as_u64().unwrap();
    // A kernel of its own that is kept busy takes a moment longer to hear of its end.
    let most = if shared().is_gvisor() { 1_000_000 } else { 750_000 };
    assert!((500_000..most * u64::from(slack())).contains(&used), "{used} us");
}

#[test]
fn sleeping_is_not_cpu_time() {
    let limits = json!({ "cpu_time_ms": 300 * slack(), "wall_time_ms": 60_000 });
    assert_status(&limited("bash", &format!("sleep {}", slack()), limits), "ok");
}

#[test]
fn memory() {
    let answer = limited("python", "x = bytearray(200 << 20)", json!({ "memory_bytes": 64 << 20 }));
    assert_status(&answer, "memory_limit_exceeded");
    assert_eq!(answer["limit"], "memory_bytes");
    assert!(answer["error"].as_str().unwrap().contains("67108864"), "{answer:#}");
    let peak = answer["usage"]["memory_peak_bytes"].as_u64();
    assert!(peak.is_some() || shared().is_elsewhere());
    assert!(peak.is_none_or(|peak| peak <= 64 << 20 && peak > 50 << 20), "{peak:?}");
}

#[test]
fn memory_of_a_child_counts_even_when_its_parent_ends_well() {
    let code = "import os, time\nif os.fork() == 0:\n    x = bytearray(200 << 20)\nelse:\n    os.wait()\n    time.sleep(0.2)\n    raise SystemExit(0)";
    let answer = limited("python", code, json!({ "memory_bytes": 64 << 20 }));
    assert_status(&answer, "memory_limit_exceeded");
}

#[test]
fn a_kill_by_the_program_itself_is_no_memory_limit() {
    let answer = limited("bash", "kill -9 $$", json!({ "memory_bytes": 64 << 20 }));
    assert_status(&answer, "runtime_error");
    assert_eq!(answer["signal"], "SIGKILL");
}

#[test]
fn files_count_as_memory() {
    let answer = limited(
        "bash",
        "head -c 60M /dev/zero > a; head -c 60M /dev/zero > b; echo done",
        json!({ "memory_bytes": 67_108_864 }),
    );
    assert_status(&answer, "memory_limit_exceeded");
}

#[test]
fn a_memory_limit_that_nothing_fits_into() {
    for bytes in [1, 4096, 1 << 20] {
        let answer = limited("python", "print(1)", json!({ "memory_bytes": bytes }));
        assert_status(&answer, "memory_limit_exceeded");
    }
}

#[test]
fn a_memory_limit_that_holds_no_file() {
    let files =
        json!([{ "path": "main.sh", "content": "true" }, { "path": "big", "content": "x".repeat(4 << 20) }]);
    let answer = shared().execute(&json!({ "language": "bash", "files": files, "entry": "main.sh", "limits": { "memory_bytes": 2 << 20 } }));
    assert_status(&answer, "memory_limit_exceeded");
}

#[test]
fn output() {
    let answer = limited("bash", "yes", json!({ "output_bytes": 1000 }));
    assert_status(&answer, "output_limit_exceeded");
    assert_eq!((&answer["limit"], &answer["output_truncated"]), (&json!("output_bytes"), &json!(true)));
    assert_eq!(answer["stdout"].as_str().unwrap().len(), 1000);
    let exact = limited("bash", "head -c 1000 /dev/zero | tr '\\0' x", json!({ "output_bytes": 1000 }));
    assert_status(&exact, "ok");
    assert_eq!(exact["output_truncated"], false);
}

#[test]
fn output_of_each_stream_for_itself() {
    let code = "head -c 800 /dev/zero | tr '\\0' x; head -c 800 /dev/zero | tr '\\0' y >&2";
    assert_status(&limited("bash", code, json!({ "output_bytes": 1000 })), "ok");
    let answer = limited("bash", "yes >&2", json!({ "output_bytes": 1000 }));
    assert_status(&answer, "output_limit_exceeded");
    assert_eq!(answer["stderr"].as_str().unwrap().len(), 1000);
}

#[test]
fn processes() {
    let code = "import os, time\nn = 0\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(60)\n        n += 1\nexcept OSError as error:\n    print(n, error.errno)";
    let answer = limited("python", code, json!({ "processes": 10 }));
    assert_status(&answer, "ok");
    assert_eq!(answer["stdout"], "9 11\n");
    if shared().is_gvisor() || shared().is_elsewhere() {
        assert_eq!(answer["usage"]["process_limit_hits"], Value::Null);
    } else {
        assert!(answer["usage"]["process_limit_hits"].as_u64().unwrap() >= 1);
    }
    if let Some(peak) = answer["usage"]["processes_peak"].as_u64() {
        assert_eq!(peak, 10);
    }
}

#[test]
fn a_fork_bomb_ends_and_harms_nobody() {
    let answer = limited(
        "bash",
        "bomb() { bomb | bomb & }; bomb; sleep 60",
        json!({ "processes": 32, "wall_time_ms": 1500 }),
    );
    assert_ne!(answer["status"], "ok");
    assert_status(&shared().run("bash", "true"), "ok");
}

/// Whoever kills it needs a CPU for that, which the bomb has as well. Other tests run beside this one, so the best of a
/// few counts.
#[test]
fn a_fork_bomb_is_gone_soon_after_its_time() {
    const LIMIT_MS: u64 = 500;
    let bomb = json!({
        "language": "c",
        "code": "#include <unistd.h>\nint main(void) { for (;;) fork(); }",
        "limits": { "processes": 128, "wall_time_ms": LIMIT_MS },
    });
    let late = |_| {
        let answer = shared().execute(&bomb);
        assert_status(&answer, "time_limit_exceeded");
        answer["execution_time_ms"].as_u64().unwrap() - LIMIT_MS
    };
    let late: Vec<u64> = (0..5).map(late).collect();
    assert!(late.iter().min().is_some_and(|best| *best <= 100), "{late:?} ms too late");
}

#[test]
fn file_size() {
    let answer =
        limited("python", "open('x', 'wb').write(bytes(2 << 20))", json!({ "file_size_bytes": 1 << 20 }));
    assert_status(&answer, "runtime_error");
    let signalled = limited("bash", "exec head -c 2M /dev/zero > x", json!({ "file_size_bytes": 1 << 20 }));
    assert_eq!(signalled["signal"], "SIGXFSZ");
    assert!(signalled["error"].as_str().unwrap().contains("file_size_bytes"), "{signalled:#}");
}

#[test]
fn disk_is_the_working_directory_and_temporary_files_together() {
    let code = "head -c 6M /dev/zero > a && head -c 6M /dev/zero > /tmp/b";
    let answer = limited("bash", code, json!({ "disk_bytes": 10 << 20 }));
    assert_status(&answer, "runtime_error");
    assert!(answer["stderr"].as_str().unwrap().contains("No space left"), "{answer:#}");
    assert_status(&limited("bash", code, json!({ "disk_bytes": 16 << 20 })), "ok");
}

#[test]
fn open_files_and_stack() {
    let code = "import os, resource\nn = 0\ntry:\n    while True: os.open('/dev/null', 0); n += 1\nexcept OSError: print(n)\nprint(resource.getrlimit(resource.RLIMIT_STACK))";
    let answer = limited("python", code, json!({ "open_files": 20, "stack_bytes": 16 << 20 }));
    assert_eq!(answer["stdout"], "17\n(16777216, 16777216)\n", "{answer:#}");
}
