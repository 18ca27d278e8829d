//! Which executor a submission means: by language, by what is installed, by version. The highest version that
//! matches wins.

use std::sync::Arc;

use super::{Ground, Violations, quoted};
use crate::engine::discovery::{Finding, Findings};
use crate::engine::{Submission, ViolationKind};
use crate::executors::{Catalog, Executor, Version};

/// A misspelt language is recognised up to so many wrong letters.
const MAX_TYPOS: usize = 2;

pub(super) struct Choice {
    pub executor: Arc<Executor>,
    /// Empty when it is not known what is installed; no plan comes of that.
    pub version: String,
}

/// Answers an executor also when there are violations, if any is meant: the other fields are checked by it.
pub(super) fn executor(
    submission: &Submission,
    ground: &Ground<'_>,
    violations: &mut Violations,
) -> Option<Choice> {
    let named = ground.catalog.named(&submission.language);
    let Some(first) = named.first() else {
        let message = unknown(&submission.language, ground.catalog);
        violations.add(ViolationKind::UnknownLanguage, "language", message);
        return None;
    };
    let fallback = Choice { executor: Arc::clone(first), version: String::new() };
    let (Some(findings), Some(runtime)) = (ground.findings, ground.runtime) else { return Some(fallback) };

    let installed = installed(&named, findings);
    if installed.is_empty() {
        let message = not_installed(first, findings, runtime.name());
        violations.add(ViolationKind::UnknownLanguage, "language", message);
        return Some(fallback);
    }
    let matching = |(_, version): &&(&Arc<Executor>, &Version)| {
        submission.version.as_ref().is_none_or(|wanted| version.matches_prefix(wanted))
    };
    match installed.iter().filter(matching).max_by_key(|(_, version)| *version) {
        Some((executor, version)) => {
            Some(Choice { executor: Arc::clone(executor), version: version.to_string() })
        }
        None => {
            let wanted = submission.version.as_deref().unwrap_or_default();
            let there_is = installed.iter().map(|(_, version)| version.to_string()).collect::<Vec<_>>();
            let message = format!(
                "no {} {} is installed on runtime {}; there is {}",
                first.name,
                quoted(wanted),
                runtime.name(),
                there_is.join(", ")
            );
            violations.add(ViolationKind::UnknownLanguage, "version", message);
            Some(fallback)
        }
    }
}

fn installed<'a>(
    named: &[&'a Arc<Executor>],
    findings: &'a Findings,
) -> Vec<(&'a Arc<Executor>, &'a Version)> {
    let version = |executor: &&'a Arc<Executor>| match findings.get(&executor.id)? {
        Finding::Installed { version, .. } => Some((*executor, version)),
        Finding::Missing(_) | Finding::Failed(_) => None,
    };
    named.iter().filter_map(version).collect()
}

fn not_installed(executor: &Executor, findings: &Findings, runtime: &str) -> String {
    let name = &executor.name;
    match findings.get(&executor.id) {
        Some(Finding::Missing(reason) | Finding::Failed(reason)) => {
            format!("{name} can't be used on runtime {runtime}: {reason}")
        }
        Some(Finding::Installed { .. }) | None => format!("{name} is not installed on runtime {runtime}"),
    }
}

fn unknown(language: &str, catalog: &Catalog) -> String {
    let names = || catalog.iter().flat_map(|executor| std::iter::once(&executor.id).chain(&executor.aliases));
    let asked = language.to_lowercase();
    let nearest = names().map(|name| (typos(&asked, &name.to_lowercase()), name)).min();
    match nearest {
        // Of a name that is not longer than that, nothing would be left.
        Some((typos, name))
            if typos <= MAX_TYPOS && typos < name.chars().count().min(asked.chars().count()) =>
        {
            format!("{} is not known; did you mean {name}?", quoted(language))
        }
        _ => {
            let ids = catalog.iter().map(|executor| executor.id.as_str()).collect::<Vec<_>>();
            format!("{} is not known; there are {}", quoted(language), ids.join(", "))
        }
    }
}

/// Letters to be added, left out, replaced or swapped with their neighbour to get from one word to the other; more
/// than [`MAX_TYPOS`] is any number above it.
fn typos(from: &str, to: &str) -> usize {
    let (from, to) = (from.chars().collect::<Vec<_>>(), to.chars().collect::<Vec<_>>());
    if from.len().abs_diff(to.len()) > MAX_TYPOS {
        return MAX_TYPOS + 1;
    }
    // rows[i][j]: from the first i letters to the first j.
    let mut rows = vec![(0..=to.len()).collect::<Vec<_>>()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_are_counted() {
        for (from, to, count) in [
            ("python", "python", 0),
            ("pyton", "python", 1),
            ("pyhton", "python", 1),
            ("pythonn", "python", 1),
            ("pithan", "python", 2),
            ("", "go", 2),
            ("go", "ruby", 4),
        ] {
            assert_eq!(typos(from, to), count, "{from} {to}");
        }
        assert!(typos("cobol", "c") > MAX_TYPOS);
    }
}
