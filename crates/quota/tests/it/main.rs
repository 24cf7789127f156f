//! Quota decisions, whatever store they are counted in.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod calendars;
mod conformance;
mod hazards;
mod instance;
mod invariants;
mod loss;
mod random;
