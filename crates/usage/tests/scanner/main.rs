//! The scanner against bodies of every kind: invariants, framings, known shapes, unreadable numbers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod beginnings;
mod bodies;
mod chunking;
mod codings;
mod fields;
mod frames;
mod numbers;
mod pointers;
mod realtime;
mod requests;
mod streams;
mod usage_chunk;
