//! From a manifest as written to an [`Executor`] in which nothing is left to doubt: every check there is, and all
//! violations of a file at once. No check knows a language.
//!
//! A value that can't be believed is replaced by a harmless one, so that the checks behind it still run: with an
//! error noted, no executor comes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use sandboxd_contract::{FilePath, Glob, TOOLCHAIN_DIR};

use super::manifest::{
    self, CompileSection, Folder, ManifestError, PrepareSection, PrestartSection, RunSection, SourceSection,
};
use super::source::{Declared, SourceName};
use super::template::{self, CommandTemplate, TextTemplate};
use super::{CompileStep, Example, Executor, Prepare, SelfTest, Step};
use crate::engine::{LimitName, LimitRequest};

/// The share of a memory limit that `{heap_mib}` is where a manifest says nothing.
const DEFAULT_HEAP_PERCENT: u64 = 60;
const MAX_PREPARE_SECONDS: u64 = 3600;

/// # Errors
/// Everything that is wrong with the manifest.
pub(super) fn executor(folder: &Folder) -> Result<Executor, Vec<ManifestError>> {
    let written = manifest::parse(folder)?;
    let mut check = Check { folder, toolchain: format!("{TOOLCHAIN_DIR}/{}", folder.id), errors: Vec::new() };

    check.id();
    check.not_blank("name", &written.name);
    check.words("aliases", &written.aliases);
    check.words("extensions", &written.extensions);
    check.at_least_one("extensions", &written.extensions);
    check.words("packages", &written.packages);
    check.at_least_one("version_command", &written.version_command);
    let env = check.env("env", &written.env, template::constant);
    let source_is_executable = written.source.executable;
    let source_name = check.source(written.source);
    let compile = written.compile.map(|section| check.compile(section));
    let run = check.step("run", &written.run);
    check.can_wait(compile.as_ref(), &run, source_name.as_ref());
    let example = check.program("example.file", &written.example.file);
    let self_test = check.program("self_test.file", &written.self_test.file);
    let prepare = written.prepare.map(|section| check.prepare(&section));

    let (true, Some(source_name), Some(example), Some(self_test)) =
        (check.errors.is_empty(), source_name, example, self_test)
    else {
        return Err(check.errors);
    };
    Ok(Executor {
        id: folder.id.clone(),
        name: written.name,
        aliases: written.aliases,
        extensions: written.extensions,
        packages: written.packages,
        version_command: written.version_command,
        env,
        compile,
        run,
        example: Example { name: example.0, code: example.1 },
        self_test: SelfTest {
            name: self_test.0,
            code: self_test.1,
            stdin: written.self_test.stdin,
            args: written.self_test.args,
            stdout: written.self_test.stdout,
        },
        prepare,
        files: folder.files.clone(),
        source_name,
        source_is_executable,
        toolchain: check.toolchain,
    })
}

/// Collects violations.
struct Check<'a> {
    folder: &'a Folder,
    toolchain: String,
    errors: Vec<ManifestError>,
}

impl Check<'_> {
    fn error(&mut self, key: &str, message: impl Into<String>) {
        self.errors.push(self.folder.error(key, message));
    }

    /// The id is also the name of an image and of a folder, so it takes what both allow.
    fn id(&mut self) {
        let id = &self.folder.id;
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
        let begins_well = id.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if id.len() > 64 || !begins_well || !id.chars().all(allowed) {
            let message =
                format!("the folder's name {id:?} is the id: 1 to 64 of a-z, 0-9, '-', '_' and '.'");
            self.error("id", message);
        }
    }

    fn not_blank(&mut self, key: &str, text: &str) {
        if text.trim().is_empty() {
            self.error(key, "must not be empty");
        }
    }

    fn at_least_one(&mut self, key: &str, list: &[String]) {
        if list.is_empty() {
            self.error(key, "must have at least one entry");
        }
    }

    fn words(&mut self, key: &str, words: &[String]) {
        for word in words {
            if word.is_empty()
                || word.starts_with('.')
                || word.contains(|c: char| c.is_whitespace() || c == '/')
            {
                self.error(key, format!("{word:?} must be a word, without a dot in front, space or slash"));
            }
        }
    }

    /// Variables, each value made of its text by `believe`, which also gets the toolchain's folder.
    fn env<T>(
        &mut self,
        key: &str,
        env: &BTreeMap<String, String>,
        believe: impl Fn(&str, &str) -> Result<T, String>,
    ) -> Vec<(String, T)> {
        let mut believed = Vec::with_capacity(env.len());
        for (name, value) in env {
            if name.is_empty() || name.contains(['=', '\0']) {
                self.error(
                    key,
                    format!("{name:?} is no name for a variable: it must have no '=' and no NUL"),
                );
            }
            match believe(value, &self.toolchain) {
                Ok(value) => believed.push((name.clone(), value)),
                Err(message) => self.error(&format!("{key}.{name}"), message),
            }
        }
        believed
    }

    fn source(&mut self, section: SourceSection) -> Option<SourceName> {
        let fixed = self.path("source.name", &section.name);
        let declared = section.declared.map(|section| {
            self.not_blank("source.declared.after", &section.after);
            self.at_least_one("source.declared.keywords", &section.keywords);
            Declared { after: section.after, keywords: section.keywords, suffix: section.suffix }
        });
        Some(SourceName { fixed: fixed?, declared })
    }

    fn compile(&mut self, section: CompileSection) -> CompileStep {
        let (step, args, patterns) = section.split();
        self.at_least_one("compile.artifacts", &patterns);
        let mut artifacts = Vec::with_capacity(patterns.len());
        for pattern in &patterns {
            match Glob::parse(pattern) {
                Ok(glob) => artifacts.push(glob),
                Err(message) => self.error("compile.artifacts", format!("{pattern:?}: {message}")),
            }
        }
        if args.iter().any(|arg| arg.contains('\0')) {
            self.error("compile.args", "must not hold a NUL");
        }
        CompileStep { artifacts, step: self.step("compile", &step), args }
    }

    /// Who waits does so at the name of the source, in the working directory itself; and a program that is compiled is
    /// not what was submitted.
    fn can_wait(&mut self, compile: Option<&CompileStep>, run: &Step, source: Option<&SourceName>) {
        let waits = |step: &Step| step.prestart_unless.is_some();
        let is_deep = source.is_some_and(|source| source.usual().as_str().contains('/'));
        if waits(run) && (is_deep || compile.is_some()) {
            self.error(
                "run.prestart",
                "is for a language that is not compiled and whose source.name has no '/'",
            );
        }
        if is_deep && compile.is_some_and(|compile| waits(&compile.step)) {
            self.error("compile.prestart", "is for a language whose source.name has no '/'");
        }
    }

    fn unless(&mut self, section: &str, written: &PrestartSection) -> Vec<Glob> {
        let mut unless = Vec::with_capacity(written.unless.len());
        for pattern in &written.unless {
            match Glob::parse(pattern) {
                Ok(glob) => unless.push(glob),
                Err(message) => {
                    self.error(&format!("{section}.prestart.unless"), format!("{pattern:?}: {message}"));
                }
            }
        }
        unless
    }

    fn step(&mut self, section: &str, written: &RunSection) -> Step {
        let command = CommandTemplate::parse(&written.command).unwrap_or_else(|problems| {
            for problem in problems {
                self.error(&format!("{section}.command"), problem);
            }
            CommandTemplate::default()
        });
        let env = self.env(&format!("{section}.env"), &written.env, |value, _| TextTemplate::parse(value));
        let mut believed = LimitRequest::default();
        for (name, value) in &written.limits {
            let key = format!("{section}.limits.{name}");
            match LimitName::named(name) {
                Some(_) if *value == 0 => self.error(&key, "must be above zero"),
                Some(known) => believed.set(known, Some(*value)),
                None => {
                    let names = LimitName::ALL.map(LimitName::as_str).join(", ");
                    self.error(&key, format!("is no limit; there are {names}"));
                }
            }
        }
        for (name, percent) in
            [("heap_percent", written.heap_percent), ("stack_percent", written.stack_percent)]
        {
            if percent.is_some_and(|percent| !(1..=100).contains(&percent)) {
                self.error(&format!("{section}.{name}"), "must be 1 to 100");
            }
        }
        Step {
            command,
            env,
            limits: believed,
            heap_percent: written.heap_percent.unwrap_or(DEFAULT_HEAP_PERCENT),
            stack_percent: written.stack_percent,
            prestart_unless: written.prestart.as_ref().map(|prestart| self.unless(section, prestart)),
        }
    }

    fn prepare(&mut self, section: &PrepareSection) -> Prepare {
        if !(1..=MAX_PREPARE_SECONDS).contains(&section.timeout_seconds) {
            self.error("prepare.timeout_seconds", format!("must be 1 to {MAX_PREPARE_SECONDS}"));
        }
        Prepare {
            name: section.script.clone(),
            script: self.text("prepare.script", &section.script),
            timeout: Duration::from_secs(section.timeout_seconds),
        }
    }

    /// A program beside the manifest: its name and its text.
    fn program(&mut self, key: &str, name: &str) -> Option<(FilePath, String)> {
        let path = self.path(key, name);
        let text = self.text(key, name);
        path.map(|path| (path, text))
    }

    fn path(&mut self, key: &str, path: &str) -> Option<FilePath> {
        FilePath::parse(path).map_err(|error| self.error(key, format!("{path:?} {error}"))).ok()
    }

    fn text(&mut self, key: &str, name: &str) -> String {
        self.folder.text(name).unwrap_or_else(|message| {
            self.error(key, message);
            String::new()
        })
    }
}
