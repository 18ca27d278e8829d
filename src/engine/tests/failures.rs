//! Runtimes that fail: what becomes of the execution, and of the sandbox.

use sandboxd_contract::testing::fake::Fault;
use sandboxd_contract::testing::script::{Output, Step};
use sandboxd_contract::{Exit, KernelLimit};

use super::*;
use crate::engine::custody::DESTROY_ATTEMPTS;

async fn failing(call: Call, fault: Fault) -> (Bench, Result<Report, ExecuteError>) {
    disturbed(Bench::new(|_| Script::prints("done")), call, fault).await
}

async fn disturbed(bench: Bench, call: Call, fault: Fault) -> (Bench, Result<Report, ExecuteError>) {
    let plan = bench.plan(Submission { collect: vec!["*".to_owned()], ..toy() }).await;
    bench.settle().await;
    bench.runtime.disturb(call, fault);
    let answer = bench.engine.execute(plan, None).await;
    (bench, answer)
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_unavailable() {
    let down = RuntimeError::unavailable("no daemon answers");
    let (bench, answer) = failing(Call::Launch, Fault::fail(1, down)).await;
    match answer {
        Err(ExecuteError::RuntimeUnavailable { runtime, reason, retry_after }) => {
            assert_eq!((runtime.as_str(), reason.as_str()), ("fake", "no daemon answers"));
            assert!(retry_after >= Duration::from_secs(1));
        }
        other => panic!("{other:?}"),
    }
    bench.settle().await;
    // Nothing was lost with it.
    assert_eq!(bench.report(toy()).await.verdict, Verdict::Ok);
    let count = "sandboxd_executions_total{language=\"toy\",runtime=\"fake\",status=\"internal_error\"}";
    assert_eq!(bench.metric(count).as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_makes_no_sandbox_in_time() {
    let asked = Instant::now();
    let (bench, answer) = failing(Call::Launch, Fault::hang()).await;
    assert!(matches!(answer, Err(ExecuteError::RuntimeUnavailable { .. })), "{answer:?}");
    assert!(asked.elapsed() < Duration::from_secs(11));
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_host_is_given_the_time_that_it_was_said_to_need() {
    for (call, takes, is_waited_for) in [
        (Call::Launch, 55, true),
        (Call::Launch, 65, false),
        (Call::Start, 25, true),
        (Call::Start, 35, false),
    ] {
        let minute = |config: &mut EngineConfig| config.start_timeout = Duration::from_secs(60);
        let bench = Bench::with(minute, |_| Script::prints("done"));
        let (bench, answer) = disturbed(bench, call, Fault::delay(Duration::from_secs(takes))).await;
        assert_eq!(answer.is_ok(), is_waited_for, "{call:?} takes {takes} s: {answer:?}");
        bench.settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_failing_call_is_an_internal_error_and_leaves_nothing() {
    for call in [Call::Put, Call::Start, Call::Wait, Call::Facts, Call::Collect] {
        let (bench, answer) = failing(call, Fault::fail(1, broken())).await;
        assert!(matches!(answer, Err(ExecuteError::Internal(_))), "{call:?}: {answer:?}");
        bench.settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_call_may_hang() {
    for call in [Call::Put, Call::Start, Call::Facts, Call::Collect] {
        let asked = Instant::now();
        let (bench, answer) = failing(call, Fault::hang()).await;
        assert!(matches!(answer, Err(ExecuteError::Internal(_))), "{call:?}: {answer:?}");
        assert!(asked.elapsed() < Duration::from_secs(7), "{call:?}: {:?}", asked.elapsed());
        bench.settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_not_held_is_internal() {
    let error = RuntimeError::LimitNotHeld { limit: KernelLimit::Memory, reason: "no controller".to_owned() };
    let (_, answer) = failing(Call::Start, Fault::fail(1, error)).await;
    match answer {
        Err(ExecuteError::Internal(reason)) => {
            assert_eq!(reason, "this host can't hold memory: no controller")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_sandbox_that_gives_no_files_still_gives_its_verdict() {
    let bench = Bench::new(|_| Script::new([Step::Hang]));
    let collect = vec!["*.txt".to_owned()];
    let plan = bench.plan(limited(Submission { collect, ..toy() }, LimitName::WallTimeMs, 100)).await;
    bench.runtime.disturb(Call::Collect, Fault::fail(1, broken()));
    let report = bench.engine.execute(plan, None).await.unwrap();
    assert_eq!(report.verdict, Verdict::TimeLimitExceeded);
    assert_eq!(report.omitted.len(), 1);
    assert_eq!(report.omitted[0].path, "*.txt");
}

#[tokio::test(start_paused = true)]
async fn files_are_collected_whatever_the_program_did() {
    let bench = Bench::new(|_| Script::new([Step::WriteFile("x.txt", "left".into()), Step::Exit(3)]));
    let report = bench.report(Submission { collect: vec!["*.txt".to_owned()], ..toy() }).await;
    assert_eq!(report.verdict, Verdict::RuntimeError);
    assert_eq!(report.files[0].content, "left");
}

#[tokio::test(start_paused = true)]
async fn a_destroy_that_fails_is_tried_again() {
    let (bench, answer) = failing(Call::Destroy, Fault::fail(3, broken())).await;
    assert_eq!(answer.unwrap().verdict, Verdict::Ok);
    bench.settle().await;
    assert_eq!(bench.metric("sandboxd_leaked_total{runtime=\"fake\"}").as_deref(), Some("0"));
}

#[tokio::test(start_paused = true)]
async fn a_destroy_that_always_fails_is_counted_as_leaked() {
    for fault in [Fault::fail(usize::MAX, broken()), Fault::hang()] {
        let (bench, answer) = failing(Call::Destroy, Fault::default()).await;
        answer.unwrap();
        bench.settle().await;
        let before = bench.runtime.calls(Call::Destroy);
        bench.runtime.disturb(Call::Destroy, fault);
        assert_eq!(bench.report(toy()).await.verdict, Verdict::Ok);
        assert!(bench.engine.drained(Duration::from_secs(600)).await);
        assert_eq!(bench.runtime.calls(Call::Destroy) - before, DESTROY_ATTEMPTS as usize);
        assert_eq!(bench.metric("sandboxd_leaked_total{runtime=\"fake\"}").as_deref(), Some("1"));
        let destroying = "sandboxd_sandboxes{runtime=\"fake\",state=\"destroying\"}";
        assert_eq!(bench.metric(destroying).as_deref(), Some("0"));
    }
}

#[tokio::test(start_paused = true)]
async fn sandboxes_that_take_long_to_die_hold_up_new_ones() {
    let bench = Bench::with(|config| config.max_concurrent = 2, |_| Script::prints("done"));
    bench.plan(toy()).await;
    bench.settle().await;
    bench.runtime.disturb(Call::Destroy, Fault::delay(Duration::from_secs(3)));
    for _ in 0..20 {
        assert_eq!(bench.report(toy()).await.verdict, Verdict::Ok);
    }
    assert!(bench.runtime.most_alive() <= 6, "{} sandboxes at once", bench.runtime.most_alive());
    bench.settle().await;
}

/// An interpreter that was there when it was looked for is ours; what the submission made or tightened is its own.
#[tokio::test(start_paused = true)]
async fn who_is_to_blame_for_a_program_that_does_not_start() {
    let path =
        |submission: Submission| Submission { env: vec![("PATH".to_owned(), "/".to_owned())], ..submission };
    let many = |submission: Submission| Submission { args: vec!["x".repeat(1000); 500], ..submission };
    let small = |submission| limited(submission, LimitName::MemoryBytes, 1 << 20);
    let stack = |submission| limited(submission, LimitName::StackBytes, 2 << 20);
    for at in [NotStarted::AtStart, NotStarted::AtWait] {
        for (submission, ours) in [
            (toy(), true),
            (small(toy()), false),
            (path(toy()), false),
            (many(stack(toy())), false),
            (built(), false),
        ] {
            let bench = Bench::new(move |command| match command.argv[0].as_str() {
                "builder" => Script::new([Step::WriteFile("a.out", "text".into())]),
                _ => Script::not_started(at, "exec format error"),
            });
            let answer = bench.execute(submission).await;
            match answer {
                Err(ExecuteError::Internal(reason)) => {
                    assert!(ours, "{reason}");
                    assert_eq!(reason, "toy: exec format error");
                }
                Ok(report) => {
                    assert!(!ours);
                    assert_eq!(report.verdict, Verdict::RuntimeError);
                    assert_eq!(run_of(&report).exit, Exit::Code(127));
                    assert!(report.error.unwrap().ends_with("could not be started: exec format error"));
                }
                other => panic!("{other:?}"),
            }
            bench.settle().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_compiler_that_does_not_start() {
    let bench = Bench::new(|_| Script::not_started(NotStarted::AtStart, "no such file"));
    assert!(matches!(bench.execute(built()).await, Err(ExecuteError::Internal(_))));
    let mut submission = built();
    submission.compile_limits.set(LimitName::Processes, Some(1));
    let report = bench.report(submission).await;
    assert_eq!(report.verdict, Verdict::CompileError);
    assert_eq!(report.error.as_deref(), Some("builder could not be started: no such file"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_an_execution_takes_nothing_with_it() {
    let bench = Bench::new(|command| {
        assert!(!command.argv.contains(&"panic".to_owned()), "on purpose");
        Script::new([Step::Print(Output::Stdout, "done".into())])
    });
    let answer = bench.execute(Submission { args: vec!["panic".to_owned()], ..toy() }).await;
    assert!(matches!(answer, Err(ExecuteError::Internal(_))), "{answer:?}");
    bench.settle().await;
    assert_eq!(bench.engine.stats().running, 0);
    assert_eq!(bench.report(toy()).await.verdict, Verdict::Ok);
}
