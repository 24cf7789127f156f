//! The table of subjects: edits, lookups, and how a running gateway hears of them.

use std::sync::mpsc::{Receiver, channel};

use tollgate_core::UnixMillis;
use tollgate_ledger::{
    Directory, LedgerOptions, LoadError, Lookup, PostgresOptions, Subject, SubjectChange, SubjectRow,
    SubjectTable,
};
use tollgate_testkit::free_port;

use crate::common::{Data, FOREVER, NOON, Store, on_each_store};

on_each_store!(
    what_is_written_is_read_and_removed,
    what_makes_no_sense_is_refused_by_the_table_itself,
    edits_by_anyone_are_told_once_they_can_be_read,
    a_table_that_is_away_is_an_error_until_it_is_back,
    every_lookup_is_answered_once_whatever_happens,
);

/// A directory, and what it tells.
struct Watched {
    directory: Directory,
    told: Receiver<SubjectChange>,
}

impl Watched {
    fn start(data: &Data) -> Self {
        let (sender, told) = channel();
        let observer = Box::new(move |change| drop(sender.send(change)));
        Self { directory: Directory::start(&data.ledger_options(), observer).unwrap(), told }
    }

    fn look_up(&self, subject: &Subject) -> Result<Option<SubjectRow>, LoadError> {
        let (sender, answer) = channel();
        let reply = Box::new(move |row| sender.send(row).unwrap());
        self.directory.look_up(Lookup { subject: subject.clone(), reply });
        answer.recv().unwrap()
    }

    /// What is told up to the next look, and what that says.
    fn next(&self) -> (Vec<SubjectChange>, bool) {
        let mut changes = Vec::new();
        loop {
            match self.told.recv_timeout(FOREVER).unwrap() {
                SubjectChange::Seen { empty } => return (changes, empty),
                change => changes.push(change),
            }
        }
    }

    /// Waits until these changes are told, and no others; whether the table is empty then.
    fn empty_after(&self, wanted: &[SubjectChange]) -> bool {
        let mut left = wanted.to_vec();
        loop {
            let (changes, empty) = self.next();
            for change in changes {
                let position = left.iter().position(|wanted| *wanted == change);
                left.remove(position.unwrap_or_else(|| panic!("{change:?} was not to come, but {left:?}")));
            }
            if left.is_empty() {
                return empty;
            }
        }
    }
}

fn ann() -> Subject {
    Subject::User("ann".to_owned())
}

fn acme() -> Subject {
    Subject::Org("acme".to_owned())
}

fn table(data: &Data) -> SubjectTable {
    SubjectTable::open(&data.ledger_options()).unwrap()
}

fn full(row: &mut SubjectRow) {
    row.tier = Some("pro".to_owned());
    row.org_id = Some("acme".to_owned());
    row.time_zone = Some("Europe/Berlin".to_owned());
    row.billing_anchor = Some(UnixMillis(-5));
    row.overrides = Some(r#"{"calls": {}}"#.to_owned());
}

fn what_is_written_is_read_and_removed(store: &Store) {
    let data = store.data();
    let mut table = table(&data);
    assert_eq!(table.get(&ann()).unwrap(), None);
    let written = table.edit(&ann(), UnixMillis(NOON), full).unwrap();
    assert_eq!(table.get(&ann()).unwrap(), Some(written.clone()));
    assert_eq!(written.updated_at, UnixMillis(NOON));
    let later = table.edit(&ann(), UnixMillis(NOON + 1), |row| row.time_zone = None).unwrap();
    assert_eq!(later, SubjectRow { time_zone: None, updated_at: UnixMillis(NOON + 1), ..written });
    assert_eq!(table.get(&Subject::Org("ann".to_owned())).unwrap(), None);
    assert!(table.remove(&ann()).unwrap());
    assert!(!table.remove(&ann()).unwrap());
    assert_eq!(table.get(&ann()).unwrap(), None);
}

fn what_makes_no_sense_is_refused_by_the_table_itself(store: &Store) {
    let data = store.data();
    let mut table = table(&data);
    table.edit(&ann(), UnixMillis(NOON), full).unwrap();
    let mut refused = |subject: &Subject, change: fn(&mut SubjectRow)| {
        table.edit(subject, UnixMillis(NOON), change).unwrap_err();
    };
    refused(&ann(), |row| row.overrides = Some("{".to_owned()));
    refused(&ann(), |row| row.overrides = Some("[1]".to_owned()));
    refused(&ann(), |row| row.tier = Some(String::new()));
    refused(&ann(), |row| row.org_id = Some("o".repeat(257)));
    refused(&acme(), |row| row.org_id = Some("other".to_owned()));
    refused(&Subject::User(String::new()), |_| ());
    let row = table.get(&ann()).unwrap().unwrap();
    assert_eq!(row.overrides.as_deref(), Some(r#"{"calls": {}}"#));
}

fn edits_by_anyone_are_told_once_they_can_be_read(store: &Store) {
    let data = store.data();
    let mut table = table(&data);
    let watched = Watched::start(&data);
    assert_eq!(watched.next(), (vec![], true));
    assert_eq!(watched.look_up(&ann()), Ok(None));

    let written = table.edit(&ann(), UnixMillis(NOON), full).unwrap();
    assert!(!watched.empty_after(&[row(&ann())]));
    assert_eq!(watched.look_up(&ann()), Ok(Some(written)));

    data.sql("INSERT INTO subjects (scope, id, tier) VALUES ('org', 'acme', 'free')");
    assert!(!watched.empty_after(&[row(&acme())]));
    assert_eq!(watched.look_up(&acme()).unwrap().unwrap().tier.as_deref(), Some("free"));

    data.sql("UPDATE subjects SET id = 'bob' WHERE id = 'ann'");
    let bob = Subject::User("bob".to_owned());
    watched.empty_after(&[row(&ann()), row(&bob)]);
    assert_eq!(watched.look_up(&ann()), Ok(None));

    data.sql("DELETE FROM subjects");
    assert!(watched.empty_after(&[row(&acme()), row(&bob)]));
    assert_eq!(watched.look_up(&acme()), Ok(None));
}

fn row(subject: &Subject) -> SubjectChange {
    SubjectChange::Row(subject.clone())
}

#[test]
fn more_changes_than_are_kept_are_told_as_any() {
    let data = Data::new();
    drop(table(&data));
    let watched = Watched::start(&data);
    data.sql(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 10001) \
         INSERT INTO subjects (scope, id) SELECT 'user', n FROM n",
    );
    assert!(!watched.empty_after(&[SubjectChange::Any]));
    data.sql("DELETE FROM subjects WHERE id = '7'");
    assert!(!watched.empty_after(&[row(&Subject::User("7".to_owned()))]));
}

/// What may have changed while nobody listened is told as any row.
#[test]
fn a_connection_that_breaks_is_made_anew_and_everything_may_have_changed() {
    let data = Store::postgres().data();
    let mut table = table(&data);
    table.edit(&ann(), UnixMillis(NOON), full).unwrap();
    let watched = Watched::start(&data);
    assert_eq!(watched.next(), (vec![], false));
    data.server().terminate_connections();
    while watched.next().0 != [SubjectChange::Any] {}
    data.sql("UPDATE subjects SET tier = 'free'");
    watched.empty_after(&[row(&ann())]);
    assert_eq!(watched.look_up(&ann()).unwrap().unwrap().tier.as_deref(), Some("free"));

    data.sql("TRUNCATE subjects");
    assert!(watched.empty_after(&[SubjectChange::Any]));
}

/// A server that is silent keeps nobody waiting for longer than a statement may take.
#[test]
fn a_server_that_does_not_answer_is_away() {
    let data = Store::postgres().data();
    table(&data).edit(&ann(), UnixMillis(NOON), full).unwrap();
    let watched = Watched::start(&data);
    data.server().pause();
    assert_eq!(watched.look_up(&ann()), Err(LoadError::Unavailable));
    // While it tries to connect, it does not even wait for that.
    assert_eq!(watched.look_up(&ann()), Err(LoadError::Unavailable));
    data.server().resume();
    while watched.look_up(&ann()).is_err() {}
    while watched.next().0 != [SubjectChange::Any] {}
}

#[test]
fn a_server_that_is_away_at_the_start_is_no_error() {
    let store = Store::postgres();
    let data = store.data();
    table(&data).edit(&ann(), UnixMillis(NOON), full).unwrap();
    let nowhere = LedgerOptions::Postgres(PostgresOptions { port: free_port(), ..data.postgres_options() });
    let directory = Directory::start(&nowhere, Box::new(|_| ())).unwrap();
    let (sender, answer) = channel();
    let reply = Box::new(move |row| sender.send(row).unwrap());
    directory.look_up(Lookup { subject: ann(), reply });
    assert_eq!(answer.recv().unwrap(), Err(LoadError::Unavailable));
    let shown = SubjectTable::open(&nowhere).unwrap_err().to_string();
    assert!(!shown.contains(data.server().password()), "{shown}");
}

fn a_table_that_is_away_is_an_error_until_it_is_back(store: &Store) {
    let data = store.data();
    table(&data).edit(&ann(), UnixMillis(NOON), full).unwrap();
    let watched = Watched::start(&data);
    data.sql("ALTER TABLE subjects RENAME TO away");
    while watched.look_up(&ann()) != Err(LoadError::Unavailable) {}
    data.sql("ALTER TABLE away RENAME TO subjects");
    while watched.look_up(&ann()).is_err() {}
    assert_eq!(watched.look_up(&ann()).unwrap().unwrap().tier.as_deref(), Some("pro"));
}

fn every_lookup_is_answered_once_whatever_happens(store: &Store) {
    let data = store.data();
    drop(table(&data));
    let Watched { directory, told } = Watched::start(&data);
    let (sender, answers) = channel();
    for _ in 0..20_000 {
        let sender = sender.clone();
        let reply = Box::new(move |row: Result<_, _>| sender.send(row).unwrap());
        directory.look_up(Lookup { subject: ann(), reply });
    }
    drop((directory, sender, told));
    let answers: Vec<_> = answers.iter().collect();
    assert_eq!(answers.len(), 20_000);
    assert!(answers.iter().all(|answer| matches!(answer, Ok(None) | Err(_))));
}
