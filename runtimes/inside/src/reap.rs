//! What PID 1 of a sandbox owes the others in it.

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// Who has ended and with which wait status, as wait(2) gives it without the word on cores; `None` when nobody has.
pub fn ended(status: WaitStatus) -> Option<(Pid, i32)> {
    match status {
        WaitStatus::Exited(pid, code) => Some((pid, code << 8)),
        WaitStatus::Signaled(pid, signal, _) => Some((pid, signal as i32)),
        _ => None,
    }
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
    let mut flags = WaitPidFlag::WNOHANG;
    loop {
        match waitpid(None, Some(flags)) {
            Err(Errno::ECHILD) => return,
            // Somebody lives. All of them, at once; then wait for one after the other.
            Ok(WaitStatus::StillAlive) => {
                kill_all();
                flags = WaitPidFlag::empty();
            }
            // A child that was forked while the signal went round is met on the next one.
            Ok(_) | Err(_) => flags = WaitPidFlag::WNOHANG,
        }
    }
}
