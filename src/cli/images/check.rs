//! `sandboxd images check`: every language's own test, through the engine, as a request would run it.

use std::{process::ExitCode, sync::Arc};

use crate::{
    cli::{Exit, Failure, block_on},
    config::{Config, RuntimeConfig},
    engine::{Report, Source, Submission},
    executors::{Catalog, Executor},
    house::{House, Stay},
};

/// How much of each stream is repeated when it is not what it should be.
const SHOWN_BYTES: usize = 2048;

/// Ends with 1 when a test failed.
///
/// # Errors
/// When the runtime can't make sandboxes at all.
pub(super) fn run(
    config: &Config,
    runtime: &RuntimeConfig,
    catalog: Catalog,
    executors: &[Arc<Executor>],
) -> Result<ExitCode, Failure> {
    // This runtime alone: nobody has to wait for others, nor to hear why they can't.
    let mut config = config.clone();
    config.runtimes = vec![runtime.clone()];
    config.execution.default_runtime.clone_from(&runtime.name);
    config.execution.max_concurrent = 1;
    block_on(async {
        let house = House::build(&config, catalog, Stay::Short)
            .await
            .map_err(|error| Failure::new(Exit::System, error))?;
        let refusals = house.refusals(&config).await;
        let mut failed = false;
        if refusals.is_empty() {
            for executor in executors {
                match language(&house, executor).await {
                    Ok(report) => println!("{} {}: ok", executor.id, report.version),
                    Err(reason) => {
                        println!("{}: failed: {reason}", executor.id);
                        failed = true;
                    }
                }
            }
        }
        house.close().await;
        if refusals.is_empty() {
            Ok(ExitCode::from(u8::from(failed)))
        } else {
            Err(Failure { exit: Exit::Unavailable, lines: refusals })
        }
    })
}

async fn language(house: &House, executor: &Executor) -> Result<Report, String> {
    let test = &executor.self_test;
    let submission = Submission {
        language: executor.id.clone(),
        source: Source::Code(test.code.clone().into()),
        stdin: test.stdin.clone().into(),
        args: test.args.clone(),
        ..Submission::default()
    };
    let report = house.execute(submission).await?;
    match wrong(&report, &test.stdout) {
        Some(reason) => Err(reason),
        None => Ok(report),
    }
}

/// What keeps this report from being that of a test that passed.
fn wrong(report: &Report, stdout: &str) -> Option<String> {
    let last = report.run.as_ref().or(report.compile.as_ref())?;
    let mut reason = match &report.error {
        Some(error) => format!("{}: {error}", report.verdict.as_str()),
        None if last.stdout == stdout.as_bytes() => return None,
        None => format!("printed {:?} and not {stdout:?}", shown(&last.stdout)),
    };
    if !last.stderr.is_empty() {
        reason.push_str(&format!("\n{}", shown(&last.stderr)));
    }
    Some(reason)
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]).into_owned()
}
