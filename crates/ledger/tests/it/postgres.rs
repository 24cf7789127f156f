//! What only a shared ledger can go through.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use tollgate_core::{RequestKey, Settlement, Span, UnixMillis};
use tollgate_ledger::{
    Journal, Ledger, LedgerError, LedgerOptions, LedgerReader, LoadError, PostgresOptions, PostgresTls,
    Subject, migrate,
};
use tollgate_testkit::{Cut, Cutter, Postgres, tls};

use crate::common::{Data, FOREVER, NOON, Store, flush, instances, load, settle, settlement, wait_until};

/// A settlement of one of many users, with an id that no other journal has.
fn settled(journal: u64, number: u64, users: &'static [&'static str]) -> Settlement<'static> {
    let user = users[usize::try_from(number % users.len() as u64).unwrap()];
    let settlement = settlement(number, &[("calls", 1), ("tokens", 7)]);
    let key = RequestKey::new(UnixMillis(NOON), u128::from(journal * 1_000_000 + number) << 20);
    Settlement { key, user_id: user, ..settlement }
}

const USERS: [&str; 7] = ["ada", "bob", "cyd", "dan", "eve", "fay", "gus"];
const USERS_BACKWARDS: [&str; 7] = ["gus", "fay", "eve", "dan", "cyd", "bob", "ada"];

fn sum(data: &Data, user: &str, meter: &str) -> i64 {
    data.reader().sum(&Subject::User(user.to_owned()), meter, Span::ALWAYS).unwrap()
}

#[test]
fn ledgers_that_ship_the_same_keys_at_once_neither_deadlock_nor_miscount() {
    let data = Store::postgres().data();
    let neighbours = [data.neighbour(), data.neighbour(), data.neighbour()];
    const EACH: u64 = 3000;
    thread::scope(|scope| {
        for (number, data) in (1..).zip(&neighbours) {
            scope.spawn(move || {
                let (journal, _) = data.journal();
                let ledger = data.ledger(&journal);
                let users = if number % 2 == 0 { &USERS } else { &USERS_BACKWARDS };
                for count in 0..EACH {
                    settle(&journal, &settled(number, count, users));
                    if count % 50 == 0 {
                        flush(&ledger, &journal).unwrap();
                    }
                }
                ledger.shutdown(FOREVER).unwrap();
            });
        }
    });
    assert!(!data.server().logs().contains("deadlock"), "{}", data.server().logs());
    let of_all: i64 = USERS.iter().map(|user| sum(&data, user, "calls")).sum();
    assert_eq!(of_all, i64::try_from(EACH * 3).unwrap());
    for neighbour in &neighbours {
        let report = neighbour.audit();
        assert!(report.is_clean(), "{:#?}", report.differences);
        assert_eq!(report.events, EACH * 3 * 2);
    }
}

/// As a transaction that was given up, and works on in the server while the next one repeats it.
#[test]
fn two_that_ship_the_same_lines_at_once_count_each_once() {
    let data = Store::postgres().data();
    const EACH: u64 = 3000;
    const ROUNDS: u64 = 4;
    let (mut journal, _) = data.journal();
    for round in 1..=ROUNDS {
        for number in 0..EACH {
            settle(&journal, &settled(round, number, &USERS));
        }
        let twin = data.as_after_a_crash();
        let (twin_journal, _) = twin.journal();
        assert_eq!(twin_journal.id(), journal.id());
        // Each connects and reads the watermark before either ships.
        let ready = Barrier::new(2);
        thread::scope(|scope| {
            for (data, journal) in [(&data, &journal), (&twin, &twin_journal)] {
                let ready = &ready;
                scope.spawn(move || {
                    ready.wait();
                    data.ledger(journal).shutdown(FOREVER).unwrap();
                });
            }
        });
        drop(journal);
        drop(twin_journal);
        (journal, _) = data.journal();
    }
    let logs = data.server().logs();
    assert!(!logs.contains("deadlock"), "{logs}");
    let of_all: i64 = USERS.iter().map(|user| sum(&data, user, "calls")).sum();
    assert_eq!(of_all, i64::try_from(EACH * ROUNDS).unwrap());
    let report = data.audit();
    assert!(report.is_clean(), "{:#?}", report.differences);
    assert_eq!(report.events, EACH * ROUNDS * 2);
}

#[test]
fn only_a_batch_that_may_be_there_goes_by_the_staging_table() {
    let store = Store::Postgres(Arc::new(Postgres::with_settings(&["log_statement=all"])));
    let data = store.data();
    let (journal, _) = data.journal();
    let copies = || {
        let logs = data.server().logs();
        let count = |table| logs.lines().filter(|line| line.contains(&format!(": COPY {table} "))).count();
        (count("usage_ledger"), count("tollgate_staging"))
    };
    let ship = |ledger: &Ledger, number| {
        settle(&journal, &settled(0, number, &USERS));
        flush(ledger, &journal).unwrap();
    };
    let ledger = data.ledger(&journal);
    (0..3).for_each(|number| ship(&ledger, number));
    ledger.shutdown(FOREVER).unwrap();
    assert_eq!(copies(), (3, 0));
    data.sql("UPDATE journal_watermark SET position = 0");
    let ledger = data.ledger(&journal);
    // Refused and copied again; expected to be there, and new; new.
    for (number, expected) in [(3, (4, 1)), (4, (4, 2)), (5, (5, 2))] {
        ship(&ledger, number);
        assert_eq!(copies(), expected);
    }
    ledger.shutdown(FOREVER).unwrap();
    let report = data.audit();
    assert!(report.is_clean() && report.events == 12, "{report:#?}");
}

#[test]
fn a_transaction_that_the_server_ends_is_repeated() {
    let data = Store::postgres().data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    settle(&journal, &settled(0, 0, &USERS));
    flush(&ledger, &journal).unwrap();
    // Not serializable, a deadlock, a full disk, cancelled: first where lines are inserted, then behind it.
    data.sql(
        "CREATE SEQUENCE failures; CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
         DECLARE
             failed bigint := nextval('failures');
             codes text[] := ARRAY['40001', '40P01', '53100', '57014'];
         BEGIN
             IF failed <= array_length(codes, 1) THEN
                 RAISE EXCEPTION USING ERRCODE = codes[failed], MESSAGE = 'as ordered by a test';
             END IF;
             RETURN NULL;
         END $$",
    );
    for (round, table) in (1..).zip(["usage_ledger", "usage_minutely", "usage_daily", "journal_watermark"]) {
        data.sql(&format!(
            "ALTER SEQUENCE failures RESTART; CREATE TRIGGER fail AFTER INSERT OR UPDATE ON {table} \
             FOR EACH STATEMENT EXECUTE FUNCTION fail()"
        ));
        settle(&journal, &settled(round, 1, &USERS));
        wait_until(|| flush(&ledger, &journal).is_ok());
        data.sql(&format!("DROP TRIGGER fail ON {table}"));
    }
    ledger.shutdown(FOREVER).unwrap();
    assert_eq!(data.server().logs().matches("as ordered by a test").count(), 16);
    let report = data.audit();
    assert!(report.is_clean() && report.events == 10, "{report:#?}");
    assert_eq!(sum(&data, "bob", "tokens"), 28);
}

/// A ledger behind a proxy.
fn behind(data: &Data, cutter: &Cutter) -> LedgerOptions {
    let options = data.postgres_options();
    LedgerOptions::Postgres(PostgresOptions {
        port: cutter.address().port(),
        tls: PostgresTls::Disable,
        ..options
    })
}

fn cutter(server: &Postgres) -> Cutter {
    Cutter::new(SocketAddr::from(([127, 0, 0, 1], server.port())))
}

#[test]
fn connections_cut_anywhere_lose_nothing_and_double_nothing() {
    let data = Store::postgres().data();
    let (journal, _) = data.journal();
    let cutter = cutter(data.server());
    let ledger = Ledger::start(Arc::clone(&journal), behind(&data, &cutter)).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    const ROUNDS: u64 = 60;
    const EACH: u64 = 20;
    for round in 0..ROUNDS {
        for number in 0..EACH {
            settle(&journal, &settled(0, round * EACH + number, &USERS));
        }
        cutter.cut(match round % 4 {
            0 => Cut::Answer("COMMIT"),
            1 => Cut::Before("COMMIT"),
            _ => Cut::Bytes(random.u64(1..20_000)),
        });
        // Refused while it fails; in the end all is there.
        wait_until(|| flush(&ledger, &journal).is_ok());
    }
    cutter.cut(Cut::Bytes(u64::MAX));
    ledger.shutdown(FOREVER).unwrap();
    assert!(cutter.cuts() >= ROUNDS / 2, "{}", cutter.cuts());
    let report = data.audit();
    assert!(report.is_clean(), "{:#?}", report.differences);
    assert_eq!(report.events, ROUNDS * EACH * 2);
    let of_all: i64 = USERS.iter().map(|user| sum(&data, user, "tokens")).sum();
    assert_eq!(of_all, i64::try_from(ROUNDS * EACH * 7).unwrap());
}

#[test]
fn a_server_that_goes_away_is_waited_for() {
    let mut server = Postgres::new();
    let options = |server: &Postgres| PostgresOptions {
        host: tollgate_ledger::PostgresHost::Tcp("127.0.0.1".to_owned()),
        port: server.port(),
        user: server.user().to_owned(),
        password: Some(server.password().to_owned()),
        database: "postgres".to_owned(),
        tls: PostgresTls::Prefer,
    };
    let options = options(&server);
    let data = Data::new();
    let (journal, _) = data.journal();
    let ledger = Ledger::start(Arc::clone(&journal), LedgerOptions::Postgres(options.clone())).unwrap();
    settle(&journal, &settled(0, 1, &USERS));
    flush(&ledger, &journal).unwrap();

    server.stop();
    settle(&journal, &settled(0, 2, &USERS));
    wait_until(|| ledger.status().failing_since.is_some());
    let status = ledger.status();
    assert_eq!(status.oldest_unshipped, Some(UnixMillis(NOON)));
    let error = status.last_error.unwrap();
    assert!(!error.contains(server.password()), "{error}");
    assert_eq!(flush(&ledger, &journal), Err(LoadError::Unavailable));
    let asked = load(&ledger, "ada", &[("calls", Span::ALWAYS)], journal.tail());
    assert_eq!(asked, Err(LoadError::Unavailable));
    drop(ledger);

    // A gateway starts while the server is away: what it settles waits.
    let ledger = Ledger::start(Arc::clone(&journal), LedgerOptions::Postgres(options.clone())).unwrap();
    settle(&journal, &settled(0, 3, &USERS));
    assert!(ledger.status().failing_since.is_some());
    server.start();
    wait_until(|| ledger.status().failing_since.is_none());
    flush(&ledger, &journal).unwrap();
    server.terminate_connections();
    settle(&journal, &settled(0, 4, &USERS));
    wait_until(|| flush(&ledger, &journal).is_ok());
    let reader = LedgerReader::open(&LedgerOptions::Postgres(options)).unwrap();
    assert_eq!(reader.events(&tollgate_ledger::EventFilter::default()).unwrap().len(), 8);
}

#[test]
fn a_server_that_hangs_hangs_nobody() {
    let data = Store::postgres().data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    settle(&journal, &settled(0, 1, &USERS));
    flush(&ledger, &journal).unwrap();
    data.server().pause();
    settle(&journal, &settled(0, 2, &USERS));
    assert_eq!(flush(&ledger, &journal), Err(LoadError::Unavailable));
    assert!(ledger.shutdown(Duration::from_millis(200)).is_err());
    drop(ledger);
    data.server().resume();
    data.ship(&journal);
    let report = data.audit();
    assert!(report.is_clean() && report.events == 4, "{report:#?}");
}

#[test]
fn what_cannot_change_by_itself_is_refused_at_the_start() {
    let data = Store::postgres().data();
    let (journal, _) = data.journal();
    let good = data.postgres_options();
    let start = |options: PostgresOptions| {
        let password = options.password.clone().unwrap_or_default();
        let error =
            Ledger::start(Arc::clone(&journal), LedgerOptions::Postgres(options.clone())).unwrap_err();
        let shown = format!("{error} {error:?} {options:?} {options}");
        assert!(password.is_empty() || !shown.contains(&password), "{shown}");
        error.to_string()
    };
    let wrong = start(PostgresOptions { password: Some("another-canary".to_owned()), ..good.clone() });
    assert!(wrong.contains("password authentication failed") && wrong.contains("28P01"), "{wrong}");
    let none = start(PostgresOptions { password: None, ..good.clone() });
    assert!(none.contains("password"), "{none}");
    let nowhere = start(PostgresOptions { database: "nowhere".to_owned(), ..good.clone() });
    assert!(nowhere.contains("does not exist"), "{nowhere}");
    let plain = start(PostgresOptions { tls: PostgresTls::Require, ..good.clone() });
    assert!(plain.contains("TLS"), "{plain}");
    let unread = start(PostgresOptions {
        tls: PostgresTls::Verify { ca: Some(data.path().join("no-such.pem")) },
        ..good.clone()
    });
    assert!(unread.contains("no-such.pem"), "{unread}");
    let known = migrate(&LedgerOptions::Postgres(good.clone())).unwrap().to;
    data.sql("INSERT INTO tollgate_schema (version, name) VALUES (99, 'of the future')");
    let newer = start(good.clone());
    assert!(newer.contains("version 99") && newer.contains(&format!("knows {known}")), "{newer}");
    for refused in [
        migrate(&LedgerOptions::Postgres(good.clone())).map(|_| ()),
        LedgerReader::open(&LedgerOptions::Postgres(good)).map(|_| ()),
    ] {
        assert!(
            matches!(refused, Err(LedgerError::Schema { found: 99, known: k }) if k == known),
            "{refused:?}"
        );
    }
}

#[test]
fn many_migrate_at_once_and_one_does() {
    let data = Store::postgres().data();
    let options = data.ledger_options();
    let from: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| migrate(&options).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap().from).collect()
    });
    assert_eq!(from.iter().filter(|from| **from == 0).count(), 1, "{from:?}");
}

#[test]
fn lines_go_to_the_partition_of_their_month() {
    let data = Store::postgres().data();
    let (journal, _) = data.journal();
    // The last millisecond of a month, the first of the next, one long ago.
    let border = 1_796_083_200_000;
    for (number, at) in [(1, border - 1), (2, border), (3, 86_400_000)] {
        let at = UnixMillis(at);
        let key = RequestKey::new(at, u128::from(number) << 20);
        settle(&journal, &Settlement { at, key, ..settlement(number, &[("calls", 1)]) });
    }
    data.ship(&journal);
    for table in ["usage_ledger_2026_11", "usage_ledger_2026_12", "usage_ledger_1970_01"] {
        assert_eq!(data.count(table), 1, "{table}");
    }
    // This month and the two to come, whenever this runs, are there as well.
    let ahead = "pg_inherits WHERE inhparent = 'usage_ledger'::regclass";
    assert!(data.count(ahead) >= 4);
    let span = Span { start: UnixMillis(border - 1), end: UnixMillis(border) };
    let subject = Subject::User("ada".to_owned());
    assert_eq!(data.reader().sum(&subject, "calls", span).unwrap(), 1);
    assert!(data.audit().is_clean());
}

#[test]
fn texts_that_postgres_cannot_keep_do_not_stop_shipping() {
    let data = Store::postgres().data();
    let (journal, _) = data.journal();
    let odd = Settlement {
        user_id: "a\0b",
        resource: Some("\0"),
        metadata: Some("{not json"),
        ..settlement(1, &[("calls", 1)])
    };
    settle(&journal, &odd);
    settle(
        &journal,
        &Settlement { metadata: Some("{\"b\": \"\\u0000\"}"), ..settlement(2, &[("calls", 1)]) },
    );
    data.ship(&journal);
    assert_eq!(data.events().len(), 2);
    assert_eq!(sum(&data, "a\0b", "calls"), 1);
    let report = data.audit();
    assert!(report.is_clean(), "{:#?}", report.differences);
}

#[test]
fn gateways_see_each_other_while_they_run() {
    let data = Store::postgres().data();
    let neighbour = data.neighbour();
    let start = |data: &Data| -> (Arc<Journal>, Ledger) {
        let (journal, _) = data.journal();
        let ledger = data.ledger(&journal);
        (journal, ledger)
    };
    let ((journal, ledger), (other, other_ledger)) = (start(&data), start(&neighbour));
    let mut both = vec![journal.id(), other.id()];
    both.sort_unstable();
    assert_eq!(instances(&ledger, FOREVER).unwrap(), both);
    settle(&other, &settled(1, 1, &USERS));
    flush(&other_ledger, &other).unwrap();
    let loaded = load(&ledger, "bob", &[("tokens", Span::ALWAYS)], journal.tail()).unwrap();
    assert_eq!(loaded.sums, [7]);
    let watermarks: BTreeMap<_, _> = loaded.watermarks.into_iter().collect();
    assert_eq!(watermarks.get(&other.id()), Some(&other.tail()));
    assert_eq!(watermarks.get(&journal.id()), Some(&loaded.watermark));
    // It shows itself again although nothing is shipped.
    data.sql("UPDATE gateway_instances SET seen_at = '-infinity'");
    wait_until(|| instances(&ledger, FOREVER).unwrap() == both);
    other_ledger.shutdown(FOREVER).unwrap();
    assert_eq!(instances(&ledger, FOREVER).unwrap(), [journal.id()]);
}

#[test]
fn a_shutdown_in_vain_says_what_stays() {
    let data = Store::postgres().data();
    let (journal, _) = data.journal();
    let ledger = data.ledger(&journal);
    flush(&ledger, &journal).unwrap();
    data.server().pause();
    settle(&journal, &settled(0, 1, &USERS));
    let unshipped = ledger.shutdown(Duration::ZERO).unwrap_err();
    assert!(unshipped.pending_bytes > 0);
    data.server().resume();
    drop(ledger);
    data.ship(&journal);
    assert_eq!(data.events().len(), 2);
}

#[test]
fn certificates_are_verified_when_that_is_asked() {
    let authority = tls::Authority::new();
    let server = Postgres::with_tls(&authority.issue(&["127.0.0.1"]));
    let store = Store::Postgres(Arc::new(server));
    let data = store.data();
    let (journal, _) = data.journal();
    let with = |tls| LedgerOptions::Postgres(PostgresOptions { tls, ..data.postgres_options() });
    let write = |name: &str, authority: &tls::Authority| {
        let path = data.path().join(name);
        std::fs::write(&path, authority.certificate_pem()).unwrap();
        Some(path)
    };
    let (ours, another) = (write("ours.pem", &authority), write("another.pem", &tls::Authority::new()));
    for tls in [PostgresTls::Prefer, PostgresTls::Require, PostgresTls::Verify { ca: ours.clone() }] {
        let ledger = Ledger::start(Arc::clone(&journal), with(tls)).unwrap();
        flush(&ledger, &journal).unwrap();
        ledger.shutdown(FOREVER).unwrap();
    }
    let refused = Ledger::start(Arc::clone(&journal), with(PostgresTls::Verify { ca: another })).unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    let localhost = PostgresOptions {
        host: tollgate_ledger::PostgresHost::Tcp("localhost".to_owned()),
        tls: PostgresTls::Verify { ca: ours },
        ..data.postgres_options()
    };
    let refused = Ledger::start(Arc::clone(&journal), LedgerOptions::Postgres(localhost)).unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
}

#[test]
fn a_socket_needs_neither_password_nor_encryption() {
    let data = Store::postgres().data();
    let (journal, _) = data.journal();
    let options = PostgresOptions {
        host: tollgate_ledger::PostgresHost::Unix(data.server().socket_dir().to_owned()),
        password: None,
        ..data.postgres_options()
    };
    let ledger = Ledger::start(Arc::clone(&journal), LedgerOptions::Postgres(options)).unwrap();
    settle(&journal, &settled(0, 1, &USERS));
    flush(&ledger, &journal).unwrap();
    assert_eq!(data.events().len(), 2);
}
