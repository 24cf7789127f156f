//! One thread with a runtime of its own and one connection: answers lookups, and tells of changes.

use std::{pin::pin, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::link::Link;
use crate::{
    LedgerError, LoadError, Lookup, SubjectChange, SubjectObserver,
    ledger::postgres::{PostgresError, PostgresOptions},
    subjects::Queue,
};

/// From one look at the connection to the next: one that is dead says nothing by itself.
const LOOK: Duration = Duration::from_secs(1);
/// First and longest pause after a failure.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

pub(crate) struct Watch {
    options: PostgresOptions,
    observer: SubjectObserver,
    runtime: Runtime,
    link: Option<Link>,
    /// While it fails: how long the next pause is.
    pause: Option<Duration>,
}

impl Watch {
    /// Connects, if the server is there: one that is away is no error.
    pub(crate) fn open(options: &PostgresOptions, observer: SubjectObserver) -> Result<Self, LedgerError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(LedgerError::Thread)?;
        let mut watch = Self { options: options.clone(), observer, runtime, link: None, pause: None };
        let opened = watch.runtime.block_on(async {
            let link = Link::open(options).await?;
            let empty = link.is_empty().await?;
            Ok((link, empty))
        });
        match opened {
            Ok((link, empty)) => {
                watch.link = Some(link);
                (watch.observer)(SubjectChange::Seen { empty });
            }
            Err(error) => watch.pause = Some(failed(None, &error)),
        }
        Ok(watch)
    }

    /// Until the queue is stopped.
    pub(crate) fn run(self, queue: &Queue) {
        let Self { options, observer, runtime, link, pause } = self;
        let mut session = Session { options, observer, pause };
        runtime.block_on(session.run(queue, link));
        // Not waiting for a name that is being resolved.
        runtime.shutdown_background();
    }
}

/// All but the connection.
struct Session {
    options: PostgresOptions,
    observer: SubjectObserver,
    pause: Option<Duration>,
}

/// Why a connection is not used any longer.
enum End {
    Stopped,
    Failed(PostgresError),
}

impl From<PostgresError> for End {
    fn from(error: PostgresError) -> Self {
        Self::Failed(error)
    }
}

impl Session {
    async fn run(&mut self, queue: &Queue, mut link: Option<Link>) {
        loop {
            let served = match link.take() {
                Some(open) => self.serve(queue, &open).await,
                None => match self.connect(queue).await {
                    Ok(open) => {
                        link = Some(open);
                        continue;
                    }
                    Err(end) => Err(end),
                },
            };
            match served {
                Ok(()) | Err(End::Stopped) => return,
                Err(End::Failed(error)) => self.pause = Some(failed(self.pause, &error)),
            }
        }
    }

    /// A new connection, after the pause; meanwhile nobody waits for it in vain.
    async fn connect(&mut self, queue: &Queue) -> Result<Link, End> {
        let until = Instant::now() + self.pause.unwrap_or_default();
        let mut connecting = pin!(async {
            sleep_until(until).await;
            Link::open(&self.options).await
        });
        loop {
            tokio::select! {
                link = &mut connecting => {
                    let link = link?;
                    // What happened meanwhile was not heard.
                    (self.observer)(SubjectChange::Any);
                    return Ok(link);
                }
                () = queue.asked() => {
                    for lookup in queue.take().ok_or(End::Stopped)? {
                        (lookup.reply)(Err(LoadError::Unavailable));
                    }
                }
            }
        }
    }

    /// Answers and tells, until the connection fails.
    async fn serve(&mut self, queue: &Queue, link: &Link) -> Result<(), End> {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = queue.asked() => {
                    let mut lookups = Unanswered(queue.take().ok_or(End::Stopped)?);
                    link.answer(&mut lookups.0).await?;
                }
                () = link.heard.wait() => {
                    link.heard.take().into_iter().for_each(&mut self.observer);
                    self.look(link).await?;
                }
                _ = look.tick() => self.look(link).await?,
            }
        }
    }

    async fn look(&mut self, link: &Link) -> Result<(), PostgresError> {
        let empty = link.is_empty().await?;
        if self.pause.take().is_some() {
            tracing::info!("subjects can be looked up again");
        }
        (self.observer)(SubjectChange::Seen { empty });
        Ok(())
    }
}

/// Says when trouble begins; how long to pause after it.
fn failed(before: Option<Duration>, error: &PostgresError) -> Duration {
    match before {
        Some(pause) => (pause * 2).min(PAUSE_MAX),
        None => {
            tracing::error!(%error, "subjects cannot be looked up: what is cached goes on");
            PAUSE_MIN
        }
    }
}

/// Lookups under way; those that are left are refused.
struct Unanswered(Vec<Lookup>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        for lookup in self.0.drain(..) {
            (lookup.reply)(Err(LoadError::Unavailable));
        }
    }
}
