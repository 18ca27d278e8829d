//! The floor: the same commands by hand, without any sandbox.

use std::process::{Command, Stdio};

use super::{Result, failed, step};

/// Where a sandbox looks for programs, too. The user's own PATH may find another version first, or a script before it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs one command to its end and throws its output away. It gets as little environment as in a sandbox: a variable of
/// the user's may make an interpreter read more than it would by itself.
pub(super) fn spawn(command: &[String]) -> Result<()> {
    let (program, arguments) = command.split_first().ok_or_else(|| failed("an empty command"))?;
    let status = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(std::env::var_os("HOME").map(|home| ("HOME", home)))
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(step("spawn"))?;
    if status.success() { Ok(()) } else { Err(failed(format!("{}: {status}", command.join(" ")))) }
}
