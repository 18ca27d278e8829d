//! Files that somebody wrote: configuration, manifests, tokens, archives of images. Each is put where it would be found and
//! read by the code that reads it.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::OnceLock};

use sandboxd::{
    access,
    config::{self, Surroundings},
    executors::Catalog,
};
use tempfile::TempDir;

/// One for the process, in memory where there is such.
fn folder() -> &'static TempDir {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let made = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
        made.unwrap_or_else(|error| panic!("a folder for files: {error}"))
    })
}

fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().path().join(name);
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, bytes));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

/// What is wrong is told in a line each.
fn assert_told(lines: impl IntoIterator<Item = String>) {
    let lines: Vec<_> = lines.into_iter().collect();
    assert!(!lines.is_empty());
    assert!(lines.iter().all(|line| !line.trim().is_empty()), "{lines:?}");
}

pub(crate) fn configuration(bytes: &[u8]) {
    let path = file("config.toml", bytes);
    // The last line is a variable of the environment.
    let last = bytes.rsplit(|byte| *byte == b'\n').next().and_then(|line| std::str::from_utf8(line).ok());
    let variable = last.and_then(|line| line.split_once('='));
    let variables = variable.map(|(name, value)| (format!("SANDBOXD_{name}"), value.to_owned()));
    let surroundings = Surroundings { variables: variables.into_iter().collect(), cpus: 2, is_root: true };
    match config::load(Some(&path), &surroundings) {
        Ok(config) => {
            assert!(!config.runtimes.is_empty() && config.execution.max_concurrent > 0);
            assert!(config.runtimes.iter().any(|runtime| runtime.name == config.execution.default_runtime));
        }
        Err(error) => assert_told(error.violations),
    }
}

pub(crate) fn executor(bytes: &[u8]) {
    file("languages/it/executor.toml", bytes);
    file("languages/it/hello", b"hello\n");
    match Catalog::load(&[folder().path().join("languages")]) {
        Ok(catalog) => assert!(catalog.iter().any(|executor| executor.id == "it")),
        Err(errors) => assert_told(errors.iter().map(ToString::to_string)),
    }
}

pub(crate) fn tokens(bytes: &[u8]) {
    let path = file("tokens.toml", bytes);
    let private = fs::set_permissions(&path, fs::Permissions::from_mode(0o600));
    private.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if let Err(errors) = access::load(&path) {
        assert_told(errors.iter().map(ToString::to_string));
    }
}

pub(crate) fn archive(bytes: &[u8]) {
    sandboxd_containerd::fuzzing::archive(&file("image.tar", bytes));
}
