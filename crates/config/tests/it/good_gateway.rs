//! What `gateway.toml` says, and what holds where it says nothing.

use std::{num::NonZeroU32, time::Duration};

use http::Method;
use tollgate_config::{
    Amount, Anonymous, ChargeOn, Durability, Enforcement, LedgerStore, LlmMeasure, LogFormat, LogLevel,
    Measure, PostgresTls, Protocol, Secret, Unanswered, UpstreamIndex,
};
use tollgate_core::{MeterIndex, TierIndex};

use crate::{GATEWAY, TIERS, good, measured};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn defaults() {
    let gateway = good(GATEWAY, TIERS).gateway;
    assert_eq!(gateway.tiers_path.to_str(), Some("tier-limits.toml"));
    assert_eq!(gateway.data_dir.to_str(), Some("data"));
    assert_eq!((gateway.durability, gateway.enforcement), (Durability::Process, Enforcement::Enforce));
    assert_eq!(gateway.workers, None);
    assert_eq!(gateway.listen.address.to_string(), "127.0.0.1:8080");
    assert_eq!((gateway.listen.connections_max, gateway.listen.headers_max), (10_000, 100));
    assert_eq!((gateway.listen.header_bytes_max, gateway.listen.streams_max), (32 * 1024, 100));
    assert_eq!(
        (gateway.listen.header_timeout, gateway.listen.keep_alive_timeout),
        (seconds(10), seconds(75))
    );
    assert_eq!(gateway.admin.address.to_string(), "127.0.0.1:9090");
    let peers: Vec<_> = gateway.identity.trusted_peers.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["127.0.0.0/8", "::1/128"]);
    assert_eq!(gateway.identity.role, "x-user-role");
    assert_eq!((gateway.identity.anonymous, gateway.identity.signature), (Anonymous::Reject, None));
    assert_eq!((gateway.counters.subjects_max, gateway.ledger), (1_000_000, LedgerStore::Sqlite));
    assert_eq!((gateway.journal.bytes_max, gateway.journal.segment_bytes), (1 << 30, 8 << 20));
    assert_eq!(
        (gateway.journal.requests_in_flight_max, gateway.journal.unanswered),
        (16_384, Unanswered::Charge)
    );
    assert_eq!(gateway.subjects.cache, seconds(60));
    assert_eq!((gateway.shutdown.delay, gateway.shutdown.grace), (Duration::ZERO, seconds(30)));
    assert_eq!(
        (gateway.log.level, gateway.log.format, gateway.log.requests),
        (LogLevel::Info, LogFormat::Auto, false)
    );
}

#[test]
fn defaults_of_upstreams_and_routes() {
    let gateway = good(GATEWAY, TIERS).gateway;
    let upstream = &gateway.upstreams[0];
    assert_eq!((upstream.protocol, upstream.total_timeout, &upstream.health), (Protocol::Http1, None, &None));
    assert_eq!((upstream.connect_timeout, upstream.response_timeout), (seconds(2), seconds(60)));
    assert_eq!((upstream.idle_timeout, upstream.eject_for), (seconds(60), seconds(5)));
    assert_eq!((upstream.connections_max, upstream.idle_connections_max), (1024, 64));
    assert_eq!(upstream.eject_after, NonZeroU32::new(3).unwrap());
    let route = &gateway.routes[0];
    assert_eq!((&*route.name, &route.host, &route.methods, &route.rewrite), ("/v1/", &None, &None, &None));
    assert_eq!((route.upstream, route.charge_on), (UpstreamIndex(0), ChargeOn::default()));
    assert_eq!((route.charges[0].meter, &route.charges[0].amount), (MeterIndex(0), &Amount::Constant(1)));
}

#[test]
fn everything_that_can_be_said() {
    let gateway = r#"
durability = "power"
enforcement = "observe"
workers = 2
[listen]
address = "[::]:0"
tls = { cert = "c.pem", key = "k.pem" }
header_timeout = "250ms"
[admin]
address = "[::]:0"
[identity]
trusted_peers = []
user = "X-Remote-User"
anonymous = "pro"
signature = { key_env = "KEY", header = "X-Signature" }
[journal]
unanswered = "release"
[subjects]
cache = "5m"
[upstreams.b]
urls = ["https://b1.example.com", "https://[::1]:8443/"]
protocol = "auto"
ca = "ca.pem"
total_timeout = "10m"
health = { path = "/healthz", interval = "500ms" }
[upstreams.a]
urls = ["http://a"]
[[routes]]
name = "chat"
host = "API.example.com"
path = "/v1/chat"
methods = ["POST", "PUT"]
rewrite = "/chat"
upstream = "a"
charge = [
    { meter = "tokens", amount = "llm.total_tokens", hold = "2k" },
    { meter = "storage", amount = -5 },
    { meter = "calls", amount = "request.bytes" },
]
charge_on = ["2xx", 404, "no_answer"]
[[routes]]
path = "/v1/chat"
methods = ["GET"]
host = "api.example.com"
upstream = "b"
"#;
    let gateway = good(gateway, TIERS).gateway;
    assert_eq!((gateway.durability, gateway.enforcement), (Durability::Power, Enforcement::Observe));
    assert_eq!(gateway.identity.user, "x-remote-user");
    assert_eq!(gateway.subjects.cache, seconds(300));
    assert_eq!(gateway.identity.anonymous, Anonymous::Tier(TierIndex(1)));
    assert_eq!(gateway.identity.signature.unwrap().header, "x-signature");
    let names: Vec<_> = gateway.upstreams.iter().map(|upstream| &*upstream.name).collect();
    assert_eq!(names, ["b", "a"], "in the file's order");
    assert_eq!(gateway.upstreams[0].urls[1].authority, "[::1]:8443");
    let health = gateway.upstreams[0].health.as_ref().unwrap();
    assert_eq!(health.timeout, health.interval, "the default never exceeds the interval");
    let chat = &gateway.routes[0];
    assert_eq!(
        (&*chat.name, chat.host.as_deref(), chat.upstream),
        ("chat", Some("api.example.com"), UpstreamIndex(1))
    );
    assert_eq!(chat.methods.as_deref(), Some(&[Method::POST, Method::PUT][..]));
    let amounts: Vec<_> = chat.charges.iter().map(|charge| charge.amount.clone()).collect();
    assert_eq!(
        amounts,
        [
            measured(Measure::Llm(LlmMeasure::TotalTokens), 2000),
            Amount::Constant(-5),
            measured(Measure::RequestBytes, 1),
        ]
    );
    for (status, charged) in [(Some(204), true), (Some(404), true), (Some(403), false), (None, true)] {
        assert_eq!(chat.charge_on.includes(status), charged);
    }
    assert!(gateway.routes[1].charges.is_empty(), "a route without charge is legal");
}

#[test]
fn a_postgres_ledger_takes_its_secrets_from_the_environment() {
    let with = |table: &str| {
        let text = format!("[ledger]\n{table}\n{GATEWAY}");
        let LedgerStore::Postgres(store) = good(&text, TIERS).gateway.ledger else { panic!("{table}") };
        store
    };
    let variable = |name: &str| match name {
        "URL" => Some("postgresql://me@db/usage".to_owned()),
        "BAD" => Some("postgres://me:canary@db:x".to_owned()),
        "PASSWORD" => Some("canary".to_owned()),
        _ => None,
    };
    let store = with("store = \"postgres\"\nurl_env = \"URL\"\npassword_env = \"PASSWORD\"\nca = \"ca.pem\"");
    let postgres = store.resolve(variable).unwrap();
    assert_eq!(postgres.password.as_ref().map(Secret::expose), Some("canary"));
    assert_eq!((postgres.tls, postgres.ca), (PostgresTls::Verify, Some("ca.pem".into())));
    let here = with("store = \"postgres://me:canary@db/usage?sslmode=disable\"");
    assert!(!format!("{here:?}").contains("canary"));
    assert_eq!(here.resolve(variable).unwrap().tls, PostgresTls::Disable);
    let missing = with("store = \"postgres\"\nurl_env = \"NOWHERE\"").resolve(variable).unwrap_err();
    assert_eq!(missing, "the environment variable NOWHERE is not set");
    let bad = with("store = \"postgres\"\nurl_env = \"BAD\"").resolve(variable).unwrap_err();
    assert!(bad.contains("BAD") && !bad.contains("canary"), "{bad}");
}
