//! The hostile programs of `tests/attacks`, and what must hold of each: read from its folder, so that another attack is
//! another folder. How they are run, and what is looked at afterwards, is `cli::attack_test`'s.
//!
//! ```toml
//! says = "What holds, in one sentence"
//! language = "c"
//! file = "program.c"
//! status = ["ok"]                     # verdicts that are none of a break
//! [limits]
//! processes = 16
//! ```
//! A program that finds something open prints a line that begins with BROKEN; one that comes to its end says `held`.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use crate::embedded::EmbeddedFolder;
use crate::engine::{LimitName, LimitRequest, Source, Submission, SubmittedFile, Verdict};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attack {
    #[serde(skip)]
    pub(crate) name: &'static str,
    /// What must hold.
    pub(crate) says: String,
    language: String,
    file: String,
    /// The verdicts that it may come to.
    status: Vec<String>,
    /// Whether a good end is one without a word: it need not say that it held.
    #[serde(default)]
    silent: bool,
    #[serde(default)]
    compile_args: Option<Vec<String>>,
    #[serde(default)]
    limits: BTreeMap<String, u64>,
    #[serde(default)]
    collect: Vec<String>,
    /// Kinds of kernels on which it says nothing.
    #[serde(default)]
    pub(crate) not_on_gvisor: Option<String>,
    #[serde(skip)]
    contents: &'static [(&'static str, &'static [u8])],
}

const EMBEDDED: &[EmbeddedFolder] = include!(concat!(env!("OUT_DIR"), "/attacks.rs"));

/// # Errors
/// One sentence for the first that is wrong, which the tests rule out.
pub(crate) fn all() -> Result<Vec<Attack>, String> {
    let read = |folder: &EmbeddedFolder| {
        let wrong = |message: String| format!("attack {}: {message}", folder.id);
        let manifest =
            content(folder.files, "attack.toml").ok_or_else(|| wrong("no attack.toml".to_owned()))?;
        let text = std::str::from_utf8(manifest).map_err(|error| wrong(error.to_string()))?;
        let attack: Attack = toml::from_str(text).map_err(|error| wrong(error.message().to_owned()))?;
        Ok(Attack { name: folder.id, contents: folder.files, ..attack })
    };
    EMBEDDED.iter().map(read).collect()
}

fn content(files: &[(&'static str, &'static [u8])], name: &str) -> Option<&'static [u8]> {
    files.iter().find(|(file, _)| *file == name).map(|(_, content)| *content)
}

impl Attack {
    /// # Errors
    /// A file or a limit that does not exist.
    pub(crate) fn submission(&self) -> Result<Submission, String> {
        let name = &self.file;
        let content = content(self.contents, name).ok_or_else(|| format!("there is no file {name}"))?;
        let file =
            SubmittedFile { path: name.clone(), content: Bytes::from_static(content), executable: true };
        let mut limits = LimitRequest::default();
        for (name, value) in &self.limits {
            let known = LimitName::named(name).ok_or_else(|| format!("there is no limit {name}"))?;
            limits.set(known, Some(*value));
        }
        Ok(Submission {
            language: self.language.clone(),
            entry: Some(name.clone()),
            source: Source::Files(vec![file]),
            compile_args: self.compile_args.clone(),
            limits,
            collect: self.collect.clone(),
            ..Submission::default()
        })
    }

    /// What did not hold, by its verdict and its words.
    pub(crate) fn broken(&self, verdict: Verdict, stdout: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(stdout);
        let broken: Vec<_> = text.lines().filter(|line| line.starts_with("BROKEN")).take(8).collect();
        if !broken.is_empty() {
            return Some(broken.join("; "));
        }
        if !self.status.iter().any(|status| status == verdict.as_str()) {
            return Some(format!("{} is none of {}", verdict.as_str(), self.status.join(", ")));
        }
        let said = text.lines().any(|line| line == "held");
        (verdict == Verdict::Ok && !self.silent && !said).then(|| "it did not come to its end".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_is_whole() {
        let attacks = all().unwrap();
        assert!(attacks.len() >= 25, "{}", attacks.len());
        for attack in attacks {
            attack.submission().unwrap_or_else(|reason| panic!("{}: {reason}", attack.name));
            assert!(!attack.status.is_empty() && !attack.says.is_empty(), "{}", attack.name);
        }
    }

    #[test]
    fn what_is_broken_is_told() {
        let attack: Attack =
            toml::from_str("says = \"x\"\nlanguage = \"c\"\nfile = \"x\"\nstatus = [\"ok\"]").unwrap();
        assert_eq!(attack.broken(Verdict::Ok, b"fine\nheld\n"), None);
        assert_eq!(attack.broken(Verdict::Ok, b"fine\n").unwrap(), "it did not come to its end");
        assert_eq!(attack.broken(Verdict::Ok, b"BROKEN mount\nheld\n").unwrap(), "BROKEN mount");
        assert!(attack.broken(Verdict::RuntimeError, b"held\n").is_some());
    }
}
