//! One connection, with bounds on every wait.

use std::{
    cell::RefCell,
    collections::HashMap,
    future::{Future, poll_fn},
    time::Duration,
};

use tokio::{task::AbortHandle, time::timeout};
use tokio_postgres::{AsyncMessage, Client, Config, Row, Statement, config::SslMode, types::ToSql};

use super::{PostgresError, PostgresHost, PostgresOptions, PostgresTls, tls::Encryption};

/// Longest time until a connection is there: a server that takes longer is as good as away.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How much longer than a statement may take the answer is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Longest time that the server keeps the locks of a transaction whose gateway is silent.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// What a sort may take, in memory: a batch of lines fits, so that none goes to disk.
const WORK_MEM: &str = "32MB";

/// What a connection is for: its bound for each statement, locks included.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// Batches; other gateways may hold locks for as long as theirs take.
    Ship,
    /// Questions and signs of life; a request waits for the answer.
    Answer,
    /// Tables are made; others may do so at the same time.
    Migrate,
    /// Audits of the whole ledger.
    Read,
}

impl Purpose {
    const fn statement_max(self) -> Duration {
        match self {
            Self::Ship => Duration::from_secs(10),
            Self::Answer => Duration::from_secs(5),
            Self::Migrate => Duration::from_secs(60),
            Self::Read => Duration::from_secs(3600),
        }
    }
}

/// An open connection. After an error it is not to be used again: dropping it ends whatever it was in.
pub(super) struct Connection {
    client: Client,
    driver: AbortHandle,
    statements: RefCell<HashMap<&'static str, Statement>>,
    step_max: Duration,
}

impl Connection {
    /// Connects. Dropping the future closes what was opened.
    pub(super) async fn open(options: &PostgresOptions, purpose: Purpose) -> Result<Self, PostgresError> {
        Self::listen(options, purpose, |_| {}).await
    }

    /// Connects; the payload of each notification is passed on as it comes.
    pub(super) async fn listen(
        options: &PostgresOptions,
        purpose: Purpose,
        mut hear: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self, PostgresError> {
        let encryption = Encryption::new(&options.tls)?;
        let config = config(options);
        let connected = timeout(CONNECT_MAX, config.connect(encryption)).await;
        let (client, mut driver) = connected.map_err(|_| PostgresError::Slow(CONNECT_MAX))??;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer learns of an error, too.
            while let Some(Ok(message)) = poll_fn(|cx| driver.poll_message(cx)).await {
                if let AsyncMessage::Notification(notification) = message {
                    hear(notification.payload());
                }
            }
        });
        let step_max = purpose.statement_max() + ANSWER_MAX;
        let connection =
            Self { client, driver: driver.abort_handle(), statements: RefCell::default(), step_max };
        // Compiling a statement (jit) takes longer than running it does here. A commit that a crash of the
        // server takes back would be lost once its segment is deleted.
        let settings = format!(
            "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
             SET timezone = 'UTC'; SET jit = off; SET work_mem = '{WORK_MEM}'; \
             SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') = 'off'",
            purpose.statement_max().as_millis(),
            match purpose {
                Purpose::Read => 0,
                Purpose::Ship | Purpose::Answer | Purpose::Migrate => IDLE_MAX.as_millis(),
            },
        );
        connection.run(&settings).await?;
        Ok(connection)
    }

    /// Whether the server has closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for `answer` as long as an answer may take.
    pub(super) async fn step<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, PostgresError> {
        let answered = timeout(self.step_max, answer).await;
        Ok(answered.map_err(|_| PostgresError::Slow(self.step_max))??)
    }

    /// Runs statements that have no parameters.
    pub(super) async fn run(&self, sql: &str) -> Result<(), PostgresError> {
        self.step(self.client.batch_execute(sql)).await
    }

    /// The statement, prepared at its first use.
    pub(super) async fn statement(&self, sql: &'static str) -> Result<Statement, PostgresError> {
        let known = self.statements.borrow().get(sql).cloned();
        match known {
            Some(statement) => Ok(statement),
            None => {
                let statement = self.step(self.client.prepare(sql)).await?;
                self.statements.borrow_mut().insert(sql, statement.clone());
                Ok(statement)
            }
        }
    }

    pub(super) async fn query(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, PostgresError> {
        let statement = self.statement(sql).await?;
        self.step(self.client.query(&statement, values)).await
    }

    pub(super) async fn query_one(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, PostgresError> {
        let statement = self.statement(sql).await?;
        self.step(self.client.query_one(&statement, values)).await
    }

    /// How many rows it touched.
    pub(super) async fn execute(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, PostgresError> {
        let statement = self.statement(sql).await?;
        self.step(self.client.execute(&statement, values)).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Whatever it is in the middle of, nobody waits for it.
        self.driver.abort();
    }
}

fn config(options: &PostgresOptions) -> Config {
    let PostgresOptions { host, port, user, password, database, tls } = options;
    let mut config = Config::new();
    match host {
        PostgresHost::Tcp(host) => config.host(host),
        PostgresHost::Unix(dir) => config.host_path(dir),
    };
    config.port(*port).user(user).dbname(database).application_name("tollgate");
    if let Some(password) = password {
        config.password(password);
    }
    config.ssl_mode(match (host, tls) {
        // A socket does not leave the machine.
        (PostgresHost::Unix(_), _) | (_, PostgresTls::Disable) => SslMode::Disable,
        (_, PostgresTls::Prefer) => SslMode::Prefer,
        (_, PostgresTls::Require | PostgresTls::Verify { .. }) => SslMode::Require,
    });
    config.connect_timeout(CONNECT_MAX).tcp_user_timeout(IDLE_MAX).keepalives_idle(IDLE_MAX);
    config
}
