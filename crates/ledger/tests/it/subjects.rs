//! The table of subjects: edits, lookups, and how a running gateway hears of them.

use std::sync::mpsc::{Receiver, channel};

use tollgate_core::UnixMillis;
use tollgate_ledger::{Directory, LoadError, Lookup, Subject, SubjectChange, SubjectRow, SubjectTable};

use crate::common::{Data, FOREVER, NOON};

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

    /// The first changes that are told from now on, and whether the table is empty then.
    fn changes(&self) -> (Vec<SubjectChange>, bool) {
        loop {
            let (changes, empty) = self.next();
            if !changes.is_empty() {
                return (changes, empty);
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
    row.overrides = Some(r#"{"calls":{}}"#.to_owned());
}

#[test]
fn what_is_written_is_read_and_removed() {
    let data = Data::new();
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

#[test]
fn what_makes_no_sense_is_refused_by_the_table_itself() {
    let data = Data::new();
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
    assert_eq!(row.overrides.as_deref(), Some(r#"{"calls":{}}"#));
}

#[test]
fn edits_by_anyone_are_told_once_they_can_be_read() {
    let data = Data::new();
    let mut table = table(&data);
    let watched = Watched::start(&data);
    assert_eq!(watched.next(), (vec![], true));
    assert_eq!(watched.look_up(&ann()), Ok(None));

    let written = table.edit(&ann(), UnixMillis(NOON), full).unwrap();
    assert_eq!(watched.changes(), (vec![SubjectChange::Row(ann())], false));
    assert_eq!(watched.look_up(&ann()), Ok(Some(written)));

    data.sql("INSERT INTO subjects (scope, id, tier) VALUES ('org', 'acme', 'free')");
    assert_eq!(watched.changes(), (vec![SubjectChange::Row(acme())], false));
    assert_eq!(watched.look_up(&acme()).unwrap().unwrap().tier.as_deref(), Some("free"));

    data.sql("UPDATE subjects SET id = 'bob' WHERE id = 'ann'");
    let bob = Subject::User("bob".to_owned());
    let (mut changes, empty) = watched.changes();
    changes.sort_by_key(|change| format!("{change:?}"));
    assert_eq!((&changes[..], empty), (&[SubjectChange::Row(ann()), SubjectChange::Row(bob)][..], false));
    assert_eq!(watched.look_up(&ann()), Ok(None));

    data.sql("DELETE FROM subjects");
    assert!(watched.changes().1);
    assert_eq!(watched.look_up(&acme()), Ok(None));
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
    assert_eq!(watched.changes(), (vec![SubjectChange::Any], false));
    data.sql("DELETE FROM subjects WHERE id = '7'");
    assert_eq!(watched.changes(), (vec![SubjectChange::Row(Subject::User("7".to_owned()))], false));
}

#[test]
fn a_table_that_is_away_is_an_error_until_it_is_back() {
    let data = Data::new();
    table(&data).edit(&ann(), UnixMillis(NOON), full).unwrap();
    let watched = Watched::start(&data);
    data.sql("ALTER TABLE subjects RENAME TO away");
    while watched.look_up(&ann()) != Err(LoadError::Unavailable) {}
    data.sql("ALTER TABLE away RENAME TO subjects");
    while watched.look_up(&ann()).is_err() {}
    assert_eq!(watched.look_up(&ann()).unwrap().unwrap().tier.as_deref(), Some("pro"));
}

#[test]
fn every_lookup_is_answered_once_whatever_happens() {
    let data = Data::new();
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
