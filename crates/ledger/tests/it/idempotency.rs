//! A request with an idempotency key is done once.

use std::{sync::mpsc, thread};

use tollgate_core::RequestKey;
use tollgate_ledger::{
    BeginIdempotent, Begun, FinishIdempotent, IDEMPOTENCY_KEY_BYTES_MAX, IDEMPOTENT_ANSWER_BYTES_MAX, Ledger,
    LoadError,
};
use uuid::Uuid;

use crate::common::{Data, FOREVER, Store, key, on_each_store, wait_until};

on_each_store!(
    a_key_is_new_then_runs_then_is_done,
    of_many_that_begin_at_once_one_does_it,
    the_attempt_of_a_gateway_that_is_gone_is_taken_over_under_its_request_key,
    a_forgotten_key_is_new_again,
    keys_are_kept_for_a_day_and_swept_then,
    what_is_too_long_is_refused,
    a_ledger_that_ends_answers_all,
);

const BODY: [u8; 32] = [7; 32];

struct Attempt<'a> {
    name: &'a str,
    body: [u8; 32],
    number: u64,
    takes_over: Option<Uuid>,
}

fn attempt(name: &str, number: u64) -> Attempt<'_> {
    Attempt { name, body: BODY, number, takes_over: None }
}

fn begin(ledger: &Ledger, attempt: &Attempt<'_>) -> Result<Begun, LoadError> {
    let Attempt { name, body, number, takes_over } = *attempt;
    let (sender, receiver) = mpsc::channel();
    ledger.begin_idempotent(BeginIdempotent {
        scope: "user:ada".to_owned(),
        key: name.to_owned(),
        body_sha256: body,
        request_key: key(number),
        takes_over,
        reply: Box::new(move |begun| sender.send(begun).unwrap()),
    });
    receiver.recv().unwrap()
}

fn finish(
    ledger: &Ledger,
    name: &str,
    request_key: RequestKey,
    answer: Option<&[u8]>,
) -> Result<(), LoadError> {
    let (sender, receiver) = mpsc::channel();
    ledger.finish_idempotent(FinishIdempotent {
        scope: "user:ada".to_owned(),
        key: name.to_owned(),
        request_key,
        answer: answer.map(|answer| (201, answer.to_vec())),
        reply: Box::new(move |finished| sender.send(finished).unwrap()),
    });
    receiver.recv().unwrap()
}

fn a_key_is_new_then_runs_then_is_done(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    assert_eq!(begin(&ledger, &attempt("a", 1)), Ok(Begun::New { request_key: key(1) }));
    let running = Begun::Running { request_key: key(1), journal: journal.id() };
    assert_eq!(begin(&ledger, &attempt("a", 2)), Ok(running));
    assert_eq!(begin(&ledger, &Attempt { body: [8; 32], ..attempt("a", 3) }), Ok(Begun::OtherBody));
    // Not by another attempt.
    finish(&ledger, "a", key(2), Some(b"no")).unwrap();
    finish(&ledger, "a", key(1), Some(b"yes")).unwrap();
    finish(&ledger, "a", key(1), Some(b"again")).unwrap();
    finish(&ledger, "a", key(1), None).unwrap();
    let done = Ok(Begun::Done { status: 201, answer: b"yes".to_vec() });
    assert_eq!(begin(&ledger, &attempt("a", 4)), done);
    // Also not by who thinks that it never ended.
    assert_eq!(begin(&ledger, &Attempt { takes_over: Some(journal.id()), ..attempt("a", 5) }), done);
    assert_eq!(begin(&ledger, &Attempt { body: [8; 32], ..attempt("a", 6) }), Ok(Begun::OtherBody));
    assert_eq!(begin(&ledger, &attempt("b", 7)), Ok(Begun::New { request_key: key(7) }));
    ledger.shutdown(FOREVER).unwrap();
    // As after a restart.
    assert_eq!(begin(&data.ledger(&journal), &attempt("a", 8)), done);
}

fn of_many_that_begin_at_once_one_does_it(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let neighbour = matches!(store, Store::Postgres(_)).then(|| data.neighbour());
    let other = neighbour.as_ref().map(|other| other.journal().0);
    let mut ledgers = vec![data.ledger(&journal)];
    ledgers.extend(neighbour.iter().zip(&other).map(|(other, journal)| other.ledger(journal)));
    for round in 0..20 {
        let name = format!("round-{round}");
        let (ledgers, name) = (&ledgers, &name);
        let begun: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|number| {
                    let ledger = &ledgers[usize::try_from(number).unwrap() % ledgers.len()];
                    scope.spawn(move || (number, begin(ledger, &attempt(name, number)).unwrap()))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let new: Vec<_> = begun
            .iter()
            .filter(|(number, begun)| *begun == Begun::New { request_key: key(*number) })
            .map(|(number, _)| *number)
            .collect();
        let [first] = new[..] else { panic!("{begun:?}") };
        let runs =
            |begun: &Begun| matches!(begun, Begun::Running { request_key, .. } if *request_key == key(first));
        assert_eq!(begun.iter().filter(|(_, begun)| runs(begun)).count(), 7, "{begun:?}");
    }
}

fn the_attempt_of_a_gateway_that_is_gone_is_taken_over_under_its_request_key(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    begin(&ledger, &attempt("a", 1)).unwrap();
    let gone = Uuid::from_u128(5);
    data.sql(&match store {
        Store::Sqlite => format!("UPDATE idempotency_keys SET journal = '{gone}'"),
        Store::Postgres(_) => format!("UPDATE idempotency_keys SET journal = '{gone}'::uuid"),
    });
    let take = |body, number, takes_over| {
        begin(&ledger, &Attempt { body, takes_over: Some(takes_over), ..attempt("a", number) })
    };
    assert_eq!(take(BODY, 2, journal.id()), Ok(Begun::Running { request_key: key(1), journal: gone }));
    assert_eq!(take([8; 32], 3, gone), Ok(Begun::OtherBody));
    assert_eq!(take(BODY, 4, gone), Ok(Begun::New { request_key: key(1) }));
    // Once.
    assert_eq!(take(BODY, 5, gone), Ok(Begun::Running { request_key: key(1), journal: journal.id() }));
}

fn a_forgotten_key_is_new_again(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    begin(&ledger, &attempt("a", 1)).unwrap();
    finish(&ledger, "a", key(2), None).unwrap();
    assert!(matches!(begin(&ledger, &attempt("a", 3)), Ok(Begun::Running { .. })));
    finish(&ledger, "a", key(1), None).unwrap();
    let begun = begin(&ledger, &Attempt { body: [8; 32], ..attempt("a", 4) });
    assert_eq!(begun, Ok(Begun::New { request_key: key(4) }));
}

fn keys_are_kept_for_a_day_and_swept_then(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    for number in 0..20 {
        let name = format!("old-{number}");
        begin(&ledger, &attempt(&name, number)).unwrap();
        finish(&ledger, &name, key(number), Some(b"old")).unwrap();
    }
    let age = |hours: i64| {
        data.sql(&match store {
            Store::Sqlite => format!("UPDATE idempotency_keys SET begun_at = begun_at - {hours} * 3600000"),
            Store::Postgres(_) => {
                format!("UPDATE idempotency_keys SET begun_at = begun_at - interval '{hours} hours'")
            }
        });
    };
    age(24);
    assert!(matches!(begin(&ledger, &attempt("old-0", 100)), Ok(Begun::Done { .. })));
    age(2);
    // What is too old is as nothing, swept or not; and each new one takes some old ones away.
    assert_eq!(begin(&ledger, &attempt("old-19", 101)), Ok(Begun::New { request_key: key(101) }));
    for number in 0..5 {
        begin(&ledger, &attempt(&format!("new-{number}"), 200 + number)).unwrap();
    }
    assert_eq!(data.count("idempotency_keys"), 6);
}

fn what_is_too_long_is_refused(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    let name = "k".repeat(IDEMPOTENCY_KEY_BYTES_MAX);
    assert_eq!(begin(&ledger, &attempt(&format!("{name}k"), 1)), Err(LoadError::TooLong));
    begin(&ledger, &attempt(&name, 1)).unwrap();
    let answer = vec![0xff; IDEMPOTENT_ANSWER_BYTES_MAX + 1];
    assert_eq!(finish(&ledger, &name, key(1), Some(&answer)), Err(LoadError::TooLong));
    finish(&ledger, &name, key(1), Some(&answer[1..])).unwrap();
    let Ok(Begun::Done { answer: kept, .. }) = begin(&ledger, &attempt(&name, 2)) else { panic!() };
    assert_eq!(kept, answer[1..]);
}

fn a_ledger_that_ends_answers_all(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    ledger.shutdown(FOREVER).unwrap();
    assert_eq!(begin(&ledger, &attempt("a", 1)), Err(LoadError::Unavailable));
    assert_eq!(finish(&ledger, "a", key(1), None), Err(LoadError::Unavailable));
}

#[test]
fn a_file_that_is_locked_is_waited_for_once() {
    let data = Data::new();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    let blocker = rusqlite::Connection::open(data.ledger_path()).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (sender, receiver) = mpsc::channel();
    // Far more than could each wait for it within the patience of a test.
    for number in 0..4000 {
        let sender = sender.clone();
        ledger.begin_idempotent(BeginIdempotent {
            scope: "user:ada".to_owned(),
            key: number.to_string(),
            body_sha256: BODY,
            request_key: key(number),
            takes_over: None,
            reply: Box::new(move |begun| sender.send(begun).unwrap()),
        });
    }
    drop(sender);
    assert_eq!(receiver.iter().filter(|begun| *begun == Err(LoadError::Unavailable)).count(), 4000);
    blocker.execute_batch("COMMIT").unwrap();
    wait_until(|| begin(&ledger, &attempt("a", 1)) == Ok(Begun::New { request_key: key(1) }));
}
