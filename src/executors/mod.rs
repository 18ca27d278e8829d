//! The languages: what every `executors/<id>/executor.toml` says, checked once and believed from then on.
//!
//! Here are the [`Catalog`] and the [`Executor`] with all that a planner asks of them: names, source names, default
//! limits, commands. How a manifest is written is `manifest`, how it becomes an executor is `believe`. Deliberately
//! absent: which versions are installed (a runtime has to look) and anything about one language in particular.

mod believe;
mod environment;
mod manifest;
mod source;
mod template;
mod version;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sandboxd_contract::{Command, FilePath, Glob, Prestart};

use self::source::SourceName;
use self::template::{CommandTemplate, Surroundings, TextTemplate};
use crate::engine::{LimitName, LimitPolicy, LimitRequest, Limits};

pub(crate) use self::environment::{LANG, PATH};
pub use self::manifest::ManifestError;
pub use self::version::Version;

/// Every executor of this daemon.
#[derive(Debug, Clone)]
pub struct Catalog {
    executors: Vec<Arc<Executor>>,
}

impl Catalog {
    /// The embedded executors, then every folder with an `executor.toml` in each of `dirs`: it adds an executor, or
    /// replaces the one with the same id.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn load(dirs: &[PathBuf]) -> Result<Self, Vec<ManifestError>> {
        let mut executors: Vec<Arc<Executor>> = Vec::new();
        let mut problems = Vec::new();
        for folder in manifest::embedded().chain(dirs.iter().flat_map(|dir| manifest::folders(dir))) {
            match folder.and_then(|folder| believe::executor(&folder)) {
                Ok(executor) => match executors.iter_mut().find(|known| known.id == executor.id) {
                    Some(known) => *known = Arc::new(executor),
                    None => executors.push(Arc::new(executor)),
                },
                Err(errors) => problems.extend(errors),
            }
        }
        if problems.is_empty() { Ok(Self { executors }) } else { Err(problems) }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Executor>> {
        self.executors.iter()
    }

    /// Every executor whose id or alias this is, any case: one language may be there in several versions.
    pub fn named(&self, language: &str) -> Vec<&Arc<Executor>> {
        self.executors.iter().filter(|executor| executor.is_called(language)).collect()
    }

    /// The executor for a file called `*.extension`; the first one, where several versions share it.
    pub fn by_extension(&self, extension: &str) -> Option<&Arc<Executor>> {
        self.executors.iter().find(|executor| executor.extensions.iter().any(|known| known == extension))
    }
}

/// The two phases that an executor knows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    Compile,
    Run,
}

/// One language at one version: how its source is named, compiled and run.
#[derive(Debug, Clone)]
pub struct Executor {
    pub id: String,
    /// For people: `C++`.
    pub name: String,
    pub aliases: Vec<String>,
    /// Of source files, without the dot.
    pub extensions: Vec<String>,
    /// The Debian packages that it needs.
    pub packages: Vec<String>,
    /// Prints the version; [`Version::find`] reads it, from both streams.
    pub version_command: Vec<String>,
    /// Its own variables, without the base environment.
    pub env: Vec<(String, String)>,
    pub compile: Option<CompileStep>,
    run: Step,
    pub example: Example,
    pub self_test: SelfTest,
    pub prepare: Option<Prepare>,
    /// Every file of its folder, by name: the `Dockerfile` and what it copies.
    pub files: Vec<(String, Vec<u8>)>,
    source_name: SourceName,
    /// Whether a lone piece of code is stored with the executable bit.
    pub source_is_executable: bool,
    /// Where the programs of this executor see what `prepare` has made.
    toolchain: String,
}

#[derive(Debug, Clone)]
pub struct CompileStep {
    /// The flags that `compile_args` of a request replaces.
    pub args: Vec<String>,
    artifacts: Vec<Glob>,
    step: Step,
}

#[derive(Debug, Clone)]
struct Step {
    command: CommandTemplate,
    /// Over the executor's own variables, in this phase only.
    env: Vec<(String, TextTemplate)>,
    /// Defaults that this executor raises.
    limits: LimitRequest,
    heap_percent: u64,
    stack_percent: Option<u64>,
    /// What among the files keeps it from being started ahead; `None` where it can't be at all.
    prestart_unless: Option<Vec<Glob>>,
}

/// A program to show and to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    pub name: FilePath,
    pub code: String,
}

/// A program and what it must print; says whether the whole chain from compiler to output works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfTest {
    pub name: FilePath,
    pub code: String,
    pub stdin: String,
    pub args: Vec<String>,
    pub stdout: String,
}

/// How the toolchain is warmed, once for each version of it: see `sandboxd prepare`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepare {
    /// The script's name among the files.
    pub name: String,
    /// A script for `/bin/sh`, called with the folder to fill as its only argument.
    pub script: String,
    pub timeout: Duration,
}

/// What a command is filled in from.
#[derive(Debug, Clone, Copy)]
pub struct Vars<'a> {
    pub entry: &'a FilePath,
    /// Every submitted file, the entry among them or not.
    pub files: &'a [FilePath],
    /// Replaces the executor's compiler flags.
    pub compile_args: Option<&'a [String]>,
    /// The limits of the phase that the command is for.
    pub limits: &'a Limits,
}

impl Executor {
    /// Whether this is its id or one of its aliases, any case.
    pub fn is_called(&self, language: &str) -> bool {
        std::iter::once(&self.id).chain(&self.aliases).any(|name| name.eq_ignore_ascii_case(language))
    }

    /// The name under which `code` is stored: fixed, or derived from the source (a public class named Hello goes
    /// into `Hello.java`).
    pub fn source_name(&self, code: &[u8]) -> FilePath {
        self.source_name.of(code)
    }

    /// The policy's defaults, raised where this executor needs more, never above the policy's maxima.
    pub fn default_limits(&self, phase: Phase, policy: &LimitPolicy) -> Limits {
        let step = self.step(phase);
        let mut limits = policy.default;
        for name in LimitName::ALL {
            if let Some(own) = step.and_then(|step| step.limits.get(name)) {
                limits.set(name, own.max(policy.default.get(name)).min(policy.max.get(name)));
            }
        }
        limits
    }

    /// The compile phase's command; `None` for a language that has no such phase.
    pub fn compile_command(&self, vars: &Vars<'_>) -> Option<Command> {
        self.compile.as_ref().map(|compile| self.fill(&compile.step, vars, &[], &[]))
    }

    /// The run phase's command: `args` come last, `env` lies over the executor's own.
    pub fn run_command(&self, vars: &Vars<'_>, args: &[String], env: &[(String, String)]) -> Command {
        self.fill(&self.run, vars, args, env)
    }

    fn step(&self, phase: Phase) -> Option<&Step> {
        match phase {
            Phase::Compile => self.compile.as_ref().map(|compile| &compile.step),
            Phase::Run => Some(&self.run),
        }
    }

    /// What may be started before a program is there: the phase's command as it is for a lone file with the name that
    /// this executor gives to code without one, and nothing else asked for. `None` where it can't wait, or looks for one
    /// of `files` before it waits.
    pub fn prestart(&self, phase: Phase, files: &[FilePath], defaults: &Limits) -> Option<Prestart> {
        let step = self.step(phase)?;
        let unless = step.prestart_unless.as_ref()?;
        let script = self.source_name.usual();
        if files.iter().any(|file| unless.iter().any(|glob| glob.matches(file.as_str()))) {
            return None;
        }
        let alone = std::slice::from_ref(script);
        let vars = Vars { entry: script, files: alone, compile_args: None, limits: defaults };
        Some(Prestart { command: self.fill(step, &vars, &[], &[]), script: script.clone() })
    }

    /// The command that prints the version, with the base environment and the executor's own.
    pub fn version_probe(&self) -> Command {
        Command { argv: self.version_command.clone(), env: environment::layered(&[&self.env]) }
    }

    /// What the compile phase hands to the run phase.
    pub fn artifacts(&self) -> &[Glob] {
        self.compile.as_ref().map_or(&[], |compile| &compile.artifacts)
    }

    fn fill(&self, step: &Step, vars: &Vars<'_>, args: &[String], env: &[(String, String)]) -> Command {
        let around = Surroundings {
            extensions: &self.extensions,
            compile_args: self.compile.as_ref().map_or(&[], |compile| &compile.args),
            heap_percent: step.heap_percent,
            stack_percent: step.stack_percent,
            toolchain: &self.toolchain,
        };
        let mut argv = step.command.fill(vars, &around);
        argv.extend_from_slice(args);
        let own: Vec<_> =
            step.env.iter().map(|(name, value)| (name.clone(), value.fill(vars, &around))).collect();
        Command { argv, env: environment::layered(&[&self.env, &own, env]) }
    }
}

#[cfg(test)]
mod tests;
