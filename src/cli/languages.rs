//! `sandboxd languages`: what can be run here, and what is missing for the rest.

use std::{collections::BTreeSet, process::ExitCode};

use crate::{
    cli::{Exit, Failure, block_on, catalog},
    config::Config,
    engine::{Installation, LanguageStatus},
    house::{House, Stay},
};

#[derive(Debug, clap::Args)]
pub(super) struct LanguagesArgs {
    /// Only the Debian packages of all languages, one a line; looks at nothing
    #[arg(long)]
    packages: bool,
    /// One JSON object instead of a table
    #[arg(long, conflicts_with = "packages")]
    json: bool,
}

/// # Errors
/// When no runtime can be started.
pub(super) fn run(config: &Config, args: &LanguagesArgs) -> Result<ExitCode, Failure> {
    let catalog = catalog(config)?;
    if args.packages {
        let packages: BTreeSet<_> = catalog.iter().flat_map(|executor| executor.packages.clone()).collect();
        packages.iter().for_each(|package| println!("{package}"));
        return Ok(ExitCode::SUCCESS);
    }
    let languages = block_on(async {
        let house = House::build(config, catalog, Stay::Short)
            .await
            .map_err(|error| Failure::new(Exit::System, error))?;
        let discovered = house.engine.discover(&config.execution.default_runtime).await;
        let languages = house.engine.languages();
        house.close().await;
        discovered.map(|()| languages).map_err(|error| Failure::new(Exit::Unavailable, error))
    })?;
    if args.json {
        let languages: Vec<_> = languages.iter().map(|language| to_json(language, config)).collect();
        println!("{}", serde_json::json!({ "languages": languages }));
    } else {
        println!("{:<12} {:<10} {:<24} aliases", "language", "version", "name");
        languages.iter().for_each(|language| print_row(language, config));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn installation<'a>(language: &'a LanguageStatus, config: &Config) -> Option<&'a Installation> {
    let default = &config.execution.default_runtime;
    language.runtimes.iter().find(|on| on.runtime == *default).map(|on| &on.installation)
}

fn to_json(language: &LanguageStatus, config: &Config) -> serde_json::Value {
    let executor = &language.executor;
    let (version, reason) = match installation(language, config) {
        Some(Installation::Installed { version }) => (Some(version), None),
        Some(Installation::Missing { reason }) => (None, Some(reason)),
        Some(Installation::NotLookedFor) | None => (None, None),
    };
    serde_json::json!({
        "id": executor.id, "name": executor.name, "aliases": executor.aliases, "version": version,
        "available": version.is_some(), "reason": reason, "packages": executor.packages,
    })
}

fn print_row(language: &LanguageStatus, config: &Config) {
    let executor = &language.executor;
    match installation(language, config) {
        Some(Installation::Installed { version }) => {
            println!(
                "{:<12} {version:<10} {:<24} {}",
                executor.id,
                executor.name,
                executor.aliases.join(", ")
            );
        }
        Some(Installation::Missing { reason }) => println!("{:<12} {:<10} {reason}", executor.id, "-"),
        Some(Installation::NotLookedFor) | None => println!("{:<12} {:<10} not looked for", executor.id, "?"),
    }
}
