//! `sandboxd prepare [LANG…]`: warms toolchains up, once for each version. What that is, is in `crate::prepare`.

use std::process::ExitCode;

use nix::sys::{prctl, signal::Signal};

use crate::{
    cli::{Exit, Failure, catalog},
    config::Config,
    prepare::{self, Outcome},
};

#[derive(Debug, clap::Args)]
pub(super) struct PrepareArgs {
    /// Only these languages
    languages: Vec<String>,
    /// Started by a daemon: end with it
    #[arg(long, hide = true)]
    background: bool,
}

/// Ends with 1 when a toolchain that is here could not be prepared.
///
/// # Errors
/// A language that nobody knows, or a state folder that can't be made.
pub(super) fn run(config: &Config, args: &PrepareArgs) -> Result<ExitCode, Failure> {
    if args.background {
        prctl::set_pdeathsig(Signal::SIGTERM)
            .map_err(|errno| Failure::new(Exit::System, format!("tie to the daemon: {errno}")))?;
    }
    let catalog = catalog(config)?;
    let reports = prepare::run(&catalog, &config.state_dir, &args.languages)
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    reports.iter().for_each(|report| println!("{report}"));
    let failed = reports.iter().any(|report| matches!(report.outcome, Outcome::Failed(_)));
    Ok(ExitCode::from(u8::from(failed)))
}
