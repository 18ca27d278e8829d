//! Which system calls a program in a sandbox may make: one table, from which `native` compiles its filter and `containerd`
//! writes its profile. An allow list: what ordinary programs, interpreters, compilers and JITs need.
//!
//! A call that isn't named is answered with ENOSYS, so that a new kernel opens nothing and libraries fall back; calls into
//! the kernel's administration, other processes' memory, keys, namespaces or raw hardware are named as refused, to be seen
//! here rather than implied. Deliberately absent: how a filter is made.

mod table;

pub use table::{FAMILIES, NAMESPACE_FLAGS, PERSONALITIES};

/// One system call of this architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// With its prefix, SYS_.
    constant: &'static str,
    pub number: i64,
    pub rule: Rule,
}

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
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
pub enum Rule {
    Always(Action),
    /// By one argument (its low 32 bits): the first match wins, else `otherwise`.
    Argument {
        index: u8,
        tests: &'static [(Test, Action)],
        otherwise: Action,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    Equals(u32),
    /// Any of these bits is set.
    AnyBit(u32),
}

impl Call {
    pub fn name(&self) -> &'static str {
        self.constant.strip_prefix("SYS_").unwrap_or(self.constant)
    }
}

/// Every system call that has a rule. All others are unknown.
pub fn calls() -> impl Iterator<Item = &'static Call> {
    table::GROUPS.iter().copied().flatten()
}
