//! What `code`, `files` and `entry` come to: files with believed paths, and the one that is compiled or run.

use std::collections::HashMap;

use sandboxd_contract::{File, FilePath};

use super::bounds::{MAX_FILES, MAX_FILES_BYTES};
use super::{Violations, quoted};
use crate::engine::{Source, Submission, SubmittedFile, ViolationKind};
use crate::executors::Executor;

/// The entry is `None` only with a violation noted, or without an executor.
pub(super) fn check(
    submission: &Submission,
    executor: Option<&Executor>,
    violations: &mut Violations,
) -> (Vec<File>, Option<FilePath>) {
    let files = match &submission.source {
        Source::Code(code) => executor.map_or_else(Vec::new, |executor| {
            let executable = executor.source_is_executable;
            vec![File { path: executor.source_name(code), content: code.clone(), executable }]
        }),
        Source::Files(files) => believed(files, violations),
    };
    let (field, bytes) = match &submission.source {
        Source::Code(code) => ("code", code.len()),
        Source::Files(files) => {
            ("files", files.iter().fold(0, |sum: usize, file| sum.saturating_add(file.content.len())))
        }
    };
    if bytes > MAX_FILES_BYTES {
        violations.invalid(field, format!("has {bytes} bytes; {MAX_FILES_BYTES} are allowed"));
    }
    let entry = entry(submission, &files, executor, violations);
    (files, entry)
}

fn believed(files: &[SubmittedFile], violations: &mut Violations) -> Vec<File> {
    if files.is_empty() {
        violations.invalid("files", "must have at least one file");
    }
    if files.len() > MAX_FILES {
        // Not looked at one by one: the list of what is wrong with them could be as long.
        violations.invalid("files", format!("has {} files; {MAX_FILES} are allowed", files.len()));
        return Vec::new();
    }
    let mut believed = Vec::with_capacity(files.len());
    // Where each path stands, so that what is wrong with the tree can be told of the field that a client wrote.
    let mut fields = Vec::with_capacity(files.len());
    for (index, file) in files.iter().enumerate() {
        match FilePath::parse(&file.path) {
            Ok(path) => {
                let (content, executable) = (file.content.clone(), file.executable);
                believed.push(File { path, content, executable });
                fields.push(index);
            }
            Err(error) => {
                let message = format!("{} {error}", quoted(&file.path));
                violations.add(ViolationKind::InvalidPath, format!("files[{index}].path"), message);
            }
        }
    }
    check_tree(&believed, &fields, violations);
    believed
}

/// Each path once, and none a file and a folder at once.
fn check_tree(files: &[File], fields: &[usize], violations: &mut Violations) {
    let mut seen = HashMap::with_capacity(files.len());
    for (file, index) in files.iter().zip(fields) {
        if let Some(first) = seen.insert(file.path.as_str(), index) {
            let message = format!("{} is there already, as files[{first}]", quoted(file.path.as_str()));
            violations.add(ViolationKind::InvalidPath, format!("files[{index}].path"), message);
        }
    }
    for (file, index) in files.iter().zip(fields) {
        if let Some(folder) = file.path.parents().find(|folder| seen.contains_key(folder)) {
            let message =
                format!("{} can't be below {}, which is a file", quoted(file.path.as_str()), quoted(folder));
            violations.add(ViolationKind::InvalidPath, format!("files[{index}].path"), message);
        }
    }
}

/// The one that the submission names; else the one with the executor's own source name; else the only one.
fn entry(
    submission: &Submission,
    files: &[File],
    executor: Option<&Executor>,
    violations: &mut Violations,
) -> Option<FilePath> {
    if let Some(entry) = &submission.entry {
        return named_entry(entry, files, executor, violations);
    }
    let source_name = executor?.source_name(&[]);
    match files {
        [only] => Some(only.path.clone()),
        [] => None,
        several if several.iter().any(|file| file.path == source_name) => Some(source_name),
        _ => {
            let message =
                format!("is needed: there is more than one file, and none of them is {source_name}");
            violations.invalid("entry", message);
            None
        }
    }
}

fn named_entry(
    entry: &str,
    files: &[File],
    executor: Option<&Executor>,
    violations: &mut Violations,
) -> Option<FilePath> {
    match FilePath::parse(entry) {
        Err(error) => {
            violations.add(ViolationKind::InvalidPath, "entry", format!("{} {error}", quoted(entry)));
            None
        }
        Ok(entry) if files.iter().any(|file| file.path == entry) => Some(entry),
        // Without an executor it is not known how `code` is stored.
        Ok(_) if executor.is_none() && files.is_empty() => None,
        Ok(_) => {
            violations.invalid("entry", format!("{} is not among the files", quoted(entry)));
            None
        }
    }
}
