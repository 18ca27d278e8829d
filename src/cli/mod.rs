//! The command line: one file a command, and here what they share: arguments, exit codes, the one error.

mod attack_test;
mod bench;
mod cache;
mod doctor;
mod images;
mod languages;
mod prepare;
mod reload;
mod run;
mod serve;
mod token;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    config::{self, Config, Surroundings},
    telemetry::logs,
};

#[derive(Debug, Parser)]
#[command(name = "sandboxd", version, about = "Runs programs that nobody trusts, and says what happened")]
pub struct Cli {
    /// The configuration [default: ./config.toml, then /etc/sandboxd/config.toml, then built-in defaults]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve HTTP until told to stop
    Serve,
    /// Run one program in a sandbox, without a daemon
    Run(run::RunArgs),
    /// Say what this host can and can't do, and what mends it
    Doctor(doctor::DoctorArgs),
    /// List the languages, their versions and packages
    Languages(languages::LanguagesArgs),
    /// Warm toolchains up (build caches, precompiled headers), once for each version
    Prepare(prepare::PrepareArgs),
    /// Make, list and check the images that containers are made from
    Images(images::ImagesArgs),
    /// Show or clear the compiled programs that are kept
    Cache(cache::CacheArgs),
    /// Make a bearer token
    Token(token::TokenArgs),
    /// Run hostile programs, and say whether everything held
    AttackTest(attack_test::AttackArgs),
    /// Compare requests with starting the same program by hand
    Bench(bench::BenchArgs),
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// With the exit code of its kind; see [`Exit`].
    pub fn run(self) -> Result<ExitCode, Failure> {
        if let Command::Bench(args) = &self.command {
            return bench::run(args, self.config.as_deref())
                .map(|()| ExitCode::SUCCESS)
                .map_err(|error| Failure::new(Exit::Failed, error));
        }
        if let Command::Token(args) = &self.command {
            return token::run(args);
        }
        let surroundings = Surroundings::of_process();
        let config = config::load(self.config.as_deref(), &surroundings)
            .map_err(|error| Failure { exit: Exit::Configuration, lines: error.violations })?;
        if matches!(self.command, Command::Serve) {
            logs::init(&config.log)
                .map_err(|error| Failure::new(Exit::System, format!("log to the journal: {error}")))?;
        }
        match &self.command {
            Command::Serve => serve::run(&config, self.config.as_deref()),
            Command::Run(args) => run::run(&config, args),
            Command::Doctor(args) => doctor::run(&config, args),
            Command::Languages(args) => languages::run(&config, args),
            Command::Prepare(args) => prepare::run(&config, args),
            Command::Images(args) => images::run(&config, args),
            Command::Cache(args) => cache::run(&config, args),
            Command::AttackTest(args) => attack_test::run(&config, args),
            Command::Bench(_) | Command::Token(_) => Ok(ExitCode::SUCCESS),
        }
    }
}

/// What a process that failed by itself ends with; the numbers are those of sysexits.h(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Something that was asked for did not succeed.
    Failed = 1,
    /// What was asked for makes no sense (EX_USAGE).
    Usage = 64,
    /// A file that was named can't be read (EX_NOINPUT).
    NoInput = 66,
    /// This host can't run programs as configured (EX_UNAVAILABLE).
    Unavailable = 69,
    /// The system refused: a port that is taken, no more threads (EX_OSERR).
    System = 71,
    /// The configuration is wrong (EX_CONFIG).
    Configuration = 78,
}

/// An exit code and what to say with it, one line for each trouble.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub lines: Vec<String>,
}

impl Failure {
    fn new(exit: Exit, reason: impl std::fmt::Display) -> Self {
        Self { exit, lines: vec![reason.to_string()] }
    }
}

/// An asynchronous world for a command that does one thing.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::System, format!("start the asynchronous runtime: {error}")))?;
    runtime.block_on(work)
}

/// The languages, from the embedded manifests and the configured folders.
fn catalog(config: &Config) -> Result<crate::executors::Catalog, Failure> {
    let catalog = crate::executors::Catalog::load(&config.executor_dirs).map_err(|errors| Failure {
        exit: Exit::Configuration,
        lines: errors.iter().map(ToString::to_string).collect(),
    })?;
    let known: Vec<_> = catalog.iter().map(|executor| executor.id.clone()).collect();
    let strangers = config.without_prestart.iter().filter(|id| !known.contains(id));
    let lines: Vec<_> = strangers
        .map(|id| {
            format!("executors.without_prestart: {id:?} is no language; there are {}", known.join(", "))
        })
        .collect();
    if lines.is_empty() { Ok(catalog) } else { Err(Failure { exit: Exit::Configuration, lines }) }
}
