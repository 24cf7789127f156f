//! The table of subjects: tier, organisation, time zone and billing anchor of who does not say them.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use jiff::{
    Timestamp, ToSpan as _,
    civil::Date,
    tz::{Offset, TimeZone},
};
use rusqlite::{Connection, types::Value};
use tollgate_testkit::{BOUND, Origin, Postgres, Received, Response, eventually};

use crate::{
    books::{self, Said, tollgate},
    scene::{Scene, all_at_once, assert_refusal, clear_of_window_edges, number, request_id},
};

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls = { unit = "calls" }
[tiers.free.limits]
calls = "1_000_000/day"
[tiers.pro.limits]
calls = "2_000_000/day"
[tiers.small.limits]
calls = "1500/day"
[tiers.monthly.limits]
calls = "1_000_000/billing_month"
[tiers.shared.limits]
calls = { limit = "30/day", scope = "org" }
"#;

/// What tier `free` allows in a day.
const FREE: i64 = 1_000_000;

const ROUTES: &str = r#"
[[routes]]
path = "/x/"
upstream = "origin"
charge = [{ meter = "calls" }]
[[routes]]
path = "/free/"
upstream = "origin"
[subjects]
cache = "1s"
[identity]
anonymous = "free"
"#;

/// Where the table is.
enum Store {
    Sqlite,
    Postgres(Postgres),
}

impl Store {
    fn postgres() -> Self {
        Self::Postgres(Postgres::new())
    }
}

/// Makes a test of each function that takes a world, for each store.
macro_rules! on_each_store {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[test] fn $name() { super::$name(super::World::start(super::Store::Sqlite)); })+
        }
        mod on_postgres {
            $(#[test] fn $name() { super::$name(super::World::start(super::Store::postgres())); })+
        }
    };
}

on_each_store!(
    what_is_not_said_comes_from_the_users_row_then_the_organisations_then_the_default,
    users_of_an_organisation_in_the_table_share_its_limit,
    an_edit_is_seen_while_the_gateway_runs_whoever_makes_it,
    a_tier_that_does_not_exist_is_refused_and_logged_once,
    a_time_zone_moves_the_day_and_keeps_what_is_used,
    a_time_zone_that_changes_under_load_admits_exactly_the_limit,
    billing_months_begin_on_the_anchors_day_or_a_shorter_months_last,
    a_table_that_is_not_used_is_not_read,
    many_requests_for_one_subject_read_its_row_once,
    a_table_that_is_away_serves_whom_it_knows_and_blames_nobody,
    what_makes_no_sense_in_the_table_is_logged_and_does_no_harm,
    the_command_explains_every_mistake_at_once_and_changes_nothing,
    the_command_shows_what_is_set_and_what_holds,
);

/// A gateway, and the table that it reads.
struct World {
    scene: Scene,
    store: Store,
}

impl World {
    fn start(store: Store) -> Self {
        let ledger = match &store {
            Store::Sqlite => String::new(),
            Store::Postgres(server) => format!("[ledger]\nstore = \"{}\"\n", server.url()),
        };
        Self { scene: Scene::start(Origin::builder(), &format!("{ROUTES}{ledger}"), TIERS), store }
    }

    /// Runs SQL; what it selects, a line per row, columns separated by `|`.
    fn sql(&self, sql: &str) -> String {
        match &self.store {
            Store::Postgres(server) => server.sql("postgres", sql),
            Store::Sqlite => {
                let path = self.scene.gateway.data_dir().join("ledger.sqlite3");
                let ledger = Connection::open(path).unwrap();
                ledger.busy_timeout(BOUND).unwrap();
                if !sql.starts_with("SELECT") {
                    ledger.execute_batch(sql).unwrap();
                    return String::new();
                }
                let mut statement = ledger.prepare(sql).unwrap();
                let columns = statement.column_count();
                let text = |value: Value| match value {
                    Value::Null => String::new(),
                    Value::Integer(number) => number.to_string(),
                    Value::Text(text) => text,
                    Value::Real(_) | Value::Blob(_) => panic!("{value:?}"),
                };
                let rows = statement.query_map([], |row| {
                    let cells = (0..columns).map(|column| Ok(text(row.get(column)?)));
                    Ok(cells.collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
                });
                rows.unwrap().collect::<rusqlite::Result<Vec<_>>>().unwrap().join("\n")
            }
        }
    }

    /// Waits until all that was settled until now is in the ledger.
    fn settle(&self) {
        let mark = self.scene.get("/mark", "mark", "mark");
        assert_eq!(mark.status, 200, "{mark:?}");
        let sql = format!("SELECT count(*) FROM usage_ledger WHERE request_id = '{}'", request_id(&mark));
        // Settlements are shipped in their order.
        assert!(eventually(BOUND, || self.sql(&sql) == "1"), "the ledger does not get what was settled");
    }

    /// What `ann` was charged, all together.
    fn charged_to_ann(&self) -> i64 {
        self.settle();
        self.sql("SELECT sum(amount) FROM usage_ledger WHERE user_id = 'ann'").parse().unwrap()
    }

    /// `tollgate subject`, on the table of this gateway.
    fn subject(&self, arguments: &str) -> Said {
        let config = self.scene.gateway.config_path();
        let config = ["--config", config.to_str().unwrap()];
        tollgate(["subject"].into_iter().chain(arguments.split(' ')).chain(config))
    }

    /// As [`Self::subject`], which has to succeed.
    fn done(&self, arguments: &str) {
        let said = self.subject(arguments);
        assert_eq!(said.code, Some(0), "{said:?}");
    }

    /// GET as `user`, who says nothing more but `headers`.
    fn get(&self, user: &str, headers: &[(&str, &str)]) -> Response {
        let headers: Vec<_> = [("X-User-Id", user)].into_iter().chain(headers.iter().copied()).collect();
        self.scene.send("GET", "/x/", &headers, "")
    }

    /// What the upstream is told about `user`: the tier and the organisation.
    fn told(&self, user: &str, headers: &[(&str, &str)]) -> (String, Option<String>) {
        let answer = self.get(user, headers);
        assert_eq!(answer.status, 200, "{answer:?}");
        told(&self.scene.origin.last())
    }

    /// Waits until the upstream is told this about `user`.
    fn until_told(&self, user: &str, tier: &str, org: Option<&str>) {
        let wanted = said(tier, org);
        let mut last = None;
        let arrived = eventually(BOUND, || {
            last = Some(self.told(user, &[]));
            last.as_ref() == Some(&wanted)
        });
        assert!(arrived, "{user} is {last:?}, not {wanted:?}");
    }

    /// Waits until the answers to `user` say this number in this header.
    fn until_answered(&self, user: &str, header: &str, value: i64) -> Response {
        let mut answer = self.get(user, &[]);
        let arrived = eventually(BOUND, || {
            answer = self.get(user, &[]);
            answer.status == 200 && number(&answer, header) == value
        });
        assert!(arrived, "{header} is not {value}: {answer:?}");
        answer
    }

    /// How many rows were read.
    fn reads(&self) -> u64 {
        let reads = self.scene.gateway.metric("tollgate_subject_reads_total{result=\"read\"}").unwrap();
        format!("{reads:.0}").parse().unwrap()
    }

    /// The organisation and the tier that the ledger has for the request of this answer.
    fn ledger_line(&self, answer: &Response) -> String {
        self.settle();
        self.sql(&format!(
            "SELECT org_id, tier FROM usage_ledger WHERE request_id = '{}'",
            request_id(answer)
        ))
    }
}

fn told(seen: &Received) -> (String, Option<String>) {
    let org = seen.all("x-org-id");
    assert!(org.len() <= 1, "{org:?}");
    let tier = seen.all("x-user-tier");
    assert_eq!(tier.len(), 1, "{tier:?}");
    (tier[0].to_owned(), org.first().map(|org| (*org).to_owned()))
}

fn said(tier: &str, org: Option<&str>) -> (String, Option<String>) {
    (tier.to_owned(), org.map(str::to_owned))
}

fn what_is_not_said_comes_from_the_users_row_then_the_organisations_then_the_default(world: World) {
    world.sql(
        "INSERT INTO subjects (scope, id, tier, org_id) VALUES
         ('user', 'ann', 'pro', 'acme'), ('user', 'bob', NULL, 'acme'), ('user', 'cleo', 'free', NULL),
         ('user', 'dan', NULL, 'nowhere'), ('org', 'acme', 'shared', NULL), ('org', 'big', 'pro', NULL)",
    );
    world.until_told("ann", "pro", Some("acme"));
    let org = |org| [("X-Org-Id", org)];
    let tier = |tier| [("X-User-Tier", tier)];
    for (user, headers, wanted) in [
        ("ann", &[][..], said("pro", Some("acme"))),
        ("bob", &[], said("shared", Some("acme"))),
        ("cleo", &[], said("free", None)),
        ("dan", &[], said("free", Some("nowhere"))),
        ("nobody", &[], said("free", None)),
        // Who says more is believed, for each thing by itself.
        ("ann", &tier("free"), said("free", Some("acme"))),
        ("ann", &org("big"), said("pro", Some("big"))),
        ("bob", &org("big"), said("pro", Some("big"))),
        ("bob", &org("nowhere"), said("free", Some("nowhere"))),
        ("nobody", &org("acme"), said("shared", Some("acme"))),
        ("nobody", &tier("pro"), said("pro", None)),
    ] {
        assert_eq!(world.told(user, headers), wanted, "{user} {headers:?}");
        let answer = world.get(user, headers);
        let line = format!("{}|{}", wanted.1.as_deref().unwrap_or_default(), wanted.0);
        assert_eq!(world.ledger_line(&answer), line, "{user} {headers:?}");
        let headers: Vec<_> = [("X-User-Id", user)].into_iter().chain(headers.iter().copied()).collect();
        assert_eq!(world.scene.send("GET", "/free/", &headers, "").status, 200);
        assert_eq!(told(&world.scene.origin.last()), wanted, "{user} {headers:?}, not metered");
    }
    let anonymous = world.scene.send("GET", "/x/", &[], "");
    assert_eq!(anonymous.status, 200);
    assert_eq!(world.scene.origin.last().all("x-user-tier"), ["free"]);
    books::assert_clean(&world.scene.gateway);
}

fn users_of_an_organisation_in_the_table_share_its_limit(world: World) {
    clear_of_window_edges();
    world.done("set org acme --tier shared");
    world.done("set user ann --org acme");
    world.done("set user bob --org acme");
    world.until_told("ann", "shared", Some("acme"));
    world.until_told("bob", "shared", Some("acme"));
    all_at_once(4, 20, |n| world.get(if n % 2 == 0 { "ann" } else { "bob" }, &[]));
    world.settle();
    let sql = "SELECT count(*) FROM usage_ledger WHERE org_id = 'acme' AND tier = 'shared'";
    assert_eq!(world.sql(sql), "30");
    for user in ["ann", "bob"] {
        let json = assert_refusal(&world.get(user, &[]), 429, "quota_exceeded");
        assert_eq!((&json["tier"], &json["used"]), (&"shared".into(), &30.into()));
    }
    books::assert_clean(&world.scene.gateway);
}

fn an_edit_is_seen_while_the_gateway_runs_whoever_makes_it(world: World) {
    assert_eq!(world.told("ann", &[]), said("free", None));
    world.done("set user ann --tier pro --org acme");
    world.until_told("ann", "pro", Some("acme"));
    world.sql("UPDATE subjects SET tier = NULL, org_id = 'big' WHERE id = 'ann'");
    world.until_told("ann", "free", Some("big"));
    world.done("set org big --tier monthly");
    world.until_told("ann", "monthly", Some("big"));
    world.done("set user ann --unset org");
    world.until_told("ann", "free", None);
    world.done("set user ann --tier pro");
    world.until_told("ann", "pro", None);
    world.done("remove user ann");
    world.until_told("ann", "free", None);
    world.done("remove org big");
    // The table is empty again, and then it is not.
    world.done("set user bob --tier pro");
    world.until_told("bob", "pro", None);
    assert_eq!(world.told("ann", &[]), said("free", None));
}

fn a_tier_that_does_not_exist_is_refused_and_logged_once(world: World) {
    world.sql(
        "INSERT INTO subjects (scope, id, tier) VALUES ('user', 'ann', 'gold'), ('org', 'acme', 'gold')",
    );
    let refused = || world.get("ann", &[]).status == 403;
    assert!(eventually(BOUND, refused));
    let before = world.scene.origin.requests();
    for _ in 0..5 {
        assert_refusal(&world.get("ann", &[]), 403, "unknown_tier");
        assert_refusal(&world.get("bob", &[("X-Org-Id", "acme")]), 403, "unknown_tier");
    }
    assert_eq!(world.scene.origin.requests(), before, "nothing of it is forwarded");
    assert_eq!(world.told("ann", &[("X-User-Tier", "pro")]), said("pro", None));
    let logs = world.scene.gateway.logs();
    let told = |who: &str| {
        let lines = logs.lines().filter(|line| line.contains("tier-limits.toml has not"));
        lines.filter(|line| line.contains(who)).count()
    };
    assert_eq!((told("ann"), told("bob")), (1, 1), "{logs}");
    // The tier comes into being.
    let tiers = format!("{TIERS}\n[tiers.gold]\ninherits = \"pro\"\n");
    world.scene.gateway.write_tiers(&crate::scene::tiers(&tiers));
    assert!(eventually(BOUND, || world.get("ann", &[]).status == 200));
}

/// A zone in which it is about noon now: its day neither begins nor ends while a test runs.
fn noon_zone() -> (String, TimeZone) {
    let hour = Timestamp::now().to_zoned(TimeZone::UTC).hour();
    let ahead = 12 - hour;
    // The names count the other way round.
    let name = if ahead >= 0 { format!("Etc/GMT-{ahead}") } else { format!("Etc/GMT+{}", -ahead) };
    (name, TimeZone::fixed(Offset::constant(ahead)))
}

fn midnight_after(date: Date, zone: &TimeZone) -> i64 {
    let next = date.checked_add(1.day()).unwrap();
    next.to_zoned(zone.clone()).unwrap().timestamp().as_second()
}

fn a_time_zone_moves_the_day_and_keeps_what_is_used(mut world: World) {
    clear_of_window_edges();
    let (name, zone) = noon_zone();
    let utc_end = midnight_after(Timestamp::now().to_zoned(TimeZone::UTC).date(), &TimeZone::UTC);
    let zone_end = midnight_after(Timestamp::now().to_zoned(zone.clone()).date(), &zone);
    let mut used = 0;
    for _ in 0..7 {
        let answer = world.get("ann", &[]);
        used += 1;
        assert_eq!(number(&answer, "x-ratelimit-reset"), utc_end);
        assert_eq!(number(&answer, "x-ratelimit-remaining"), FREE - used);
    }
    world.done(&format!("set user ann --time-zone {name}"));
    let answer = world.until_answered("ann", "x-ratelimit-reset", zone_end);
    let used = FREE - number(&answer, "x-ratelimit-remaining");
    assert!(used > 7, "what was used before counts in the new window too: {answer:?}");
    assert_eq!(used, world.charged_to_ann(), "as much as the ledger has");
    books::assert_clean(&world.scene.gateway);

    world.scene.gateway.restart();
    let answer = world.get("ann", &[]);
    assert_eq!(number(&answer, "x-ratelimit-reset"), zone_end);
    assert_eq!(number(&answer, "x-ratelimit-remaining"), FREE - used - 1);

    // An organisation's zone is its users' who have none, if it is theirs in the table.
    world.done(&format!("set org acme --time-zone {name}"));
    world.done("set user bob --org acme");
    world.until_answered("bob", "x-ratelimit-reset", zone_end);
    let visitor = world.get("cleo", &[("X-Org-Id", "acme")]);
    assert_eq!(number(&visitor, "x-ratelimit-reset"), utc_end, "{visitor:?}");
    world.done("remove user ann");
    let answer = world.until_answered("ann", "x-ratelimit-reset", utc_end);
    assert!(number(&answer, "x-ratelimit-remaining") < FREE - used);
    books::assert_clean(&world.scene.gateway);
}

/// No budget twice and none lost, while the zone changes under many requests.
fn a_time_zone_that_changes_under_load_admits_exactly_the_limit(world: World) {
    const LIMIT: i64 = 1500;
    clear_of_window_edges();
    let (name, zone) = noon_zone();
    let end = |zone: &TimeZone| midnight_after(Timestamp::now().to_zoned(zone.clone()).date(), zone);
    let ends = [end(&zone), end(&TimeZone::UTC)];
    world.done("set user ann --tier small");
    world.until_told("ann", "small", None);
    let done = AtomicBool::new(false);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let client = || {
            let mut statuses = Vec::new();
            while !done.load(Ordering::SeqCst) || statuses.last() == Some(&200) {
                statuses.push(world.get("ann", &[]).status);
            }
            statuses
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        for round in 0..6 {
            match round % 2 {
                0 => world.done(&format!("set user ann --time-zone {name}")),
                _ => world.done("set user ann --unset time-zone"),
            }
            let moved = || number(&world.get("ann", &[]), "x-ratelimit-reset") == ends[round % 2];
            assert!(eventually(BOUND, moved), "round {round}");
        }
        done.store(true, Ordering::SeqCst);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    // All of it lies in one day, whichever midnights it has.
    assert_eq!(world.charged_to_ann(), LIMIT);
    books::assert_clean(&world.scene.gateway);
}

fn billing_months_begin_on_the_anchors_day_or_a_shorter_months_last(world: World) {
    clear_of_window_edges();
    let (name, zone) = noon_zone();
    for day in [31, 30, 29, 1] {
        world.done(&format!(
            "set user ann{day} --tier monthly --time-zone {name} --billing-anchor 2024-01-{day:02}"
        ));
        let today = Timestamp::now().to_zoned(zone.clone()).date();
        let in_month =
            |first: Date| Date::new(first.year(), first.month(), day.min(first.days_in_month())).unwrap();
        let this = in_month(today.first_of_month());
        let next = if this > today {
            this
        } else {
            in_month(today.first_of_month().checked_add(1.month()).unwrap())
        };
        let end = next.to_zoned(zone.clone()).unwrap().timestamp().as_second();
        let user = format!("ann{day}");
        world.until_told(&user, "monthly", None);
        world.until_answered(&user, "x-ratelimit-reset", end);
    }
}

fn a_table_that_is_not_used_is_not_read(world: World) {
    for user in ["ann", "bob", "cleo"] {
        assert_eq!(world.told(user, &[("X-Org-Id", "acme")]), said("free", Some("acme")));
    }
    assert_eq!(world.reads(), 0);
}

fn many_requests_for_one_subject_read_its_row_once(world: World) {
    world.done("set user bob --tier pro");
    world.until_told("bob", "pro", None);
    let before = world.reads();
    let statuses = all_at_once(32, 1, |_| world.get("ann", &[]));
    assert_eq!(statuses, [200; 32]);
    // One for the row that is not there; one more if the machine took longer than the cache's second.
    let reads = world.reads() - before;
    assert!((1..=3).contains(&reads), "{reads}");
}

fn a_table_that_is_away_serves_whom_it_knows_and_blames_nobody(world: World) {
    world.done("set user ann --tier pro --org acme");
    world.until_told("ann", "pro", Some("acme"));
    world.sql("ALTER TABLE subjects RENAME TO away");
    let failed = || {
        let failed = world.scene.gateway.metric("tollgate_subject_reads_total{result=\"failed\"}");
        // Older than the cache's second, the row is read again, in vain.
        assert_eq!(world.told("ann", &[]), said("pro", Some("acme")));
        failed.unwrap() > 0.5
    };
    assert!(eventually(BOUND, failed));
    let before = world.scene.origin.requests();
    let refused = world.get("bob", &[]);
    assert_refusal(&refused, 503, "store_unavailable");
    assert_refusal(&world.get("bob", &[("X-User-Tier", "pro"), ("X-Org-Id", "x")]), 503, "store_unavailable");
    assert_eq!(
        world.scene.origin.requests(),
        before,
        "nobody is served unmetered, or on a tier that is guessed"
    );
    let all_said = [("X-User-Id", "bob"), ("X-User-Tier", "pro"), ("X-Org-Id", "x")];
    assert_eq!(
        world.scene.send("GET", "/free/", &all_said, "").status,
        200,
        "here nothing is to be looked up"
    );
    world.sql("ALTER TABLE away RENAME TO subjects");
    assert!(eventually(BOUND, || world.get("bob", &[]).status == 200));
    assert_eq!(world.told("bob", &[]), said("free", None));
    world.done("set user ann --tier free");
    world.until_told("ann", "free", Some("acme"));
    books::assert_clean(&world.scene.gateway);
}

fn what_makes_no_sense_in_the_table_is_logged_and_does_no_harm(world: World) {
    world.sql(
        "INSERT INTO subjects (scope, id, org_id, time_zone) VALUES
         ('user', 'ann', 'a b', NULL), ('user', 'bob', NULL, 'Mars/Olympus')",
    );
    assert!(eventually(BOUND, || world.get("ann", &[]).status == 503));
    assert_refusal(&world.get("ann", &[]), 503, "store_unavailable");
    assert_eq!(world.told("ann", &[("X-Org-Id", "acme")]), said("free", Some("acme")));
    assert_eq!(world.told("bob", &[]), said("free", None));
    let logs = world.scene.gateway.logs();
    assert!(logs.contains("no valid id") && logs.contains("windows are those of UTC"), "{logs}");
}

fn the_command_explains_every_mistake_at_once_and_changes_nothing(world: World) {
    let said =
        world.subject("set user ann --tier pr --time-zone Berlin --billing-anchor 2026-02-30 --overrides []");
    assert_eq!(said.code, Some(2), "{said:?}");
    for part in [
        "no tier is called \"pr\"; did you mean \"pro\"?",
        "no time zone is called \"Berlin\"; did you mean \"Europe/Berlin\"?",
        "\"2026-02-30\" is not a date; write year-month-day",
        "--overrides: not a JSON object",
    ] {
        assert!(said.out.contains(part), "{part}: {said:?}");
    }
    for (arguments, part) in [
        ("set user ann", "nothing to set"),
        ("set user a,b --tier pro", "can be in no request"),
        ("set org acme --org other", "an organisation belongs to none"),
        ("set user ann --tier pro --unset tier", "contradict each other"),
        ("set user ann --time-zone Erope/Berlin", "did you mean \"Europe/Berlin\"?"),
        ("set user ann --time-zone Mars/Olympus_Mons_City", "IANA time zone database"),
        ("set user ann --billing-anchor 1066-10-14", "write a date from 1970"),
        ("set team ann --tier pro", "possible values: user, org"),
        ("set user ann --unset tme-zone", "'time-zone'"),
    ] {
        let said = world.subject(arguments);
        assert_eq!(said.code, Some(2), "{arguments}: {said:?}");
        assert!(said.out.contains(part) || said.err.contains(part), "{arguments}: {said:?}");
    }
    let shown = world.subject("show user ann");
    assert!(shown.out.contains("never: nothing is set"), "{shown:?}");
}

fn the_command_shows_what_is_set_and_what_holds(world: World) {
    world.done("set org acme --tier pro --time-zone europe/berlin --billing-anchor 2026-01-31");
    world.done("set user ann --org acme --overrides {\"calls\":\"5/day\"}");
    let shown = world.subject("show user ann");
    for part in [
        "tier            pro, of organisation acme",
        "organisation    acme",
        "time zone       Europe/Berlin, of organisation acme",
        "billing anchor  2026-01-31 (2026-01-31T11:00:00Z), of organisation acme",
        "overrides       {\"calls\":",
    ] {
        assert!(shown.out.contains(part), "{part}: {shown:?}");
    }
    let json: serde_json::Value = serde_json::from_str(&world.subject("show org acme --json").out).unwrap();
    assert_eq!((&json["scope"], &json["id"], &json["tier"]), (&"org".into(), &"acme".into(), &"pro".into()));
    assert_eq!(json["billing_anchor"], "2026-01-31T11:00:00Z");
    assert_eq!(json["org_id"], serde_json::Value::Null);
    world.done("set user ann --unset overrides --unset org");
    let json: serde_json::Value = serde_json::from_str(&world.subject("show user ann --json").out).unwrap();
    assert_eq!((&json["overrides"], &json["org_id"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    world.done("remove user ann");
    let again = world.subject("remove user ann");
    assert!(again.code == Some(0) && again.out.contains("nothing was set"), "{again:?}");
}

#[test]
fn the_command_works_before_the_first_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let config =
        "[upstreams.a]\nurls = [\"http://127.0.0.1:1\"]\n[[routes]]\npath = \"/\"\nupstream = \"a\"\n";
    fs::write(path("gateway.toml"), config).unwrap();
    fs::write(path("tier-limits.toml"), TIERS).unwrap();
    let subject = |arguments: &str| {
        let config = path("gateway.toml");
        let config = ["--config", config.to_str().unwrap()];
        tollgate(["subject"].into_iter().chain(arguments.split(' ')).chain(config))
    };
    let shown = subject("show user ann");
    assert!(shown.code == Some(0) && shown.out.contains("there is no ledger yet"), "{shown:?}");
    assert!(!Path::exists(&path("data")), "looking makes nothing");
    assert_eq!(subject("set user ann --tier pro").code, Some(0));
    assert!(subject("show user ann").out.contains("tier            pro"));
}

/// Postgres away: who is known is served as before, who is not is told that it is not their fault.
#[test]
fn a_server_that_is_away_serves_whom_it_knows_and_blames_nobody() {
    let mut world = World::start(Store::postgres());
    world.done("set user ann --tier pro --org acme");
    world.until_told("ann", "pro", Some("acme"));
    let Store::Postgres(server) = &mut world.store else { panic!("it is on Postgres") };
    server.stop();
    let away = || world.scene.gateway.metric("tollgate_subjects_age_seconds").unwrap() > 1.5;
    assert!(eventually(BOUND, away));
    // Longer than the cache's second is over.
    assert_eq!(world.told("ann", &[]), said("pro", Some("acme")));
    assert_refusal(&world.get("bob", &[]), 503, "store_unavailable");
    assert_eq!(world.told("ann", &[]), said("pro", Some("acme")));
    let Store::Postgres(server) = &mut world.store else { panic!("it is on Postgres") };
    server.start();
    assert!(eventually(BOUND, || world.get("bob", &[]).status == 200));
    world.done("set user ann --tier free");
    world.until_told("ann", "free", Some("acme"));
    books::assert_clean(&world.scene.gateway);
}

#[test]
fn several_gateways_hear_of_an_edit() {
    let world = World::start(Store::postgres());
    let Store::Postgres(server) = &world.store else { panic!("it is on Postgres") };
    let config = format!("{ROUTES}[ledger]\nstore = \"{}\"\n", server.url());
    let other = Scene::start(Origin::builder(), &config, TIERS);
    for tier in ["pro", "small", "monthly"] {
        world.done(&format!("set user ann --tier {tier}"));
        world.until_told("ann", tier, None);
        let there = || {
            let answer = other.send("GET", "/x/", &[("X-User-Id", "ann")], "");
            answer.status == 200 && told(&other.origin.last()) == said(tier, None)
        };
        assert!(eventually(BOUND, there));
    }
}
