//! The limits that the engine holds, and what is said when they end a program.

use sandboxd_contract::Exit;
use sandboxd_contract::testing::fake::Fault;
use sandboxd_contract::testing::script::{Output, Step};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[tokio::test(start_paused = true)]
async fn wall_time_runs_out_exactly_at_its_limit() {
    let bench = Bench::new(|_| Script::new([Step::Hang]).ignoring_signals());
    let report = bench.report(limited(toy(), LimitName::WallTimeMs, 1500)).await;
    assert_eq!(report.verdict, Verdict::TimeLimitExceeded);
    let run = run_of(&report);
    assert_eq!(run.limit, Some(LimitName::WallTimeMs));
    assert_eq!(run.exit, Exit::Signal(9));
    assert!((millis(1500)..=millis(1502)).contains(&run.usage.wall_time), "{:?}", run.usage.wall_time);
    assert_eq!(
        report.error.as_deref(),
        Some("the program ran for longer than its limit of 1500 ms (wall_time_ms)")
    );
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_ends_before_its_limit_is_left_alone() {
    let bench = Bench::new(|_| Script::new([Step::Sleep(millis(1490))]));
    let report = bench.report(limited(toy(), LimitName::WallTimeMs, 1500)).await;
    assert_eq!(report.verdict, Verdict::Ok);
    assert_eq!(report.error, None);
}

#[tokio::test(start_paused = true)]
async fn cpu_time_runs_out_within_a_tenth_of_a_second() {
    for cpus in [1, 4, 64] {
        let bench = Bench::new(move |_| Script::new([Step::Burn { cpu: 1000 * SECOND, cpus }]));
        let report = bench.report(limited(toy(), LimitName::CpuTimeMs, 2000)).await;
        assert_eq!(report.verdict, Verdict::TimeLimitExceeded);
        let run = run_of(&report);
        assert_eq!(run.limit, Some(LimitName::CpuTimeMs));
        let spent_at = 2 * SECOND / cpus;
        let wall = run.usage.wall_time;
        assert!((spent_at..spent_at + millis(100)).contains(&wall), "{cpus} CPUs: {wall:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn on_as_many_cpus_as_are_known_the_limit_is_hardly_overshot() {
    let cpus = u32::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
    let bench = Bench::new(move |_| Script::new([Step::Burn { cpu: 1000 * SECOND, cpus }]));
    let report = bench.report(limited(toy(), LimitName::CpuTimeMs, 1000)).await;
    let wall = run_of(&report).usage.wall_time;
    assert!(wall < SECOND / cpus + millis(8), "{wall:?}");
}

#[tokio::test(start_paused = true)]
async fn sleeping_costs_no_cpu_time() {
    let bench = Bench::new(|_| Script::new([Step::Sleep(5 * SECOND), Step::Exit(0)]));
    let report = bench.report(limited(toy(), LimitName::CpuTimeMs, 100)).await;
    assert_eq!(report.verdict, Verdict::Ok);
    assert_eq!(run_of(&report).usage.cpu_time, Some(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_program_that_ends_between_two_looks_has_its_cpu_limit_all_the_same() {
    let bench = Bench::new(|_| Script::new([Step::Burn { cpu: millis(30), cpus: 30 }]));
    let report = bench.report(limited(toy(), LimitName::CpuTimeMs, 20)).await;
    assert_eq!(report.verdict, Verdict::TimeLimitExceeded);
    assert_eq!(run_of(&report).exit, Exit::Code(0));
}

#[tokio::test(start_paused = true)]
async fn output_that_fits_is_returned_and_the_rest_kills() {
    for (output, stream) in [(Output::Stdout, "stdout"), (Output::Stderr, "stderr")] {
        let bench = Bench::new(move |_| Script::new([Step::Flood(output, 1 << 20), Step::Hang]));
        let report = bench.report(limited(toy(), LimitName::OutputBytes, 100_000)).await;
        assert_eq!(report.verdict, Verdict::OutputLimitExceeded);
        let run = run_of(&report);
        assert_eq!(run.limit, Some(LimitName::OutputBytes));
        assert!(run.output_truncated);
        assert!(run.usage.wall_time < SECOND, "{:?}", run.usage.wall_time);
        let kept = if output == Output::Stdout { &run.stdout } else { &run.stderr };
        assert_eq!(kept.len(), 100_000);
        let error = report.error.unwrap();
        assert_eq!(
            error,
            format!("the program wrote more to {stream} than its limit of 100000 bytes (output_bytes)")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn too_much_output_closes_no_pipe_under_the_program() {
    let steps = [Step::Flood(Output::Stdout, 1 << 20), Step::Print(Output::Stderr, "broken pipe".into())];
    let bench = Bench::new(move |_| Script::new(steps.clone()));
    let report = bench.report(limited(toy(), LimitName::OutputBytes, 100_000)).await;
    assert_eq!(run_of(&report).exit, Exit::Signal(9));
    assert_eq!(run_of(&report).stderr, "");
}

#[tokio::test(start_paused = true)]
async fn too_much_output_counts_also_when_it_is_found_in_the_pipe_of_a_program_that_has_ended() {
    for bytes in [1001, 5000, 60_000] {
        let bench = Bench::new(move |_| Script::new([Step::Print(Output::Stderr, vec![b'x'; bytes].into())]));
        let report = bench.report(limited(toy(), LimitName::OutputBytes, 1000)).await;
        assert_eq!(report.verdict, Verdict::OutputLimitExceeded);
        assert_eq!(run_of(&report).exit, Exit::Code(0));
        assert_eq!(run_of(&report).stderr.len(), 1000);
    }
}

#[tokio::test(start_paused = true)]
async fn output_of_exactly_the_limit_fits() {
    let bench = Bench::new(|_| Script::new([Step::Flood(Output::Stdout, 100)]));
    let report = bench.report(limited(toy(), LimitName::OutputBytes, 100 * 1024)).await;
    assert_eq!(report.verdict, Verdict::Ok);
    assert_eq!(run_of(&report).stdout.len(), 100 * 1024);
    assert!(!run_of(&report).output_truncated);

    let report = bench.report(limited(toy(), LimitName::OutputBytes, 100 * 1024 - 1)).await;
    assert_eq!(report.verdict, Verdict::OutputLimitExceeded);
}

#[tokio::test(start_paused = true)]
async fn a_memory_kill_comes_before_every_other_limit() {
    let late = [Step::MoveOomCounter, Step::Hang];
    let flood = [Step::MoveOomCounter, Step::Flood(Output::Stdout, 1 << 20), Step::Hang];
    let well = [Step::MoveOomCounter, Step::Exit(0)];
    let died = [Step::MoveOomCounter, Step::Die(9)];
    for steps in [late.to_vec(), flood.to_vec(), well.to_vec(), died.to_vec()] {
        let bench = Bench::new(move |_| Script::new(steps.clone()));
        let report = bench.report(limited(toy(), LimitName::WallTimeMs, 500)).await;
        assert_eq!(report.verdict, Verdict::MemoryLimitExceeded);
        assert_eq!(run_of(&report).limit, Some(LimitName::MemoryBytes));
    }
}

#[tokio::test(start_paused = true)]
async fn sigkill_alone_is_no_memory_limit() {
    let bench = Bench::new(|_| Script::new([Step::Die(9)]));
    let report = bench.report(toy()).await;
    assert_eq!(report.verdict, Verdict::RuntimeError);
    assert_eq!(report.error.as_deref(), Some("the program ended with SIGKILL"));
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_known_is_not_guessed() {
    let bench = Bench::new(|_| Script::new([Step::Burn { cpu: SECOND, cpus: 1 }, Step::MoveOomCounter]));
    bench.runtime.know_nothing();
    let report = bench.report(limited(toy(), LimitName::CpuTimeMs, 100)).await;
    assert_eq!(report.verdict, Verdict::Ok);
    let usage = run_of(&report).usage;
    assert_eq!((usage.cpu_time, usage.memory_peak_bytes, usage.processes_peak), (None, None, None));
}

/// Whatever state the sandbox is in, the answer comes at most a second after the limit.
#[tokio::test(start_paused = true)]
async fn a_kill_that_is_not_acknowledged_does_not_hold_up_the_answer() {
    for call in [Call::Signal, Call::Wait] {
        let bench = Bench::new(|_| Script::new([Step::Hang]));
        let plan = bench.plan(limited(toy(), LimitName::WallTimeMs, 1000)).await;
        bench.runtime.disturb(call, Fault::hang());
        let asked = Instant::now();
        let report = bench.engine.execute(plan, None).await.unwrap();
        assert!(asked.elapsed() <= 2 * SECOND, "{call:?}: {:?}", asked.elapsed());
        assert_eq!(report.verdict, Verdict::TimeLimitExceeded);
        bench.settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_program_has_its_verdict_without_its_figures() {
    for fault in [Fault::hang(), Fault::fail(usize::MAX, broken())] {
        let bench = Bench::new(|_| Script::new([Step::Hang]));
        let plan = bench.plan(limited(toy(), LimitName::WallTimeMs, 100)).await;
        let engine = Arc::clone(&bench.engine);
        let asked = Instant::now();
        let running = tokio::spawn(async move { engine.execute(plan, None).await });
        sleep(millis(10)).await;
        bench.runtime.disturb(Call::Facts, fault);
        let report = running.await.unwrap().unwrap();
        assert!(asked.elapsed() <= millis(1100), "{:?}", asked.elapsed());
        assert_eq!(report.verdict, Verdict::TimeLimitExceeded);
        assert_eq!(run_of(&report).usage.cpu_time, None);
        bench.settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cpu_limit_that_can_not_be_watched_fails_closed() {
    let bench = Bench::new(|_| Script::new([Step::Sleep(millis(20)), Step::Hang]));
    let plan = bench.plan(toy()).await;
    let engine = Arc::clone(&bench.engine);
    let running = tokio::spawn(async move { engine.execute(plan, None).await });
    sleep(millis(10)).await;
    bench.runtime.disturb(Call::Facts, Fault::fail(usize::MAX, broken()));
    let asked = Instant::now();
    let failed = running.await.unwrap();
    assert!(matches!(failed, Err(ExecuteError::Internal(_))), "{failed:?}");
    assert!(asked.elapsed() < SECOND);
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn one_failed_look_at_the_cpu_time_is_forgiven() {
    let bench = Bench::new(|_| Script::new([Step::Sleep(SECOND)]));
    let plan = bench.plan(toy()).await;
    let engine = Arc::clone(&bench.engine);
    let running = tokio::spawn(async move { engine.execute(plan, None).await });
    sleep(millis(10)).await;
    bench.runtime.disturb(Call::Facts, Fault::fail(1, broken()));
    assert_eq!(running.await.unwrap().unwrap().verdict, Verdict::Ok);
}

#[tokio::test(start_paused = true)]
async fn kernel_limits_reach_the_runtime() {
    let bench = Bench::with(|config| config.cpu_millis = Some(1500), |_| Script::default());
    let mut submission = limited(toy(), LimitName::Processes, 7);
    submission.limits.set(LimitName::StackBytes, Some(1 << 20));
    bench.report(submission).await;
    let (_, limits) = bench.runtime.started().pop().unwrap();
    assert_eq!((limits.tasks, limits.stack_bytes, limits.cpu_millis), (7, 1 << 20, Some(1500)));
    assert_eq!(limits.memory_bytes, 256 << 20);
}
