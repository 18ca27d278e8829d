//! How much of everything a submission may have, each number with a name, and the limits with their maxima. What the
//! words mean is not known here.

use std::collections::HashSet;

use sandboxd_contract::{File, Glob};

use super::{Violations, quoted};
use crate::engine::{LimitName, LimitRequest, Limits, Submission, ViolationKind};
use crate::executors::Executor;

pub const MAX_FILES: usize = 512;
/// All files together; a door may allow less.
pub const MAX_FILES_BYTES: usize = 64 << 20;
pub const MAX_STDIN_BYTES: usize = 64 << 20;
/// Of `args` and of `compile_args`, each.
pub const MAX_ARGS: usize = 512;
pub const MAX_ENV: usize = 512;
/// One argument, or one variable with its name: the kernel takes 128 KiB with the NUL at its end.
pub const MAX_ARG_BYTES: usize = (128 << 10) - 1;
/// `args`, `compile_args` and `env` together.
pub const MAX_WORDS_BYTES: usize = 1 << 20;
pub const MAX_GLOBS: usize = 64;

/// What a file takes up, at least: a page.
const PAGE_BYTES: u64 = 4096;

/// Arguments, environment and stdin.
pub(super) fn words(submission: &Submission, executor: Option<&Executor>, violations: &mut Violations) {
    let stdin = submission.stdin.len();
    if stdin > MAX_STDIN_BYTES {
        violations.invalid("stdin", format!("has {stdin} bytes; {MAX_STDIN_BYTES} are allowed"));
    }
    let mut total = args("args", &submission.args, violations) + env(&submission.env, violations);
    if let Some(compile_args) = &submission.compile_args {
        total += args("compile_args", compile_args, violations);
        if let Some(executor) = executor.filter(|executor| executor.compile.is_none()) {
            let message = format!("{} has no compiler flags to replace", executor.name);
            violations.invalid("compile_args", message);
        }
    }
    if total > MAX_WORDS_BYTES {
        let message =
            format!("have {total} bytes together with compile_args and env; {MAX_WORDS_BYTES} are allowed");
        violations.invalid("args", message);
    }
}

fn args(field: &str, args: &[String], violations: &mut Violations) -> usize {
    if args.len() > MAX_ARGS {
        violations.invalid(field, format!("has {} entries; {MAX_ARGS} are allowed", args.len()));
        return 0;
    }
    for (index, arg) in args.iter().enumerate() {
        if arg.contains('\0') {
            violations.invalid(format!("{field}[{index}]"), "must not hold a NUL");
        }
        if arg.len() > MAX_ARG_BYTES {
            let message = format!("has {} bytes; {MAX_ARG_BYTES} are allowed", arg.len());
            violations.invalid(format!("{field}[{index}]"), message);
        }
    }
    args.iter().map(|arg| arg.len() + 1).sum()
}

fn env(env: &[(String, String)], violations: &mut Violations) -> usize {
    if env.len() > MAX_ENV {
        violations.invalid("env", format!("has {} variables; {MAX_ENV} are allowed", env.len()));
        return 0;
    }
    let mut seen = HashSet::with_capacity(env.len());
    let mut total = 0;
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) {
            let message = format!("{} is no name: it must not be empty, nor hold '=' or a NUL", quoted(name));
            violations.invalid("env", message);
        } else if !seen.insert(name) {
            violations.invalid("env", format!("{} is there twice", quoted(name)));
        }
        if value.contains('\0') {
            violations.invalid("env", format!("the value of {} must not hold a NUL", quoted(name)));
        }
        let bytes = name.len() + 1 + value.len();
        if bytes > MAX_ARG_BYTES {
            let message = format!("{} has {bytes} bytes; {MAX_ARG_BYTES} are allowed", quoted(name));
            violations.invalid("env", message);
        }
        total += bytes + 1;
    }
    total
}

pub(super) fn collect(patterns: &[String], violations: &mut Violations) -> Vec<Glob> {
    if patterns.len() > MAX_GLOBS {
        violations.invalid("collect", format!("has {} patterns; {MAX_GLOBS} are allowed", patterns.len()));
        return Vec::new();
    }
    let mut globs = Vec::with_capacity(patterns.len());
    for (index, pattern) in patterns.iter().enumerate() {
        match Glob::parse(pattern) {
            Ok(glob) => globs.push(glob),
            Err(message) => {
                let message = format!("{}: {message}", quoted(pattern));
                violations.invalid(format!("collect[{index}]"), message);
            }
        }
    }
    globs
}

/// The defaults with what is asked for over them.
pub(super) fn limits(
    field: &str,
    asked: &LimitRequest,
    default: Limits,
    max: &Limits,
    violations: &mut Violations,
) -> Limits {
    let mut limits = default;
    for name in LimitName::ALL {
        let Some(value) = asked.get(name) else { continue };
        let field = format!("{field}.{}", name.as_str());
        if value == 0 {
            violations.invalid(field, "must be above zero");
        } else if value > max.get(name) {
            let message = format!("{value} is above the maximum, which is {}", max.get(name));
            violations.add(ViolationKind::LimitTooHigh, field, message);
        } else {
            limits.set(name, value);
        }
    }
    limits
}

/// Whether the files fit on the disk of each sandbox they are put into: a client that leaves no room for its own files
/// is told so, rather than that a sandbox failed. Too little memory for them needs no word here: the kernel has it.
pub(super) fn room_for(files: &[File], run: &Limits, compile: Option<&Limits>, violations: &mut Violations) {
    let needed: u64 = files.iter().map(|file| taken_up(file.content.len() as u64)).sum();
    let phases = [("limits", Some(run)), ("compile_limits", compile)];
    for (field, limits) in phases.into_iter().filter_map(|(field, limits)| Some((field, limits?))) {
        if limits.get(LimitName::DiskBytes) < needed {
            let message = format!("leaves no room for the files, which take up {needed} bytes");
            violations.invalid(format!("{field}.{}", LimitName::DiskBytes.as_str()), message);
        }
    }
}

/// What a file of this size takes up.
pub(in crate::engine) fn taken_up(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE_BYTES).max(1) * PAGE_BYTES
}
