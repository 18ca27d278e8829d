//! What a client sees of programs that behave: output, exit, files, environment, compile phases.

use serde_json::{Value, json};

use crate::everywhere::{Case, cases};
use crate::support::{assert_status, shared};

pub(crate) const ON_ANY_RUNTIME: &[Case] = cases![
    hello_in_every_field,
    the_id_is_in_the_header_too,
    stdin_args_and_env_arrive,
    stdin_of_bytes_and_output_as_bytes,
    bytes_that_are_no_text_become_replacement_characters,
    a_program_that_never_reads_its_stdin,
    several_files_and_an_entry,
    an_executable_file_can_be_executed,
    an_exit_code_is_a_runtime_error,
    a_signal_is_named,
    a_compiled_program_reports_its_compile_phase,
    a_compile_error_is_told_by_the_compiler,
    compile_args_replace_the_executors_own,
    a_compile_phase_has_its_own_limits,
    versions_are_found_by_their_beginning,
    the_working_directory_is_writable_and_temporary_files_work,
    standard_streams_can_be_opened_by_name,
    nothing_of_the_daemon_is_in_the_environment,
    there_is_no_network_not_even_to_the_host,
];

#[test]
fn hello_in_every_field() {
    let answer = shared().run("python", "import sys\nprint('hello')\nprint('warned', file=sys.stderr)");
    assert_status(&answer, "ok");
    assert_eq!(answer["stdout"], "hello\n");
    assert_eq!(answer["stderr"], "warned\n");
    assert_eq!(answer["exit_code"], 0);
    assert_eq!(answer["signal"], Value::Null);
    assert_eq!(answer["limit"], Value::Null);
    assert_eq!(answer["compile"], Value::Null);
    assert_eq!(answer["output_truncated"], false);
    assert_eq!(answer["language"], "python");
    assert_eq!(answer["runtime"], shared().runtime());
    assert!(answer["version"].as_str().unwrap().starts_with("3."));
    assert_eq!(answer["files"], json!([]));
    let id = answer["id"].as_str().unwrap();
    assert_eq!((id.len(), id.as_bytes()[14]), (36, b'7'), "a UUIDv7: {id}");
    let unseen = |field: &str| match field {
        "wall_time_us" => false,
        "memory_peak_bytes" if shared().hides_small_peaks() => answer["usage"][field].is_null(),
        _ => shared().is_elsewhere(),
    };
    for field in ["wall_time_us", "cpu_time_us", "memory_peak_bytes"] {
        assert!(unseen(field) || answer["usage"][field].as_u64().unwrap() > 0, "{field}: {answer:#}");
    }
    let unknown = shared().is_gvisor() || shared().is_elsewhere();
    let hits = if unknown { Value::Null } else { json!(0) };
    assert_eq!(answer["usage"]["process_limit_hits"], hits);
    let timing = |field: &str| answer["timing"][field].as_u64().unwrap();
    assert!(timing("run_us") > 0);
    assert_eq!(timing("compile_us"), 0);
    assert!(timing("total_us") >= timing("queue_us") + timing("sandbox_us") + timing("run_us"));
}

#[test]
fn the_id_is_in_the_header_too() {
    let answer = shared().post("/api/execute", "application/json", br#"{"language":"bash","code":""}"#);
    assert_eq!(answer.header("x-execution-id"), answer.json()["id"].as_str().unwrap());
}

#[test]
fn stdin_args_and_env_arrive() {
    let code = "import os, sys\nprint(sys.stdin.read(), sys.argv[1:], os.environ['COLOUR'])";
    let answer = shared().execute(&json!({
        "language": "py", "code": code, "stdin": "zwölf", "args": ["a b", "", "ü"], "env": {"COLOUR": "blau"},
    }));
    assert_eq!(answer["stdout"], "zwölf ['a b', '', 'ü'] blau\n");
}

#[test]
fn stdin_of_bytes_and_output_as_bytes() {
    let answer = shared().execute(&json!({
        "language": "python", "code": "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])",
        "stdin": "AP9B", "stdin_encoding": "base64", "output_encoding": "base64",
    }));
    assert_eq!(answer["stdout"], "Qf8A");
}

#[test]
fn bytes_that_are_no_text_become_replacement_characters() {
    let answer = shared().run("bash", r"printf 'a\377b'");
    assert_eq!(answer["stdout"], "a\u{fffd}b");
}

#[test]
fn a_program_that_never_reads_its_stdin() {
    let answer =
        shared().execute(&json!({ "language": "bash", "code": "echo done", "stdin": "x".repeat(1 << 20) }));
    assert_status(&answer, "ok");
    assert_eq!(answer["stdout"], "done\n");
}

#[test]
fn several_files_and_an_entry() {
    let answer = shared().execute(&json!({
        "language": "python", "entry": "app/start.py",
        "files": [
            {"path": "app/start.py", "content": "import helper\nprint(helper.word(), open('data.bin','rb').read())"},
            {"path": "app/helper.py", "content": "def word(): return 'beside'"},
            {"path": "data.bin", "content": "AAH/", "encoding": "base64"},
        ],
    }));
    assert_status(&answer, "ok");
    assert_eq!(answer["stdout"], "beside b'\\x00\\x01\\xff'\n");
}

#[test]
fn an_executable_file_can_be_executed() {
    let answer = shared().execute(&json!({
        "language": "bash", "entry": "main.sh",
        "files": [
            {"path": "main.sh", "content": "./tool && ./data || echo refused"},
            {"path": "tool", "content": "#!/bin/sh\necho tool", "executable": true},
            {"path": "data", "content": "#!/bin/sh\necho data"},
        ],
    }));
    assert_eq!(answer["stdout"], "tool\nrefused\n");
}

#[test]
fn an_exit_code_is_a_runtime_error() {
    let answer = shared().run("python", "raise SystemExit(7)");
    assert_status(&answer, "runtime_error");
    assert_eq!(
        (&answer["exit_code"], &answer["signal"], &answer["limit"]),
        (&json!(7), &Value::Null, &Value::Null)
    );
}

#[test]
fn a_signal_is_named() {
    for (signal, name) in [("SEGV", "SIGSEGV"), ("ABRT", "SIGABRT"), ("KILL", "SIGKILL"), ("TERM", "SIGTERM")]
    {
        let answer = shared().run("bash", &format!("kill -{signal} $$"));
        assert_status(&answer, "runtime_error");
        assert_eq!((&answer["signal"], &answer["exit_code"]), (&json!(name), &Value::Null), "{answer:#}");
        assert!(answer["error"].as_str().unwrap().contains(name));
    }
}

#[test]
fn a_compiled_program_reports_its_compile_phase() {
    let answer = shared().run("c", "#include <stdio.h>\nint main(void) { puts(\"compiled\"); return 0; }");
    assert_status(&answer, "ok");
    assert_eq!(answer["stdout"], "compiled\n");
    let compile = &answer["compile"];
    assert_eq!(compile["status"], "ok");
    assert_eq!(compile["exit_code"], 0);
    assert_eq!(compile["cached"], false);
    let measured = compile["usage"]["cpu_time_us"].is_u64() || shared().is_elsewhere();
    assert!(compile["time_ms"].is_u64() && measured, "{compile:#}");
    assert!(answer["timing"]["compile_us"].as_u64().unwrap() > 0);
}

#[test]
fn a_compile_error_is_told_by_the_compiler() {
    let answer = shared().run("c", "int main(void) { return x; }");
    assert_status(&answer, "compile_error");
    assert_eq!(answer["stdout"], "");
    assert!(answer["stderr"].as_str().unwrap().contains("undeclared"), "{answer:#}");
    assert_eq!(answer["compile"]["status"], "runtime_error");
    assert_eq!(answer["compile"]["exit_code"], 1);
    assert_eq!(answer["execution_time_ms"], 0);
}

#[test]
fn compile_args_replace_the_executors_own() {
    let code = "int main(void) { return ANSWER; }";
    let answer = shared().execute(&json!({ "language": "c", "code": code, "compile_args": ["-DANSWER=0"] }));
    assert_status(&answer, "ok");
}

#[test]
fn a_compile_phase_has_its_own_limits() {
    let answer = shared().execute(&json!({
        "language": "c", "code": "#include \"/dev/zero\"\nint main(void) {}", "compile_limits": {"wall_time_ms": 2000, "memory_bytes": 268435456},
    }));
    assert_status(&answer, "compile_error");
    assert!(
        matches!(answer["compile"]["limit"].as_str(), Some("wall_time_ms" | "memory_bytes" | "cpu_time_ms")),
        "{answer:#}"
    );
}

#[test]
fn versions_are_found_by_their_beginning() {
    let found = shared().execute(&json!({ "language": "Python", "version": "3", "code": "print(1)" }));
    assert_status(&found, "ok");
    let exact = found["version"].as_str().unwrap();
    assert_status(
        &shared().execute(&json!({ "language": "PY", "version": exact, "code": "print(1)" })),
        "ok",
    );
}

#[test]
fn the_working_directory_is_writable_and_temporary_files_work() {
    let code = "import os, tempfile\nopen('x','w').write('y')\nprint(os.listdir('.'), os.getcwd() == os.environ['PWD'] if 'PWD' in os.environ else True)\nwith tempfile.TemporaryFile() as f: f.write(b'z')\nprint(os.access('/usr', os.W_OK), os.access('/', os.W_OK))";
    let answer = shared().run("python", code);
    assert_status(&answer, "ok");
    assert!(answer["stdout"].as_str().unwrap().ends_with("False False\n"), "{answer:#}");
}

#[test]
fn standard_streams_can_be_opened_by_name() {
    let answer = shared().run("bash", "echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin");
    assert_eq!(
        (answer["stdout"].as_str(), answer["stderr"].as_str()),
        (Some("out\n"), Some("err\n")),
        "{answer:#}"
    );
}

#[test]
fn nothing_of_the_daemon_is_in_the_environment() {
    let answer = shared().run("bash", "env | cut -d= -f1 | sort | tr '\\n' ' '");
    for word in answer["stdout"].as_str().unwrap().split_whitespace() {
        assert!(
            [
                "HOME", "LANG", "LC_ALL", "OLDPWD", "PATH", "PWD", "SHLVL", "TMPDIR", "TZ", "USER",
                "LOGNAME", "_"
            ]
            .contains(&word),
            "{word}"
        );
    }
}

#[test]
fn there_is_no_network_not_even_to_the_host() {
    let port = shared().url.rsplit(':').next().unwrap().to_owned();
    let code = format!(
        "import socket\nfor host in ('127.0.0.1', '8.8.8.8'):\n    try:\n        socket.create_connection((host, {port}), 2)\n        print('connected')\n    except OSError as error:\n        print('refused')"
    );
    assert_eq!(shared().run("python", &code)["stdout"], "refused\nrefused\n");
}
