//! From a submission as asked for to a plan that is believed.

use uuid::Uuid;

use super::{ExecuteError, Violation};

/// A submission that was checked and can be executed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// UUIDv7: of this execution, in answers, logs and errors alike.
    pub id: Uuid,
}

/// Why a submission can't be planned.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PlanError {
    /// Every violation at once, at least one.
    #[error("the submission has {} violations", .0.len())]
    Invalid(Vec<Violation>),
    /// It could not be planned now: the runtime is unavailable.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
}
