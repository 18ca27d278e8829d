//! What the daemon of Docker Engine is sent to build from: a Dockerfile, the executor's files and arguments. Pure.

use std::collections::HashMap;

use sandboxd_container::images::Recipe;

/// The name of the Dockerfile that is built; an executor's own, as it wrote it, lies beside it.
pub(super) const DOCKERFILE: &str = ".sandboxd.dockerfile";

/// The Debian that images begin with, its package lists fetched once for all of them. `day` is what makes the lists
/// new: each day has its own, so that a build does not ask for packages that the mirrors have replaced. A slim Debian
/// has no folders for manual pages, and packages that link alternatives to theirs fail for want of them.
pub(super) fn lists_dockerfile(base: &str, day: u64) -> String {
    format!(
        "FROM {base}\n\
         RUN set -eu; : the lists of day {day}; rm -rf /var/lib/apt/lists/*; \
         apt-get -o Acquire::GzipIndexes=true -o Acquire::Languages=none update; \
         rm -f /var/cache/apt/*.bin; \
         mkdir -p /usr/share/man/man1 /usr/share/man/man7 /usr/share/man/man8\n"
    )
}

/// Whether the image begins with the one that it is told to.
pub(super) fn asks_for_base(recipe: &Recipe) -> bool {
    recipe.dockerfile.as_deref().is_none_or(|written| {
        written.lines().any(|line| line.split_whitespace().eq(["FROM", "${BASE}"]) || asks(line, "BASE"))
    })
}

/// `ARG NAME` or `ARG NAME=…`.
fn asks(line: &str, name: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next().is_some_and(|word| word.eq_ignore_ascii_case("ARG"))
        && words.next().and_then(|word| word.split('=').next()) == Some(name)
}

/// Only those that the Dockerfile asks for: Docker complains of the others.
pub(super) fn arguments(recipe: &Recipe, base: &str) -> HashMap<String, String> {
    let dockerfile = recipe.full_dockerfile();
    [
        ("BASE", base.to_owned()),
        ("PACKAGES", recipe.packages.join(" ")),
        ("EXECUTOR", recipe.executor.clone()),
        ("PREPARE", recipe.prepare.clone().unwrap_or_default()),
    ]
    .into_iter()
    .filter(|(name, _)| dockerfile.lines().any(|line| asks(line, name)))
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// A tar archive of the Dockerfile and the files around it. The same input gives the same bytes, so that the engine
/// finds what it built before.
///
/// # Errors
/// A name that no archive can hold.
pub(super) fn archive(dockerfile: &str, files: &[(String, Vec<u8>)]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let own = [(DOCKERFILE, dockerfile.as_bytes())];
    let others = files.iter().map(|(name, content)| (name.as_str(), content.as_slice()));
    // What only tells Docker what to leave out of a context is left out itself.
    for (name, content) in own.into_iter().chain(others.filter(|(name, _)| *name != ".dockerignore")) {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        archive.append_data(&mut header, name, content)?;
    }
    archive.into_inner()
}

#[cfg(test)]
mod tests;
