//! The start-up story: become a spawner if that is what this process was executed for, else do what was asked.

use std::{
    any::Any,
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
};

use clap::Parser;
use sandboxd::cli::{Cli, Exit, Failure};

fn main() -> ExitCode {
    // Before anything else: a spawner must have one thread and nothing open.
    sandboxd_native::become_spawner_if_asked();
    sandboxd_native::hand_large_buffers_back();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are printed like errors, and are none. Nobody reads a stream that can't be written.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(Exit::Usage as u8) } else { ExitCode::SUCCESS };
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(failure) => {
            for line in &failure.lines {
                eprintln!("sandboxd: {line}");
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// As a shell tells of SIGPIPE.
const NOBODY_READS: u8 = 128 + 13;

/// Does what was asked for. Whoever prints into `head` is told by a panic, since Rust ignores SIGPIPE, that enough was
/// read; it unwinds as any does, and says nothing.
fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let is_that = |payload: &dyn Any| {
        payload.downcast_ref::<String>().is_some_and(|text| text.starts_with("failed printing to stdout"))
    };
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| {
        if !is_that(panicked.payload()) {
            tell(panicked);
        }
    }));
    match panic::catch_unwind(AssertUnwindSafe(|| cli.run())) {
        Ok(done) => done,
        Err(payload) if is_that(&*payload) => Ok(ExitCode::from(NOBODY_READS)),
        Err(payload) => panic::resume_unwind(payload),
    }
}
