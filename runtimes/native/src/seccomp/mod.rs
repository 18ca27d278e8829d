//! The system call filter of every sandbox: `policy` says what, `program` turns it into BPF.
//!
//! Deliberately absent: loading, which is in [`crate::sys`].

#[rustfmt::skip] // a table, several to a line
mod policy;
mod program;

use nix::libc::sock_filter;

/// The filter for this machine's architecture, made once and loaded into every sandbox.
pub(crate) fn compile() -> Vec<sock_filter> {
    program::compile(&policy::rules())
}

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Allow,
    /// Refused with EPERM: the call is known, and not for guests.
    Refuse,
    /// Answered with ENOSYS, so that programs and libraries fall back to an older way.
    Unknown,
    /// Answered with EAFNOSUPPORT, as a kernel without that address family does.
    NoFamily,
}

/// What decides over one system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    Always(Action),
    /// By one argument (its low 32 bits): the first match wins, else `otherwise`.
    Argument {
        index: u8,
        tests: &'static [(Test, Action)],
        otherwise: Action,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    Equals(u32),
    /// Any of these bits is set.
    AnyBit(u32),
}
