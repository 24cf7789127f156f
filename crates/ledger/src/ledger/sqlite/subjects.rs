//! The table in SQLite: one thread that answers lookups and looks for changes.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tollgate_core::UnixMillis;

use super::schema;
use crate::{LedgerError, LoadError, Subject, SubjectChange, SubjectObserver, SubjectRow, subjects::Queue};

/// From one look for changes to the next: other processes cannot wake this one, and nobody notices a
/// quarter of a second.
const POLL: Duration = Duration::from_millis(250);

const COLUMNS: &str = "tier, org_id, time_zone, billing_anchor, overrides, updated_at";

pub(crate) struct Watch {
    connection: Connection,
    observer: SubjectObserver,
    /// The last change that was told.
    seq: i64,
    failing: bool,
}

impl Watch {
    /// Looks once.
    pub(crate) fn open(path: &Path, observer: SubjectObserver) -> Result<Self, LedgerError> {
        let connection = schema::open_to_read(path)?;
        let mut watch = Self { connection, observer, seq: 0, failing: false };
        (watch.seq, _) = watch.state()?;
        watch.look()?;
        Ok(watch)
    }

    /// Until the queue is stopped.
    pub(crate) fn run(mut self, queue: &Queue) {
        let mut next = Instant::now() + POLL;
        while let Some(lookups) = queue.wait(next.saturating_duration_since(Instant::now())) {
            for lookup in lookups {
                let row = get(&self.connection, &lookup.subject);
                self.note(row.as_ref().err());
                (lookup.reply)(row.map_err(|_| LoadError::Unavailable));
            }
            if next <= Instant::now() {
                next = Instant::now() + POLL;
                let looked = self.look();
                self.note(looked.as_ref().err());
            }
        }
    }

    /// Tells what has changed since the last look.
    fn look(&mut self) -> rusqlite::Result<()> {
        let (seq, empty) = self.state()?;
        if seq != self.seq {
            self.tell_since(seq)?;
        }
        (self.observer)(SubjectChange::Seen { empty });
        Ok(())
    }

    /// The last change, and whether the table is empty, at one moment.
    fn state(&self) -> rusqlite::Result<(i64, bool)> {
        let sql =
            "SELECT coalesce((SELECT max(seq) FROM subject_changes), 0), NOT EXISTS (SELECT 1 FROM subjects)";
        self.connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    fn tell_since(&mut self, newest: i64) -> rusqlite::Result<()> {
        let sql = "SELECT seq, scope, id FROM subject_changes WHERE seq > ?1 ORDER BY seq";
        let mut statement = self.connection.prepare_cached(sql)?;
        let changes = statement.query_map([self.seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let changes = changes.collect::<rusqlite::Result<Vec<(i64, String, String)>>>()?;
        // What is cut off, or an older file put in place, hides changes.
        let complete = changes.first().is_some_and(|(first, _, _)| *first == self.seq + 1);
        self.seq = changes.last().map_or(newest, |(last, _, _)| *last);
        if !complete {
            (self.observer)(SubjectChange::Any);
            return Ok(());
        }
        for (_, scope, id) in changes {
            let change = Subject::from_columns(&scope, id).map_or(SubjectChange::Any, SubjectChange::Row);
            (self.observer)(change);
        }
        Ok(())
    }

    /// Says when trouble begins and when it ends.
    fn note(&mut self, error: Option<&rusqlite::Error>) {
        match error {
            Some(error) if !self.failing => {
                tracing::error!(%error, "subjects cannot be looked up: what is cached goes on");
            }
            None if self.failing => tracing::info!("subjects can be looked up again"),
            Some(_) | None => {}
        }
        self.failing = error.is_some();
    }
}

/// The row of `subject`.
pub(crate) fn get(connection: &Connection, subject: &Subject) -> rusqlite::Result<Option<SubjectRow>> {
    let sql = format!("SELECT {COLUMNS} FROM subjects WHERE scope = ?1 AND id = ?2");
    let (scope, id) = subject.columns();
    connection.prepare_cached(&sql)?.query_row([scope, id], read).optional()
}

/// Writes the row of `subject`, whether there is one or not.
pub(crate) fn put(connection: &Connection, subject: &Subject, row: &SubjectRow) -> rusqlite::Result<()> {
    let SubjectRow { tier, org_id, time_zone, billing_anchor, overrides, updated_at } = row;
    let (scope, id) = subject.columns();
    let sql = format!(
        "INSERT INTO subjects (scope, id, {COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
         ON CONFLICT (scope, id) DO UPDATE SET tier = excluded.tier, org_id = excluded.org_id, \
         time_zone = excluded.time_zone, billing_anchor = excluded.billing_anchor, \
         overrides = excluded.overrides, updated_at = excluded.updated_at"
    );
    let anchor = billing_anchor.map(|at| at.0);
    connection.execute(&sql, params![scope, id, tier, org_id, time_zone, anchor, overrides, updated_at.0])?;
    Ok(())
}

/// Removes the row of `subject`; whether there was one.
pub(crate) fn remove(connection: &Connection, subject: &Subject) -> rusqlite::Result<bool> {
    let (scope, id) = subject.columns();
    Ok(connection.execute("DELETE FROM subjects WHERE scope = ?1 AND id = ?2", [scope, id])? > 0)
}

fn read(row: &Row<'_>) -> rusqlite::Result<SubjectRow> {
    let anchor: Option<i64> = row.get(3)?;
    Ok(SubjectRow {
        tier: row.get(0)?,
        org_id: row.get(1)?,
        time_zone: row.get(2)?,
        billing_anchor: anchor.map(UnixMillis),
        overrides: row.get(4)?,
        updated_at: UnixMillis(row.get(5)?),
    })
}
