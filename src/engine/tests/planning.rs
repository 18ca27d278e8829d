//! What a submission may say, and what is said to one that can't be believed.

use super::*;

async fn violations(submission: Submission) -> Vec<(String, ViolationKind, String)> {
    match Bench::new(|_| Script::default()).engine.plan(submission).await {
        Err(PlanError::Invalid(violations)) => violations
            .into_iter()
            .map(|violation| (violation.field, violation.kind, violation.message))
            .collect(),
        other => panic!("{other:?}"),
    }
}

async fn only(submission: Submission) -> (String, ViolationKind, String) {
    let mut violations = violations(submission).await;
    assert_eq!(violations.len(), 1, "{violations:#?}");
    violations.remove(0)
}

fn files(files: &[(&str, &'static str)]) -> Source {
    let file = |(path, content): &(&str, &'static str)| SubmittedFile {
        path: (*path).to_owned(),
        content: Bytes::from_static(content.as_bytes()),
        executable: false,
    };
    Source::Files(files.iter().map(file).collect())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_plan_says_what_runs_where_and_nothing_of_the_code() {
    let bench = Bench::new(|_| Script::default());
    let plan = bench.plan(Submission { language: "BILT".to_owned(), ..built() }).await;
    assert_eq!((plan.language(), plan.version(), plan.runtime()), ("built", "4.5", "fake"));
    assert_eq!(plan.id.get_version_num(), 7);
    let printed = format!("{plan:?}");
    assert!(printed.contains("built") && !printed.contains("source"), "{printed}");
}

#[tokio::test(start_paused = true)]
async fn unknown_languages() {
    let (field, kind, message) = only(submission("buildt")).await;
    assert_eq!((field.as_str(), kind), ("language", ViolationKind::UnknownLanguage));
    assert_eq!(message, "\"buildt\" is not known; did you mean built?");

    let (_, _, message) = only(submission("cobol")).await;
    assert!(message.starts_with("\"cobol\" is not known; there are "), "{message}");
    assert!(message.contains("python") && message.contains("toy"), "{message}");

    let (_, kind, message) = only(submission("python")).await;
    assert_eq!(kind, ViolationKind::UnknownLanguage);
    assert_eq!(
        message,
        "Python can't be used on runtime fake: python3: no such file; it comes with the package python3"
    );

    let (_, _, message) = only(submission(&"x".repeat(1 << 20))).await;
    assert!(message.len() < 500);
}

#[tokio::test(start_paused = true)]
async fn versions() {
    let bench = Bench::new(|_| Script::default());
    for wanted in ["1", "1.2", "1.2.3"] {
        bench.plan(Submission { version: Some(wanted.to_owned()), ..toy() }).await;
    }
    let (field, kind, message) = only(Submission { version: Some("1.3".to_owned()), ..toy() }).await;
    assert_eq!((field.as_str(), kind), ("version", ViolationKind::UnknownLanguage));
    assert_eq!(message, "no Toy \"1.3\" is installed on runtime fake; there is 1.2.3");
}

#[tokio::test(start_paused = true)]
async fn the_highest_version_that_matches_wins() {
    let dir = tempfile::tempdir().unwrap();
    for (id, program) in [("toy1", "toy1"), ("toy2", "toy2"), ("toy10", "toy10"), ("toy99", "toy99")] {
        let text = TOY.replace("\"toy\", \"--version\"", &format!("\"{program}\", \"--version\""));
        manifest(&dir, id, &text.replace("extensions", "aliases = [\"toys\"]\nextensions"));
    }
    let runtime = FakeRuntime::new("fake", |command| match command.argv[0].as_str() {
        "toy1" => Script::prints("1.9.1"),
        "toy2" => Script::prints("1.9.2"),
        "toy10" => Script::prints("1.10"),
        _ => Script::not_started(NotStarted::AtStart, "no such file"),
    });
    let config = Bench::new(|_| Script::default()).engine.config.clone();
    let catalog = Catalog::load(&[dir.path().to_owned()]).unwrap();
    let runtimes: Vec<Arc<dyn Runtime>> = vec![Arc::new(runtime)];
    let engine = Engine::new(config, catalog, runtimes, Arc::new(Metrics::new().unwrap()));
    for (wanted, id) in
        [(None, "toy10"), (Some("1"), "toy10"), (Some("1.9"), "toy2"), (Some("1.9.1"), "toy1")]
    {
        let submission = Submission { version: wanted.map(str::to_owned), ..submission("toys") };
        assert_eq!(engine.plan(submission).await.unwrap().language(), id, "{wanted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_runtimes() {
    let (field, kind, message) = only(Submission { runtime: Some("moon".to_owned()), ..toy() }).await;
    assert_eq!((field.as_str(), kind), ("runtime", ViolationKind::UnknownRuntime));
    assert_eq!(message, "there is no runtime \"moon\"; there are fake");
}

#[tokio::test(start_paused = true)]
async fn limits_above_zero_and_below_the_maximum() {
    let mut submission = limited(toy(), LimitName::MemoryBytes, (2 << 30) + 1);
    submission.limits.set(LimitName::Processes, Some(0));
    submission.compile_limits.set(LimitName::WallTimeMs, Some(120_001));
    let told = violations(submission).await;
    assert_eq!(
        told,
        [
            (
                "limits.memory_bytes".to_owned(),
                ViolationKind::LimitTooHigh,
                "2147483649 is above the maximum, which is 2147483648".to_owned()
            ),
            ("limits.processes".to_owned(), ViolationKind::InvalidRequest, "must be above zero".to_owned()),
            (
                "compile_limits.wall_time_ms".to_owned(),
                ViolationKind::LimitTooHigh,
                "120001 is above the maximum, which is 120000".to_owned()
            ),
        ]
    );
    let bench = Bench::new(|_| Script::default());
    for name in LimitName::ALL {
        bench.plan(limited(toy(), name, LimitPolicy::RUN.max.get(name))).await;
        let (_, kind, _) = only(limited(toy(), name, LimitPolicy::RUN.max.get(name) + 1)).await;
        assert_eq!(kind, ViolationKind::LimitTooHigh);
    }
}

#[tokio::test(start_paused = true)]
async fn paths() {
    let source =
        files(&[("main.toy", ""), ("../a", ""), ("/b", ""), ("c", ""), ("c", ""), ("c/d", ""), ("e/", "")]);
    let told = violations(Submission { source, ..toy() }).await;
    let fields: Vec<_> = told.iter().map(|(field, kind, _)| (field.as_str(), *kind)).collect();
    let path = ViolationKind::InvalidPath;
    assert_eq!(
        fields,
        [
            ("files[1].path", path),
            ("files[2].path", path),
            ("files[6].path", path),
            ("files[4].path", path),
            ("files[5].path", path)
        ]
    );
    assert_eq!(told[3].2, "\"c\" is there already, as files[3]");
    assert_eq!(told[4].2, "\"c/d\" can't be below \"c\", which is a file");
}

#[tokio::test(start_paused = true)]
async fn entries() {
    let bench = Bench::new(|_| Script::default());
    let entry_of = async |source, entry: Option<&str>| {
        let entry = entry.map(str::to_owned);
        bench.report(Submission { source, entry, ..toy() }).await;
        bench.runtime.started().pop().unwrap().0.argv[1].clone()
    };
    assert_eq!(entry_of(Source::Code(Bytes::new()), None).await, "main.toy");
    assert_eq!(entry_of(Source::Code(Bytes::new()), Some("main.toy")).await, "main.toy");
    assert_eq!(entry_of(files(&[("x/y.toy", "")]), None).await, "x/y.toy");
    assert_eq!(entry_of(files(&[("a", ""), ("main.toy", "")]), None).await, "main.toy");
    assert_eq!(entry_of(files(&[("a", ""), ("main.toy", "")]), Some("a")).await, "a");

    for (source, entry, kind, expected) in [
        (
            files(&[("a", ""), ("b", "")]),
            None,
            ViolationKind::InvalidRequest,
            "is needed: there is more than one file, and none of them is main.toy",
        ),
        (files(&[("a", "")]), Some("b"), ViolationKind::InvalidRequest, "\"b\" is not among the files"),
        (files(&[("a", "")]), Some("../b"), ViolationKind::InvalidPath, "\"../b\" must not have"),
        (
            Source::Code(Bytes::new()),
            Some("b"),
            ViolationKind::InvalidRequest,
            "\"b\" is not among the files",
        ),
    ] {
        let told = only(Submission { source, entry: entry.map(str::to_owned), ..toy() }).await;
        assert_eq!((told.0.as_str(), told.1), ("entry", kind));
        assert!(told.2.starts_with(expected), "{}", told.2);
    }
    assert_eq!(only(Submission { source: files(&[]), ..toy() }).await.0, "files");
}

#[tokio::test(start_paused = true)]
async fn words_and_their_bounds() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let long = "x".repeat(MAX_ARG_BYTES + 1);
    let huge = vec!["x".repeat(100_000); 11];
    for (submission, field, expected) in [
        (Submission { args: words(&["a", "b\0"]), ..toy() }, "args[1]", "must not hold a NUL"),
        (Submission { args: vec![long.clone()], ..toy() }, "args[0]", "has 131072 bytes; 131071 are allowed"),
        (Submission { args: vec![String::new(); MAX_ARGS + 1], ..toy() }, "args", "has 513 entries"),
        (Submission { args: huge, ..toy() }, "args", "have 1100011 bytes together"),
        (Submission { compile_args: Some(words(&["\0"])), ..built() }, "compile_args[0]", "must not hold"),
        (
            Submission { compile_args: Some(words(&["-O"])), ..toy() },
            "compile_args",
            "Toy has no compiler flags",
        ),
        (Submission { env: vec![pair("", "x")], ..toy() }, "env", "\"\" is no name"),
        (Submission { env: vec![pair("A=B", "x")], ..toy() }, "env", "\"A=B\" is no name"),
        (Submission { env: vec![pair("A\0", "x")], ..toy() }, "env", "\"A\\0\" is no name"),
        (Submission { env: vec![pair("A", "\0")], ..toy() }, "env", "the value of \"A\" must not hold a NUL"),
        (Submission { env: vec![pair("A", "1"), pair("A", "2")], ..toy() }, "env", "\"A\" is there twice"),
        (Submission { env: vec![pair("A", &long)], ..toy() }, "env", "\"A\" has 131074 bytes"),
        (Submission { collect: words(&["*", "/x"]), ..toy() }, "collect[1]", "\"/x\": a pattern is relative"),
        (Submission { collect: vec!["*".to_owned(); MAX_GLOBS + 1], ..toy() }, "collect", "has 65 patterns"),
        (Submission { stdin: vec![0; MAX_STDIN_BYTES + 1].into(), ..toy() }, "stdin", "has 67108865 bytes"),
        (
            Submission { source: Source::Code(vec![0; MAX_FILES_BYTES + 1].into()), ..toy() },
            "code",
            "has 67108865 bytes; 67108864 are allowed",
        ),
    ] {
        let told = only(submission).await;
        assert_eq!((told.0.as_str(), told.1), (field, ViolationKind::InvalidRequest));
        assert!(told.2.starts_with(expected), "{}", told.2);
    }
}

#[tokio::test(start_paused = true)]
async fn files_need_room() {
    let code = |bytes: usize| Source::Code(vec![0; bytes].into());
    let told = only(limited(Submission { source: code(8193), ..toy() }, LimitName::DiskBytes, 8192)).await;
    assert_eq!(
        (told.0.as_str(), told.2.as_str()),
        ("limits.disk_bytes", "leaves no room for the files, which take up 12288 bytes")
    );
    let mut submission = Submission { source: code(8193), ..built() };
    submission.compile_limits.set(LimitName::DiskBytes, Some(8192));
    assert_eq!(only(submission).await.0, "compile_limits.disk_bytes");
}

#[tokio::test(start_paused = true)]
async fn all_at_once() {
    let mut submission = limited(submission("nonsense"), LimitName::OpenFiles, 0);
    submission.runtime = Some("moon".to_owned());
    submission.args = words(&["\0"]);
    submission.collect = words(&["["]);
    submission.source = files(&[("..", "")]);
    let fields: Vec<_> = violations(submission).await.into_iter().map(|told| told.0).collect();
    assert_eq!(
        fields,
        ["language", "files[0].path", "args[0]", "collect[0]", "limits.open_files", "runtime"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_interpreter_stands_ready_for_what_most_ask_for_and_for_nothing_else() {
    let bench = Bench::new(|_| Script::default());
    let ready = |plan: &Plan| plan.run.prestart.as_ref().map(|prestart| prestart.command == plan.run.command);
    let usual = bench.plan(toy()).await;
    assert_eq!(ready(&usual), Some(true));
    let beside = files(&[("main.toy", ""), ("lib/other", "")]);
    let generous = limited(toy(), LimitName::MemoryBytes, 1 << 28);
    for same in [Submission { source: beside, entry: Some("main.toy".to_owned()), ..toy() }, generous] {
        assert_eq!(ready(&bench.plan(same).await), Some(true));
    }
    let others = [
        Submission { args: words(&["x"]), ..toy() },
        Submission { env: vec![("A".to_owned(), "b".to_owned())], ..toy() },
        Submission { source: files(&[("other.toy", "")]), ..toy() },
        Submission {
            source: files(&[("main.toy", ""), ("toy.json", "")]),
            entry: Some("main.toy".to_owned()),
            ..toy()
        },
        limited(toy(), LimitName::OpenFiles, 20),
        built(),
    ];
    for other in others {
        assert_eq!(ready(&bench.plan(other.clone()).await), None, "{other:?}");
    }
    let without = Bench::with(|config| config.without_prestart = words(&["toy"]), |_| Script::default());
    assert_eq!(ready(&without.plan(toy()).await), None);
}

#[tokio::test(start_paused = true)]
async fn a_compiler_stands_ready_likewise() {
    let bench = Bench::new(|_| Script::default());
    let ready = |plan: &Plan| plan.compile.as_ref().is_some_and(|compile| compile.prestart.is_some());
    assert!(ready(&bench.plan(built()).await));
    // What the program is given is no matter of the compiler's.
    assert!(ready(&bench.plan(Submission { args: words(&["x"]), ..built() }).await));
    let others = [
        Submission { compile_args: Some(words(&["-g"])), ..built() },
        Submission { source: files(&[("other.built", "")]), ..built() },
        Submission {
            source: files(&[("main.built", ""), ("more.built", "")]),
            entry: Some("main.built".to_owned()),
            ..built()
        },
    ];
    for other in others {
        assert!(!ready(&bench.plan(other.clone()).await), "{other:?}");
    }
    let without = Bench::with(|config| config.without_prestart = words(&["built"]), |_| Script::default());
    assert!(!ready(&without.plan(built()).await));
}
