//! What is installed, and whether anything can be run at all.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use sandboxd_contract::testing::fake::Fault;
use sandboxd_contract::testing::script::Step;

use super::*;

fn installation(bench: &Bench, id: &str) -> Installation {
    let languages = bench.engine.languages();
    let language = languages.iter().find(|language| language.executor.id == id).unwrap();
    assert_eq!(language.runtimes[0].runtime, "fake");
    language.runtimes[0].installation.clone()
}

#[tokio::test(start_paused = true)]
async fn versions_are_found_by_running() {
    let bench = Bench::new(|_| Script::default());
    assert_eq!(installation(&bench, "toy"), Installation::NotLookedFor);
    assert!(bench.engine.runtimes()[0].probe.is_none());

    bench.engine.discover("fake").await.unwrap();
    assert_eq!(installation(&bench, "toy"), Installation::Installed { version: "1.2.3".to_owned() });
    assert_eq!(installation(&bench, "built"), Installation::Installed { version: "4.5".to_owned() });
    assert_eq!(
        installation(&bench, "python"),
        Installation::Missing {
            reason: "python3: no such file; it comes with the package python3".to_owned()
        }
    );
    let status = &bench.engine.runtimes()[0];
    assert!(status.default && status.probe.as_ref().unwrap().available.is_ok());
    bench.settle().await;

    // Looked for once; planning asks for it again only when told to.
    let launches = bench.runtime.successes(Call::Launch);
    bench.plan(toy()).await;
    assert_eq!(bench.runtime.successes(Call::Launch), launches);
    bench.engine.discover("fake").await.unwrap();
    assert_eq!(bench.runtime.successes(Call::Launch), 2 * launches);
    assert!(matches!(bench.engine.discover("nowhere").await, Err(ExecuteError::Internal(_))));
}

#[tokio::test(start_paused = true)]
async fn planning_looks_for_what_was_never_looked_for_and_all_share_it() {
    let bench = Bench::new(|_| Script::default());
    let (engine, other) = (Arc::clone(&bench.engine), Arc::clone(&bench.engine));
    let both = tokio::join!(engine.plan(toy()), other.plan(built()));
    assert_eq!((both.0.unwrap().version(), both.1.unwrap().version()), ("1.2.3", "4.5"));
    assert_eq!(bench.runtime.calls(Call::Probe), 1);
    assert_eq!(bench.runtime.successes(Call::Launch), catalog().iter().count());
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_not_there() {
    let bench = Bench::new(|_| Script::default());
    bench.runtime.disturb(Call::Probe, Fault::fail(1, RuntimeError::unavailable("no daemon answers")));
    let planned = bench.engine.plan(toy()).await;
    assert!(
        matches!(&planned, Err(PlanError::Execute(ExecuteError::RuntimeUnavailable { reason, .. }))
            if reason.contains("no daemon answers")),
        "{planned:?}"
    );
    // What is wrong with a submission is said all the same.
    let planned = bench.engine.plan(Submission { entry: Some("nope".to_owned()), ..toy() }).await;
    assert!(matches!(planned, Err(PlanError::Invalid(_))), "{planned:?}");
    // A storm of requests does not become a storm of probes.
    assert_eq!(bench.runtime.calls(Call::Probe), 1);
    sleep(Duration::from_secs(3)).await;
    assert!(bench.engine.plan(toy()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_look_that_failed_is_taken_again() {
    let bench = Bench::new(|_| Script::default());
    bench.engine.discover("fake").await.unwrap();
    let launches = bench.runtime.successes(Call::Launch);
    bench.runtime.disturb(Call::Launch, Fault::fail(launches, broken()));
    assert!(bench.engine.discover("fake").await.is_err());
    sleep(Duration::from_secs(3)).await;
    assert!(bench.engine.plan(toy()).await.is_ok());

    // Of one language only: the others stay as they are.
    bench.runtime.disturb(Call::Launch, Fault::fail(1, broken()));
    bench.engine.discover("fake").await.unwrap();
    let unknown = bench
        .engine
        .languages()
        .iter()
        .filter(|language| {
            matches!(&language.runtimes[0].installation, Installation::Missing { reason } if reason.contains("on purpose"))
        })
        .count();
    assert_eq!(unknown, 1);
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_does_not_undo_the_look() {
    let bench = Bench::new(|_| Script::default());
    bench.runtime.disturb(Call::Launch, Fault::delay(Duration::from_millis(100)));
    assert!(timeout(Duration::from_millis(50), bench.engine.plan(toy())).await.is_err());
    sleep(Duration::from_secs(5)).await;
    assert_eq!(installation(&bench, "toy"), Installation::Installed { version: "1.2.3".to_owned() });
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn ready_really_runs_something_and_at_most_once_a_second() {
    let bench = Bench::new(|_| Script::default());
    bench.engine.discover("fake").await.unwrap();
    let launches = || bench.runtime.successes(Call::Launch);
    let before = launches();
    for _ in 0..10 {
        let engine = &bench.engine;
        let asked = tokio::join!(engine.ready(), engine.ready(), engine.ready());
        assert_eq!(asked, (Ok(()), Ok(()), Ok(())));
    }
    assert_eq!(launches(), before + 1);
    sleep(Duration::from_millis(1100)).await;
    bench.engine.ready().await.unwrap();
    assert_eq!(launches(), before + 2);

    bench.runtime.disturb(Call::Launch, Fault::fail(1, RuntimeError::unavailable("no daemon answers")));
    sleep(Duration::from_millis(1100)).await;
    let reason = bench.engine.ready().await.unwrap_err();
    assert_eq!(reason, "runtime fake: the runtime is not available: no daemon answers");
    sleep(Duration::from_millis(1100)).await;
    bench.engine.ready().await.unwrap();
    bench.settle().await;
}

/// Nobody may send a request before it is ready: it has to find out by itself that what failed works again.
#[tokio::test(start_paused = true)]
async fn ready_looks_again_where_every_look_failed() {
    let bench = Bench::new(|_| Script::default());
    bench.runtime.disturb(Call::Launch, Fault::fail(catalog().iter().count(), broken()));
    assert!(bench.engine.discover("fake").await.is_err());
    sleep(Duration::from_millis(1100)).await;
    assert!(bench.engine.ready().await.is_err(), "a failure is kept for a while");
    sleep(Duration::from_secs(3)).await;
    bench.engine.ready().await.unwrap();
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn ready_does_not_wait_behind_user_work() {
    let bench = Bench::with(
        |config| config.max_concurrent = 1,
        |_| Script::new([Step::Sleep(Duration::from_secs(9))]),
    );
    let plan = bench.plan(toy()).await;
    let engine = Arc::clone(&bench.engine);
    let running = tokio::spawn(async move { engine.execute(plan, None).await });
    tokio::task::yield_now().await;
    let asked = Instant::now();
    bench.engine.ready().await.unwrap();
    assert!(asked.elapsed() < Duration::from_millis(100));
    running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_hangs_is_not_ready() {
    let bench = Bench::new(|_| Script::default());
    bench.engine.discover("fake").await.unwrap();
    bench.runtime.disturb(Call::Start, Fault::hang());
    let asked = Instant::now();
    assert!(bench.engine.ready().await.is_err());
    assert!(asked.elapsed() <= Duration::from_secs(11));
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn an_executor_whose_version_command_fails_is_not_installed() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let runtime = FakeRuntime::new("fake", move |command| {
        counted.fetch_add(1, SeqCst);
        match command.argv[0].as_str() {
            "toy" => Script::prints("no number at all"),
            "builder" => Script::exits(3),
            _ => Script::new([Step::Hang]),
        }
    });
    let bench = Bench::new(|_| Script::default());
    let config = bench.engine.config.clone();
    let runtimes: Vec<Arc<dyn Runtime>> = vec![Arc::new(runtime.clone())];
    let engine = Engine::new(config, catalog(), runtimes, Arc::new(Metrics::new().unwrap()));
    engine.discover("fake").await.unwrap();
    let bench = Bench { engine, runtime, metrics: bench.metrics };
    for (id, expected) in [
        ("toy", "toy --version printed no version; it comes with the package toy-tools"),
        ("built", "builder --version ended with exit code 3; it comes with the packages builder, linker"),
        ("python", "python3 --version took too long"),
    ] {
        assert_eq!(installation(&bench, id), Installation::Missing { reason: expected.to_owned() });
    }
    assert_eq!(runs.load(SeqCst), catalog().iter().count());
}
