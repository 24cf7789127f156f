//! Answers from Postgres, and signs of life.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use super::{
    PostgresError, commit,
    connection::{Connection, Purpose},
    context::Context,
    idempotency, minutes, presence, resources, sums,
};
use crate::{
    Position,
    ledger::{
        Begun, LoadError, LoadRequest, Loaded, OpenResources, ResourceSum,
        load::{self, Ask},
        minutes::Minutes,
        waiting::Waiting,
    },
};

/// After a question that got no answer, none is asked for so long: those who wait are many, and each would open a
/// connection of its own.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until shipping has ended.
pub(super) async fn run(context: &Context, mut link: Option<Connection>) {
    let shared = &*context.shared;
    let mut waiting = Waiting::default();
    let mut beat = interval(presence::PERIOD);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.queue.asked() => {}
            () = context.progressed.notified() => {}
            _ = beat.tick() => context.show(&mut link).await,
        }
        let turn = shared.queue.take();
        if let Some(until) = turn.stop {
            context.stop.send_replace(Some(until));
        }
        waiting.take_in(turn.asks, shared.journal.tail());
        let ready = Unanswered(waiting.ready(shared.shipped()));
        if context.is_failing.get() {
            waiting.refuse_all();
        } else {
            let pauses = context.unanswered_at.get().is_some_and(|at| at.elapsed() < PAUSE);
            if !ready.0.is_empty() && !pauses {
                context.answer(&mut link, ready).await;
            }
            if !waiting.is_empty() {
                context.wanted.notify_one();
            }
        }
        if context.has_ended.get() {
            return context.leave(&mut link).await;
        }
    }
}

/// Questions under way; those that are left are refused.
struct Unanswered(Vec<Ask>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        load::refuse(self.0.drain(..));
    }
}

impl Context {
    /// The connection, opened if need be.
    async fn link<'l>(&self, link: &'l mut Option<Connection>) -> Result<&'l Connection, PostgresError> {
        let open = match link.take_if(|link| !link.is_closed()) {
            Some(open) => open,
            None => Connection::open(&self.options, Purpose::Answer).await?,
        };
        Ok(link.insert(open))
    }

    async fn show(&self, link: &mut Option<Connection>) {
        let shown = async { presence::show(self.link(link).await?, self.shared.journal.id()).await };
        if let Err(error) = shown.await {
            *link = None;
            tracing::debug!(%error, "other gateways cannot be told that this one is there");
        }
    }

    /// Says that this gateway is gone, if nothing of its journal is left to be shipped.
    async fn leave(&self, link: &mut Option<Connection>) {
        let left = async { presence::end(self.link(link).await?, self.shared.journal.id()).await };
        if !self.shared.is_behind()
            && let Err(error) = left.await
        {
            tracing::debug!(%error, "other gateways cannot be told that this one is gone");
        }
    }

    /// Answers all of them, loads as of one instant.
    async fn answer(&self, link: &mut Option<Connection>, mut asks: Unanswered) {
        let answers = match self.link(link).await {
            Ok(connection) => self.answers(connection, &asks.0).await,
            Err(error) => Err(error),
        };
        match answers {
            Ok(answers) => {
                if self.unanswered_at.take().is_some() {
                    tracing::info!("the ledger can be asked again");
                }
                for (ask, answer) in asks.0.drain(..).zip(answers) {
                    match (ask, answer) {
                        (Ask::Load(LoadRequest { reply, .. }), Answer::Loaded(loaded)) => reply(Ok(loaded)),
                        (Ask::Flush { reply, .. }, Answer::Flushed) => reply(Ok(())),
                        (Ask::Instances { reply, .. }, Answer::Instances(seen)) => reply(Ok(seen)),
                        (Ask::Resource(asked), Answer::Resource(sum)) => (asked.reply)(Ok(sum)),
                        (Ask::OpenResources(asked), Answer::OpenResources(page)) => (asked.reply)(Ok(page)),
                        (Ask::Begin(begin), Answer::Begun(begun)) => (begin.reply)(Ok(begun)),
                        (Ask::Finish(finish), Answer::Finished) => (finish.reply)(Ok(())),
                        (ask, _) => ask.refuse(LoadError::Unavailable),
                    }
                }
            }
            Err(error) => {
                *link = None;
                if self.unanswered_at.replace(Some(Instant::now())).is_none() {
                    tracing::warn!(%error, "the ledger cannot be asked");
                }
            }
        }
    }

    async fn answers(&self, connection: &Connection, asks: &[Ask]) -> Result<Vec<Answer>, PostgresError> {
        let own = self.shared.journal.id();
        let mut answers = Vec::with_capacity(asks.len());
        let mut seen_by_loads = None;
        for ask in asks {
            answers.push(match ask {
                Ask::Flush { .. } => Answer::Flushed,
                Ask::Instances { fresh, reply: _ } => {
                    // Not as of the loads' instant: that has passed.
                    end_snapshot(connection, &mut seen_by_loads).await?;
                    Answer::Instances(presence::seen(connection, own, *fresh).await?)
                }
                Ask::Resource(asked) => Answer::Resource(resources::sums(connection, asked).await?),
                Ask::OpenResources(asked) => Answer::OpenResources(resources::open(connection, asked).await?),
                Ask::Begin(begin) => {
                    end_snapshot(connection, &mut seen_by_loads).await?;
                    idempotency::begin(connection, own, begin).await?.map_or(Answer::Untold, Answer::Begun)
                }
                Ask::Finish(finish) => {
                    end_snapshot(connection, &mut seen_by_loads).await?;
                    idempotency::finish(connection, finish).await?;
                    Answer::Finished
                }
                Ask::Load(LoadRequest { subject, sums, .. }) => {
                    let (minutes, watermarks) = match &seen_by_loads {
                        Some(seen) => seen,
                        None => seen_by_loads.insert(begin_snapshot(connection).await?),
                    };
                    let asked = sums.iter().map(|(meter, span)| (subject, meter.as_str(), *span));
                    let sums = asked.map(|asked| sums::sum(connection, *minutes, asked));
                    let sums = try_join_all(sums).await?;
                    let mark = watermarks.iter().find(|(id, _)| *id == own).map(|(_, mark)| *mark);
                    let watermark = mark.unwrap_or_default();
                    Answer::Loaded(Loaded { sums, watermark, watermarks: watermarks.clone() })
                }
            });
        }
        end_snapshot(connection, &mut seen_by_loads).await?;
        Ok(answers)
    }
}

enum Answer {
    Loaded(Loaded),
    Flushed,
    Instances(Vec<Uuid>),
    Resource(Vec<ResourceSum>),
    OpenResources(OpenResources),
    Begun(Begun),
    Finished,
    /// There is none.
    Untold,
}

/// What all loads of a snapshot need.
type Seen = (Minutes, Vec<(Uuid, Position)>);

async fn begin_snapshot(connection: &Connection) -> Result<Seen, PostgresError> {
    connection.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    Ok((minutes::read(connection).await?, commit::watermarks(connection).await?))
}

async fn end_snapshot(connection: &Connection, seen: &mut Option<Seen>) -> Result<(), PostgresError> {
    match seen.take() {
        Some(_) => connection.run("COMMIT").await,
        None => Ok(()),
    }
}
