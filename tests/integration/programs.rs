//! Programs as somebody else would write them, in every language: tests/programs has each with what it should print.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::support::shared;

/// What stands beside `name.ext`: `name.expected`, and where there are any `name.stdin`, `name.args` (one a line) and
/// `name.exit`.
struct Program {
    path: PathBuf,
    language: String,
}

impl Program {
    fn beside(&self, extension: &str) -> Option<Vec<u8>> {
        fs::read(self.path.with_extension(extension)).ok()
    }

    /// Nothing where there is no such file; what is no UTF-8 in it as it would come out of the daemon.
    fn text_beside(&self, extension: &str) -> String {
        String::from_utf8_lossy(&self.beside(extension).unwrap_or_default()).into_owned()
    }

    /// A sentence when it did not do what its author would expect.
    fn check(&self) -> Result<(), String> {
        let code = fs::read_to_string(&self.path).unwrap();
        let args: Vec<String> = self.text_beside("args").lines().map(str::to_owned).collect();
        let stdin = STANDARD.encode(self.beside("stdin").unwrap_or_default());
        let answer = shared().execute(&json!({
            "language": self.language, "code": code, "stdin": stdin, "stdin_encoding": "base64", "args": args,
        }));
        let expected_exit: i64 = self.text_beside("exit").trim().parse().unwrap_or(0);
        let expected = self.text_beside("expected");
        if expected.is_empty() || answer["stdout"] != expected || answer["exit_code"] != expected_exit {
            return Err(format!(
                "{}\nexpected {expected_exit} and:\n{expected}\ngot: {answer:#}",
                self.path.display()
            ));
        }
        Ok(())
    }
}

fn programs() -> Vec<Program> {
    const BESIDE: [&str; 4] = ["expected", "stdin", "args", "exit"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let mut programs = Vec::new();
    for folder in fs::read_dir(root).unwrap().flatten() {
        let language = folder.file_name().into_string().unwrap();
        for file in fs::read_dir(folder.path()).unwrap().flatten() {
            let path = file.path();
            let extension = path.extension().unwrap_or_default().to_str().unwrap();
            if !BESIDE.contains(&extension) {
                programs.push(Program { path, language: language.clone() });
            }
        }
    }
    programs
}

#[test]
fn programs_do_what_their_authors_expect() {
    let programs = programs();
    assert!(programs.len() >= 60, "only {} programs found", programs.len());
    let next = AtomicUsize::new(0);
    let failures: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut failures = Vec::new();
                    while let Some(program) = programs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        failures.extend(program.check().err());
                    }
                    failures
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(
        failures.is_empty(),
        "{} of {} programs:\n{}",
        failures.len(),
        programs.len(),
        failures.join("\n")
    );
}
