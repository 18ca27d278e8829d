//! Two kinds of tenants side by side, for as many runs as SOAK_RUNS says (`make soak`): the good ones always get
//! their right answer, nobody ever sees a byte of another's, and neither daemon nor host has more at the end than soon
//! after the beginning.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    engines::eventually,
    faults::{cgroups, descendants},
    load::own_bytes,
    support::Daemon,
};

const USUAL_RUNS: usize = 240;
const AT_ONCE: usize = 8;
/// What everybody's secret begins with. No program spells it out, so that whoever finds it has it from somebody else.
const MARK: &str = "soak-secret-";
/// Memory that may come and go.
const SLACK_BYTES: u64 = 24 << 20;

/// Keeps its secret in every place that there is, and finds none of these touched.
const TIDY: &str = r#"
import os, sys
secret = sys.stdin.read()
print(sorted(os.listdir('.')), os.listdir('/tmp'), os.listdir('/dev/shm'))
for place in ['kept', '/tmp/kept', '/dev/shm/kept']:
    open(place, 'w').write(secret)
os.environ['KEPT'] = secret
print(secret.upper() + open('/tmp/kept').read())
"#;

const SUM: &str = r#"
#include <stdio.h>
int main(void) { char secret[64]; if (scanf("%63s", secret) != 1) return 1; printf("%s/%s\n", secret, secret); }
"#;

/// Looks for others' secrets wherever a program may look: files, processes, environments, memory that was somebody's.
const CURIOUS: &str = r#"
import os, mmap, sys
word = b'soak' + b'-secret-'
def look(where, data):
    at = data.find(word)
    if at >= 0: print('FOUND', where, data[at:at + 40])
for root in ['/tmp', '/dev', '/box', '/proc', '/etc', '/var', '/run', '/home', '/root']:
    for folder, _, names in os.walk(root):
        if folder.count('/') > 5: continue
        for name in names:
            path = os.path.join(folder, name)
            if any(path.startswith(p) for p in ('/dev/zero', '/dev/full', '/dev/random', '/dev/urandom', '/dev/std', '/dev/fd')): continue
            look(path, path.encode())
            try: look(path, os.read(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 1 << 16))
            except OSError: pass
look('memory', mmap.mmap(-1, 8 << 20).read())
print('looked')
"#;

/// A program, what it is given beside, and what must come of it: a verdict, and its whole stdout if that is known.
struct Kind {
    name: &'static str,
    of_ten: usize,
    request: fn(&str) -> Value,
    status: &'static [&'static str],
    stdout: fn(&str) -> Option<String>,
}

fn bash(code: &str, limits: Value) -> Value {
    json!({ "language": "bash", "code": code, "limits": limits })
}

const KINDS: &[Kind] = &[
    Kind {
        name: "tidy",
        of_ten: 3,
        request: |secret| json!({ "language": "python", "code": TIDY, "stdin": secret }),
        status: &["ok"],
        stdout: |secret| Some(format!("['main.py'] [] []\n{}{secret}\n", secret.to_uppercase())),
    },
    Kind {
        name: "compiled before",
        of_ten: 2,
        request: |secret| json!({ "language": "c", "code": SUM, "stdin": secret }),
        status: &["ok"],
        stdout: |secret| Some(format!("{secret}/{secret}\n")),
    },
    Kind {
        name: "compiled anew",
        of_ten: 1,
        request: |secret| {
            let code = format!("#include <stdio.h>\nint main(void) {{ puts(\"{secret}\"); }}");
            json!({ "language": "c", "code": code })
        },
        status: &["ok"],
        stdout: |secret| Some(format!("{secret}\n")),
    },
    Kind {
        name: "node",
        of_ten: 1,
        request: |secret| {
            let code =
                format!("require('fs').writeFileSync('kept', '{secret}'); console.log('{secret}'.length)");
            json!({ "language": "javascript", "code": code })
        },
        status: &["ok"],
        stdout: |secret| Some(format!("{}\n", secret.len())),
    },
    Kind {
        name: "curious",
        of_ten: 1,
        request: |_| json!({ "language": "python", "code": CURIOUS }),
        status: &["ok"],
        stdout: |_| Some("looked\n".to_owned()),
    },
    Kind {
        name: "fork bomb",
        of_ten: 1,
        request: |_| bash("b() { b | b & }; b; sleep 9", json!({ "processes": 24, "wall_time_ms": 300 })),
        status: &["time_limit_exceeded", "runtime_error", "ok"],
        stdout: |_| None,
    },
    Kind {
        name: "memory hog",
        of_ten: 1,
        request: |_| json!({ "language": "python", "code": "b = b'x' * (1 << 30)", "limits": { "memory_bytes": 48 << 20 } }),
        status: &["memory_limit_exceeded"],
        stdout: |_| None,
    },
    Kind {
        name: "flood",
        of_ten: 1,
        request: |_| bash("exec yes", json!({ "output_bytes": 65536 })),
        status: &["output_limit_exceeded"],
        stdout: |_| Some("y\n".repeat(32768)),
    },
    Kind {
        name: "daemon that ignores",
        of_ten: 1,
        request: |secret| {
            let code = format!(
                "trap '' TERM INT HUP; for i in 1 2 3; do setsid sleep 99 & done; echo {secret} | tee kept"
            );
            bash(&code, json!({}))
        },
        status: &["ok"],
        stdout: |secret| Some(format!("{secret}\n")),
    },
    Kind {
        name: "sleeper",
        of_ten: 1,
        request: |_| bash("sleep 99", json!({ "wall_time_ms": 150 })),
        status: &["time_limit_exceeded"],
        stdout: |_| Some(String::new()),
    },
    Kind {
        name: "kill all",
        of_ten: 1,
        request: |_| bash("kill -9 -1; kill -9 $$", json!({})),
        status: &["runtime_error", "ok"],
        stdout: |_| Some(String::new()),
    },
    Kind {
        name: "full disk",
        of_ten: 1,
        request: |_| {
            let code = "while head -c 1000000 /dev/zero >>kept; do :; done 2>&-; echo full";
            bash(code, json!({ "disk_bytes": 4 << 20 }))
        },
        status: &["ok"],
        stdout: |_| Some("full\n".to_owned()),
    },
];

/// What daemon and host have once nothing runs.
#[derive(Debug)]
struct Inventory {
    memory_bytes: u64,
    descriptors: usize,
    processes: usize,
    cgroups: usize,
    mounts: usize,
}

impl Inventory {
    fn take(daemon: &Daemon) -> Self {
        eventually("nothing runs", || {
            daemon
                .get("/metrics")
                .body
                .lines()
                .any(|line| line == "sandboxd_sandboxes{runtime=\"native\",state=\"busy\"} 0")
        });
        // What is made ahead is there again.
        thread::sleep(Duration::from_secs(2));
        Self {
            memory_bytes: own_bytes(daemon.pid(), "VmRSS:"),
            descriptors: fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count(),
            processes: descendants(daemon).len(),
            cgroups: cgroups(&format!("{}-", daemon.pid())).len(),
            mounts: fs::read_to_string("/proc/mounts").unwrap().matches("sandboxd").count(),
        }
    }

    /// Interpreters that wait come and go with what is asked for: two processes and two descriptors each.
    fn assert_no_more_than(&self, before: &Self) {
        assert!(self.memory_bytes < before.memory_bytes + SLACK_BYTES, "{before:?} and then {self:?}");
        assert!(self.descriptors < before.descriptors + 20, "{before:?} and then {self:?}");
        assert!(self.processes < before.processes + 20, "{before:?} and then {self:?}");
        assert!(self.cgroups < before.cgroups + 20, "{before:?} and then {self:?}");
        assert!(self.mounts <= before.mounts, "{before:?} and then {self:?}");
    }
}

/// One run; what is wrong with it.
fn trouble(daemon: &Daemon, kind: &Kind, number: usize) -> Option<String> {
    let secret = format!("{MARK}{number}-of-{}", kind.name.replace(' ', "-"));
    let answer = match daemon.try_execute(&(kind.request)(&secret)) {
        Ok(answer) if answer.status == 200 => answer.json(),
        Ok(answer) => return Some(format!("{}: {}", answer.status, answer.body)),
        Err(error) => return Some(error.to_string()),
    };
    if !kind.status.iter().any(|status| answer["status"] == *status) {
        return Some(format!("{answer:#}"));
    }
    let expected = (kind.stdout)(&secret);
    if expected.is_some_and(|expected| answer["stdout"] != expected) {
        return Some(format!("{answer:#}"));
    }
    // Its own secret may be in it, and no other.
    let text = answer.to_string();
    let others = text.match_indices(MARK).find(|(at, _)| !text[*at..].starts_with(&secret));
    others.map(|_| format!("another's secret: {answer:#}"))
}

/// As often as its weight says, and never in the same company twice.
fn kind_of(number: usize) -> &'static Kind {
    let all: usize = KINDS.iter().map(|kind| kind.of_ten).sum();
    let mut at = number.wrapping_mul(7919) % all;
    KINDS
        .iter()
        .find(|kind| {
            let is_it = at < kind.of_ten;
            at = at.wrapping_sub(kind.of_ten);
            is_it
        })
        .unwrap()
}

fn run_all(daemon: &Daemon, from: usize, to: usize, counts: &Mutex<BTreeMap<&'static str, usize>>) {
    let next = AtomicUsize::new(from);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= to {
                        return;
                    }
                    let kind = kind_of(number);
                    if let Some(trouble) = trouble(daemon, kind, number) {
                        panic!("run {number}, {}: {trouble}\n{}", kind.name, daemon.log());
                    }
                    *counts.lock().unwrap().entry(kind.name).or_default() += 1;
                }
            });
        }
    });
}

#[test]
fn good_and_hostile_programs_side_by_side() {
    let runs = std::env::var("SOAK_RUNS").map_or(USUAL_RUNS, |runs| runs.parse().unwrap());
    let daemon =
        Daemon::start(&format!("---[execution]\nmax_concurrent = {AT_ONCE}\nqueue_timeout_ms = 60000\n"));
    let (began, counts) = (Instant::now(), Mutex::default());
    let warm = USUAL_RUNS / 2;
    run_all(&daemon, 0, warm, &counts);
    let before = Inventory::take(&daemon);
    run_all(&daemon, warm, runs, &counts);
    let after = Inventory::take(&daemon);
    println!("{runs} runs in {:.0?}: {:?}\n{before:?}\n{after:?}", began.elapsed(), counts.lock().unwrap());
    after.assert_no_more_than(&before);
    let metrics = daemon.get("/metrics").body;
    assert!(metrics.lines().any(|line| line == "sandboxd_leaked_total{runtime=\"native\"} 0"), "{metrics}");
}
