//! Programs start, end, are signalled and die with all that they have started.

use std::time::{Duration, Instant};

use sandboxd_agent::{FromAgent, Start, ToAgent};

use crate::rig::{Rig, as_second_process, possible, start};

const SIGKILL: u32 = 9;
const SIGTERM: u32 = 15;

#[test]
fn exit_codes_and_signals_come_back() {
    if !possible() {
        return;
    }
    assert_eq!(Rig::ready().shell("exit 7").status, Some(7 << 8));
    assert_eq!(Rig::ready().shell("kill -SEGV $$").status, Some(11));
    assert_eq!(Rig::ready().run(&["true"]).status, Some(0));
}

#[test]
fn what_is_left_behind_is_killed_before_the_end_is_told() {
    if !possible() {
        return;
    }
    let mut rig = Rig::ready();
    let outcome =
        rig.shell("for i in 1 2 3; do setsid sh -c 'trap \"\" TERM HUP; sleep 1000' & done; echo x");
    assert_eq!(outcome.text(), "x\n");
    assert!(rig.since.elapsed() < Duration::from_secs(10), "the outputs ended with the leftovers");
}

#[test]
fn a_signal_reaches_the_program_and_only_that() {
    if !possible() {
        return;
    }
    let mut rig = Rig::ready();
    rig.begin(&["sh", "-c", "trap 'echo caught; exit 3' TERM; echo up; while :; do sleep 0.01; done"]);
    rig.credit(sandboxd_agent::Output::Stdout, 1000);
    assert_eq!(rig.next(), FromAgent::Started);
    assert!(matches!(rig.next(), FromAgent::Output { .. }));
    rig.send(&ToAgent::Signal(SIGTERM));
    let outcome = rig.outcome();
    assert_eq!((outcome.status, &outcome.stdout[..]), (Some(3 << 8), &b"caught\n"[..]));
    // What has ended can be signalled.
    rig.send(&ToAgent::Signal(SIGTERM));
    rig.send(&ToAgent::Signal(SIGKILL));
    assert!(rig.is_quiet(Duration::from_millis(50)));
}

#[test]
fn a_tree_that_forks_all_the_time_dies_at_once() {
    if !possible() {
        return;
    }
    let mut rig = Rig::ready();
    let bomb = "use POSIX; $SIG{TERM}='IGNORE'; while (1) { fork; setsid() if rand() < 0.3 }";
    rig.send(&ToAgent::Start(Start { tasks: Some(300), ..start(&["perl", "-e", bomb]) }));
    assert_eq!(rig.next(), FromAgent::Started);
    std::thread::sleep(Duration::from_millis(300));
    let killed = Instant::now();
    rig.send(&ToAgent::Signal(SIGKILL));
    assert_eq!(rig.outcome().status, Some(SIGKILL));
    println!("killed in {:?}", killed.elapsed());
    assert!(killed.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_program_that_can_not_be_executed_is_said_so() {
    if !possible() {
        return;
    }
    for (program, reason) in [
        ("no-such-program", "No such file or directory"),
        ("/usr", "Permission denied"),
        ("./missing", "No such file or directory"),
    ] {
        let mut rig = Rig::ready();
        rig.begin(&[program]);
        let (program, reason) = (program.to_owned(), reason.to_owned());
        assert_eq!(rig.next(), FromAgent::NotStarted { program, reason });
        assert!(rig.is_quiet(Duration::from_millis(50)));
    }
}

#[test]
fn limits_are_those_that_were_asked_for_or_the_program_does_not_start() {
    if !possible() {
        return;
    }
    // File sizes count blocks of 512 bytes there.
    let text = Rig::ready().shell("ulimit -n; ulimit -Hn; ulimit -f; ulimit -s; ulimit -c").text().to_owned();
    assert_eq!(text, "64\n64\n65536\n8192\n0\n");
    let mut rig = Rig::ready();
    rig.send(&ToAgent::Start(Start { open_files: 1 << 40, ..start(&["true"]) }));
    let FromAgent::NotStarted { program, reason } = rig.next() else { panic!("it started") };
    assert_eq!(program, "true");
    assert!(reason.contains("RLIMIT_NOFILE can't be 1099511627776"), "{reason}");
}

#[test]
fn a_large_command_line_arrives() {
    if !possible() {
        return;
    }
    let long = "x".repeat(100_000);
    let mut rig = Rig::ready();
    let start =
        Start { stack_bytes: 64 << 20, ..start(&["sh", "-c", "echo ${#1} ${#2}", "sh", &long, &long]) };
    rig.send(&ToAgent::Start(start));
    rig.credit(sandboxd_agent::Output::Stdout, 1000);
    assert_eq!(rig.outcome().text(), "100000 100000\n");
}

#[test]
fn a_kill_before_the_start_breaks_the_sandbox() {
    if !possible() {
        return;
    }
    let mut rig = Rig::ready();
    rig.send(&ToAgent::Signal(SIGTERM));
    assert!(rig.is_quiet(Duration::from_millis(50)));
    rig.send(&ToAgent::Signal(SIGKILL));
    assert!(matches!(rig.next(), FromAgent::Failed { .. }));
    assert_eq!(rig.ended().code(), Some(1));
}

#[test]
fn with_the_daemon_everything_goes() {
    if !possible() {
        return;
    }
    let mut parked = Rig::ready();
    parked.hang_up();
    assert_eq!(parked.ended().code(), Some(0));
    let mut running = Rig::ready();
    running.begin(&["sh", "-c", "trap '' TERM HUP PIPE; while :; do sleep 1; done"]);
    assert_eq!(running.next(), FromAgent::Started);
    running.hang_up();
    assert_eq!(running.ended().code(), Some(0));
    assert_eq!(running.try_next(), None);
}

type Spoken = Box<dyn Fn(&mut Rig)>;

#[test]
fn what_is_no_frame_ends_the_sandbox_with_a_sentence() {
    if !possible() {
        return;
    }
    let oversized = 8 * 1024 * 1024 + 1;
    let cases: [(&str, Spoken); 6] = [
        ("kind 99", Box::new(|rig| rig.send_raw(99, b"x"))),
        ("kind 2", Box::new(|rig| rig.send_raw(2, b"x"))),
        ("a frame of 8388609 bytes", Box::new(move |rig| rig.send_raw(1, &vec![0; oversized]))),
        (
            "more stdin than it may",
            Box::new(|rig| {
                for _ in 0..7 {
                    rig.send(&ToAgent::Stdin(vec![0; 64 * 1024].into()));
                }
            }),
        ),
        (
            "before the end",
            Box::new(|rig| {
                let globs = vec!["*".to_owned()];
                rig.send(&ToAgent::Collect { globs, max_files: 1, max_bytes: 1, max_entries: 1 });
            }),
        ),
        ("signal 77", Box::new(|rig| rig.send(&ToAgent::Signal(77)))),
    ];
    for (expected, say) in cases {
        let mut rig = Rig::ready();
        say(&mut rig);
        let reason = loop {
            match rig.next() {
                FromAgent::StdinCredit { .. } => {}
                FromAgent::Failed { reason } => break reason,
                other => panic!("{expected}: {other:?}"),
            }
        };
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(rig.ended().code(), Some(1));
    }
}

#[test]
fn it_does_nothing_where_it_is_not_the_first_process() {
    if !possible() {
        return;
    }
    let (code, said) = as_second_process();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("first process of a container only"), "{said}");
}

#[test]
fn an_image_whose_tmp_is_not_on_the_disk_is_refused() {
    if !possible() {
        return;
    }
    let mut rig = Rig::start("1m", "/var");
    let FromAgent::Failed { reason } = rig.next() else { panic!("no failure") };
    assert!(reason.contains("`sandboxd images build`"), "{reason}");
}
