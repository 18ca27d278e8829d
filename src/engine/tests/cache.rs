//! The compile cache: what is compiled once, what is compiled again, and who waits for whom.

use std::path::PathBuf;

use sandboxd_contract::Exit;
use sandboxd_contract::testing::fake::Fault;
use sandboxd_contract::testing::script::{Output, Step};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn cached(folder: &TempDir, compiler: impl IntoIterator<Item = Step>) -> Bench {
    let (folder, compiler) = (folder.path().join("cache"), Script::new(compiler));
    let cache = CacheConfig { folder, max_bytes: 1 << 20, origins: BTreeMap::new() };
    Bench::with(
        |config| config.cache = Some(cache),
        move |command| {
            if command.argv[0] == "builder" { compiler.clone() } else { Script::new([Step::Cat("a.out")]) }
        },
    )
}

/// A compiler that takes a second, warns and makes something.
fn sound() -> [Step; 3] {
    let warning = Step::Print(Output::Stderr, "warning: odd".into());
    [Step::Sleep(SECOND), warning, Step::WriteFile("a.out", "made".into())]
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

impl Bench {
    fn compiled(&self) -> usize {
        self.commands().iter().filter(|command| command.starts_with("builder")).count()
    }

    /// Hits and misses.
    fn counts(&self) -> (String, String) {
        let count = |what: &str| self.metric(&format!("sandboxd_compile_cache_{what}_total")).unwrap();
        (count("hits"), count("misses"))
    }

    fn start(&self, submission: Submission) -> tokio::task::JoinHandle<Result<Report, ExecuteError>> {
        let engine = Arc::clone(&self.engine);
        tokio::spawn(async move {
            let plan = engine.plan(submission).await.unwrap();
            engine.execute(plan, None).await
        })
    }
}

fn entries(folder: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.path().join("cache")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn is_cached(report: &Report) -> bool {
    report.compile.as_ref().unwrap().cached
}

#[tokio::test(start_paused = true)]
async fn the_second_time_nothing_is_compiled() {
    let folder = folder();
    let bench = cached(&folder, sound());
    let (first, second) = (bench.report(built()).await, bench.report(built()).await);
    assert_eq!((is_cached(&first), is_cached(&second)), (false, true));
    assert_eq!((bench.compiled(), bench.counts()), (1, ("1".to_owned(), "1".to_owned())));
    for report in [&first, &second] {
        assert_eq!((report.verdict, &run_of(report).stdout[..]), (Verdict::Ok, &b"made"[..]));
        let compile = report.compile.as_ref().unwrap();
        assert_eq!((compile.verdict, compile.exit), (Verdict::Ok, Exit::Code(0)));
        assert_eq!(compile.stderr, "warning: odd");
    }
    let usage = second.compile.as_ref().unwrap().usage;
    assert_eq!((usage.cpu_time, usage.processes_peak), (Some(Duration::ZERO), Some(0)));
    assert!(usage.wall_time < SECOND && second.timing.compile < SECOND);
    sleep(SECOND).await;
    assert_eq!(bench.metric("sandboxd_compile_cache_bytes").as_deref(), Some("4096"));
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn what_differs_is_compiled() {
    let folder = folder();
    let bench = cached(&folder, sound());
    let source = |text: &'static str| Source::Code(Bytes::from_static(text.as_bytes()));
    let flags = Some(vec!["-O3".to_owned()]);
    for submission in [
        built(),
        Submission { source: source("another"), ..built() },
        Submission { compile_args: flags, ..built() },
        Submission { source: source("long".repeat(100_000).leak()), ..built() },
    ] {
        assert!(!is_cached(&bench.report(submission.clone()).await));
        // What the program gets, and what it may use, changes nothing about it.
        let run = Submission { stdin: "x".into(), args: vec!["y".to_owned()], ..submission };
        assert!(is_cached(&bench.report(limited(run, LimitName::WallTimeMs, 77)).await));
    }
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn what_did_not_end_well_is_never_kept() {
    let made = || Step::WriteFile("a.out", "made".into());
    for steps in [
        vec![made(), Step::Exit(1)],
        vec![made(), Step::Die(11)],
        vec![made(), Step::Hang],
        vec![made(), Step::MoveOomCounter],
        vec![made(), Step::Flood(Output::Stdout, 4096)],
        vec![Step::WriteFile("a.out", vec![0; 5 << 20].into())],
        vec![],
    ] {
        let folder = folder();
        let bench = cached(&folder, steps.clone());
        for _ in 0..2 {
            let report = bench.report(limited(built(), LimitName::DiskBytes, 4 << 20)).await;
            assert!(!is_cached(&report), "{steps:?}");
        }
        assert_eq!(bench.compiled(), 2, "{steps:?}");
        bench.settle().await;
        assert!(entries(&folder).is_empty(), "{steps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_entry_is_compiled_anew() {
    let folder = folder();
    let bench = cached(&folder, sound());
    for (round, length) in [Some(0), Some(200), None].into_iter().enumerate() {
        bench.report(built()).await;
        sleep(SECOND).await;
        let [entry] = &entries(&folder)[..] else { panic!("{:?}", entries(&folder)) };
        match length {
            Some(length) => fs::File::options().write(true).open(entry).unwrap().set_len(length).unwrap(),
            None => fs::write(entry, "something else").unwrap(),
        }
        let report = bench.report(built()).await;
        assert!(!is_cached(&report));
        assert_eq!(run_of(&report).stdout, "made");
        let corrupt = bench.metric("sandboxd_compile_cache_corrupt_total");
        assert_eq!(corrupt, Some((round + 1).to_string()));
        sleep(SECOND).await;
        assert!(is_cached(&bench.report(built()).await));
    }
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn two_daemons_share_a_folder() {
    let folder = folder();
    let (one, other) = (cached(&folder, sound()), cached(&folder, sound()));
    one.report(built()).await;
    sleep(SECOND).await;
    assert!(is_cached(&other.report(built()).await));
    assert_eq!(other.compiled(), 0);
}

#[tokio::test(start_paused = true)]
async fn of_many_at_once_one_compiles() {
    let folder = folder();
    let bench = cached(&folder, sound());
    let begun = Instant::now();
    let started: Vec<_> = (0..4).map(|_| bench.start(built())).collect();
    let mut compiled = 0;
    for one in started {
        let report = one.await.unwrap().unwrap();
        assert_eq!(run_of(&report).stdout, "made");
        compiled += usize::from(!is_cached(&report));
    }
    assert_eq!((compiled, bench.compiled()), (1, 1));
    assert!(begun.elapsed() < SECOND * 3 / 2, "{:?}", begun.elapsed());
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_goes_is_replaced() {
    let folder = folder();
    let bench = cached(&folder, sound());
    let leader = bench.start(built());
    sleep(SECOND / 2).await;
    let waiting = [bench.start(built()), bench.start(built()), bench.start(built())];
    sleep(SECOND / 4).await;
    assert_eq!(bench.compiled(), 1);
    let [gives_up, waiting @ ..] = waiting;
    leader.abort();
    gives_up.abort();
    let mut compiled = 0;
    for one in waiting {
        compiled += usize::from(!is_cached(&one.await.unwrap().unwrap()));
    }
    assert_eq!((compiled, bench.compiled()), (1, 2));
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_may_go() {
    let folder = folder();
    let bench = cached(&folder, sound());
    let leader = bench.start(built());
    sleep(SECOND / 4).await;
    let waiting = bench.start(built());
    sleep(SECOND / 4).await;
    assert_eq!(bench.engine.stats().running, 2);
    waiting.abort();
    sleep(SECOND / 4).await;
    assert_eq!(bench.engine.stats().running, 1);
    assert!(!is_cached(&leader.await.unwrap().unwrap()));
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_its_own_compiler_may_take() {
    let folder = folder();
    let bench = cached(&folder, [Step::Hang]);
    let leader = bench.start(built());
    sleep(SECOND).await;
    let mut hurried = built();
    hurried.compile_limits.set(LimitName::WallTimeMs, Some(2000));
    let begun = Instant::now();
    assert_eq!(bench.report(hurried).await.verdict, Verdict::CompileError);
    assert!(begun.elapsed() < SECOND * 5, "{:?}", begun.elapsed());
    assert_eq!(leader.await.unwrap().unwrap().verdict, Verdict::CompileError);
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_waited_for_once() {
    let folder = folder();
    let bench = cached(&folder, [Step::Sleep(SECOND), Step::Exit(1)]);
    let begun = Instant::now();
    let started: Vec<_> = (0..4).map(|_| bench.start(built())).collect();
    for one in started {
        assert_eq!(one.await.unwrap().unwrap().verdict, Verdict::CompileError);
    }
    assert_eq!(bench.compiled(), 4);
    assert!(begun.elapsed() < SECOND * 3, "{:?}", begun.elapsed());
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_a_sandbox_is_replaced() {
    let folder = folder();
    let bench = cached(&folder, sound());
    bench.plan(built()).await;
    bench.runtime.disturb(Call::Put, Fault::fail(1, broken()));
    let started = [bench.start(built()), bench.start(built())];
    let mut answers = Vec::new();
    for one in started {
        answers.push(one.await.unwrap().is_ok());
    }
    answers.sort_unstable();
    assert_eq!(answers, [false, true]);
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_hit_is_held_to_the_requests_own_limits() {
    let folder = folder();
    let bench = cached(&folder, sound());
    bench.report(built()).await;
    let tight = bench.report(limited(built(), LimitName::OutputBytes, 3)).await;
    assert_eq!((is_cached(&tight), tight.verdict), (true, Verdict::OutputLimitExceeded));

    // The compiler would have said more than this request takes.
    let mut quiet = built();
    quiet.compile_limits.set(LimitName::OutputBytes, Some(5));
    let report = bench.report(quiet).await;
    assert_eq!((is_cached(&report), report.verdict), (false, Verdict::CompileError));
    assert_eq!(report.compile.unwrap().verdict, Verdict::OutputLimitExceeded);
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_folder_everything_is_compiled() {
    let folder = folder();
    fs::write(folder.path().join("cache"), "a file").unwrap();
    let bench = cached(&folder, sound());
    for _ in 0..2 {
        assert!(!is_cached(&bench.report(built()).await));
    }
    bench.settle().await;
}
