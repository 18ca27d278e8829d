//! The system call filter of every sandbox: the table of `sandboxd-syscalls`, turned into BPF by `program`.
//!
//! Deliberately absent: loading, which is in [`crate::sys`].

mod program;

use nix::libc::sock_filter;
use sandboxd_syscalls::{Call, Rule, calls};

/// The filter for this machine's architecture, made once and loaded into every sandbox.
pub(crate) fn compile() -> Vec<sock_filter> {
    program::compile(&rules())
}

/// Sorted by number.
fn rules() -> Vec<(u32, Rule)> {
    let numbered = |call: &Call| Some((u32::try_from(call.number).ok()?, call.rule));
    let mut rules: Vec<_> = calls().filter_map(numbered).collect();
    rules.sort_by_key(|(number, _)| *number);
    rules
}
