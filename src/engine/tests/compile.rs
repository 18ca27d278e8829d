//! Compiled languages: two phases, two sandboxes, and what goes from one to the other.

use sandboxd_contract::Exit;
use sandboxd_contract::testing::script::{Output, Step};

use super::*;

fn compiler(steps: impl IntoIterator<Item = Step>) -> Bench {
    let compiler = Script::new(steps);
    Bench::new(move |command| {
        if command.argv[0] == "builder" { compiler.clone() } else { Script::new([Step::Cat("a.out")]) }
    })
}

#[tokio::test(start_paused = true)]
async fn artifacts_and_files_reach_the_program() {
    let bench = Bench::new(|command| match command.argv[0].as_str() {
        "builder" => Script::new([
            Step::WriteFile("a.out", "made ".into()),
            Step::WriteFile("lib/x", "too ".into()),
            Step::WriteFile("junk.o", "junk".into()),
        ]),
        _ => {
            Script::new([Step::Cat("a.out"), Step::Cat("lib/x"), Step::Cat("data.txt"), Step::Cat("junk.o")])
        }
    });
    let file = |path: &str, content: &'static str| SubmittedFile {
        path: path.to_owned(),
        content: content.into(),
        executable: false,
    };
    let source = Source::Files(vec![file("main.built", "source"), file("data.txt", "data")]);
    let report = bench.report(Submission { source, ..built() }).await;
    // The program asked for what was not handed on last.
    assert_eq!(run_of(&report).exit, Exit::Code(66));
    assert_eq!(run_of(&report).stdout, "made too data");
    let compile = report.compile.as_ref().unwrap();
    assert_eq!((compile.verdict, &compile.error), (Verdict::Ok, &None));
    assert_eq!(bench.commands(), ["builder -O main.built", "./a.out"]);
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_compiler_that_complains() {
    let bench = compiler([
        Step::Print(Output::Stdout, "on stdout".into()),
        Step::Print(Output::Stderr, "line 1: no".into()),
        Step::Exit(1),
    ]);
    let report = bench.report(built()).await;
    assert_eq!(report.verdict, Verdict::CompileError);
    assert!(report.run.is_none());
    let compile = report.compile.unwrap();
    assert_eq!(compile.verdict, Verdict::RuntimeError);
    assert_eq!((&compile.stdout[..], &compile.stderr[..]), (&b"on stdout"[..], &b"line 1: no"[..]));
    assert_eq!(report.error.as_deref(), Some("the compiler ended with exit code 1"));
    assert_eq!(bench.runtime.successes(Call::Collect), 0);
    bench.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_compiler_that_meets_a_limit() {
    for (steps, verdict, limit) in [
        (vec![Step::Hang], Verdict::TimeLimitExceeded, LimitName::WallTimeMs),
        (vec![Step::MoveOomCounter, Step::Exit(1)], Verdict::MemoryLimitExceeded, LimitName::MemoryBytes),
        (vec![Step::Flood(Output::Stderr, 4096)], Verdict::OutputLimitExceeded, LimitName::OutputBytes),
    ] {
        let bench = compiler(steps);
        let mut submission = built();
        submission.compile_limits.set(LimitName::WallTimeMs, Some(3000));
        let report = bench.report(submission).await;
        assert_eq!(report.verdict, Verdict::CompileError);
        let compile = report.compile.unwrap();
        assert_eq!((compile.verdict, compile.limit), (verdict, Some(limit)));
        bench.settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_compiler_made_must_fit() {
    let bench = compiler([Step::WriteFile("a.out", vec![0; 5 << 20].into())]);
    let report = bench.report(limited(built(), LimitName::DiskBytes, 4 << 20)).await;
    assert_eq!(report.verdict, Verdict::CompileError);
    assert_eq!(report.error.as_deref(), Some("a.out, which the compiler made, does not fit"));
    assert_eq!(report.compile.unwrap().exit, Exit::Code(0));
}

#[tokio::test(start_paused = true)]
async fn a_compiler_that_makes_nothing_leaves_it_to_the_run_phase() {
    let bench = compiler([]);
    let report = bench.report(built()).await;
    assert_eq!(report.compile.as_ref().unwrap().verdict, Verdict::Ok);
    assert_eq!(report.verdict, Verdict::RuntimeError);
}

#[tokio::test(start_paused = true)]
async fn compile_args_replace_the_flags() {
    let bench = compiler([Step::WriteFile("a.out", "x".into())]);
    let compile_args = Some(vec!["-O3".to_owned(), "-g".to_owned()]);
    bench.report(Submission { compile_args, ..built() }).await;
    assert_eq!(bench.commands(), ["builder -O3 -g main.built", "./a.out"]);
}

#[tokio::test(start_paused = true)]
async fn timing_adds_up() {
    use sandboxd_contract::testing::fake::Fault;
    let millis = Duration::from_millis;
    let bench = Bench::with(
        |config| config.max_concurrent = 1,
        move |command| match command.argv[0].as_str() {
            "builder" => Script::new([Step::Sleep(millis(700)), Step::WriteFile("a.out", "x".into())]),
            "./a.out" => Script::new([Step::Sleep(millis(500))]),
            _ => Script::new([Step::Sleep(millis(900))]),
        },
    );
    let (first, second) = (bench.plan(toy()).await, bench.plan(built()).await);
    bench.runtime.disturb(Call::Launch, Fault::delay(millis(40)));
    bench.runtime.disturb(Call::Put, Fault::delay(millis(10)));
    let engine = Arc::clone(&bench.engine);
    let running = tokio::spawn(async move { engine.execute(first, None).await });
    tokio::task::yield_now().await;
    let timing = bench.engine.execute(second, None).await.unwrap().timing;
    running.await.unwrap().unwrap();

    // The first one: 40 + 10 + 900.
    for (part, expected) in [
        (timing.queue, 950),
        (timing.sandbox, 100),
        (timing.compile, 700),
        (timing.run, 500),
        (timing.total, 2250),
    ] {
        let off = part.abs_diff(millis(expected));
        assert!(off <= millis(10), "{part:?} instead of {expected} ms: {timing:?}");
    }
    let sum = timing.queue + timing.sandbox + timing.compile + timing.run;
    assert_eq!(sum, timing.total);
}
