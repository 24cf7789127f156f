//! A Redis Cluster of one's own.

use crate::{Redis, free_port};

/// Masters: as few as a Cluster needs to agree on anything.
const MASTERS: usize = 3;
const SLOTS: usize = 16_384;
/// A node that is silent for so long is dead to the others.
const NODE_TIMEOUT_MILLIS: &str = "1000";

/// A private Cluster of three masters, with or without replicas, that persists nothing but who its nodes are.
#[derive(Debug)]
pub struct RedisCluster {
    masters: Vec<Redis>,
    replicas: Vec<Redis>,
}

impl RedisCluster {
    /// Starts one without replicas and waits until it takes commands: Redis itself takes two seconds.
    ///
    /// # Panics
    /// As [`Redis::start`].
    #[must_use]
    pub fn start() -> Self {
        Self::start_nodes(0)
    }

    /// As [`RedisCluster::start`], with one replica of each master.
    ///
    /// # Panics
    /// As [`Redis::start`].
    #[must_use]
    pub fn start_with_replicas() -> Self {
        Self::start_nodes(MASTERS)
    }

    /// As clients are given it.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes().map(Redis::url).collect()
    }

    /// The nodes that began as masters.
    pub fn masters(&mut self) -> &mut [Redis] {
        &mut self.masters
    }

    /// Waits until every node that runs takes commands again.
    ///
    /// # Panics
    /// When one does not.
    pub fn wait_until_ready(&self) {
        self.nodes().filter(|node| node.is_running()).for_each(wait_until_ready);
    }

    /// Waits until the replica of a master that is dead has taken its slots, and all take commands again.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_until_failed_over(&self, master: usize) {
        self.replicas[master].wait_for(&["INFO", "replication"], "role:master");
        self.wait_until_ready();
    }

    fn start_nodes(replicas: usize) -> Self {
        let nodes: Vec<_> = (0..MASTERS + replicas).map(|_| Node::spawn()).collect();
        nodes.iter().for_each(|node| node.redis.wait_until_it_answers());
        for (number, node) in nodes.iter().enumerate() {
            // Each a number of its own, so that they need not find out that they claim the same.
            let _ = node.redis.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            for other in &nodes[number + 1..] {
                node.meet(other);
            }
        }
        for (number, node) in nodes[..MASTERS].iter().enumerate() {
            let (first, end) = (SLOTS * number / MASTERS, SLOTS * (number + 1) / MASTERS);
            let range = [first.to_string(), (end - 1).to_string()];
            let _ = node.redis.command(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]);
        }
        let known = format!("cluster_known_nodes:{}", nodes.len());
        for node in &nodes {
            node.redis.wait_for(&["CLUSTER", "INFO"], &known);
        }
        for (replica, master) in nodes[MASTERS..].iter().zip(&nodes) {
            let master = master.redis.command(&["CLUSTER", "MYID"]);
            let id = master.lines().nth(1).unwrap_or_default();
            replica.redis.wait_for(&["CLUSTER", "REPLICATE", id], "OK");
        }
        let mut masters: Vec<Redis> = nodes.into_iter().map(|node| node.redis).collect();
        let replicas = masters.split_off(MASTERS);
        let cluster = Self { masters, replicas };
        cluster.wait_until_ready();
        for replica in &cluster.replicas {
            replica.wait_for(&["INFO", "replication"], "master_link_status:up");
        }
        cluster
    }

    fn nodes(&self) -> impl Iterator<Item = &Redis> {
        self.masters.iter().chain(&self.replicas)
    }
}

struct Node {
    redis: Redis,
    bus: String,
}

impl Node {
    fn spawn() -> Self {
        let bus = free_port().to_string();
        let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", NODE_TIMEOUT_MILLIS];
        let quick = ["--repl-diskless-sync-delay", "0", "--cluster-port", &bus];
        let nothing_kept = ["--save", "", "--appendonly", "no"];
        let redis = Redis::spawn(&[&options[..], &quick, &nothing_kept].concat(), None);
        Self { redis, bus }
    }

    fn meet(&self, other: &Self) {
        let port = other.redis.address().port().to_string();
        let _ = self.redis.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &other.bus]);
    }
}

fn wait_until_ready(node: &Redis) {
    node.wait_for(&["CLUSTER", "INFO"], "cluster_state:ok");
}
