//! The gateway: the only room that knows HTTP.
//!
//! `exchange` shows the whole way of a request; everything else is a leaf of it, or starts and stops
//! what it needs (`serve`).

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

mod admin;
mod admission;
mod admitted;
mod amounts;
mod api;
mod audit;
mod beyond;
mod body;
mod check;
pub mod cli;
mod connection;
mod conversation;
mod counting;
mod deadline;
mod demo;
mod downstream;
mod durable;
mod end;
mod exchange;
mod forwarding;
#[cfg(fuzzing)]
pub mod fuzzing;
mod head;
mod headers;
mod http1;
mod identity;
mod joined;
mod kinds;
mod listener;
mod live;
mod llm;
mod logging;
mod measures;
mod meters;
mod names;
mod ratelimit;
mod refusal;
mod reload;
mod resources;
mod said;
mod serve;
mod shared;
mod signature;
mod subject;
mod subjects;
mod target;
mod telemetry;
mod too_large;
mod turn;
mod upgrade;
mod upstream;
mod waiting;
mod whole;
mod worker;
