//! Many at once: the queue, its end, and the drain.

use sandboxd_contract::testing::script::Step;
use tokio::task::{JoinHandle, JoinSet};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn sleeper(max_concurrent: usize, queue_length: usize, program: Duration) -> Bench {
    let change = move |config: &mut EngineConfig| {
        config.max_concurrent = max_concurrent;
        config.queue_length = queue_length;
        config.queue_timeout = 10 * SECOND;
    };
    Bench::with(change, move |_| Script::new([Step::Sleep(program)]))
}

async fn start(bench: &Bench) -> JoinHandle<Result<Report, ExecuteError>> {
    let plan = bench.plan(toy()).await;
    let engine = Arc::clone(&bench.engine);
    let task = tokio::spawn(async move { engine.execute(plan, None).await });
    tokio::task::yield_now().await;
    task
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_and_a_long_wait_are_refused() {
    let bench = sleeper(1, 1, 60 * SECOND);
    let submission = limited(toy(), LimitName::WallTimeMs, 60_000);
    let plan = bench.plan(submission).await;
    let engine = Arc::clone(&bench.engine);
    let running = tokio::spawn(async move { engine.execute(plan, None).await });
    tokio::task::yield_now().await;
    let waiting = start(&bench).await;
    assert_eq!(bench.engine.stats(), Stats { running: 1, waiting: 1, draining: false });
    assert_eq!(bench.metric("sandboxd_queue_length").as_deref(), Some("1"));

    let refused = bench.execute(toy()).await;
    match &refused {
        Err(ExecuteError::Overloaded { reason, retry_after }) => {
            assert_eq!(reason, "all 1 places in the queue are taken");
            assert!(*retry_after >= SECOND);
        }
        other => panic!("{other:?}"),
    }
    match waiting.await.unwrap() {
        Err(ExecuteError::Overloaded { reason, .. }) => {
            assert_eq!(reason, "its turn did not come within 10000 ms");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(running.await.unwrap().unwrap().verdict, Verdict::TimeLimitExceeded);
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn never_more_at_once_than_allowed() {
    let bench = sleeper(4, 64, SECOND);
    bench.plan(toy()).await;
    bench.settle().await;
    let mut tasks = JoinSet::new();
    for _ in 0..40 {
        let (plan, engine) = (bench.plan(toy()).await, Arc::clone(&bench.engine));
        tasks.spawn(async move { engine.execute(plan, None).await.unwrap() });
    }
    let begun = Instant::now();
    tasks.join_all().await;
    assert!((10 * SECOND..11 * SECOND).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    bench.settle().await;
}

/// Each prints its own argument and echoes its own stdin; nothing of one is seen in another.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_at_once_never_mix() {
    let change = |config: &mut EngineConfig| {
        config.max_concurrent = 64;
        config.queue_length = 1000;
    };
    let bench = Bench::with(change, |command| match command.argv[0].as_str() {
        "builder" => {
            let own = command.argv.get(1).cloned().unwrap_or_default();
            Script::new([Step::WriteFile("a.out", own.into())])
        }
        _ => Script::new([Step::Cat("a.out"), Step::Echo, Step::Cat("data")]),
    });
    let mut tasks = JoinSet::new();
    for number in 0..64 * 4 {
        let own = format!("<{number}>").repeat(1000);
        let file = |path: &str, content: &str| SubmittedFile {
            path: path.to_owned(),
            content: content.to_owned().into(),
            executable: false,
        };
        let submission = Submission {
            source: Source::Files(vec![file("main.built", ""), file("data", &own)]),
            stdin: own.clone().into(),
            compile_args: Some(vec![own.clone()]),
            ..built()
        };
        let (plan, engine) = (bench.plan(submission).await, Arc::clone(&bench.engine));
        tasks.spawn(async move {
            let report = engine.execute(plan, None).await.unwrap();
            assert_eq!(report.verdict, Verdict::Ok, "{:?}", report.error);
            assert!(run_of(&report).stdout == own.repeat(3), "{number} got what is another's");
        });
    }
    tasks.join_all().await;
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_queued_and_running_work_finish() {
    let bench = sleeper(1, 8, SECOND);
    let (running, queued) = (start(&bench).await, start(&bench).await);
    let late = bench.plan(toy()).await;
    bench.engine.begin_drain();
    assert!(bench.engine.stats().draining);
    assert!(matches!(bench.engine.execute(late, None).await, Err(ExecuteError::Draining)));
    assert!(bench.engine.ready().await.is_err());
    assert!(bench.engine.drained(10 * SECOND).await);
    for task in [running, queued] {
        assert!(task.is_finished());
        assert_eq!(task.await.unwrap().unwrap().verdict, Verdict::Ok);
    }
    assert_eq!(bench.runtime.alive(), 0);
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_takes_too_long_cancels() {
    let bench = sleeper(1, 8, 9 * SECOND);
    let (running, queued) = (start(&bench).await, start(&bench).await);
    let begun = Instant::now();
    assert!(!bench.engine.drained(2 * SECOND).await);
    assert!(begun.elapsed() < 3 * SECOND);
    assert_eq!(bench.runtime.alive(), 0);
    let report = running.await.unwrap().unwrap();
    assert_eq!(report.verdict, Verdict::Canceled);
    assert_eq!(report.error.as_deref(), Some("the program was canceled"));
    assert!(matches!(queued.await.unwrap(), Err(ExecuteError::Canceled)));
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_of_nothing_is_over_at_once() {
    let bench = sleeper(1, 8, SECOND);
    assert!(bench.engine.drained(Duration::ZERO).await);
}
