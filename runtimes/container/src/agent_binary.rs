//! The agent's own binary.
use std::{
    io,
    path::{Path, PathBuf},
};
pub fn install(folder: &Path) -> io::Result<PathBuf> {
    Ok(folder.join("agent"))
}
