//! `sandboxd run FILE [-- ARGS]`: one program, no daemon, everything passed through.

use std::{
    fs,
    io::{self, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use bytes::Bytes;
use sandboxd_contract::Exit as ProgramExit;
use tokio::sync::mpsc;

use crate::{
    cli::{Exit, Failure, block_on, catalog},
    config::{Config, RuntimeKind},
    engine::{
        Event, ExecuteError, LimitName, LimitRequest, PlanError, Report, Source, Stream, Submission,
        SubmittedFile, Verdict, Violation,
    },
    house::{House, Stay},
};

/// Chunks of output between the engine and the terminal.
const EVENTS: usize = 16;

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// The program's source
    file: PathBuf,
    /// The program's arguments
    #[arg(last = true)]
    args: Vec<String>,
    /// The language, when the file's extension does not tell
    #[arg(long)]
    language: Option<String>,
    /// The runtime, by its name in the configuration
    #[arg(long)]
    runtime: Option<String>,
    /// A limit of the run phase, such as memory_bytes=67108864; may be given several times
    #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = parse_limit)]
    limits: Vec<(LimitName, u64)>,
    /// No summary on stderr
    #[arg(long, short)]
    quiet: bool,
}

fn parse_limit(text: &str) -> Result<(LimitName, u64), String> {
    let names = || LimitName::ALL.map(LimitName::as_str).join(", ");
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("write NAME=VALUE; names: {}", names()))?;
    let name =
        LimitName::named(name).ok_or_else(|| format!("there is no limit {name:?}; there are {}", names()))?;
    let value = value.parse().map_err(|_| format!("{value:?} is no whole number"))?;
    Ok((name, value))
}

/// Runs the program and ends as it did.
///
/// # Errors
/// When it could not be run at all.
pub(super) fn run(config: &Config, args: &RunArgs) -> Result<ExitCode, Failure> {
    // One program at a time needs one sandbox, and one for its compiler.
    let mut config = config.clone();
    config.execution.max_concurrent = 1;
    for runtime in &mut config.runtimes {
        if let RuntimeKind::Native(native) = &mut runtime.kind {
            native.lanes = 2;
        }
    }
    let catalog = catalog(&config)?;
    let language = match &args.language {
        Some(language) => language.clone(),
        None => language_of(&args.file, &catalog)?,
    };
    let submission = submission(args, language, config.server.max_body_bytes)?;
    block_on(async {
        let house = House::build(&config, catalog, Stay::Short)
            .await
            .map_err(|error| Failure::new(Exit::System, error))?;
        let answer = execute(&house, submission).await;
        house.close().await;
        let report = answer?;
        if !args.quiet {
            eprintln!("sandboxd: {}", summary(&report));
        }
        Ok(ExitCode::from(exit_code(&report)))
    })
}

fn language_of(file: &Path, catalog: &crate::executors::Catalog) -> Result<String, Failure> {
    let extension = file.extension().unwrap_or_default().to_string_lossy();
    catalog.by_extension(&extension).map(|executor| executor.id.clone()).ok_or_else(|| {
        let reason = format!(
            "{}: no language has the extension {extension:?}: name one with --language ('sandboxd languages' lists them)",
            file.display()
        );
        Failure::new(Exit::Usage, reason)
    })
}

fn submission(args: &RunArgs, language: String, max_bytes: usize) -> Result<Submission, Failure> {
    let unreadable =
        |error: io::Error| Failure::new(Exit::NoInput, format!("{}: {error}", args.file.display()));
    let content = fs::read(&args.file).map_err(unreadable)?;
    let name = args.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut limits = LimitRequest::default();
    for (name, value) in &args.limits {
        limits.set(*name, Some(*value));
    }
    let file = SubmittedFile { path: name.clone(), content: content.into(), executable: true };
    Ok(Submission {
        language,
        source: Source::Files(vec![file]),
        entry: Some(name),
        stdin: read_stdin(max_bytes)?,
        args: args.args.clone(),
        limits,
        runtime: args.runtime.clone(),
        ..Submission::default()
    })
}

/// Everything that is piped in; nothing from a terminal, where nobody would know that an end of file is awaited.
fn read_stdin(max_bytes: usize) -> Result<Bytes, Failure> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Ok(Bytes::new());
    }
    let mut input = Vec::new();
    let failed = |error: io::Error| Failure::new(Exit::NoInput, format!("standard input: {error}"));
    stdin.lock().take(max_bytes as u64 + 1).read_to_end(&mut input).map_err(failed)?;
    if input.len() > max_bytes {
        let reason = format!("standard input: more than {max_bytes} bytes (server.max_body_bytes)");
        return Err(Failure::new(Exit::NoInput, reason));
    }
    Ok(input.into())
}

async fn execute(house: &House, submission: Submission) -> Result<Report, Failure> {
    let plan = house.engine.plan(submission).await.map_err(|error| match error {
        PlanError::Invalid(violations) => {
            Failure { exit: Exit::Usage, lines: violations.iter().map(Violation::to_string).collect() }
        }
        PlanError::Execute(error) => failure(&error),
    })?;
    let (events, mut inbox) = mpsc::channel(EVENTS);
    let printing = async {
        while let Some(event) = inbox.recv().await {
            // A reader that is gone does not stop the program; its output goes nowhere.
            let _ = print(&event);
        }
    };
    let (report, ()) = tokio::join!(house.engine.execute(plan, Some(events)), printing);
    let report = report.map_err(|error| failure(&error))?;
    if let Some(compile) = report.compile.as_ref().filter(|compile| compile.verdict != Verdict::Ok) {
        let _ = io::stderr().write_all(&compile.stderr);
        let _ = io::stderr().write_all(&compile.stdout);
    }
    Ok(report)
}

fn print(event: &Event) -> io::Result<()> {
    match event {
        Event::Output { stream: Stream::Stdout, data } => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(data)?;
            stdout.flush()
        }
        Event::Output { stream: Stream::Stderr, data } => io::stderr().write_all(data),
        Event::Started { .. } | Event::Compiled(_) => Ok(()),
    }
}

fn failure(error: &ExecuteError) -> Failure {
    let exit = match error {
        ExecuteError::RuntimeUnavailable { .. }
        | ExecuteError::Overloaded { .. }
        | ExecuteError::Draining => Exit::Unavailable,
        ExecuteError::Canceled | ExecuteError::Internal(_) => Exit::Failed,
    };
    Failure::new(exit, error)
}

/// The verdict and what the program used, on one line.
fn summary(report: &Report) -> String {
    let mut line = format!("{} ({} {})", report.verdict.as_str(), report.language, report.version);
    if let Some(error) = &report.error {
        line.push_str(&format!(": {error}"));
    }
    if let Some(run) = &report.run {
        line.push_str(&format!("; {:.1} ms wall", run.usage.wall_time.as_secs_f64() * 1000.0));
        if let Some(cpu) = run.usage.cpu_time {
            line.push_str(&format!(", {:.1} ms CPU", cpu.as_secs_f64() * 1000.0));
        }
        if let Some(memory) = run.usage.memory_peak_bytes {
            line.push_str(&format!(", {:.1} MiB at most", memory as f64 / f64::from(1 << 20)));
        }
    }
    line
}

/// The program's own code; 124 when its time ran out, as timeout(1) has it; 128 and the signal's number otherwise.
fn exit_code(report: &Report) -> u8 {
    match (report.verdict, &report.run) {
        (Verdict::TimeLimitExceeded, _) => 124,
        (_, None) => Exit::Failed as u8,
        (_, Some(run)) => match run.exit {
            ProgramExit::Code(code) => u8::try_from(code).unwrap_or(u8::MAX),
            ProgramExit::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        },
    }
}
