//! The start-up story: become a spawner if that is what this process was executed for, else do what was asked.

use std::process::ExitCode;

use clap::Parser;
use sandboxd::cli::{Cli, Exit};

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
    match cli.run() {
        Ok(code) => code,
        Err(failure) => {
            for line in &failure.lines {
                eprintln!("sandboxd: {line}");
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}
