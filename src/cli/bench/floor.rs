//! The floor: the same commands by hand, without any sandbox.

use std::process::{Command, Stdio};

use super::{Result, failed, step};

/// Runs one command to its end and throws its output away.
pub(super) fn spawn(command: &[String]) -> Result<()> {
    let (program, arguments) = command.split_first().ok_or_else(|| failed("an empty command"))?;
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(step("spawn"))?;
    if status.success() { Ok(()) } else { Err(failed(format!("{}: {status}", command.join(" ")))) }
}
