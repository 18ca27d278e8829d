//! The ways in which a runtime can fail, one variant for each reaction of the caller.

use std::borrow::Cow;

use crate::KernelLimit;

pub type Result<T> = std::result::Result<T, RuntimeError>;

#[derive(Debug, Clone, thiserror::Error)]
pub enum RuntimeError {
    /// The runtime can't make sandboxes now; trying again later, or elsewhere, makes sense.
    #[error("the runtime is not available: {reason}")]
    Unavailable { reason: String },

    /// A limit that this host can't install. Never skipped in silence.
    #[error("this host can't hold {}: {reason}", limit.name())]
    LimitNotHeld { limit: KernelLimit, reason: String },

    /// The sandbox is sound but the program could not be executed in it (not found, not executable, not enough
    /// memory to load it).
    #[error("{program}: {reason}")]
    NotStarted { program: String, reason: String },

    /// The sandbox itself failed; the request gets an internal error and the sandbox is destroyed.
    #[error("{operation}: {reason}")]
    Sandbox { operation: Cow<'static, str>, reason: String },
}

impl RuntimeError {
    /// A failed sandbox operation: `operation` names what was tried and on what.
    pub fn sandbox(operation: impl Into<Cow<'static, str>>, reason: impl std::fmt::Display) -> Self {
        Self::Sandbox { operation: operation.into(), reason: reason.to_string() }
    }

    pub fn unavailable(reason: impl std::fmt::Display) -> Self {
        Self::Unavailable { reason: reason.to_string() }
    }
}
