//! Names of signals, and what each says to the person whose program it ended. Numbers come from a runtime; sending
//! one is not done here.

use std::borrow::Cow;

use nix::sys::signal::Signal;

/// The first number that a program may use as a real-time signal of its own, as C libraries for Linux have it.
const REAL_TIME_FIRST: i32 = 34;
const REAL_TIME_LAST: i32 = 64;

/// `SIGSEGV`; `SIGRTMIN+2`; `signal 99` for what has no name.
pub fn signal_name(number: i32) -> Cow<'static, str> {
    match Signal::try_from(number) {
        Ok(signal) => Cow::Borrowed(signal.as_str()),
        Err(_) if number == REAL_TIME_FIRST => Cow::Borrowed("SIGRTMIN"),
        Err(_) if (REAL_TIME_FIRST..=REAL_TIME_LAST).contains(&number) => {
            Cow::Owned(format!("SIGRTMIN+{}", number - REAL_TIME_FIRST))
        }
        Err(_) => Cow::Owned(format!("signal {number}")),
    }
}

/// What usually lies behind it, where the kernel or the program's own libraries sent it.
pub(super) fn meaning(number: i32) -> Option<&'static str> {
    Some(match Signal::try_from(number).ok()? {
        Signal::SIGSEGV => "it touched memory that is not its own, or its stack was full",
        Signal::SIGBUS => "it touched memory with nothing behind it",
        Signal::SIGFPE => "it divided by zero, or the like",
        Signal::SIGILL => "it came upon an instruction that this CPU does not have",
        Signal::SIGABRT => "it gave up by itself",
        Signal::SIGTRAP => "it came upon a breakpoint",
        Signal::SIGSYS => "it made a system call that is not allowed in a sandbox",
        Signal::SIGPIPE => "it wrote where nobody reads",
        Signal::SIGALRM => "its own alarm went off",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_has_a_name() {
        for (number, name) in [
            (1, "SIGHUP"),
            (9, "SIGKILL"),
            (11, "SIGSEGV"),
            (25, "SIGXFSZ"),
            (31, "SIGSYS"),
            (34, "SIGRTMIN"),
            (36, "SIGRTMIN+2"),
            (64, "SIGRTMIN+30"),
            (0, "signal 0"),
            (99, "signal 99"),
        ] {
            assert_eq!(signal_name(number), name);
        }
    }
}
