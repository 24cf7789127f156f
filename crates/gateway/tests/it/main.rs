//! The gateway as its users meet it: the binary, driven over the wire.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod amounts;
mod audit;
mod books;
mod calls;
mod check;
mod crash;
mod demo;
mod disconnects;
mod disk;
mod drain;
mod economics;
mod exhaustion;
mod fleet;
mod framing;
mod headers;
mod identity;
mod jobs;
mod limits;
mod llm;
mod load;
mod numbers;
mod observability;
mod pointers;
mod postgres;
mod protocols;
mod quotas;
mod realtime;
mod refusals;
mod reload;
mod resources;
mod routing;
mod scene;
mod shared;
mod signature;
mod subjects;
mod support;
mod trace;
mod upstreams;
mod websocket;
