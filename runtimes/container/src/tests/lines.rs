//! What comes of a program, over the line and where the line is lost.

use std::{sync::Arc, time::Duration};

use sandboxd_contract::{
    Exit, File, FilePath, KernelLimits, Prestart, Result, RuntimeError, Sandbox as _, SandboxSpec, Signal,
    Started,
};
use tokio::io::AsyncReadExt as _;

use super::{LIMITS, Place, command, engine::REMOVAL, eventually, spec};
use crate::sandbox::ContainerSandbox;

async fn sandbox(place: &Place) -> ContainerSandbox {
    let cell = place.yard.take(&spec()).await.unwrap();
    ContainerSandbox::new(place.yard.clone(), spec(), cell)
}

async fn start(sandbox: &mut ContainerSandbox, argv: &[&str]) -> Started {
    sandbox.start(command(argv), &LIMITS).await.unwrap()
}

async fn ending(place: &Place, argv: &[&str]) -> Result<Exit> {
    let mut sandbox = sandbox(place).await;
    let ending = start(&mut sandbox, argv).await.process.wait().await;
    sandbox.destroy().await.unwrap();
    ending
}

#[tokio::test(start_paused = true)]
async fn an_exit_code_passes_through_and_stays() {
    let place = Place::new(0);
    let mut sandbox = sandbox(&place).await;
    let mut started = start(&mut sandbox, &["exit", "7"]).await;
    for _ in 0..2 {
        assert_eq!(started.process.wait().await.unwrap(), Exit::Code(7));
    }
    sandbox.destroy().await.unwrap();
    sandbox.destroy().await.unwrap();
    assert_eq!(place.engine.names(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_is_put_is_there_at_the_start() {
    let place = Place::new(0);
    let mut sandbox = sandbox(&place).await;
    let file = |path: &str, bytes: usize| File {
        path: FilePath::parse(path).unwrap(),
        content: vec![1; bytes].into(),
        executable: false,
    };
    sandbox.put(vec![file("a", 0), file("b", 42)]).await.unwrap();
    sandbox.put(vec![file("c", 100)]).await.unwrap();
    let mut started = start(&mut sandbox, &["count"]).await;
    assert_eq!(started.process.wait().await.unwrap(), Exit::Code(142));
}

#[tokio::test(start_paused = true)]
async fn output_beyond_every_window_comes_whole() {
    let place = Place::new(0);
    let mut sandbox = sandbox(&place).await;
    let mut started = start(&mut sandbox, &["flood", "5000000"]).await;
    let mut output = Vec::new();
    started.stdout.read_to_end(&mut output).await.unwrap();
    assert_eq!(output.len(), 5_000_000);
    assert_eq!(started.process.wait().await.unwrap(), Exit::Code(0));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_breaks_the_rules_is_not_believed() {
    let place = Place::new(0);
    for rude in ["babble", "garbage"] {
        let ending = ending(&place, &[rude]).await;
        assert!(matches!(ending, Err(RuntimeError::Sandbox { .. })), "{rude}: {ending:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_is_not_there_is_not_started() {
    let place = Place::new(0);
    let mut sandbox = sandbox(&place).await;
    let failed = sandbox.start(command(&["none"]), &LIMITS).await;
    assert!(matches!(failed, Err(RuntimeError::NotStarted { program, .. }) if program == "none"));
}

#[tokio::test(start_paused = true)]
async fn signals_go_to_the_program_and_a_kill_to_all() {
    let place = Place::new(0);
    for (signal, exit) in [(Signal::Terminate, Exit::Code(115)), (Signal::Kill, Exit::Signal(9))] {
        let mut sandbox = sandbox(&place).await;
        let mut started = start(&mut sandbox, &["wait"]).await;
        started.process.signal(signal).await.unwrap();
        assert_eq!(started.process.wait().await.unwrap(), exit);
        started.process.signal(signal).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_kill_loses_its_container() {
    let place = Place::new(0);
    let mut sandbox = sandbox(&place).await;
    let mut started = start(&mut sandbox, &["stuck"]).await;
    started.process.signal(Signal::Kill).await.unwrap();
    assert_eq!(started.process.wait().await.unwrap(), Exit::Signal(9));
    assert_eq!(place.engine.names(), Vec::<String>::new());
    sandbox.destroy().await.unwrap();
}

/// As on a slow host: the kill is still removing the container when the sandbox is destroyed.
#[tokio::test(start_paused = true)]
async fn a_container_is_removed_by_one_at_a_time() {
    let place = Place::new(0);
    let mut sandbox = sandbox(&place).await;
    let started = start(&mut sandbox, &["stuck"]).await;
    started.process.signal(Signal::Kill).await.unwrap();
    // The patience of a kill, and half of the removal.
    tokio::time::sleep(Duration::from_millis(200) + REMOVAL / 2).await;
    assert_eq!(place.engine.names().len(), 1);
    sandbox.destroy().await.unwrap();
    assert_eq!(place.engine.names(), Vec::<String>::new());
}

/// An agent that is killed before it can start anything takes the container along.
#[tokio::test(start_paused = true)]
async fn memory_that_does_not_suffice_for_the_start_is_the_programs_end() {
    let place = Place::new(0);
    for out_of_memory in [true, false] {
        let mut sandbox = sandbox(&place).await;
        let name = place.engine.names()[0].clone();
        let kill = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            place.engine.die(&name, out_of_memory);
        };
        let (started, ()) = tokio::join!(sandbox.start(command(&["never"]), &LIMITS), kill);
        if out_of_memory {
            assert_eq!(started.unwrap().process.wait().await.unwrap(), Exit::Signal(9));
            assert_eq!(sandbox.facts().await.unwrap().oom_kills, Some(1));
        } else {
            assert!(matches!(started.map(drop), Err(RuntimeError::Sandbox { .. })));
        }
        sandbox.destroy().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_that_dies_for_memory_was_killed_and_any_other_is_a_failure() {
    let place = Place::new(0);
    for out_of_memory in [true, false] {
        let mut sandbox = sandbox(&place).await;
        let mut started = start(&mut sandbox, &["wait"]).await;
        place.engine.die(&place.engine.names()[0], out_of_memory);
        let ending = started.process.wait().await;
        let facts = sandbox.facts().await.unwrap();
        sandbox.destroy().await.unwrap();
        if out_of_memory {
            assert_eq!(ending.unwrap(), Exit::Signal(9));
            assert_eq!(facts.oom_kills, Some(1));
        } else {
            assert!(matches!(ending, Err(RuntimeError::Sandbox { .. })), "{ending:?}");
            assert_eq!(facts.oom_kills, Some(0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_ends_while_the_container_runs_is_no_ending() {
    let place = Place::new(0);
    let mut sandbox = sandbox(&place).await;
    let mut started = start(&mut sandbox, &["garbage"]).await;
    let ending = started.process.wait().await;
    assert!(ending.unwrap_err().to_string().contains("hear from a container"));
}

#[tokio::test(start_paused = true)]
async fn another_disk_takes_another_container() {
    let place = Place::new(0);
    let mut sandbox = sandbox(&place).await;
    let first = place.engine.names();
    let wide = KernelLimits { disk_bytes: 2 << 20, ..LIMITS };
    let mut started = sandbox.start(command(&["exit", "0"]), &wide).await.unwrap();
    assert_eq!(started.process.wait().await.unwrap(), Exit::Code(0));
    eventually("the first is removed", || !place.engine.names().contains(&first[0])).await;
    assert_eq!(place.engine.made(), 2);
}

/// What a sandbox that was made ahead with `waiting` in it does when it is told to start `exit 3`, with this file put.
async fn resumed(waiting: &[&str], path: &str) -> (Exit, usize) {
    let place = Place::new(1);
    let script = FilePath::parse("main").unwrap();
    let prestart = Arc::new(Prestart { command: command(waiting), script });
    let spec = SandboxSpec { prestart: Some(prestart), ..spec() };
    drop(ContainerSandbox::new(Arc::clone(&place.yard), spec.clone(), place.yard.take(&spec).await.unwrap()));
    eventually("one is ready", || place.yard.ready() == 1).await;
    let cell = place.yard.take(&spec).await.unwrap();
    let mut sandbox = ContainerSandbox::new(Arc::clone(&place.yard), spec.clone(), cell);
    let path = FilePath::parse(path).unwrap();
    sandbox.put(vec![File { path, content: "x".into(), executable: false }]).await.unwrap();
    let before = place.engine.made();
    let mut started = sandbox.start(command(&["exit", "3"]), &LIMITS).await.unwrap();
    (started.process.wait().await.unwrap(), place.engine.made() - before)
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_used_for_exactly_what_it_waits_for() {
    assert_eq!(resumed(&["exit", "3"], "main").await, (Exit::Code(77), 0));
    assert_eq!(resumed(&["exit", "4"], "main").await, (Exit::Code(3), 1));
    assert_eq!(resumed(&["exit", "3"], "other").await, (Exit::Code(3), 1));
}

#[tokio::test(start_paused = true)]
async fn an_interpreter_that_does_not_wait_is_started_as_any_other() {
    assert_eq!(resumed(&["impatient"], "main").await, (Exit::Code(3), 0));
}

#[tokio::test(start_paused = true)]
async fn a_dead_container_whose_stdin_stays_open_holds_nobody_up() {
    // An engine's process may keep its end of a pipe for as long as the container is not removed.
    let (stdin, _kept) = tokio::io::duplex(16);
    let line = crate::line::Line::open(Box::new(stdin), Box::new(tokio::io::empty()));
    let path = FilePath::parse("a").unwrap();
    let file = File { path, content: vec![1; 1 << 20].into(), executable: false };
    let put = tokio::time::timeout(Duration::from_secs(1), line.put(vec![file])).await.unwrap();
    assert!(matches!(put, Err(RuntimeError::Sandbox { .. })), "{put:?}");
}
