//! What resources have, and which there are.

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
};

use proptest::{prelude::*, test_runner::TestRunner};
use tollgate_core::{RequestKey, Settlement, UnixMillis};
use tollgate_ledger::{
    FirstLine, Journal, Ledger, LoadError, OpenResources, OpenResourcesRequest, Position, RESOURCE_BYTES_MAX,
    ResourceRequest, ResourceSum, Subject,
};
use uuid::Uuid;

use crate::common::{Data, FOREVER, NOON, Store, flush, on_each_store, settle, settlement};

on_each_store!(
    a_resource_has_what_its_lines_come_to,
    what_begins_again_begins_with_its_new_line,
    what_is_repeated_counts_once_in_resources,
    pages_of_open_resources_have_each_once,
    what_one_began_and_another_ended_is_not_open,
    long_names_are_asked_for_as_they_are_kept,
    resources_are_those_of_the_lines_whoever_ships_them_and_however_often,
    every_question_for_resources_is_answered_once,
);

fn ask(ledger: &Ledger, subject: Subject, (meter, resource): (&str, &str), reached: Position) -> ResourceSum {
    let (sender, receiver) = mpsc::channel();
    ledger.resource_sums(ResourceRequest {
        subject,
        meters: vec!["none".to_owned(), meter.to_owned()],
        resource: resource.to_owned(),
        reached,
        reply: Box::new(move |sum| sender.send(sum).unwrap()),
    });
    let [none, sum] = <[ResourceSum; 2]>::try_from(receiver.recv().unwrap().unwrap()).unwrap();
    assert_eq!(none, ResourceSum::default());
    sum
}

fn page(ledger: &Ledger, meter: &str, prefix: &str, before: Option<&OpenResources>) -> OpenResources {
    let (sender, receiver) = mpsc::channel();
    ledger.open_resources(OpenResourcesRequest {
        meter: meter.to_owned(),
        is_shared: meter == "shared",
        prefix: prefix.to_owned(),
        after: before.and_then(|page| page.next.clone()),
        reached: Position::default(),
        reply: Box::new(move |page| sender.send(page).unwrap()),
    });
    receiver.recv().unwrap().unwrap()
}

fn user(id: &str) -> Subject {
    Subject::User(id.to_owned())
}

fn of<'a>(number: u64, resource: &'a str, charges: &[(&'static str, i64)]) -> Settlement<'a> {
    Settlement { resource: Some(resource), ..settlement(number, charges) }
}

fn id(number: u64, index: u8) -> Uuid {
    Uuid::from_u128(settlement(number, &[]).key.event(index).to_bits())
}

fn a_resource_has_what_its_lines_come_to(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    let created =
        Settlement { metadata: Some(r#"{"a":1}"#), ..of(1, "mem/1", &[("calls", 1), ("bytes", 700)]) };
    settle(&journal, &created);
    settle(&journal, &Settlement { user_id: "bob", ..of(2, "mem/1", &[("bytes", 5)]) });
    settle(&journal, &Settlement { org_id: None, ..of(3, "mem/1", &[("bytes", 20)]) });
    settle(&journal, &settlement(4, &[("bytes", 10_000)]));
    let sum = |subject: &Subject, meter, resource| {
        let ResourceSum { amount, first } = ask(&ledger, subject.clone(), (meter, resource), journal.tail());
        (amount, first.map(|first| first.id))
    };
    let org = Subject::Org("analytical-engines".to_owned());
    assert_eq!(sum(&user("ada"), "bytes", "mem/1"), (720, Some(id(1, 1))));
    assert_eq!(sum(&user("bob"), "bytes", "mem/1"), (5, Some(id(2, 0))));
    assert_eq!(sum(&org, "bytes", "mem/1"), (705, Some(id(1, 1))));
    assert_eq!(sum(&user("ada"), "calls", "mem/1"), (1, Some(id(1, 0))));
    for nothing in [sum(&user("ada"), "bytes", "mem/2"), sum(&Subject::Org(String::new()), "bytes", "mem/1")]
    {
        assert_eq!(nothing, (0, None));
    }
    let first = ask(&ledger, user("ada"), ("bytes", "mem/1"), journal.tail()).first;
    let metadata = Some(r#"{"a":1}"#.to_owned());
    let (tier, route) = ("professional".to_owned(), "/api/v1/llm/".to_owned());
    assert_eq!(first, Some(FirstLine { id: id(1, 1), at: UnixMillis(NOON), tier, route, metadata }));
    ledger.shutdown(FOREVER).unwrap();
    assert!(data.audit().is_clean());
}

fn what_begins_again_begins_with_its_new_line(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    for (number, amount, expected) in [(1, 9, Some(1)), (2, -9, None), (3, 4, Some(3)), (4, 1, Some(3))] {
        settle(&journal, &of(number, "a", &[("bytes", amount)]));
        let first = ask(&ledger, user("ada"), ("bytes", "a"), journal.tail()).first;
        assert_eq!(first.map(|first| first.id), expected.map(|number| id(number, 0)));
    }
    settle(&journal, &of(5, "a", &[("bytes", -5)]));
    flush(&ledger, &journal).unwrap();
    assert_eq!(data.count("usage_resources"), 0);
    ledger.shutdown(FOREVER).unwrap();
    assert!(data.audit().is_clean());
}

fn what_is_repeated_counts_once_in_resources(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let positions: Vec<_> =
        (0..30).map(|number| settle(&journal, &of(number, "a", &[("calls", 1), ("bytes", 10)]))).collect();
    data.ship(&journal);
    settle(&journal, &of(30, "a", &[("bytes", -7)]));
    data.sql(&format!("UPDATE journal_watermark SET position = {}", positions[13].get()));
    let ledger = data.ledger(&journal);
    assert_eq!(ask(&ledger, user("ada"), ("bytes", "a"), journal.tail()).amount, 293);
    assert_eq!(ask(&ledger, user("ada"), ("bytes", "a"), journal.tail()).first.unwrap().id, id(0, 1));
    ledger.shutdown(FOREVER).unwrap();
    assert!(data.audit().is_clean());
}

fn pages_of_open_resources_have_each_once(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    let names: Vec<_> = (0..1200).map(|number| format!("job-{number:04}")).collect();
    for (number, name) in (0..).zip(&names) {
        let user_id = ["ada", "bob"][usize::from(number % 2 == 0)];
        settle(&journal, &Settlement { user_id, ..of(number, name, &[("jobs", 1)]) });
        if number % 3 == 0 {
            settle(&journal, &Settlement { user_id, ..of(10_000 + number, name, &[("jobs", -1)]) });
        }
    }
    settle(&journal, &of(5000, "other", &[("jobs", 1)]));
    settle(&journal, &of(5001, "job-0000", &[("bytes", 3)]));
    settle(&journal, &of(5002, "job-0000", &[("jobs", -1)]));
    flush(&ledger, &journal).unwrap();
    for (prefix, expected) in [("job-", 800), ("", 801), ("job-00", 66), ("p", 0)] {
        let mut found = Vec::new();
        let mut last = None;
        loop {
            let page = page(&ledger, "jobs", prefix, last.as_ref());
            found.extend(page.resources.iter().cloned());
            if page.next.is_none() {
                break;
            }
            last = Some(page);
        }
        assert_eq!(found.len(), expected, "{prefix}");
        assert!(found.is_sorted_by(|a, b| a.place < b.place));
        assert!(found.iter().all(|open| open.amount == 1 && open.place.resource.starts_with(prefix)));
    }
    let one = page(&ledger, "jobs", "job-0001", None);
    let [open] = &one.resources[..] else { panic!("{one:?}") };
    assert_eq!((open.place.user_id.as_str(), open.place.org_id.as_str()), ("ada", "analytical-engines"));
    assert_eq!((open.first.id, open.first.at), (id(1, 0), UnixMillis(NOON)));
}

fn what_one_began_and_another_ended_is_not_open(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    let lines: [(&'static str, Option<&'static str>, &'static str, i64); 7] = [
        ("ada", Some("acme"), "a", 1),
        ("bob", Some("acme"), "a", -1),
        ("ada", Some("acme"), "b", i64::MAX),
        ("bob", Some("acme"), "b", i64::MAX),
        ("cyd", Some("acme"), "b", -1),
        ("ada", None, "c", 1),
        ("bob", Some("other"), "c", -1),
    ];
    for (number, (user_id, org_id, resource, amount)) in (0..).zip(lines) {
        let charges = [("shared", amount), ("jobs", amount)];
        settle(&journal, &Settlement { user_id, org_id, ..of(number, resource, &charges) });
    }
    flush(&ledger, &journal).unwrap();
    let open = |meter: &str| {
        let page = page(&ledger, meter, "", None);
        assert_eq!(page.next, None);
        let place =
            |open: &tollgate_ledger::OpenResource| format!("{} {}", open.place.resource, open.place.user_id);
        page.resources.iter().map(place).collect::<Vec<_>>()
    };
    assert_eq!(open("shared"), ["b ada", "b bob", "c ada"]);
    assert_eq!(open("jobs"), ["a ada", "b ada", "b bob", "c ada"]);
    ledger.shutdown(FOREVER).unwrap();
    assert!(data.audit().is_clean());
}

fn long_names_are_asked_for_as_they_are_kept(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    let long = format!("{}\0ä", "x".repeat(RESOURCE_BYTES_MAX - 2));
    settle(&journal, &of(1, &long, &[("bytes", 8)]));
    settle(&journal, &of(2, "\0", &[("bytes", 9)]));
    assert_eq!(ask(&ledger, user("ada"), ("bytes", &long), journal.tail()).amount, 8);
    assert_eq!(ask(&ledger, user("ada"), ("bytes", "\0"), journal.tail()).amount, 9);
}

/// A line: whose, of what, how much, in which millisecond, through which gateway.
type Line = (usize, usize, usize, i64, i64, usize);

fn resources_are_those_of_the_lines_whoever_ships_them_and_however_often(store: &Store) {
    let line = (0..3usize, 0..2usize, 0..4usize, -3..4i64, 0..5i64, 0..2usize);
    let lines = proptest::collection::vec(line, 1..60);
    let cuts = proptest::collection::vec(any::<prop::sample::Index>(), 0..5);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(store.cases(32)));
    let result = runner.run(&(lines, cuts), |(lines, cuts)| {
        let data = store.data();
        // Two gateways, where two can share a ledger.
        let shared = matches!(store, Store::Postgres(_));
        let other = if shared { data.neighbour() } else { store.data() };
        let journals = [data.journal().0, other.journal().0];
        let ledgers = [data.ledger(&journals[0]), other.ledger(&journals[1])];
        for (number, line) in (0..).zip(&lines) {
            put(&journals[if shared { line.5 } else { 0 }], number, line);
            if cuts.iter().any(|cut| cut.index(lines.len()) == usize::try_from(number).unwrap()) {
                flush(&ledgers[line.5], &journals[line.5]).unwrap();
            }
        }
        for (ledger, journal) in ledgers.iter().zip(&journals) {
            flush(ledger, journal).unwrap();
        }
        check(&lines, &ledgers[0], journals[0].tail())?;
        drop(ledgers);
        // All of it again.
        data.sql("UPDATE journal_watermark SET position = 0");
        data.ship(&journals[0]);
        if shared {
            other.ship(&journals[1]);
        }
        check(&lines, &data.ledger(&journals[0]), journals[0].tail())?;
        audited(&data)
    });
    result.unwrap();
}

const USERS: [&str; 3] = ["ada", "bob", ""];
const METERS: [&str; 2] = ["bytes", "jobs"];
const NAMES: [&str; 4] = ["a", "b", "", "c/ä"];

fn put(journal: &Arc<Journal>, number: u64, (user, meter, name, amount, millis, _): &Line) {
    let at = UnixMillis(NOON + millis);
    let settled = Settlement {
        key: RequestKey::new(at, u128::from(number) << 20),
        at,
        user_id: USERS[*user],
        org_id: (*user > 0).then_some("org"),
        ..of(number, NAMES[*name], &[(METERS[*meter], *amount)])
    };
    settle(journal, &settled);
}

fn check(lines: &[Line], ledger: &Ledger, reached: Position) -> Result<(), TestCaseError> {
    let mut expected = BTreeMap::new();
    for (user, meter, name, amount, ..) in lines {
        *expected.entry((*user, *meter, *name)).or_insert(0) += amount;
    }
    for ((user_id, meter, name), amount) in &expected {
        let sum = ask(ledger, user(USERS[*user_id]), (METERS[*meter], NAMES[*name]), reached);
        prop_assert_eq!((sum.amount, sum.first.is_some()), (*amount, *amount != 0));
    }
    for (index, meter) in METERS.iter().enumerate() {
        let open = page(ledger, meter, "", None).resources;
        let is_open = |((_, of, _), amount): &(&(usize, usize, usize), &i64)| *of == index && **amount > 0;
        prop_assert_eq!(open.len(), expected.iter().filter(is_open).count());
    }
    Ok(())
}

fn audited(data: &Data) -> Result<(), TestCaseError> {
    let differences = data.audit().differences;
    prop_assert!(differences.is_empty(), "{differences:#?}");
    Ok(())
}

fn every_question_for_resources_is_answered_once(store: &Store) {
    let data = store.data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    let (sender, receiver) = mpsc::channel();
    let ask = |count: usize| {
        for number in 0..count {
            let sender = sender.clone();
            if number % 2 == 0 {
                ledger.resource_sums(ResourceRequest {
                    subject: user("ada"),
                    meters: vec!["bytes".to_owned()],
                    resource: "a".to_owned(),
                    reached: Position::new(u64::MAX),
                    reply: Box::new(move |sum| sender.send(sum.map(|_| ())).unwrap()),
                });
            } else {
                ledger.open_resources(OpenResourcesRequest {
                    meter: "bytes".to_owned(),
                    is_shared: false,
                    prefix: String::new(),
                    after: None,
                    reached: Position::new(u64::MAX),
                    reply: Box::new(move |page| sender.send(page.map(|_| ())).unwrap()),
                });
            }
        }
    };
    ask(3000);
    ledger.shutdown(FOREVER).unwrap();
    ask(4);
    drop(ledger);
    drop(sender);
    let answers: Vec<_> = receiver.iter().collect();
    assert_eq!(answers.len(), 3004);
    assert!(answers[3000..].iter().all(|answer| *answer == Err(LoadError::Unavailable)));
}
