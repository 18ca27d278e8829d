//! Which interpreters wait, and that nobody else waits for want of a slot.

use std::time::{Duration, Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sandboxd_contract::{Demand, Exit, KernelLimits, Runtime, SandboxSpec};

use crate::rig::{LIMITS, MIB, Rig, command, file, is_alive, node, processes, python, spec};

async fn until(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", processes());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn running(name: &str) -> usize {
    processes().iter().filter(|(_, found)| found == name).count()
}

pub(crate) async fn one_waits_again_after_each_use(rig: &Rig) {
    rig.ask(&python()).await;
    let mut used = Vec::new();
    for _ in 0..5 {
        let pid = rig.waiting("python3").await;
        assert!(!used.contains(&pid));
        used.push(pid);
        assert_eq!(rig.run(&python(), &[file("main.py", "print(input())")]).await.stdout, "in\n");
        assert!(!is_alive(pid), "it was not used");
    }
}

pub(crate) async fn another_start_gets_another_slot(rig: &Rig) {
    let main = file("main.py", "import sys\nprint(sys.argv, len(open('main.py').read()))");
    let big = file("big", &"x".repeat(1 << 20));
    let asked = python();
    for (argv, files, stdout, exit) in [
        (&["python3", "main.py", "a"][..], vec![main.clone()], "['main.py', 'a'] 55\n", 0),
        (&["python3", "main.py"], vec![main.clone(), big], "['main.py'] 55\n", 0),
        (&["python3", "main.py"], vec![file("other.py", "")], "", 2),
        (&["sh", "-c", "echo x"], vec![], "x\n", 0),
    ] {
        rig.ask(&asked).await;
        let pid = rig.waiting("python3").await;
        let outcome = rig.start(&asked, &files, command(argv), None).await;
        assert_eq!((outcome.stdout.as_str(), outcome.exit), (stdout, Exit::Code(exit)), "{argv:?}");
        until(|| !is_alive(pid)).await;
    }
}

pub(crate) async fn less_memory_gets_another_slot(rig: &Rig) {
    rig.ask(&python()).await;
    let pid = rig.waiting("python3").await;
    for limits in
        [KernelLimits { memory_bytes: 32 * MIB, ..LIMITS }, KernelLimits { open_files: 20, ..LIMITS }]
    {
        let asked = SandboxSpec { limits, demand: Demand::Once, ..python() };
        let outcome = rig.run(&asked, &[file("main.py", "print(1)")]).await;
        assert_eq!((outcome.stdout.as_str(), outcome.exit), ("1\n", Exit::Code(0)));
        assert!(is_alive(pid), "it goes on waiting");
    }
    let more = KernelLimits { memory_bytes: 512 * MIB, tasks: 100, disk_bytes: MIB, ..LIMITS };
    let asked = SandboxSpec { limits: more, ..python() };
    let code = "open('x', 'wb').write(bytes(2 << 20))";
    let outcome = rig.run(&asked, &[file("main.py", code)]).await;
    assert!(outcome.stderr.contains("No space left"), "{outcome:?}");
    assert!(!is_alive(pid), "more memory and less disk are no reason to start another");
}

pub(crate) async fn ordinary_programs_find_their_slots(rig: &Rig) {
    rig.ask(&python()).await;
    for _ in 0..3 {
        rig.waiting("python3").await;
        // As many as there are lanes, at once: the one where it waits is among them.
        let plain = SandboxSpec::once("", LIMITS);
        let program = || rig.start(&plain, &[], command(&["sh", "-c", "sleep 0.2; echo x"]), None);
        let began = Instant::now();
        let (one, two, three) = tokio::join!(program(), program(), program());
        assert_eq!([one.stdout, two.stdout, three.stdout], ["x\n", "x\n", "x\n"]);
        assert!(began.elapsed() < Duration::from_secs(5));
        until(|| running("python3") == 0).await;
        // Not at once again, but when it is asked for.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        rig.ask(&python()).await;
    }
}

pub(crate) async fn what_does_not_wait_is_left_alone(rig: &Rig) {
    for argv in [&["true"][..], &["no-such-program"]] {
        let asked = spec(argv, "main.py");
        rig.ask(&asked).await;
        rig.ask(&asked).await;
        let outcome = rig.start(&asked, &[], command(&["sh", "-c", "echo x"]), None).await;
        assert_eq!(outcome.stdout, "x\n");
    }
    // And is no reason to leave others alone.
    rig.ask(&python()).await;
    rig.waiting("python3").await;
}

pub(crate) async fn one_that_died_is_not_handed_out(rig: &Rig) {
    rig.ask(&python()).await;
    let pid = rig.waiting("python3").await;
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    until(|| !is_alive(pid)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let outcome = rig.run(&python(), &[file("main.py", "print(1)")]).await;
    assert_eq!((outcome.stdout.as_str(), outcome.exit), ("1\n", Exit::Code(0)));
    rig.waiting("python3").await;
}

pub(crate) async fn what_is_asked_for_once_waits_for_nobody(rig: &Rig) {
    let once = SandboxSpec { demand: Demand::Once, ..python() };
    rig.ask(&once).await;
    rig.run(&once, &[file("main.py", "")]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(running("python3"), 0);
    // It takes what is there for others.
    rig.ask(&python()).await;
    let pid = rig.waiting("python3").await;
    rig.run(&once, &[file("main.py", "")]).await;
    assert!(!is_alive(pid));
}

pub(crate) async fn places_follow_what_is_asked_for(rig: &Rig) {
    rig.ask(&python()).await;
    let pid = rig.waiting("python3").await;
    for _ in 0..3 {
        rig.ask(&node()).await;
    }
    rig.waiting("node").await;
    assert!(!is_alive(pid), "there is one place only");
    // Dropped with its sandbox, unused.
    drop(rig.runtime.launch(&node()).await.unwrap());
    rig.waiting("node").await;
}
