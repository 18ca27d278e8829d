//! From a submission as asked for to a plan that is believed: pure, and with every violation at once. What is
//! installed was found out before; nothing is run, read or waited for here.
//!
//! A check that fails leaves something harmless behind, so that the checks after it still run; with a violation noted,
//! no plan comes of it. Which executor is meant is decided in `choose`, what `files` and `entry` mean in `files`, what
//! is too much in `bounds`.

mod bounds;
mod choose;
mod files;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use sandboxd_contract::{
    Command, Demand, File, FilePath, Glob, KernelLimits, Prestart, Runtime, SandboxSpec,
};
use uuid::Uuid;

use self::choose::Choice;
use super::discovery::Findings;
use super::{ClientKey, EngineConfig, ExecuteError, LimitName, Limits, Submission, Violation, ViolationKind};
use crate::executors::{Catalog, Executor, Phase, Vars};

pub(super) use self::bounds::taken_up;
pub use self::bounds::{
    MAX_ARG_BYTES, MAX_ARGS, MAX_ENV, MAX_FILES, MAX_FILES_BYTES, MAX_GLOBS, MAX_STDIN_BYTES, MAX_WORDS_BYTES,
};

/// A submission that was checked and can be executed. Printed, it shows what runs where, and not a byte of the code.
#[derive(Clone)]
pub struct Plan {
    /// UUIDv7: of this execution, in answers, logs and errors alike.
    pub id: Uuid,
    pub(super) executor: Arc<Executor>,
    pub(super) version: String,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) files: Vec<File>,
    pub(super) compile: Option<PhasePlan>,
    pub(super) run: PhasePlan,
    pub(super) stdin: Bytes,
    pub(super) collect: Vec<Glob>,
    pub(super) client: ClientKey,
}

#[derive(Debug, Clone)]
pub(super) struct PhasePlan {
    pub command: Command,
    pub limits: Limits,
    pub kernel: KernelLimits,
    /// The interpreter that may stand ready for exactly this.
    pub prestart: Option<Arc<Prestart>>,
    /// When it can't be started, that may well lie with the submission: see [`own_risk`].
    pub own_risk: bool,
}

/// Why a submission can't be planned.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PlanError {
    /// Every violation at once, at least one.
    #[error("the submission has {} violations", .0.len())]
    Invalid(Vec<Violation>),
    /// It could not be planned now: the runtime is unavailable.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
}

impl Plan {
    /// The executor's id.
    pub fn language(&self) -> &str {
        &self.executor.id
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    /// The runtime's name in the configuration.
    pub fn runtime(&self) -> &str {
        self.runtime.name()
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Plan")
            .field("id", &self.id)
            .field("language", &self.language())
            .field("version", &self.version)
            .field("runtime", &self.runtime())
            .finish_non_exhaustive()
    }
}

/// What a plan stands on.
pub(super) struct Ground<'a> {
    pub config: &'a EngineConfig,
    pub catalog: &'a Catalog,
    /// The runtime that the submission means; `None` when there is none of that name.
    pub runtime: Option<&'a Arc<dyn Runtime>>,
    pub runtime_names: Vec<&'a str>,
    /// What is installed on it; `None` when that is not known, and then not judged.
    pub findings: Option<&'a Findings>,
}

/// Violations, as they are found.
#[derive(Default)]
struct Violations(Vec<Violation>);

impl Violations {
    fn add(&mut self, kind: ViolationKind, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Violation { kind, field: field.into(), message: message.into() });
    }

    fn invalid(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.add(ViolationKind::InvalidRequest, field, message);
    }
}

/// # Errors
/// Every violation, in the order of the fields.
pub(super) fn plan(submission: Submission, ground: &Ground<'_>) -> Result<Plan, Vec<Violation>> {
    let mut violations = Violations::default();
    let choice = choose::executor(&submission, ground, &mut violations);
    let executor = choice.as_ref().map(|choice| choice.executor.as_ref());
    let (files, entry) = files::check(&submission, executor, &mut violations);
    bounds::words(&submission, executor, &mut violations);
    let collect = bounds::collect(&submission.collect, &mut violations);
    let (run, compile) = limits(&submission, executor, ground, &mut violations);
    check_runtime(&submission, ground, &mut violations);
    if let Some(executor) = executor {
        let compile = executor.compile.is_some().then_some(&compile);
        bounds::room_for(&files, &run, compile, &mut violations);
    }
    let (Some(choice), Some(entry), Some(runtime), true) =
        (choice, entry, ground.runtime, violations.0.is_empty())
    else {
        return Err(violations.0);
    };
    let phases = phases(&submission, &choice.executor, &files, &entry, ground, run, compile);
    let Choice { executor, version } = choice;
    Ok(Plan {
        id: Uuid::now_v7(),
        version,
        runtime: Arc::clone(runtime),
        files,
        compile: phases.0,
        run: phases.1,
        stdin: submission.stdin,
        collect,
        executor,
        client: submission.client,
    })
}

fn check_runtime(submission: &Submission, ground: &Ground<'_>, violations: &mut Violations) {
    if ground.runtime.is_none() {
        let asked = submission.runtime.as_ref().unwrap_or(&ground.config.default_runtime);
        let message =
            format!("there is no runtime {}; there are {}", quoted(asked), ground.runtime_names.join(", "));
        violations.add(ViolationKind::UnknownRuntime, "runtime", message);
    }
}

/// The limits of the run and of the compile phase.
fn limits(
    submission: &Submission,
    executor: Option<&Executor>,
    ground: &Ground<'_>,
    violations: &mut Violations,
) -> (Limits, Limits) {
    let mut limits = |phase, field, asked, ceilings| {
        let policy = ground.config.policy(phase).within(ceilings);
        let default = executor.map(|executor| executor.default_limits(phase, &policy));
        bounds::limits(field, asked, default.unwrap_or(policy.default), &policy.max, violations)
    };
    let Submission { limits: run, compile_limits: compile, ceilings, .. } = submission;
    (
        limits(Phase::Run, "limits", run, &ceilings.run),
        limits(Phase::Compile, "compile_limits", compile, &ceilings.compile),
    )
}

/// The commands, filled in.
fn phases(
    submission: &Submission,
    executor: &Executor,
    files: &[File],
    entry: &FilePath,
    ground: &Ground<'_>,
    run: Limits,
    compile: Limits,
) -> (Option<PhasePlan>, PhasePlan) {
    let paths: Vec<_> = files.iter().map(|file| file.path.clone()).collect();
    let compile_args = submission.compile_args.as_deref();
    let vars = Vars { entry, files: &paths, compile_args, limits: &compile };
    let compile_command = executor.compile_command(&vars);
    let vars = Vars { limits: &run, ..vars };
    let run_command = executor.run_command(&vars, &submission.args, &submission.env);

    let config = ground.config;
    let phase = |phase, command, limits: Limits, default: Limits, own_path| {
        let kernel = kernel_limits(&limits, config.cpu_millis);
        PhasePlan {
            own_risk: own_path || own_risk(&command, &limits, &default),
            prestart: prestart(executor, phase, &paths, &command, &kernel, config),
            command,
            limits,
            kernel,
        }
    };
    let compile_default = executor.default_limits(Phase::Compile, &config.compile);
    let run_default = executor.default_limits(Phase::Run, &config.run);
    let own_path = submission.env.iter().any(|(name, _)| name == "PATH");
    let compile =
        compile_command.map(|command| phase(Phase::Compile, command, compile, compile_default, false));
    (compile, phase(Phase::Run, run_command, run, run_default, own_path))
}

/// What stands ready is what most ask for: no arguments, no variables, the usual limits of a process.
fn prestart(
    executor: &Executor,
    phase: Phase,
    files: &[FilePath],
    command: &Command,
    limits: &KernelLimits,
    config: &EngineConfig,
) -> Option<Arc<Prestart>> {
    let (prestart, usual) = usual_prestart(executor, phase, files, config)?;
    let fits =
        prestart.command == *command && files.contains(&prestart.script) && limits.same_for_a_process(&usual);
    fits.then(|| Arc::new(prestart))
}

/// With the limits that it is started under.
fn usual_prestart(
    executor: &Executor,
    phase: Phase,
    files: &[FilePath],
    config: &EngineConfig,
) -> Option<(Prestart, KernelLimits)> {
    if config.without_prestart.contains(&executor.id) {
        return None;
    }
    let usual = executor.default_limits(phase, config.policy(phase));
    Some((executor.prestart(phase, files, &usual)?, kernel_limits(&usual, config.cpu_millis)))
}

/// What an executor's sandboxes are most often asked for: one for each phase.
pub(super) fn usual_specs(executor: &Executor, config: &EngineConfig) -> Vec<SandboxSpec> {
    let spec = |phase| SandboxSpec {
        executor: executor.id.clone(),
        limits: kernel_limits(&executor.default_limits(phase, config.policy(phase)), config.cpu_millis),
        prestart: usual_prestart(executor, phase, &[], config).map(|(prestart, _)| Arc::new(prestart)),
        demand: Demand::Standing,
    };
    let compile = executor.compile.as_ref().map(|_| spec(Phase::Compile));
    compile.into_iter().chain([spec(Phase::Run)]).collect()
}

pub(crate) fn kernel_limits(limits: &Limits, cpu_millis: Option<u32>) -> KernelLimits {
    KernelLimits {
        memory_bytes: limits.get(LimitName::MemoryBytes),
        tasks: limits.get(LimitName::Processes),
        cpu_millis,
        open_files: limits.get(LimitName::OpenFiles),
        file_size_bytes: limits.get(LimitName::FileSizeBytes),
        disk_bytes: limits.get(LimitName::DiskBytes),
        stack_bytes: limits.get(LimitName::StackBytes),
    }
}

/// Whose fault is it when a program can't be started? An interpreter or a compiler was seen to start on this runtime,
/// so it is ours, and an internal error. It is the submission's, and a runtime error, where that made the program
/// itself, gives it less of something than its executor asks for, has its own `PATH` (the caller looks), or more
/// arguments than the kernel may take beside this stack.
fn own_risk(command: &Command, limits: &Limits, default: &Limits) -> bool {
    let in_work_dir = |program: &String| program.contains('/') && !program.starts_with('/');
    let tightened = |name: &LimitName| limits.get(*name) < default.get(*name);
    command.argv.first().is_some_and(in_work_dir)
        || LimitName::ALL.iter().filter(|name| met_at_start(**name)).any(tightened)
        // The kernel takes a quarter of the stack; the pointers to the words count as well.
        || words_bytes(command) > limits.get(LimitName::StackBytes) / 8
}

/// Limits that a program can meet while it is being loaded.
fn met_at_start(name: LimitName) -> bool {
    match name {
        LimitName::MemoryBytes
        | LimitName::Processes
        | LimitName::FileSizeBytes
        | LimitName::DiskBytes
        | LimitName::OpenFiles
        | LimitName::StackBytes => true,
        LimitName::WallTimeMs | LimitName::CpuTimeMs | LimitName::OutputBytes => false,
    }
}

fn words_bytes(command: &Command) -> u64 {
    const POINTER: usize = 8;
    let args = command.argv.iter().map(|arg| arg.len() + 1 + POINTER);
    let env = command.env.iter().map(|(name, value)| name.len() + value.len() + 2 + POINTER);
    args.chain(env).map(|bytes| bytes as u64).sum()
}

/// A client's own word in a sentence: escaped, and not at any length.
fn quoted(word: &str) -> String {
    const MOST: usize = 64;
    match word.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}…", word.get(..end).unwrap_or_default()),
        None => format!("{word:?}"),
    }
}
