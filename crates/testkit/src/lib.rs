//! For tests: gateways, Redis and Postgres servers as processes, upstreams with scripted behaviour, clients, faults.
//!
//! Everything is private to a test: loopback ports chosen free, files in a temporary folder, processes ended by
//! their id when dropped. Waits are for conditions and have a bound. What cannot be set up fails the test on the
//! spot, so functions here panic instead of returning errors that no test could handle.
#![expect(clippy::expect_used, clippy::panic, reason = "a failure here is a failed test")]

mod client;
mod cutter;
mod gateway;
mod origin;
mod port;
mod postgres;
mod redis;
mod redis_cluster;
mod redis_sentinel;
mod response;
pub mod tls;
mod wait;
mod wire;

pub use client::Client;
pub use cutter::{Cut, Cutter};
pub use gateway::{Gateway, GatewayBuilder};
pub use origin::{Answer, Gate, Origin, OriginBuilder, Received, Reply, Reuse};
pub use port::free_port;
pub use postgres::Postgres;
pub use redis::Redis;
pub use redis_cluster::RedisCluster;
pub use redis_sentinel::RedisSentinel;
pub use response::{Ending, Response};
pub use wait::{BOUND, eventually, eventually_async};
pub use wire::{Wire, raw, raw_until_close};
