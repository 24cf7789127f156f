//! The scanner against bodies of every kind: invariants, known shapes, unreadable numbers.

mod bodies;
mod chunking;
mod numbers;
