//! What operators see: every metric by name in `metrics`, the logs in `logs`.

pub mod logs;
pub mod metrics;

pub use metrics::{Metrics, Queued, Refusal};
