//! A data directory, and settlements to put into it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use tempfile::TempDir;
use tollgate_core::{Charge, RequestKey, SettledBy, Settlement, Span, UnixMillis};
use tollgate_ledger::{
    AuditReport, Durability, EventFilter, Journal, JournalOptions, Ledger, LedgerEvent, LedgerOptions,
    LedgerReader, LoadError, LoadRequest, Loaded, OpenError, OpenRequest, Position, Recovered, Subject,
    Unanswered, audit,
};

/// 2026-11-22T20:00:00Z.
pub(crate) const NOON: i64 = 1_795_377_600_000;
/// Long enough for any machine: only a broken program waits so long.
pub(crate) const FOREVER: Duration = Duration::from_secs(600);

pub(crate) struct Data(TempDir);

impl Data {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn journal_dir(&self) -> PathBuf {
        self.path().join("journal")
    }

    pub(crate) fn ledger_path(&self) -> PathBuf {
        self.path().join("ledger.sqlite3")
    }

    pub(crate) fn options(&self) -> JournalOptions {
        JournalOptions {
            dir: self.journal_dir(),
            segment_bytes: 64 * 1024,
            bytes_max: 64 << 20,
            keep_shipped: Duration::ZERO,
            requests_in_flight_max: 64,
            durability: Durability::Process,
            unanswered: Unanswered::Charge,
        }
    }

    pub(crate) fn journal(&self) -> (Arc<Journal>, Recovered) {
        Journal::open(self.options()).unwrap()
    }

    pub(crate) fn ledger(&self, journal: &Arc<Journal>) -> Ledger {
        Ledger::start(Arc::clone(journal), self.ledger_options()).unwrap()
    }

    /// Ships all that `journal` has.
    pub(crate) fn ship(&self, journal: &Arc<Journal>) {
        self.ledger(journal).shutdown(FOREVER).unwrap();
    }

    pub(crate) fn ledger_options(&self) -> LedgerOptions {
        LedgerOptions::Sqlite { path: self.ledger_path() }
    }

    pub(crate) fn audit(&self) -> AuditReport {
        audit(self.path(), &self.ledger_options()).unwrap()
    }

    pub(crate) fn reader(&self) -> LedgerReader {
        LedgerReader::open(&self.ledger_options()).unwrap()
    }

    pub(crate) fn events(&self) -> Vec<LedgerEvent> {
        self.reader().events(&EventFilter::default()).unwrap()
    }

    pub(crate) fn sql(&self, sql: &str) {
        rusqlite::Connection::open(self.ledger_path()).unwrap().execute_batch(sql).unwrap();
    }

    /// The only segment with records, or the first of several.
    pub(crate) fn first_segment(&self) -> PathBuf {
        let mut segments: Vec<_> = fs::read_dir(self.journal_dir())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("segment-"))
            .collect();
        segments.sort();
        segments.remove(0)
    }

    /// What a process that dies now leaves behind: its files as they are.
    pub(crate) fn as_after_a_crash(&self) -> Self {
        let copy = Self::new();
        copy_dir(self.path(), copy.path());
        copy
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            // The keeper may be renaming a new segment, which holds no records then.
            let _ = fs::copy(&path, target);
        }
    }
}

pub(crate) fn key(number: u64) -> RequestKey {
    RequestKey::new(UnixMillis(NOON), u128::from(number) << 20)
}

pub(crate) fn settlement(number: u64, charges: &[(&'static str, i64)]) -> Settlement<'static> {
    let charge = |(meter, amount): &(&'static str, i64)| Charge { meter, amount: *amount, estimated: false };
    Settlement {
        key: key(number),
        at: UnixMillis(NOON),
        user_id: "ada",
        org_id: Some("analytical-engines"),
        tier: "professional",
        route: "/api/v1/llm/",
        method: "POST",
        status: 200,
        duration_ms: 12,
        request_id: "b9f5a6a2-1c6b-4d0e-8f63-3a6c1f0f9a77",
        resource: None,
        metadata: None,
        settled_by: SettledBy::Exchange,
        charges: charges.iter().map(charge).collect(),
    }
}

/// Opens a request, and waits for the keeper when it has not made the next segment yet.
pub(crate) fn open(journal: &Arc<Journal>, opening: &Settlement<'_>) -> OpenRequest {
    loop {
        match journal.open_request(opening) {
            Ok(request) => return request,
            Err(OpenError::Full) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) fn settle(journal: &Arc<Journal>, settlement: &Settlement<'_>) -> Position {
    open(journal, settlement).settle(settlement)
}

pub(crate) fn load(
    ledger: &Ledger,
    subject: &str,
    sums: &[(&str, Span)],
    reached: Position,
) -> Result<Loaded, LoadError> {
    let (sender, receiver) = mpsc::channel();
    ledger.load(LoadRequest {
        subject: Subject::User(subject.to_owned()),
        sums: sums.iter().map(|(meter, span)| ((*meter).to_owned(), *span)).collect(),
        reached,
        reply: Box::new(move |loaded| sender.send(loaded).unwrap()),
    });
    receiver.recv().unwrap()
}

pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}
