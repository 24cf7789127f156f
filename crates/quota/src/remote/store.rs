//! The connection to Redis: one server, Sentinel, or Cluster.

use std::{
    cell::{Cell, RefCell},
    fmt,
    time::Duration,
};

use deadpool_redis::{
    Pool, PoolConfig, PoolError, Runtime, cluster, redis,
    redis::{
        Client, FromRedisValue, IntoConnectionInfo, aio::MultiplexedConnection,
        cluster_async::ClusterConnection,
    },
    sentinel,
};
use tokio::time::timeout;

use super::FAILURES_MAX;

/// Calls share one connection and do not wait for each other; a second is there while one breaks.
const CONNECTIONS_MAX: usize = 2;
/// Longest time to connect, which no request waits for.
const CONNECT_MAX: Duration = Duration::from_secs(1);
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
    Sentinel(sentinel::Pool),
    Cluster(cluster::Pool),
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
    connection: RefCell<Option<Connection>>,
    failures: Cell<u32>,
    /// Longest time for an answer.
    answer_max: Duration,
    /// Whether the server may be another process than the one that the epoch was seen on.
    pub(super) suspect: Cell<bool>,
}

impl Store {
    /// For callers that wait at most `answer_max` for an answer.
    pub(super) fn new(address: RedisAddress, answer_max: Duration) -> Result<Self, RedisError> {
        let config = PoolConfig::new(CONNECTIONS_MAX);
        let failed = |error: &dyn fmt::Display| RedisError::Failed(error.to_string());
        let runtime = Some(Runtime::Tokio1);
        let pools = match &address {
            RedisAddress::Single(url) => {
                let manager = deadpool_redis::Manager::new(url.as_str())?;
                let pool = Pool::builder(manager).config(config).runtime(Runtime::Tokio1).build();
                Pools::Single(pool.map_err(|error| failed(&error))?)
            }
            RedisAddress::Sentinel { urls, master, password, tls } => {
                let node = sentinel::SentinelNodeConnectionInfo {
                    tls_mode: tls.then_some(sentinel::TlsMode::Secure),
                    redis_connection_info: Some(deadpool_redis::RedisConnectionInfo {
                        password: password.clone(),
                        ..Default::default()
                    }),
                };
                let kind = sentinel::SentinelServerType::Master;
                let mut settings = sentinel::Config::from_urls(urls.clone(), master.clone(), kind);
                settings.node_connection_info = Some(node);
                settings.pool = Some(config);
                Pools::Sentinel(settings.create_pool(runtime).map_err(|error| failed(&error))?)
            }
            RedisAddress::Cluster(urls) => {
                let mut settings = cluster::Config::from_urls(urls.clone());
                settings.pool = Some(config);
                Pools::Cluster(settings.create_pool(runtime).map_err(|error| failed(&error))?)
            }
        };
        Ok(Self {
            address,
            pools,
            connection: RefCell::default(),
            failures: Cell::new(0),
            answer_max,
            suspect: Cell::new(true),
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
                self.failed();
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

    async fn bounded<T>(
        &self,
        run: impl AsyncFnOnce(&mut Connection) -> redis::RedisResult<T>,
    ) -> Result<T, RedisError> {
        let result = match self.connection().await {
            Ok(mut connection) => match timeout(self.answer_max, run(&mut connection)).await {
                Ok(result) => result.map_err(RedisError::from),
                Err(_) => Err(RedisError::Slow),
            },
            Err(error) => Err(error),
        };
        match &result {
            Ok(_) => self.failures.set(0),
            Err(_) => self.failed(),
        }
        result
    }

    fn failed(&self) {
        self.failures.set(self.failures.get().saturating_add(1));
        self.suspect.set(true);
        self.connection.replace(None);
    }

    async fn connection(&self) -> Result<Connection, RedisError> {
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
                Pools::Sentinel(pool) => {
                    Connection::Node(sentinel::Connection::take(pool.get().await.map_err(pooled)?))
                }
                Pools::Cluster(pool) => {
                    Connection::Cluster(cluster::Connection::take(pool.get().await.map_err(pooled)?))
                }
            })
        };
        let connection = timeout(CONNECT_MAX, connect).await.map_err(|_| RedisError::Slow)??;
        self.connection.replace(Some(connection.clone()));
        Ok(connection)
    }

    /// A connection that listens to `channels`.
    pub(super) async fn listen(&self, channels: &[&str]) -> Result<redis::aio::PubSub, RedisError> {
        let client = match &self.address {
            RedisAddress::Single(url) => Client::open(url.as_str())?,
            // A message goes to every node, so any of them tells.
            RedisAddress::Cluster(urls) => first(urls)?,
            RedisAddress::Sentinel { urls, master, password, tls } => {
                let mut sentinels = redis::sentinel::Sentinel::build(urls.clone())?;
                let info = "redis://localhost".into_connection_info()?;
                let mut node = info.redis_settings().clone();
                if let Some(password) = password {
                    node = node.set_password(password);
                }
                let mut node =
                    redis::sentinel::SentinelNodeConnectionInfo::default().set_redis_connection_info(node);
                if *tls {
                    node = node.set_tls_mode(redis::TlsMode::Secure);
                }
                sentinels.async_master_for(master, Some(&node)).await?
            }
        };
        let mut listener = client.get_async_pubsub().await?;
        for channel in channels {
            listener.subscribe(*channel).await?;
        }
        Ok(listener)
    }
}

fn first(urls: &[String]) -> Result<Client, RedisError> {
    let url = urls.first().ok_or_else(|| RedisError::Failed("no node is named".to_owned()))?;
    Ok(Client::open(url.as_str())?)
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
