//! Embeds every file of `executors/*/` that has an `executor.toml`, and of `tests/attacks/*/` with an `attack.toml`, so
//! that the program needs no folder beside it and a new language, or a new attack, needs no Rust. Nothing is read or
//! judged here: `src/executors` and `src/attacks` do that when they start.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    println!("cargo::rerun-if-changed=build.rs");
    embed(&root, "executors", "executor.toml", "executors.rs")?;
    embed(&root, "tests/attacks", "attack.toml", "attacks.rs")
}

fn embed(root: &Path, folders: &str, manifest: &str, name: &str) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={folders}");
    let mut code = String::from("&[\n");
    for folder in sorted_entries(&root.join(folders))? {
        if !folder.join(manifest).is_file() {
            continue;
        }
        writeln!(code, "    EmbeddedFolder {{ id: {:?}, files: &[", name_of(&folder)?)?;
        for file in sorted_entries(&folder)? {
            if file.is_file() {
                writeln!(code, "        ({:?}, include_bytes!({:?})),", name_of(&file)?, file)?;
            }
        }
        code.push_str("    ] },\n");
    }
    code.push_str("]\n");
    fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join(name), code)?;
    Ok(())
}

/// Sorted, so that the same folder gives the same program.
fn sorted_entries(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let entries = fs::read_dir(folder).map_err(|error| format!("read {}: {error}", folder.display()))?;
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> Result<&str, Box<dyn Error>> {
    path.file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| format!("{}: the name is no UTF-8", path.display()).into())
}
