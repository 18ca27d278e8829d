//! What PID 1 of a sandbox owes the others in it.

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::sys;

/// The bit of a status that wait(2) calls WCOREDUMP.
const CORE_DUMPED: i32 = 0x80;

/// The next child that has ended, and its wait status as wait(2) gives it without the word on cores, which is nobody's
/// business; `None` when all live and `hang` is not set.
///
/// # Errors
/// ECHILD when there is none; EINTR.
pub fn next_dead(hang: bool) -> nix::Result<Option<(Pid, i32)>> {
    Ok(sys::wait_for_any(hang)?.map(|(pid, status)| (pid, status & !CORE_DUMPED)))
}

/// SIGKILL to everybody but the caller. Nothing happens where the caller is not PID 1: it would reach the whole host.
pub fn kill_all() {
    if nix::unistd::getpid() == Pid::from_raw(1) {
        // ESRCH: nobody is there, or they went by themselves.
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    }
}

/// Kills and reaps until nobody is left: every orphan of the sandbox is PID 1's child, and PID 1 the caller.
pub fn bury_the_rest() {
    let mut hang = false;
    loop {
        match next_dead(hang) {
            Err(Errno::ECHILD) => return,
            // Somebody lives. All of them, at once; then wait for one after the other.
            Ok(None) => {
                kill_all();
                hang = true;
            }
            // A child that was forked while the signal went round is met on the next one.
            Ok(Some(_)) | Err(_) => hang = false,
        }
    }
}
