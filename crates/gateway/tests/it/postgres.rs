//! Gateways that share a ledger in Postgres: it may go away, and it shows no password.

use std::process::Command;

use tollgate_testkit::{BOUND, Gateway, Origin, Postgres, eventually};

use crate::{
    books::{Said, said},
    load::{Call, once},
    support,
};

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls = { unit = "calls" }
[tiers.free.limits]
calls = "1000000/lifetime"
"#;
/// More calls than the smallest journal has room for.
const CALLS_MAX: usize = 5000;

fn config(origin: &Origin) -> String {
    format!(
        r#"
data_dir = "@DATA@"
workers = 1
[listen]
address = "@LISTEN@"
[admin]
address = "@ADMIN@"
[ledger]
store = "postgres"
url_env = "LEDGER_URL"
password_env = "LEDGER_PASSWORD"
[journal]
segment_bytes = "64KiB"
bytes_max = "128KiB"
requests_in_flight_max = 16
[upstreams.up]
urls = ["http://{}"]
[[routes]]
path = "/x/"
upstream = "up"
charge = [{{ meter = "calls" }}]
"#,
        origin.address()
    )
}

fn variables(server: &Postgres) -> [(&'static str, String); 2] {
    let url = server.url().replace(&format!(":{}", server.password()), "");
    [("LEDGER_URL", url), ("LEDGER_PASSWORD", server.password().to_owned())]
}

fn start(server: &Postgres, origin: &Origin) -> Gateway {
    let [url, password] = variables(server);
    let builder = support::gateway().config(config(origin)).tiers(TIERS);
    builder.env(url.0, &url.1).env(password.0, &password.1).start()
}

fn tollgate(command: &str, gateway: &Gateway, server: &Postgres) -> Said {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    program.arg(command).arg(gateway.config_path()).envs(variables(server));
    said(&program.output().unwrap())
}

fn assert_clean(gateway: &Gateway, server: &Postgres) {
    let clean = || {
        let said = tollgate("audit", gateway, server);
        (said.code == Some(0) && said.out.ends_with("\nclean\n")).then_some(()).ok_or(said)
    };
    assert!(eventually(BOUND, || clean().is_ok()), "{:?}", clean());
}

fn call(gateway: &Gateway, id: String, user: &str) -> Option<u16> {
    once(gateway.address(), Call::new(id, user, "/x/y")).status()
}

#[test]
fn requests_go_on_without_postgres_until_the_journal_is_full_and_nothing_is_lost() {
    let (mut server, origin) = (Postgres::new(), Origin::echo());
    let mut gateways = [start(&server, &origin), start(&server, &origin)];
    for (number, gateway) in gateways.iter().enumerate() {
        assert_eq!(call(gateway, format!("warm-{number}"), "alice"), Some(200));
        assert_clean(gateway, &server);
    }
    server.stop();
    let mut served = 2;
    for (number, gateway) in gateways.iter().enumerate() {
        let full = (0..CALLS_MAX).find(|count| {
            let status = call(gateway, format!("{number}-{count}"), "alice");
            served += usize::from(status == Some(200));
            status == Some(503)
        });
        assert!(full.is_some_and(|full| full > 10), "{full:?}");
    }
    assert!(tollgate("audit", &gateways[0], &server).err.contains("Postgres"));
    server.start();
    for gateway in &gateways {
        let goes_on = || call(gateway, "after".to_owned(), "alice") == Some(200);
        assert!(eventually(BOUND, goes_on), "{}", gateway.admin_get("/readyz").text());
        served += 1;
    }
    for gateway in &mut gateways {
        gateway.terminate();
        assert!(gateway.wait_exit(BOUND).unwrap().success());
        assert_clean(gateway, &server);
    }
    let events = server.sql("postgres", "SELECT count(*), sum(amount) FROM usage_ledger");
    assert_eq!(events, format!("{served}|{served}"));
    assert_eq!(origin.requests(), served, "nothing was served unmetered");
    for gateway in &gateways {
        assert!(!gateway.logs().contains(server.password()), "{}", gateway.logs());
    }
}

#[test]
fn migrate_makes_the_tables_once_and_refuses_newer_ones() {
    let (server, origin) = (Postgres::new(), Origin::echo());
    let gateway = support::gateway().config(config(&origin)).tiers(TIERS).spawn();
    // It has no URL, says so, and ends: the files are what is needed here.
    assert!(eventually(BOUND, || gateway.logs().contains("LEDGER_URL is not set")), "{}", gateway.logs());
    let first = tollgate("migrate", &gateway, &server);
    assert_eq!((first.code, first.out.trim()), (Some(0), "the ledger's schema is version 3 now; it was 0"));
    let second = tollgate("migrate", &gateway, &server);
    assert_eq!((second.code, second.out.trim()), (Some(0), "the ledger's schema is version 3 already"));
    server.sql("postgres", "INSERT INTO tollgate_schema (version, name) VALUES (7, 'of the future')");
    let newer = tollgate("migrate", &gateway, &server);
    assert!(newer.code == Some(2) && newer.err.contains("version 7"), "{newer:?}");
}
