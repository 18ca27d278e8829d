//! Whoever gives up, at whatever stage, leaves no program and no sandbox behind.

use sandboxd_contract::testing::fake::Fault;
use sandboxd_contract::testing::script::{Output, Step};

use super::*;

const SLOW: Duration = Duration::from_secs(1);

/// The compiler takes a second, and the program too.
fn slow(command: &Command) -> Script {
    match command.argv[0].as_str() {
        "builder" => Script::new([Step::Sleep(SLOW), Step::WriteFile("a.out", "made".into())]),
        _ => Script::new([Step::Sleep(SLOW), Step::Print(Output::Stdout, "done".into())]).ignoring_signals(),
    }
}

/// Every stage takes a second; an execution is given up after each half of one.
#[tokio::test(start_paused = true)]
async fn dropped_at_every_stage() {
    let stages = [Call::Launch, Call::Put, Call::Start, Call::Facts, Call::Collect, Call::Destroy];
    let mut longest = 0;
    for halves in 0..40 {
        let bench = Bench::new(slow);
        let plan = bench.plan(Submission { collect: vec!["a.out".to_owned()], ..built() }).await;
        for stage in stages {
            // Looking at the facts may not take longer than that.
            let delay = if stage == Call::Facts { SLOW * 3 / 10 } else { SLOW };
            bench.runtime.disturb(stage, Fault::delay(delay));
        }
        let engine = Arc::clone(&bench.engine);
        let given_up = timeout(SLOW / 2 * halves, engine.execute(plan, None)).await;
        if let Ok(ended) = given_up {
            assert_eq!(ended.unwrap().verdict, Verdict::Ok);
            longest = halves;
            break;
        }
        // A second for the sandbox that was ready in the last moment.
        assert!(bench.engine.drained(SLOW * 2).await);
        bench.settle().await;
        assert_eq!(bench.engine.stats().running, 0);
        assert_eq!(bench.metric("sandboxd_sandboxes{runtime=\"fake\",state=\"busy\"}").as_deref(), Some("0"));
        assert_eq!(
            bench.metric("sandboxd_sandboxes{runtime=\"fake\",state=\"destroying\"}").as_deref(),
            Some("0")
        );
        if halves > 0 {
            assert_eq!(
                bench.metric(
                    "sandboxd_executions_total{language=\"built\",runtime=\"fake\",status=\"canceled\"}"
                ),
                Some("1".to_owned()),
                "given up after {halves} halves of a second"
            );
        }
    }
    // Two launches, puts, starts and collects, a compiler and a program.
    assert!(longest >= 20, "the whole took {longest} halves of a second only");
}

#[tokio::test(start_paused = true)]
async fn a_program_dies_at_once_when_its_caller_goes() {
    let bench = Bench::new(|_| Script::new([Step::Hang]).ignoring_signals());
    let plan = bench.plan(toy()).await;
    let begun = Instant::now();
    assert!(timeout(SLOW, bench.engine.execute(plan, None)).await.is_err());
    while bench.runtime.alive() > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(begun.elapsed() < SLOW + Duration::from_millis(10));
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn dropped_in_the_queue() {
    let bench = Bench::with(|config| config.max_concurrent = 1, slow);
    let (first, second) = (bench.plan(toy()).await, bench.plan(toy()).await);
    let probes = bench.runtime.successes(Call::Launch);
    let engine = Arc::clone(&bench.engine);
    let running = tokio::spawn(async move { engine.execute(first, None).await });
    tokio::task::yield_now().await;
    assert!(timeout(SLOW / 2, bench.engine.execute(second, None)).await.is_err());
    assert_eq!(bench.engine.stats(), Stats { running: 1, waiting: 0, draining: false });
    assert_eq!(bench.metric("sandboxd_queue_length").as_deref(), Some("0"));
    assert_eq!(running.await.unwrap().unwrap().verdict, Verdict::Ok);
    assert_eq!(bench.runtime.successes(Call::Launch), probes + 1);
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn dropped_while_a_consumer_is_behind() {
    let bench = Bench::new(|_| Script::new([Step::Flood(Output::Stdout, 512)]));
    let plan = bench.plan(toy()).await;
    let (sender, _events) = mpsc::channel(1);
    assert!(timeout(SLOW, bench.engine.execute(plan, Some(sender))).await.is_err());
    bench.settle().await;
    assert!(bench.engine.drained(SLOW).await);
}
