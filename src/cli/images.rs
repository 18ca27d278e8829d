//! `sandboxd images`: the images that containers are made from, one for each language. What goes into one is a recipe
//! from the language's manifest; how it is made is the engine's business, behind `ImageStore`.

mod check;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Instant};

use sandboxd_container::images::{Image, ImageError, ImageStore, Recipe};

use crate::{
    cli::{Exit, Failure, block_on, catalog},
    config::{Config, RuntimeConfig},
    executors::{Catalog, Executor},
    runtimes,
};

/// The name of the file that an executor brings to be built in its own way.
const DOCKERFILE: &str = "Dockerfile";

#[derive(Debug, clap::Args)]
pub(super) struct ImagesArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make the images of these languages, or of all, from Debian packages
    Build(BuildArgs),
    /// List the languages and their images
    List(ListArgs),
    /// Run the self-test of these languages, or of all, in sandboxes made from their images
    Check(CheckArgs),
    /// Take images from an archive that 'docker save' has written
    Import(ImportArgs),
}

#[derive(Debug, clap::Args)]
struct BuildArgs {
    /// Only these languages
    #[arg(value_name = "LANG")]
    languages: Vec<String>,
    #[command(flatten)]
    runtime: RuntimeArg,
    /// The Debian image to begin with
    #[arg(long, value_name = "IMAGE", default_value = "debian:bookworm-slim")]
    base: String,
    /// Nothing of what the engine prints, unless it fails
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    runtime: RuntimeArg,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Only these languages
    #[arg(value_name = "LANG")]
    languages: Vec<String>,
    #[command(flatten)]
    runtime: RuntimeArg,
}

#[derive(Debug, clap::Args)]
struct ImportArgs {
    /// The archive
    file: PathBuf,
    #[command(flatten)]
    runtime: RuntimeArg,
}

#[derive(Debug, clap::Args)]
struct RuntimeArg {
    /// The runtime, by its name in the configuration [default: the default one, or the first that has images]
    #[arg(long = "runtime", value_name = "NAME")]
    name: Option<String>,
}

/// Ends with 1 when a language's image could not be made or failed its test.
///
/// # Errors
/// A language or a runtime that nobody knows, an engine that can't be reached, an archive that can't be read.
pub(super) fn run(config: &Config, args: &ImagesArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::Build(args) => build(config, args),
        Command::List(args) => list(config, args),
        Command::Check(args) => {
            let catalog = catalog(config)?;
            let executors = chosen(&catalog, &args.languages)?;
            let runtime = args.runtime.choose(config)?;
            check::run(config, runtime, catalog, &executors)
        }
        Command::Import(args) => import(config, args),
    }
}

impl RuntimeArg {
    /// The one that is named; else the default one, where it has images; else the first that has.
    fn choose<'a>(&self, config: &'a Config) -> Result<&'a RuntimeConfig, Failure> {
        if let Some(name) = &self.name {
            let names: Vec<_> = config.runtimes.iter().map(|runtime| runtime.name.as_str()).collect();
            return config.runtimes.iter().find(|runtime| runtime.name == *name).ok_or_else(|| {
                let known = names.join(", ");
                Failure::new(Exit::Usage, format!("there is no runtime {name:?}; configured: {known}"))
            });
        }
        let default = |runtime: &&RuntimeConfig| runtime.name == config.execution.default_runtime;
        let with_images = || config.runtimes.iter().filter(|runtime| runtime.kind.has_images());
        with_images().find(default).or_else(|| with_images().next()).ok_or_else(|| {
            let reason = "no runtime is configured that uses images: SANDBOXD_RUNTIMES__DOCKER__KIND=docker in the \
                          environment, or [runtimes.docker] in the configuration, adds one";
            Failure::new(Exit::Configuration, reason)
        })
    }

    fn store(&self, config: &Config) -> Result<Arc<dyn ImageStore>, Failure> {
        let runtime = self.choose(config)?;
        runtimes::images(config, runtime).map_err(|error| match error {
            Some(error) => failure(&error),
            None => {
                let reason =
                    format!("runtime {}: the kind {} uses no images", runtime.name, runtime.kind.name());
                Failure::new(Exit::Usage, reason)
            }
        })
    }
}

fn build(config: &Config, args: &BuildArgs) -> Result<ExitCode, Failure> {
    let catalog = catalog(config)?;
    let executors = chosen(&catalog, &args.languages)?;
    let store = args.runtime.store(config)?;
    let progress = |line: &str| {
        if !args.quiet {
            eprintln!("  {line}");
        }
    };
    block_on(async {
        let mut failed = false;
        for executor in executors {
            let began = Instant::now();
            match store.build(&recipe(&executor, &args.base), &progress).await {
                Ok(()) => println!("{}: built in {:.1} s", executor.id, began.elapsed().as_secs_f64()),
                Err(ImageError::Failed(reason)) => {
                    println!("{}: failed: {reason}", executor.id);
                    failed = true;
                }
                Err(other) => return Err(failure(&other)),
            }
        }
        Ok(ExitCode::from(u8::from(failed)))
    })
}

fn list(config: &Config, args: &ListArgs) -> Result<ExitCode, Failure> {
    let catalog = catalog(config)?;
    let store = args.runtime.store(config)?;
    let images = block_on(async { store.list().await.map_err(|error| failure(&error)) })?;
    let of = |executor: &Executor| images.iter().find(|image| image.executor == executor.id);
    if args.json {
        let languages: Vec<_> = catalog.iter().map(|executor| to_json(executor, of(executor))).collect();
        println!("{}", serde_json::json!({ "images": languages }));
        return Ok(ExitCode::SUCCESS);
    }
    println!("{:<12} {:<28} {:>10}  id", "language", "image", "size");
    for executor in catalog.iter() {
        match of(executor) {
            Some(image) => {
                let size = image
                    .size_bytes
                    .map_or_else(|| "?".to_owned(), |bytes| format!("{} MB", bytes / 1_000_000));
                let id = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
                let id: String = id.chars().take(12).collect();
                println!("{:<12} {:<28} {size:>10}  {id}", executor.id, image.name);
            }
            None => println!("{:<12} none: sandboxd images build {}", executor.id, executor.id),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn to_json(executor: &Executor, image: Option<&Image>) -> serde_json::Value {
    serde_json::json!({
        "language": executor.id,
        "image": image.map(|image| &image.name),
        "id": image.map(|image| &image.id),
        "size_bytes": image.and_then(|image| image.size_bytes),
    })
}

fn import(config: &Config, args: &ImportArgs) -> Result<ExitCode, Failure> {
    let store = args.runtime.store(config)?;
    let progress = |line: &str| eprintln!("  {line}");
    let names =
        block_on(async { store.import(&args.file, &progress).await.map_err(|error| failure(&error)) })?;
    names.iter().for_each(|name| println!("{name}"));
    Ok(ExitCode::SUCCESS)
}

/// The executors of these languages, or all.
fn chosen(catalog: &Catalog, languages: &[String]) -> Result<Vec<Arc<Executor>>, Failure> {
    if languages.is_empty() {
        return Ok(catalog.iter().cloned().collect());
    }
    let mut executors: Vec<Arc<Executor>> = Vec::new();
    for language in languages {
        let named = catalog.named(language);
        if named.is_empty() {
            let known: Vec<_> = catalog.iter().map(|executor| executor.id.as_str()).collect();
            let reason = format!("{language:?} is no language here; there are {}", known.join(", "));
            return Err(Failure::new(Exit::Usage, reason));
        }
        for executor in named {
            if !executors.iter().any(|known| known.id == executor.id) {
                executors.push(Arc::clone(executor));
            }
        }
    }
    Ok(executors)
}

fn recipe(executor: &Executor, base: &str) -> Recipe {
    let own = executor.files.iter().find(|(name, _)| name == DOCKERFILE);
    Recipe {
        executor: executor.id.clone(),
        base: base.to_owned(),
        packages: executor.packages.clone(),
        files: executor.files.clone(),
        prepare: executor.prepare.as_ref().map(|prepare| prepare.name.clone()),
        dockerfile: own.map(|(_, text)| String::from_utf8_lossy(text).into_owned()),
    }
}

fn failure(error: &ImageError) -> Failure {
    let exit = match error {
        ImageError::Unavailable(_) => Exit::Unavailable,
        ImageError::Failed(_) => Exit::Failed,
        ImageError::Archive { .. } => Exit::NoInput,
    };
    Failure::new(exit, error)
}

#[cfg(test)]
mod tests {
    //! From a manifest to a recipe.

    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_recipe_is_what_the_manifest_says() {
        let catalog = Catalog::load(&[]).unwrap();
        for executor in catalog.iter() {
            let recipe = recipe(executor, "base");
            assert_eq!(recipe.packages, executor.packages);
            assert_eq!(recipe.dockerfile, None, "{}", executor.id);
            assert_eq!(recipe.prepare.is_some(), executor.prepare.is_some(), "{}", executor.id);
            if let Some(script) = &recipe.prepare {
                assert!(recipe.files.iter().any(|(name, _)| name == script), "{}", executor.id);
            }
        }
    }

    #[test]
    fn languages_are_found_by_any_name_and_once() {
        let catalog = Catalog::load(&[]).unwrap();
        let ids = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            chosen(&catalog, &names).map(|all| all.iter().map(|one| one.id.clone()).collect::<Vec<_>>())
        };
        assert_eq!(ids(&["py", "Python", "c++"]).unwrap(), ["python", "cpp"]);
        assert_eq!(ids(&[]).unwrap().len(), catalog.iter().count());
        assert_eq!(ids(&["cobol"]).unwrap_err().exit, Exit::Usage);
    }
}
