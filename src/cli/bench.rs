//! `sandboxd bench`: what a request costs next to starting the same program by hand, in one run.
//!
//! Machines differ and are noisy, so every figure is a ratio to the floor, a bare posix_spawn of the same commands,
//! measured in turn with it. Deliberately absent: thresholds; a benchmark reports, it never fails for being slow.
//!
//! ```text
//! works (what is run) ─> measure: floor │ ready │ cold │ peer, in turn, at each concurrency ─> table or JSON
//!                                  └ by hand └── client ──> daemon (our own, or --url)
//! ```

#![allow(clippy::disallowed_types, reason = "the floor is what starting a program by hand costs")]

mod client;
mod daemon;
mod floor;
mod measure;
mod peers;
mod table;
mod works;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use self::{client::Address, daemon::Daemon, measure::Pace, works::WorkName};

#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// A running daemon, as http://HOST:PORT or unix:/PATH; without it one is started for the bench
    #[arg(long, value_name = "URL")]
    url: Option<Address>,
    /// What to run; may be given several times [default: all]
    #[arg(long = "language", value_name = "NAME", value_enum)]
    works: Vec<WorkName>,
    /// A runtime by its name in the daemon's configuration; may be given several times [default: the daemon's]
    #[arg(long = "runtime", value_name = "NAME")]
    runtimes: Vec<String>,
    /// So many at once; may be given several times [default: 1, as many as there are CPUs, and four times that]
    #[arg(long = "concurrency", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: Vec<u16>,
    /// How long each figure is measured, in milliseconds
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    time_ms: u64,
    /// A pause after each run where one runs at a time, in milliseconds, so that what is made ahead is there; 0: none
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pause_ms: u64,
    /// Also 'docker run' or 'ctr run' of the same program, on runtimes of that kind
    #[arg(long)]
    peers: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum BenchError {
    #[error("{operation}: {source}")]
    Io { operation: &'static str, source: std::io::Error },
    #[error("{0}")]
    Failed(String),
}

type Result<T> = std::result::Result<T, BenchError>;

/// Names the step that failed.
fn step(operation: &'static str) -> impl Fn(std::io::Error) -> BenchError {
    move |source| BenchError::Io { operation, source }
}

fn failed(what: impl Into<String>) -> BenchError {
    BenchError::Failed(what.into())
}

/// # Errors
/// When no daemon can be started or reached, or a program does not run even once.
pub(super) fn run(args: &BenchArgs, config: Option<&Path>) -> Result<()> {
    let scratch = Scratch::new()?;
    let names = if args.works.is_empty() { WorkName::ALL.to_vec() } else { args.works.clone() };
    let daemon = match &args.url {
        Some(address) => Daemon::running(address.clone()),
        None => Daemon::start(&scratch.path, config, &names)?,
    };
    let idle_rss = daemon.rss_bytes();
    let runtimes = daemon.runtimes(&args.runtimes)?;
    let works = names.iter().map(|name| name.prepare(&scratch.path)).collect::<Result<Vec<_>>>()?;
    let (time, pause) = (Duration::from_millis(args.time_ms), Duration::from_millis(args.pause_ms));
    let pace = Pace::new(&args.concurrency, time, pause);
    let mut rows = Vec::new();
    for runtime in &runtimes {
        for work in &works {
            let peer = args.peers.then(|| peers::command(runtime, work, config)).flatten();
            rows.extend(measure::all(work, runtime, &daemon, peer.as_deref(), &pace)?);
        }
    }
    let memory = table::Memory { idle: idle_rss, after: daemon.rss_bytes() };
    if args.json {
        println!("{}", table::json(&mut rows, memory));
    } else {
        table::print(&mut rows, memory);
    }
    Ok(())
}

/// A folder that goes with its owner.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("sandboxd-bench-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(step("make a scratch folder"))?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
