//! The floor: the same commands by hand, without any sandbox.

use std::process::{Command, Stdio};

use super::{Result, failed, step};
use crate::executors::{LANG, PATH};

/// Runs one command to its end and throws its output away. It gets as little environment as in a sandbox, and the same
/// PATH: the user's own may find another version first, or a script before it, and a variable may make an interpreter read
/// more than it would by itself.
pub(super) fn spawn(command: &[String]) -> Result<()> {
    let (program, arguments) = command.split_first().ok_or_else(|| failed("an empty command"))?;
    let status = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(std::env::var_os("HOME").map(|home| ("HOME", home)))
        .env("PATH", PATH)
        .env("LANG", LANG)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(step("spawn"))?;
    if status.success() { Ok(()) } else { Err(failed(format!("{}: {status}", command.join(" ")))) }
}
