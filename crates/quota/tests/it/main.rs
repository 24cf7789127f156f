//! Quota decisions, whatever store they are counted in.

#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod calendars;
mod conformance;
mod instance;
mod invariants;
mod loss;
