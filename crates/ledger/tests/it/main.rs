//! The durable room from outside: journal, ledger and audit together.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod audit;
mod common;
mod crash;
mod idempotency;
mod late;
mod loads;
mod model;
mod postgres;
mod replay;
mod resources;
mod shipping;
mod subjects;
mod sums;
