//! Interpreters that are started before their program is there.

use std::time::Duration;

use bytes::Bytes;
use sandboxd_agent::{FromAgent, Output, ToAgent};

use crate::rig::{Outcome, Rig, possible, start};

/// An agent in whose sandbox python3 waits for `main.py`.
fn waiting() -> Rig {
    let mut rig = Rig::ready();
    let (start, script) = (start(&["python3", "main.py"]), "main.py".to_owned());
    rig.send(&ToAgent::Prestart { start, script });
    assert_eq!(rig.next(), FromAgent::Parked);
    assert!(rig.is_quiet(Duration::from_millis(50)), "it says something before it has a program");
    rig
}

fn put(rig: &mut Rig, path: &str, content: &str) {
    let content = Bytes::copy_from_slice(content.as_bytes());
    let content_bytes = content.len() as u64;
    rig.send(&ToAgent::Put { path: path.to_owned(), executable: false, content_bytes });
    for piece in content.chunks(sandboxd_agent::MAX_DATA_BYTES) {
        rig.send(&ToAgent::PutData(content.slice_ref(piece)));
    }
}

fn resume(rig: &mut Rig) -> Outcome {
    rig.send(&ToAgent::Resume);
    rig.send(&ToAgent::StdinEnd);
    rig.credit(Output::Stdout, u64::MAX);
    rig.credit(Output::Stderr, u64::MAX);
    rig.outcome()
}

/// Everything that a program can easily see of how it was started.
const LOOK: &str = "import os, resource, sys, other
print(sys.argv, sys.orig_argv, sys.path[0], __file__, __name__, sys.flags, os.getcwd())
print(sorted(os.environ.items()), os.getpid(), os.getppid(), os.getpgrp() == os.getpid(), os.getsid(0))
print(open(__file__).read() == open('main.py').read(), os.stat(__file__).st_uid, oct(os.stat(__file__).st_mode))
print([resource.getrlimit(which) for which in range(16)], sorted(sys.modules), sorted(globals()))
print(sorted(os.listdir('.')), len(os.listdir('/proc/self/fd')), len(sys._current_frames()), other.x)
print(open('/proc/self/cmdline').read(), open('/proc/self/status').read().split('SigQ')[1].split('\\n', 1)[1][:400])
def deep(n):
    return deep(n - 1) if n else sys._getframe()
frame, depth = deep(3), 0
while frame:
    frame, depth = frame.f_back, depth + 1
print(depth)
raise ValueError('told')
";

#[test]
fn a_program_that_was_waited_for_sees_no_difference() {
    if !possible() {
        return;
    }
    let mut waited = waiting();
    let mut plain = Rig::ready();
    for rig in [&mut waited, &mut plain] {
        put(rig, "main.py", LOOK);
        put(rig, "other.py", "x = 5\n");
    }
    let (waited, plain) = (resume(&mut waited), plain.run(&["python3", "main.py"]));
    let texts = |outcome: &Outcome| {
        [&outcome.stdout, &outcome.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    assert_eq!(texts(&waited), texts(&plain));
    assert!(texts(&plain)[1].contains("raise ValueError('told')"), "{:?}", texts(&plain));
    assert_eq!((waited.status, plain.status), (Some(1 << 8), Some(1 << 8)));
}

#[test]
fn a_long_program_comes_whole() {
    if !possible() {
        return;
    }
    let mut rig = waiting();
    let program = format!("x = '''{}'''\nprint(len(x))\n", "line\n".repeat(400_000));
    put(&mut rig, "main.py", &program);
    assert_eq!(resume(&mut rig).text(), "2000000\n");
}

#[test]
fn a_program_that_is_wrong_ends_as_it_would_anywhere() {
    if !possible() {
        return;
    }
    let mut rig = waiting();
    // Wrong at once, with much behind it that nobody wants any more.
    put(&mut rig, "main.py", &format!("(]\n{}", "x = 1\n".repeat(300_000)));
    let outcome = resume(&mut rig);
    assert_eq!(outcome.status, Some(1 << 8));
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("SyntaxError"), "{outcome:?}");
}

#[test]
fn an_interpreter_that_does_not_wait_is_not_started() {
    if !possible() {
        return;
    }
    for (argv, reason) in [(&["true"][..], "before it opened"), (&["no-such-program"], "No such file")] {
        let mut rig = Rig::ready();
        rig.send(&ToAgent::Prestart { start: start(argv), script: "main.py".to_owned() });
        match rig.next() {
            FromAgent::NotStarted { reason: told, .. } => assert!(told.contains(reason), "{told}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_waits_can_be_killed_and_takes_no_second_start() {
    if !possible() {
        return;
    }
    let mut rig = waiting();
    rig.send(&ToAgent::Signal(9));
    assert!(matches!(rig.next(), FromAgent::Failed { .. }));
    let mut rig = waiting();
    rig.begin(&["true"]);
    assert!(matches!(rig.next(), FromAgent::Failed { .. }));
    let mut rig = waiting();
    rig.send(&ToAgent::Resume);
    assert!(matches!(rig.next(), FromAgent::Failed { .. }), "it was let go on without a program");
}
