//! `sandboxd cache [clear]`: what lies in the folder of compiled programs, and the way to be rid of it. A daemon may use
//! the folder meanwhile.

use std::{process::ExitCode, time::SystemTime};

use crate::{
    cli::{Exit, Failure},
    config::Config,
    engine::CacheSurvey,
};

#[derive(Debug, clap::Args)]
pub(super) struct CacheArgs {
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Remove all of them, such as after a change to images or to the host's toolchains
    Clear,
}

/// # Errors
/// When the folder can't be read or written.
pub(super) fn run(config: &Config, args: &CacheArgs) -> Result<ExitCode, Failure> {
    let folder = &config.cache.folder;
    let done = match args.action {
        None => CacheSurvey::of(folder),
        Some(Action::Clear) => CacheSurvey::clear(folder),
    };
    let survey =
        done.map_err(|error| Failure::new(Exit::System, format!("{}: {error}", folder.display())))?;
    let CacheSurvey { entries, bytes, oldest } = survey;
    if args.json {
        let unix = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
        let answer = serde_json::json!({
            "folder": folder, "max_bytes": config.cache.max_bytes, "cleared": args.action.is_some(),
            "entries": entries, "bytes": bytes,
            "oldest_use_unix_s": oldest.and_then(unix).map(|time| time.as_secs()),
        });
        println!("{answer}");
        return Ok(ExitCode::SUCCESS);
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    if args.action.is_some() {
        println!("removed {entries} compiled programs, {:.1} MiB, from {}", mib(bytes), folder.display());
        return Ok(ExitCode::SUCCESS);
    }
    println!("folder    {}", folder.display());
    println!("programs  {entries}");
    match config.cache.max_bytes {
        0 => println!("size      {:.1} MiB; switched off, nothing is added", mib(bytes)),
        max => println!("size      {:.1} of {:.1} MiB", mib(bytes), mib(max)),
    }
    if let Some(age) = oldest.and_then(|oldest| oldest.elapsed().ok()) {
        println!("oldest    last used {} s ago", age.as_secs());
    }
    Ok(ExitCode::SUCCESS)
}
