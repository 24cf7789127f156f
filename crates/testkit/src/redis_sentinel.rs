//! A Redis of one's own with a replica, and a Sentinel that makes the replica the master when the master dies.

use crate::{Redis, free_port};

/// What the Sentinel calls the master.
const MASTER: &str = "main";

/// A private master, its replica, and their Sentinel; nothing is persisted.
#[derive(Debug)]
pub struct RedisSentinel {
    master: Redis,
    replica: Redis,
    sentinel: Redis,
}

impl RedisSentinel {
    /// Starts the three and waits until they know each other.
    ///
    /// # Panics
    /// As [`Redis::start`].
    #[must_use]
    pub fn start() -> Self {
        let quick = ["--repl-diskless-sync-delay", "0"];
        let master = Redis::start_with(&quick);
        let port = master.address().port().to_string();
        let replica = Redis::start_with(&[&quick[..], &["--replicaof", "127.0.0.1", &port]].concat());
        replica.wait_for(&["INFO", "replication"], "master_link_status:up");
        master.wait_for(&["INFO", "replication"], "state=online");
        // One that is enough, quick to believe that a master is dead, and not too quick on a busy machine.
        let settings = format!(
            "sentinel monitor {MASTER} 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds {MASTER} 1000\n\
             sentinel failover-timeout {MASTER} 1000\n"
        );
        let sentinel = Redis::spawn(&["--sentinel"], Some(&settings));
        sentinel.wait_for(&["SENTINEL", "MASTER", MASTER], "num-slaves\r\n$1\r\n1\r\n");
        // It has to have heard of the replica's state to trust it.
        sentinel.wait_for(&["SENTINEL", "REPLICAS", MASTER], "master-link-status\r\n$2\r\nok\r\n");
        Self { master, replica, sentinel }
    }

    /// The Sentinel, as clients are given it; behind one that never answers.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        vec![format!("redis://127.0.0.1:{}/", free_port()), self.sentinel.url()]
    }

    /// What clients call the master.
    #[must_use]
    pub fn master_name(&self) -> &'static str {
        MASTER
    }

    /// The one that began as master.
    pub fn master(&mut self) -> &mut Redis {
        &mut self.master
    }

    /// Waits until the one that began as replica is the master.
    ///
    /// # Panics
    /// When it does not become it.
    pub fn wait_until_failed_over(&self) {
        self.replica.wait_for(&["INFO", "replication"], "role:master");
        let port = format!("\r\n{}\r\n", self.replica.address().port());
        self.sentinel.wait_for(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER], &port);
    }
}
