//! `tollgate audit`: clean where everything agrees, and every planted difference found.

use std::{fs, path::Path};

use rusqlite::Connection;
use tollgate_testkit::{Answer, BOUND, Gateway, Origin, eventually};

use crate::{
    books::{self, Books, Said, assert_clean, audit},
    load::{Call, Connections, Load, once},
    scene::clear_of_window_edges,
    support,
};

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls = { unit = "calls" }
bytes = { unit = "bytes", kind = "level" }
[tiers.free.limits]
calls = ["100000/hour", "1000000/lifetime"]
bytes = "1GB"
"#;
const CALLS: usize = 10;

fn config(origin: &Origin) -> String {
    format!(
        r#"
data_dir = "@DATA@"
workers = 2
[listen]
address = "@LISTEN@"
[admin]
address = "@ADMIN@"
token_env = "TOLLGATE_TEST_TOKEN"
[upstreams.up]
urls = ["http://{}"]
[[routes]]
path = "/x/"
upstream = "up"
charge = [{{ meter = "calls" }}, {{ meter = "bytes", amount = "request.bytes" }}]
"#,
        origin.address()
    )
}

/// A gateway that has charged `CALLS` calls to alice, all of them in the ledger and in one row of each rollup.
fn charged(origin: &Origin) -> Gateway {
    clear_of_window_edges();
    let gateway = support::gateway().config(config(origin)).tiers(TIERS).start();
    for number in 0..CALLS {
        let call = Call::new(format!("call-{number}"), "alice", "/x/y");
        assert_eq!(once(gateway.address(), call).status(), Some(200));
    }
    assert_eq!(Books::settled(&gateway).0.len(), 2 * CALLS);
    gateway
}

fn stopped(origin: &Origin) -> Gateway {
    let mut gateway = charged(origin);
    gateway.terminate();
    assert!(gateway.wait_exit(BOUND).unwrap().success());
    gateway
}

fn plant(gateway: &Gateway, sql: &str) {
    let ledger = Connection::open(gateway.data_dir().join("ledger.sqlite3")).unwrap();
    ledger.busy_timeout(BOUND).unwrap();
    assert!(ledger.execute(sql, []).unwrap() > 0, "nothing to change: {sql}");
}

fn assert_finds(gateway: &Gateway, wanted: &[&str]) {
    let Said { code, out, .. } = audit(gateway);
    assert_eq!(code, Some(2), "{out}");
    assert!(out.ends_with("NOT CLEAN\n"), "{out}");
    for wanted in wanted {
        assert!(out.contains(wanted), "{wanted:?} is not in:\n{out}");
    }
}

#[test]
fn it_is_clean_while_the_gateway_runs_under_load_and_after_it_stopped() {
    let origin = Origin::echo();
    let mut gateway = charged(&origin);
    let load = Load::start(gateway.address(), 2, Connections::Kept, |client, number| {
        Some(Call::new(format!("{client}-{number}"), &format!("user-{client}"), "/x/y"))
    });
    assert!(eventually(BOUND, || load.answered() > 100));
    assert_clean(&gateway);
    assert!(load.stop().iter().all(|outcome| outcome.status() == Some(200)));
    assert_clean(&gateway);
    let said = audit(&gateway);
    assert!(said.out.contains("counters in memory agree"), "{said:?}");
    gateway.terminate();
    assert!(gateway.wait_exit(BOUND).unwrap().success());
    assert_clean(&gateway);
    let data_dir = gateway.data_dir();
    let said = books::tollgate(["audit".as_ref(), "--data-dir".as_ref(), data_dir.as_os_str()]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn an_open_request_is_counted_and_is_no_difference() {
    let origin = Origin::builder().on("/x/hang", Answer::Hang).start();
    let mut gateway = charged(&origin);
    let load = Load::start(gateway.address(), 2, Connections::New, |client, number| {
        (number == 0).then(|| Call::new(format!("open-{client}"), "bob", "/x/hang"))
    });
    assert!(origin.wait_requests(CALLS + 2, BOUND));
    let said = audit(&gateway);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("2 requests in flight"), "{said:?}");
    gateway.kill_9();
    assert!(load.join().iter().all(|outcome| outcome.answer.is_none()));
    let said = audit(&gateway);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("2 requests in flight"), "left by a crash, for the next start: {said:?}");
}

#[test]
fn a_deleted_event_is_found_in_a_stopped_gateway() {
    let gateway = stopped(&Origin::echo());
    plant(&gateway, "DELETE FROM usage_ledger WHERE request_id = 'call-3' AND meter = 'calls'");
    // Missing beside the journal, and in both sums.
    assert_finds(&gateway, &["but the ledger does not have it", "usage_hourly", "usage_daily", "alice"]);
}

#[test]
fn a_changed_event_is_found_with_both_values() {
    let gateway = stopped(&Origin::echo());
    plant(&gateway, "UPDATE usage_ledger SET amount = 77 WHERE request_id = 'call-3' AND meter = 'calls'");
    assert_finds(&gateway, &["amount is 77 in the ledger, 1 in the journal"]);
}

#[test]
fn a_changed_rollup_is_found_with_both_sums() {
    for table in ["usage_hourly", "usage_daily"] {
        let gateway = stopped(&Origin::echo());
        plant(&gateway, &format!("UPDATE {table} SET amount = amount + 5 WHERE meter = 'calls'"));
        assert_finds(&gateway, &[table, "15 in 10 events, but the lines are 10 in 10 events"]);
    }
}

#[test]
fn a_planted_event_is_found_by_the_sums_and_by_the_running_gateways_counters() {
    let origin = Origin::echo();
    let gateway = charged(&origin);
    let columns = "at, user_id, org_id, tier, meter, amount, estimated, route, method, status, duration_ms, \
                   request_id, resource, metadata";
    plant(
        &gateway,
        &format!(
            "INSERT INTO usage_ledger (id, {columns}) SELECT '00000000-0000-7000-8000-000000000000', {columns} \
             FROM usage_ledger WHERE request_id = 'call-3' AND meter = 'calls'"
        ),
    );
    assert_finds(&gateway, &["usage_hourly", "usage_daily"]);
    // With sums that agree with it, only the counters know better.
    for table in ["usage_hourly", "usage_daily"] {
        let sql =
            format!("UPDATE {table} SET amount = amount + 1, events = events + 1 WHERE meter = 'calls'");
        plant(&gateway, &sql);
    }
    // What was settled last is not compared as long as the ledger may still receive something.
    let later = once(gateway.address(), Call::new("later", "bob", "/x/y"));
    assert_eq!(later.status(), Some(200));
    assert!(eventually(BOUND, || Books::read(&gateway.data_dir()).of("later").len() == 2));
    assert_finds(&gateway, &["counter user alice calls", "10 settled, but the ledger has 11"]);
}

#[test]
fn damage_in_the_journal_is_found_with_its_place() {
    let gateway = stopped(&Origin::echo());
    let segments = fs::read_dir(gateway.data_dir().join("journal")).unwrap();
    let is_segment = |path: &Path| path.file_name().unwrap().to_str().unwrap().starts_with("segment-");
    let mut segments: Vec<_> =
        segments.map(|entry| entry.unwrap().path()).filter(|p| is_segment(p)).collect();
    segments.sort();
    let mut bytes = fs::read(&segments[0]).unwrap();
    // In the middle of the first record, behind the header of 64 bytes.
    bytes[64 + 40] ^= 0xff;
    fs::write(&segments[0], bytes).unwrap();
    let name = segments[0].display().to_string();
    assert_finds(&gateway, &[&format!("{name} is damaged at offset 64")]);
}

#[test]
fn without_the_administrators_token_counters_stay_unseen_and_the_audit_says_why() {
    let origin = Origin::echo();
    let gateway = support::gateway()
        .config(config(&origin))
        .tiers(TIERS)
        .env("TOLLGATE_TEST_TOKEN", "canary-secret")
        .start();
    let said = audit(&gateway);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("401"), "{said:?}");
    assert!(!said.out.contains("canary") && !said.err.contains("canary"), "{said:?}");
    let mut audit = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"));
    audit.arg("audit").arg(gateway.config_path()).env("TOLLGATE_TEST_TOKEN", "canary-secret");
    let said = books::said(&audit.output().unwrap());
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!gateway.logs().contains("canary"));
}
