//! The connection to Redis: one server, Sentinel, or Cluster.

use std::{
    cell::{Cell, RefCell},
    fmt,
    time::Duration,
};

use deadpool_redis::{
    Pool, PoolConfig, PoolError, Runtime, redis,
    redis::{
        Client, ConnectionAddr, FromRedisValue, IntoConnectionInfo,
        aio::MultiplexedConnection,
        cluster::ClusterClient,
        cluster_async::ClusterConnection,
        cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
        sentinel::{Sentinel, SentinelNodeConnectionInfo},
    },
};
use tokio::{
    sync::{Mutex, Notify},
    time::timeout,
};

use super::FAILURES_MAX;

/// Calls share one connection and do not wait for each other; a second is there while one breaks.
const CONNECTIONS_MAX: usize = 2;
/// Longest time to connect, which no request waits for.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Longest time to connect to one of several servers, so that there is time for others when it is dead.
const NODE_CONNECT_MAX: Duration = Duration::from_millis(300);
/// How often a cluster's client follows a slot that has moved: to where it went, and once more.
const CLUSTER_RETRIES: u32 = 2;
/// In a cluster the keys lie in so many places: enough to spread over every node of a large one.
const CLUSTER_BUCKETS: usize = 64;

/// Where Redis is.
#[derive(Clone)]
pub enum RedisAddress {
    /// One server; a `redis://` or `rediss://` URL.
    Single(String),
    /// The servers that Sentinels say are the master; URLs of the Sentinels.
    Sentinel {
        /// Of the Sentinels.
        urls: Vec<String>,
        /// The name that they know the master by.
        master: String,
        /// Of the servers.
        password: Option<String>,
        /// Whether the servers are spoken to over TLS.
        tls: bool,
    },
    /// Some nodes of a Cluster, by URL.
    Cluster(Vec<String>),
}

impl RedisAddress {
    pub(super) fn buckets(&self) -> usize {
        match self {
            Self::Single(_) | Self::Sentinel { .. } => 1,
            Self::Cluster(_) => CLUSTER_BUCKETS,
        }
    }
}

/// Says which kind it is and nothing that may be a secret.
impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single(_) => "Single",
            Self::Sentinel { .. } => "Sentinel",
            Self::Cluster(_) => "Cluster",
        })
    }
}

/// Redis gave no answer, or one that is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisError {
    /// It did not answer in time.
    #[error("no answer in time")]
    Slow,
    /// It failed too often to be asked again so soon.
    #[error("not asked: it has failed {FAILURES_MAX} times in a row")]
    Open,
    /// It cannot be reached, or refuses.
    #[error("{0}")]
    Failed(String),
    /// Its answer is not one of this version's scripts.
    #[error("an answer that makes no sense")]
    Nonsense,
}

impl From<redis::RedisError> for RedisError {
    fn from(error: redis::RedisError) -> Self {
        // Its text has addresses and server messages, no passwords or keys.
        Self::Failed(error.to_string())
    }
}

enum Pools {
    Single(Pool),
    /// Without a pool: its connections could be to any server that ever was the master.
    Sentinel(Servers),
    /// Without a pool: one connection speaks to all nodes.
    Cluster(ClusterClient),
}

/// Servers of which Sentinels know which is the master.
struct Servers {
    sentinels: Mutex<Sentinel>,
    master: String,
    node: SentinelNodeConnectionInfo,
    /// Where the connection goes.
    connected: RefCell<Option<ConnectionAddr>>,
}

impl Servers {
    fn new(urls: &[String], master: &str, password: Option<&str>, tls: bool) -> redis::RedisResult<Self> {
        let sentinels = Mutex::new(Sentinel::build(urls.to_vec())?);
        let info = "redis://localhost".into_connection_info()?;
        let mut settings = info.redis_settings().clone();
        if let Some(password) = password {
            settings = settings.set_password(password);
        }
        let mut node = SentinelNodeConnectionInfo::default().set_redis_connection_info(settings);
        if tls {
            node = node.set_tls_mode(redis::TlsMode::Secure);
        }
        Ok(Self { sentinels, master: master.to_owned(), node, connected: RefCell::default() })
    }

    async fn master(&self) -> redis::RedisResult<Client> {
        self.sentinels.lock().await.async_master_for(&self.master, Some(&self.node)).await
    }
}

#[derive(Clone)]
enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// The connection, and whether it is worth using.
pub(super) struct Store {
    address: RedisAddress,
    pools: Pools,
    /// With its number.
    connection: RefCell<Option<(u64, Connection)>>,
    connections: Cell<u64>,
    /// One task connects, those that wait share what it gets.
    connecting: Mutex<()>,
    failures: Cell<u32>,
    /// Longest time for an answer.
    answer_max: Duration,
    /// A connection was made where there was one before: the server may be another one.
    pub(super) reconnected: Notify,
    /// How often was listened: each time to another node.
    listened: Cell<usize>,
}

impl Store {
    /// For callers that wait at most `answer_max` for an answer.
    pub(super) fn new(address: RedisAddress, answer_max: Duration) -> Result<Self, RedisError> {
        let config = PoolConfig::new(CONNECTIONS_MAX);
        let failed = |error: &dyn fmt::Display| RedisError::Failed(error.to_string());
        let pools = match &address {
            RedisAddress::Single(url) => {
                let manager = deadpool_redis::Manager::new(url.as_str())?;
                let pool = Pool::builder(manager).config(config).runtime(Runtime::Tokio1).build();
                Pools::Single(pool.map_err(|error| failed(&error))?)
            }
            RedisAddress::Sentinel { urls, master, password, tls } => {
                Pools::Sentinel(Servers::new(urls, master, password.as_deref(), *tls)?)
            }
            RedisAddress::Cluster(urls) => {
                let client = ClusterClient::builder(urls.clone())
                    .connection_timeout(NODE_CONNECT_MAX)
                    .retries(CLUSTER_RETRIES);
                Pools::Cluster(client.build()?)
            }
        };
        Ok(Self {
            address,
            pools,
            connection: RefCell::default(),
            connections: Cell::new(0),
            connecting: Mutex::new(()),
            failures: Cell::new(0),
            answer_max,
            reconnected: Notify::new(),
            listened: Cell::new(0),
        })
    }

    /// Whether it has failed so often that requests do not ask it.
    pub(super) fn is_open(&self) -> bool {
        self.failures.get() >= FAILURES_MAX
    }

    /// Runs a script for a request: fails at once while the store is known to be away.
    pub(super) async fn call<T: FromRedisValue>(
        &self,
        script: &redis::ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        if self.is_open() {
            return Err(RedisError::Open);
        }
        match timeout(self.answer_max, self.probe(script)).await {
            Ok(result) => result,
            Err(_) => {
                self.failed(None);
                Err(RedisError::Slow)
            }
        }
    }

    /// Runs a script, also while the store is thought to be away.
    pub(super) async fn probe<T: FromRedisValue>(
        &self,
        script: &redis::ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        self.bounded(async |connection| match connection {
            Connection::Node(node) => script.invoke_async(node).await,
            Connection::Cluster(cluster) => script.invoke_async(cluster).await,
        })
        .await
    }

    /// Runs commands in one go.
    pub(super) async fn pipeline<T: FromRedisValue>(&self, pipe: &redis::Pipeline) -> Result<T, RedisError> {
        self.bounded(async |connection| match connection {
            Connection::Node(node) => pipe.query_async(node).await,
            Connection::Cluster(cluster) => pipe.query_async(cluster).await,
        })
        .await
    }

    /// Runs a command that names no key on the master of a slot.
    pub(super) async fn command_at<T: FromRedisValue>(
        &self,
        slot: u16,
        command: &redis::Cmd,
    ) -> Result<T, RedisError> {
        let value = self.bounded(async |connection| match connection {
            Connection::Node(node) => command.query_async(node).await,
            Connection::Cluster(cluster) => {
                let route = SingleNodeRoutingInfo::SpecificNode(Route::new(slot, SlotAddr::Master));
                cluster.route_command(command.clone(), RoutingInfo::SingleNode(route)).await
            }
        });
        Ok(redis::from_redis_value(value.await?).map_err(redis::RedisError::from)?)
    }

    async fn bounded<T>(
        &self,
        run: impl AsyncFnOnce(&mut Connection) -> redis::RedisResult<T>,
    ) -> Result<T, RedisError> {
        let (number, mut connection) = self.connection().await.inspect_err(|_| self.failed(None))?;
        let result = match timeout(self.answer_max, run(&mut connection)).await {
            Ok(result) => result.map_err(RedisError::from),
            Err(_) => Err(RedisError::Slow),
        };
        match &result {
            Ok(_) => self.failures.set(0),
            Err(_) => self.failed(Some(number)),
        }
        result
    }

    /// Leaves a master that Sentinels say was replaced: one that hung may answer as if nothing had happened.
    /// Where they do not say, nothing changes.
    pub(super) async fn check_master(&self) {
        let Pools::Sentinel(servers) = &self.pools else { return };
        let number = self.connection.borrow().as_ref().map(|(number, _)| *number);
        let master = timeout(NODE_CONNECT_MAX, servers.master()).await;
        if let Ok(Ok(master)) = master
            && servers.connected.borrow().as_ref() != Some(master.get_connection_info().addr())
        {
            self.connection.borrow_mut().take_if(|(present, _)| Some(*present) == number);
        }
    }

    /// The next call finds out again which server is the master.
    pub(super) fn leave(&self) {
        self.connection.replace(None);
    }

    /// The connection with this number is not used again; none when there was none.
    fn failed(&self, number: Option<u64>) {
        self.failures.set(self.failures.get().saturating_add(1));
        self.connection.borrow_mut().take_if(|(present, _)| Some(*present) == number);
    }

    async fn connection(&self) -> Result<(u64, Connection), RedisError> {
        if let Some(connection) = &*self.connection.borrow() {
            return Ok(connection.clone());
        }
        let _only = self.connecting.lock().await;
        if let Some(connection) = &*self.connection.borrow() {
            return Ok(connection.clone());
        }
        let pooled = |error: PoolError| RedisError::Failed(error.to_string());
        let connect = async {
            Ok::<_, RedisError>(match &self.pools {
                // Taken for good: a pool that lends would ask the server for a sign of life each time.
                Pools::Single(pool) => {
                    Connection::Node(deadpool_redis::Connection::take(pool.get().await.map_err(pooled)?))
                }
                Pools::Sentinel(servers) => {
                    let master = servers.master().await?;
                    let connection = master.get_multiplexed_async_connection().await?;
                    servers.connected.replace(Some(master.get_connection_info().addr().clone()));
                    Connection::Node(connection)
                }
                Pools::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
            })
        };
        let connection = timeout(CONNECT_MAX, connect).await.map_err(|_| RedisError::Slow)??;
        let number = self.connections.get() + 1;
        self.connections.set(number);
        if number > 1 {
            self.reconnected.notify_one();
        }
        self.connection.replace(Some((number, connection.clone())));
        Ok((number, connection))
    }

    /// A connection that listens to `channels`.
    pub(super) async fn listen(&self, channels: &[&str]) -> Result<redis::aio::PubSub, RedisError> {
        let client = match (&self.pools, &self.address) {
            (Pools::Sentinel(servers), _) => servers.master().await?,
            (_, RedisAddress::Single(url)) => Client::open(url.as_str())?,
            // A message goes to every node, so any of them tells; the next time another one is tried.
            (_, RedisAddress::Sentinel { urls, .. } | RedisAddress::Cluster(urls)) => {
                let turn = self.listened.get();
                self.listened.set(turn.wrapping_add(1));
                let url = urls.get(turn % urls.len().max(1));
                Client::open(url.ok_or_else(|| RedisError::Failed("no node is named".to_owned()))?.as_str())?
            }
        };
        let mut listener = client.get_async_pubsub().await?;
        for channel in channels {
            listener.subscribe(*channel).await?;
        }
        Ok(listener)
    }
}

impl RedisAddress {
    /// Checks what it says, without connecting.
    ///
    /// # Errors
    ///
    /// When a URL cannot be read; the message does not repeat it.
    pub fn check(&self) -> Result<(), RedisError> {
        let urls = match self {
            Self::Single(url) => std::slice::from_ref(url),
            Self::Sentinel { urls, .. } | Self::Cluster(urls) => urls,
        };
        for url in urls {
            Client::open(url.as_str())?;
        }
        Ok(())
    }
}
