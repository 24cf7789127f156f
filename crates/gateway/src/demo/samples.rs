//! Three sample services for the demo: small, in memory, and honest about what they use.

pub(crate) mod chat;
pub(crate) mod documents;
mod http1;
pub(crate) mod memory;
