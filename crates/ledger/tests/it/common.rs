//! A data directory, and settlements to put into it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use tempfile::TempDir;
use tollgate_core::{Charge, RequestKey, SettledBy, Settlement, Span, UnixMillis};
use tollgate_ledger::{
    AuditReport, Durability, EventFilter, Journal, JournalOptions, Ledger, LedgerEvent, LedgerOptions,
    LedgerReader, LoadError, LoadRequest, Loaded, OpenError, OpenRequest, Position, PostgresHost,
    PostgresOptions, PostgresTls, Recovered, Subject, Unanswered, audit,
};
use tollgate_testkit::Postgres;
use uuid::Uuid;

/// 2026-11-22T20:00:00Z.
pub(crate) const NOON: i64 = 1_795_377_600_000;
/// Long enough for any machine: only a broken program waits so long.
pub(crate) const FOREVER: Duration = Duration::from_secs(600);

/// Where ledgers are.
#[derive(Clone)]
pub(crate) enum Store {
    Sqlite,
    Postgres(Arc<Postgres>),
}

/// Makes a test of each function that takes a store, for each store.
macro_rules! on_each_store {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[test] fn $name() { super::$name(&crate::common::Store::Sqlite); })+
        }
        mod on_postgres {
            $(#[test] fn $name() { super::$name(&crate::common::Store::postgres()); })+
        }
    };
}
pub(crate) use on_each_store;

impl Store {
    /// A server of the test's own.
    pub(crate) fn postgres() -> Self {
        Self::Postgres(Arc::new(Postgres::new()))
    }

    /// An instant in milliseconds as its SQL has it.
    pub(crate) fn instant(&self, millis: i64) -> String {
        match self {
            Self::Sqlite => millis.to_string(),
            Self::Postgres(_) => format!("to_timestamp({millis} / 1000.0)"),
        }
    }

    /// How many cases of a property are worth their time.
    pub(crate) fn cases(&self, on_sqlite: u32) -> u32 {
        match self {
            Self::Sqlite => on_sqlite,
            Self::Postgres(_) => on_sqlite / 4,
        }
    }

    /// A new data directory with a ledger of its own.
    pub(crate) fn data(&self) -> Data {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let database = format!("ledger_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        if let Self::Postgres(server) = self {
            server.create_database(&database);
        }
        Data { dir: tempfile::tempdir().unwrap(), store: self.clone(), database }
    }
}

pub(crate) struct Data {
    dir: TempDir,
    store: Store,
    database: String,
}

impl Data {
    /// On SQLite.
    pub(crate) fn new() -> Self {
        Store::Sqlite.data()
    }

    /// Another directory that ships to the same ledger, if that can be shared.
    pub(crate) fn neighbour(&self) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), store: self.store.clone(), database: self.database.clone() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The server that its ledger is on.
    pub(crate) fn server(&self) -> &Postgres {
        match &self.store {
            Store::Sqlite => panic!("SQLite has no server"),
            Store::Postgres(server) => server,
        }
    }

    pub(crate) fn postgres_options(&self) -> PostgresOptions {
        let server = self.server();
        PostgresOptions {
            host: PostgresHost::Tcp("127.0.0.1".to_owned()),
            port: server.port(),
            user: server.user().to_owned(),
            password: Some(server.password().to_owned()),
            database: self.database.clone(),
            tls: PostgresTls::Prefer,
        }
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
        match &self.store {
            Store::Sqlite => LedgerOptions::Sqlite { path: self.ledger_path() },
            Store::Postgres(_) => LedgerOptions::Postgres(self.postgres_options()),
        }
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
        match &self.store {
            Store::Sqlite => {
                rusqlite::Connection::open(self.ledger_path()).unwrap().execute_batch(sql).unwrap();
            }
            Store::Postgres(server) => {
                server.sql(&self.database, sql);
            }
        }
    }

    pub(crate) fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        match &self.store {
            Store::Sqlite => {
                let connection = rusqlite::Connection::open(self.ledger_path()).unwrap();
                connection.query_row(&sql, [], |row| row.get(0)).unwrap()
            }
            Store::Postgres(server) => server.sql(&self.database, &sql).parse().unwrap(),
        }
    }

    /// The only segment with records, or the first of several.
    pub(crate) fn first_segment(&self) -> PathBuf {
        self.segments().remove(0)
    }

    /// All segments with records, in their order.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let mut segments: Vec<_> = fs::read_dir(self.journal_dir())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("segment-"))
            .collect();
        segments.sort();
        segments
    }

    /// What a process that dies now leaves behind: its files as they are.
    pub(crate) fn as_after_a_crash(&self) -> Self {
        let copy = self.neighbour();
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

/// Ships all that is in `journal` by now.
pub(crate) fn flush(ledger: &Ledger, journal: &Journal) -> Result<(), LoadError> {
    let (sender, receiver) = mpsc::channel();
    ledger.flush(journal.tail(), Box::new(move |flushed| sender.send(flushed).unwrap()));
    receiver.recv().unwrap()
}

/// Which journals have a gateway.
pub(crate) fn instances(ledger: &Ledger, fresh: Duration) -> Result<Vec<Uuid>, LoadError> {
    let (sender, receiver) = mpsc::channel();
    ledger.instances(fresh, Box::new(move |seen| sender.send(seen).unwrap()));
    receiver.recv().unwrap()
}

pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}
