//! The three streams: nothing deadlocks, nothing is lost, and events come as they happen.

use sandboxd_contract::testing::script::{Output, Step};

use super::*;

const MIB: usize = 1 << 20;

fn roomy(submission: Submission) -> Submission {
    limited(submission, LimitName::OutputBytes, 16 * MIB as u64)
}

#[tokio::test(start_paused = true)]
async fn both_streams_full_in_turn_block_nobody() {
    let steps = (0..200).flat_map(|_| [Step::Flood(Output::Stdout, 16), Step::Flood(Output::Stderr, 16)]);
    let steps: Vec<_> = steps.collect();
    let bench = Bench::new(move |_| Script::new(steps.clone()));
    let report = bench.report(roomy(toy())).await;
    assert_eq!(report.verdict, Verdict::Ok);
    let run = run_of(&report);
    assert_eq!((run.stdout.len(), run.stderr.len()), (200 * 16 * 1024, 200 * 16 * 1024));
}

#[tokio::test(start_paused = true)]
async fn stdin_larger_than_the_pipe_is_echoed() {
    let bench = Bench::new(|_| Script::new([Step::Echo]));
    let input: Bytes = (0..3 * MIB).map(|at| (at % 251) as u8).collect();
    let report = bench.report(roomy(Submission { stdin: input.clone(), ..toy() })).await;
    assert_eq!(report.verdict, Verdict::Ok);
    assert!(run_of(&report).stdout == input, "the echo differs");
}

#[tokio::test(start_paused = true)]
async fn stdin_that_nobody_reads_is_no_error() {
    let sleeper = [Step::Sleep(Duration::from_secs(1)), Step::Print(Output::Stdout, "done".into())];
    let closer = [Step::CloseStdin, Step::Print(Output::Stdout, "done".into())];
    for steps in [sleeper.to_vec(), closer.to_vec()] {
        let bench = Bench::new(move |_| Script::new(steps.clone()));
        let report = bench.report(Submission { stdin: vec![0; MIB].into(), ..toy() }).await;
        assert_eq!(report.verdict, Verdict::Ok);
        assert_eq!(run_of(&report).stdout, "done");
        assert!(report.timing.total < Duration::from_secs(2));
    }
}

#[tokio::test(start_paused = true)]
async fn stdin_ends_also_when_it_is_empty() {
    let bench = Bench::new(|_| Script::new([Step::ReadStdin, Step::Exit(0)]));
    assert_eq!(bench.report(toy()).await.verdict, Verdict::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_slow_consumer_gets_all_of_it_and_delays_nobody_else() {
    let bench = Bench::with(
        |config| config.max_concurrent = 1,
        |command| {
            let flood = Script::new([Step::Flood(Output::Stdout, 10 * 1024)]);
            if command.argv.iter().any(|arg| arg == "quiet") { Script::default() } else { flood }
        },
    );
    let plan = bench.plan(roomy(limited(toy(), LimitName::WallTimeMs, 1000))).await;
    let (sender, mut events) = mpsc::channel(1);
    let engine = Arc::clone(&bench.engine);
    let execution = tokio::spawn(async move { engine.execute(plan, Some(sender)).await });
    let consumer = tokio::spawn(async move {
        let mut got = Vec::new();
        while let Some(event) = events.recv().await {
            sleep(Duration::from_millis(100)).await;
            if let Event::Output { stream: Stream::Stdout, data } = event {
                got.extend_from_slice(&data);
            }
        }
        got.len()
    });
    sleep(Duration::from_secs(2)).await;
    assert!(!execution.is_finished());
    // The one permit is free again, although the consumer has not got everything.
    let other = bench.report(Submission { args: vec!["quiet".to_owned()], ..toy() }).await;
    assert_eq!(other.timing.queue, Duration::ZERO);

    let report = execution.await.unwrap().unwrap();
    assert_eq!(report.verdict, Verdict::Ok, "{:?}", report.error);
    assert_eq!(run_of(&report).stdout.len(), 10 * MIB);
    assert_eq!(consumer.await.unwrap(), 10 * MIB);
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_never_takes_anything_does_not_keep_an_execution_for_ever() {
    let bench = Bench::new(|_| Script::new([Step::Flood(Output::Stdout, 1024)]));
    let plan = bench.plan(roomy(toy())).await;
    let (sender, _events) = mpsc::channel(1);
    let given_up = timeout(Duration::from_secs(60), bench.engine.execute(plan, Some(sender))).await.unwrap();
    assert!(matches!(given_up, Err(ExecuteError::Canceled)), "{given_up:?}");
    assert_eq!(bench.engine.stats().running, 0);
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_has_gone_is_no_error() {
    let bench = Bench::new(|_| Script::new([Step::Flood(Output::Stdout, 10)]));
    let plan = bench.plan(toy()).await;
    let (sender, events) = mpsc::channel(1);
    drop(events);
    let report = bench.engine.execute(plan, Some(sender)).await.unwrap();
    assert_eq!(report.verdict, Verdict::Ok);
    assert_eq!(run_of(&report).stdout.len(), 10 * 1024);
}

#[tokio::test(start_paused = true)]
async fn events_come_while_the_program_runs() {
    let bench = Bench::new(|command| {
        if command.argv[0] == "builder" {
            return Script::new([Step::Print(Output::Stderr, "a warning".into())]);
        }
        let pause = Step::Sleep(Duration::from_secs(1));
        let said = |output, text: &'static str| Step::Print(output, text.into());
        Script::new([said(Output::Stdout, "one"), pause.clone(), said(Output::Stderr, "two"), pause])
    });
    let plan = bench.plan(built()).await;
    let id = plan.id;
    let (sender, mut events) = mpsc::channel(16);
    let engine = Arc::clone(&bench.engine);
    let execution = tokio::spawn(async move { engine.execute(plan, Some(sender)).await });
    let begun = Instant::now();
    let mut heard = Vec::new();
    while let Some(event) = events.recv().await {
        let at = begun.elapsed().as_millis();
        heard.push(match event {
            Event::Started { id: told } => format!("{at} started {}", told == id),
            Event::Compiled(report) => format!("{at} compiled {:?} {:?}", report.verdict, report.stderr),
            Event::Output { stream, data } => format!("{at} {stream:?} {data:?}"),
        });
    }
    assert_eq!(
        heard,
        ["0 started true", "0 compiled Ok b\"a warning\"", "0 Stdout b\"one\"", "1000 Stderr b\"two\""]
    );
    assert_eq!(execution.await.unwrap().unwrap().id, id);
}
