//! For tests only: the suite that every runtime passes, and a runtime that plays a script.

pub mod conformance;
pub mod fake;
pub mod script;
