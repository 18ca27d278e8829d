//! Configurations that are right, and ones that somebody got wrong.

use std::fs;

use tempfile::TempDir;
use toml::{Table, Value};

use super::shape::{ContainerdShape, DockerShape, FileShape, NativeShape};
use super::*;
use crate::engine::LimitName;

const EXAMPLE: &str = include_str!("../../config.toml.example");

fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Surroundings { variables: variables.iter().map(own).collect(), cpus: 4, is_root: true }
}

/// What comes of this file and these variables; the file is called `config.toml` in messages.
fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("config.toml");
    fs::write(&file, text).unwrap();
    let prefix = format!("{}/", folder.path().display());
    load(Some(&file), &surroundings(variables))
        .map_err(|error| error.violations.iter().map(|line| line.replace(&prefix, "")).collect())
}

fn believed(text: &str, variables: &[(&str, &str)]) -> Config {
    load_text(text, variables).unwrap()
}

fn violations(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    load_text(text, variables).unwrap_err()
}

/// Every key with a value, as a path.
fn keys(table: &Table, prefix: &str, found: &mut Vec<String>) {
    for (key, value) in table {
        match value {
            Value::Table(below) if !below.is_empty() => keys(below, &format!("{prefix}{key}."), found),
            _ => found.push(format!("{prefix}{key}")),
        }
    }
}

/// Every key of a shape, as a path.
fn shape_keys<T: Default + serde::Serialize>(prefix: &str) -> Vec<String> {
    fn walk(value: &serde_json::Value, prefix: &str, found: &mut Vec<String>) {
        for (key, value) in value.as_object().unwrap() {
            match value {
                serde_json::Value::Object(_) => walk(value, &format!("{prefix}{key}."), found),
                _ => found.push(format!("{prefix}{key}")),
            }
        }
    }
    let mut found = Vec::new();
    walk(&serde_json::to_value(T::default()).unwrap(), prefix, &mut found);
    found
}

#[test]
fn the_example_is_the_built_in_configuration() {
    let built_in = Config { file: None, ..believed("", &[]) };
    let example = Config { file: None, ..believed(EXAMPLE, &[]) };
    assert_eq!(format!("{built_in:#?}"), format!("{example:#?}"));
}

#[test]
fn the_example_names_every_key() {
    let commented_out = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line.len() > 1;
    let all: Vec<_> =
        EXAMPLE.lines().map(|line| if commented_out(line) { &line[1..] } else { line }).collect();
    let mut named = Vec::new();
    keys(&all.join("\n").parse().unwrap(), "", &mut named);
    let mut expected = shape_keys::<FileShape>("");
    expected.retain(|key| key != "runtimes");
    expected.extend(shape_keys::<NativeShape>("runtimes.native."));
    expected.extend(shape_keys::<DockerShape>("runtimes.docker."));
    expected.extend(shape_keys::<ContainerdShape>("runtimes.gvisor."));
    named.sort();
    expected.sort();
    assert_eq!(named, expected);
}

/// Table, key and range of every key that the example states a range for, in the comment right above it.
fn stated_ranges() -> Vec<(String, String, i64, i64)> {
    let (mut table, mut stated, mut found) = (String::new(), None, Vec::new());
    for line in EXAMPLE.lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = name.trim_end_matches(']').to_owned();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            if let Some((low, high)) = stated.take() {
                found.push((table.clone(), key.to_owned(), low, high));
            }
        } else {
            let (before, after) = line.split_once(" to ").unwrap_or_default();
            let low = before.rsplit(' ').next().unwrap().parse();
            let high = after.split([' ', '.', ';']).next().unwrap().parse();
            stated = low.ok().zip(high.ok());
        }
    }
    found
}

#[test]
fn the_ranges_of_the_example_are_those_that_are_held() {
    let ranges = stated_ranges();
    assert_eq!(ranges.len(), 24, "{ranges:#?}");
    for (table, key, low, high) in ranges {
        let kind = if table.starts_with("runtimes") { "kind = \"native\"\n" } else { "" };
        let load = |value: i64| load_text(&format!("[{table}]\n{kind}{key} = {value}\n"), &[]);
        for good in [low, high] {
            assert!(load(good).is_ok(), "{table}.{key} = {good}");
        }
        for bad in [low - 1, high + 1] {
            let expected = format!("config.toml: {table}.{key}: {bad} is out of range: {low} to {high} (");
            assert!(load(bad).unwrap_err()[0].starts_with(&expected), "{table}.{key} = {bad}");
        }
    }
}

#[test]
fn built_in_defaults() {
    let config = believed("", &[]);
    assert_eq!(config.state_dir, Path::new("/var/lib/sandboxd"));
    assert_eq!(config.server.listen, [ListenAddress::Tcp("127.0.0.1:8080".parse().unwrap())]);
    assert_eq!(config.server.max_body_bytes, 8_388_608);
    assert_eq!(config.execution.max_concurrent, 4);
    assert_eq!(config.execution.cpu_millis, None);
    assert_eq!((config.run_limits, config.compile_limits), (LimitPolicy::RUN, LimitPolicy::COMPILE));
    let [RuntimeConfig { name, kind: RuntimeKind::Native(native) }] = config.runtimes.as_slice() else {
        panic!("{:?}", config.runtimes);
    };
    assert_eq!((name.as_str(), native.lanes), ("native", 12));
}

#[test]
fn a_state_folder_for_everybody() {
    let folder = |variables: &[(&str, &str)]| {
        let surroundings = Surroundings { is_root: false, ..surroundings(variables) };
        load(None, &surroundings).map(|config| config.state_dir.display().to_string())
    };
    assert_eq!(folder(&[("HOME", "/home/a")]).unwrap(), "/home/a/.local/state/sandboxd");
    assert_eq!(folder(&[("HOME", "/home/a"), ("XDG_STATE_HOME", "/s")]).unwrap(), "/s/sandboxd");
    assert_eq!(folder(&[]).unwrap_err().violations, ["state_dir: must be set, for there is no HOME"]);
    assert_eq!(folder(&[("SANDBOXD_STATE_DIR", "/x")]).unwrap(), "/x");
}

#[test]
fn the_environment_lies_over_the_file() {
    let config = believed(
        "[server]\nmax_body_bytes = 1\nsocket_mode = \"0600\"\n[runtimes.my-own]\nkind = \"native\"",
        &[
            ("SANDBOXD_SERVER__MAX_BODY_BYTES", "2"),
            ("SANDBOXD_SERVER__LISTEN", "unix:/run/a.sock"),
            ("SANDBOXD_EXECUTION__QUEUE_LENGTH", "0"),
            ("SANDBOXD_LIMITS__MAX__WALL_TIME_MS", "5_000"),
            ("SANDBOXD_RUNTIMES__MY_OWN__ALLOW_MISSING", r#"["memory", "cpu"]"#),
            ("SANDBOXD_LOG__LEVEL", "info,sandboxd::http=debug"),
            ("SOMETHING_ELSE", "1"),
        ],
    );
    assert_eq!(config.server.max_body_bytes, 2);
    assert_eq!(config.server.socket_mode, 0o600);
    assert_eq!(config.server.listen, [ListenAddress::Unix("/run/a.sock".into())]);
    assert_eq!(config.execution.queue_length, 0);
    assert_eq!(config.execution.default_runtime, "my-own");
    assert_eq!(config.run_limits.max.get(LimitName::WallTimeMs), 5000);
    assert_eq!(config.run_limits.default.get(LimitName::WallTimeMs), 5000, "the default follows");
    let RuntimeKind::Native(native) = &config.runtimes[0].kind else { panic!("{config:?}") };
    assert_eq!(native.allow_missing, [KernelLimit::Memory, KernelLimit::Cpu]);
    // What would be a number in TOML, where a string is meant.
    let config = believed("", &[("SANDBOXD_SERVER__SOCKET_MODE", "666")]);
    assert_eq!(config.server.socket_mode, 0o666);
    let config = believed("", &[("SANDBOXD_SERVER__LISTEN", r#"["127.0.0.1:1", "[::1]:1"]"#)]);
    assert_eq!(config.server.listen.len(), 2);
}

#[test]
fn every_violation_at_once_in_one_line_each() {
    let found = violations(
        r#"
surprise = 1
[server]
listen = ["8080", "unix:a.sock", "[::1]:80", "[::1]:80"]
max_body_bytes = 5000000000000
socket_mode = "rw"
max_conections = 3
shutdown_timeout_ms = "long"
[execution]
runtime = "docker"
queue_length = -1
[limits.default]
memory_bytes = 4294967296
[limits]
max = 3
[log]
format = "xml"
level = "loud"
[executors]
dirs = ["executors"]
"#,
        &[
            ("SANDBOXD_SERVER__MAX_BODY", "1"),
            ("SANDBOXD_EXECUTION__CPU_MILLIS", "-5"),
            ("SANDBOXD_NO__SUCH", "1"),
            ("SANDBOXD_NO__OTHER", "1"),
            ("SANDBOXD_LIMITS__MAX__PROCESSES", "1"),
            ("SANDBOXD_", "1"),
        ],
    );
    assert_eq!(
        found,
        [
            "SANDBOXD_: names no key",
            "SANDBOXD_LIMITS__MAX__PROCESSES: limits.max is no table",
            "config.toml: limits.max: is not allowed: integer `3`, expected a table",
            "SANDBOXD_NO__OTHER: no such key `no`, expected one of `state_dir`, `server`, `auth`, `execution`, `limits`, \
             `compile_limits`, `executors`, `cache`, `pool`, `log`, `runtimes`",
            "SANDBOXD_NO__SUCH: no such key `no`, expected one of `state_dir`, `server`, `auth`, `execution`, `limits`, \
             `compile_limits`, `executors`, `cache`, `pool`, `log`, `runtimes`",
            "SANDBOXD_SERVER__MAX_BODY: no such key `max_body`, expected one of `listen`, `socket_mode`, \
             `tls_certificate`, `tls_key`, `cors_origins`, `max_body_bytes`, `max_connections`, \
             `header_read_timeout_ms`, `body_read_timeout_ms`, `shutdown_timeout_ms`",
            "config.toml: server.max_conections: no such key `max_conections`, expected one of `listen`, \
             `socket_mode`, `tls_certificate`, `tls_key`, `cors_origins`, `max_body_bytes`, `max_connections`, \
             `header_read_timeout_ms`, `body_read_timeout_ms`, `shutdown_timeout_ms`",
            "config.toml: server.shutdown_timeout_ms: is not allowed: string \"long\", expected an integer",
            "config.toml: surprise: no such key `surprise`, expected one of `state_dir`, `server`, `auth`, `execution`, \
             `limits`, `compile_limits`, `executors`, `cache`, `pool`, `log`, `runtimes`",
            "config.toml: server.listen: \"8080\" is no address: such as \"127.0.0.1:8080\", \"[::]:8080\" or \
             \"unix:/run/sandboxd/sandboxd.sock\"",
            "config.toml: server.listen: \"unix:a.sock\" needs an absolute path after unix:",
            "config.toml: server.listen: \"[::1]:80\" stands there twice",
            "config.toml: server.socket_mode: \"rw\" is no mode: octal digits up to \"0777\"",
            "config.toml: server.max_body_bytes: 5000000000000 is out of range: 1 to 1073741824 (bytes)",
            "SANDBOXD_EXECUTION__CPU_MILLIS: -5 is out of range: 0 to 1024000 (thousandths of a CPU; 0: no limit)",
            "config.toml: execution.runtime: \"docker\" is no configured runtime: native",
            "config.toml: execution.queue_length: -1 is out of range: 0 to 1048576 (requests)",
            "config.toml: limits.default.memory_bytes: 4294967296 is above limits.max.memory_bytes, which is \
             2147483648 (bytes)",
            "config.toml: executors.dirs: \"executors\" is no absolute path",
            "config.toml: log.format: \"xml\" is not one of auto, text, json, journald",
            "config.toml: log.level: \"loud\" is no level: off, error, warn, info, debug or trace, and after it \
             such as \",sandboxd::http=debug\"",
        ]
    );
}

#[test]
fn runtimes_of_every_kind_are_checked() {
    let found = violations(
        r#"
[runtimes.a]
kind = "native"
allow_missing = ["swap"]
rootfs = "rootfs"
host = "x"
[runtimes.b]
kind = "native"
uid_base = 1900000002
[runtimes.c]
kind = "docker"
warm = "two"
host = "http://example"
[runtimes.d]
kind = "containerd"
address = "socket"
namespace = "a/b"
oci_runtime = "/usr/bin/runsc"
cgroup_driver = "v2"
warm = 65
[runtimes.e]
kind = "chroot"
[runtimes.f]
lanes = 3
[runtimes."G h"]
kind = "native"
"#,
        &[],
    );
    assert_eq!(
        found,
        [
            "config.toml: runtimes.G h: a name is a letter and up to 31 of a to z, 0 to 9, - and _",
            "config.toml: runtimes.a.host: no such key `host`, expected one of `kind`, `allow_missing`, `rootfs`, \
             `uid_base`, `lanes`",
            "config.toml: runtimes.a.rootfs: \"rootfs\" is no absolute path",
            "config.toml: runtimes.a.allow_missing: \"swap\" is no limit: memory, processes, cpu, open_files, \
             file_size, disk, stack",
            "config.toml: runtimes.c.warm: is not allowed: string \"two\", expected an integer",
            "config.toml: runtimes.c.host: \"http://example\" is neither unix:///a/path nor tcp://host:port",
            "config.toml: runtimes.d.address: \"socket\" is no absolute path",
            "config.toml: runtimes.d.namespace: \"a/b\" is no name: a letter or digit, then letters, digits, '.', '_' \
             and '-', 76 at most",
            "config.toml: runtimes.d.cgroup_driver: \"v2\" is not one of auto, cgroupfs, systemd",
            "config.toml: runtimes.d.warm: 65 is out of range: 0 to 64 (sandboxes for each executor)",
            "config.toml: runtimes.e.kind: \"chroot\" is no kind: native, docker, containerd",
            "config.toml: runtimes.f.kind: must be one of \"native\", \"docker\", \"containerd\"",
            "config.toml: runtimes.b.uid_base: users 1900000002 to 1900000025 are those of runtimes.a too",
        ]
    );
    assert_eq!(violations("[runtimes]", &[])[0], "config.toml: runtimes: has no runtime in it");
}

#[test]
fn a_table_that_is_called_like_its_kind_needs_no_other_word() {
    let config = believed("[runtimes.docker]\nhost = \"tcp://[::1]:2375\"\n[runtimes.native]\n", &[]);
    let RuntimeKind::Docker(docker) = &config.runtimes[0].kind else { panic!("{config:#?}") };
    assert_eq!(
        (docker.host.as_str(), docker.oci_runtime.as_str(), docker.pool.ready.warm),
        ("tcp://[::1]:2375", "runc", 2)
    );
}

#[test]
fn files_that_are_none() {
    assert_eq!(
        violations("[server]\nlisten = [\n", &[])[0].split(": ").take(2).collect::<Vec<_>>(),
        ["config.toml", "line 2"]
    );
    let missing = load(Some(Path::new("/no/such/file")), &surroundings(&[])).unwrap_err();
    assert_eq!(missing.violations, ["/no/such/file: No such file or directory (os error 2)"]);
    assert_eq!(violations("server = [\"127.0.0.1:1\"]", &[])[0].split(": ").nth(1), Some("server"));
}

#[test]
fn levels() {
    for good in ["off", "INFO", "warn,sandboxd=trace", "sandboxd::engine=debug"] {
        assert!(load_text(&format!("[log]\nlevel = {good:?}"), &[]).is_ok(), "{good}");
    }
    for bad in ["", "3", "loud", "info,", "info;debug", "sandboxd=loud"] {
        assert!(load_text(&format!("[log]\nlevel = {bad:?}"), &[]).is_err(), "{bad}");
    }
}
