//! For tests only: the suite that every runtime passes, whether one can be tested here, and a runtime that plays a
//! script.

pub mod conformance;
pub mod fake;
pub mod script;

use crate::Probe;

/// Whether a runtime can be tested here: it can run, and holds every limit.
///
/// # Errors
/// Every reason, in one line.
pub fn holds_every_limit(probe: &Probe) -> Result<(), String> {
    let gaps = probe.missing().map(|(limit, reason)| format!("{} can't be held: {reason}", limit.name()));
    let reasons: Vec<_> = probe.available.clone().err().into_iter().chain(gaps).collect();
    if reasons.is_empty() { Ok(()) } else { Err(reasons.join("; ")) }
}
