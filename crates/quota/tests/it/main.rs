//! Quota decisions, whatever store they are counted in.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod beyond;
mod calendars;
mod claims;
mod conformance;
mod extensions;
mod failover;
mod hazards;
mod instance;
mod invariants;
mod jobs;
mod late;
mod loss;
mod random;
