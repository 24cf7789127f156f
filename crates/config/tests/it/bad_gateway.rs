//! Mistakes of `gateway.toml` in all but upstreams and routes, one by one.

use crate::{GATEWAY, TIERS, report};

/// A part of the good file, what stands in its place, and the mistakes that this makes.
const CASES: &[(&str, &str, &[&str])] = &[
    (
        r#"path = "/v1/""#,
        r#"path = "/v1/"#,
        &[r#"gateway.toml:4:13: not TOML: invalid basic string, expected `"`"#],
    ),
    ("[[routes]]", "[[routes", &["gateway.toml:3:9: not TOML: unclosed array table, expected `]]`"]),
    (
        r#"urls = ["http://127.0.0.1:9101"]"#,
        r#"urls = ["http://127.0.0.1:9101"]
urls = []"#,
        &["gateway.toml:3:1: not TOML: duplicate key"],
    ),
    (
        GATEWAY,
        "",
        &[
            "gateway.toml:1:1: routes: missing; add a table for each path that is served, as in [[routes]]",
            "gateway.toml:1:1: upstreams: missing; add a table for each service, as in [upstreams.llm]",
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[api]
path = "/v1/usage"
late_max = "32d"
writers = "nobody"
service_tokens_env = "s3cr-et"
[upstreams.llm]"#,
        &[
            r#"gateway.toml:2:8: api.path: "/v1/usage" does not stand for what is below it; write a path that ends with "/", and not "/" itself"#,
            r#"gateway.toml:3:12: api.late_max: 32d is out of bounds; write "0s" to "31d""#,
            r#"gateway.toml:4:11: api.writers: unknown value "nobody"; write one of "everyone", "services""#,
            r#"gateway.toml:5:22: api.service_tokens_env: this is not the name of an environment variable; write the variable's name, not its value: letters, digits and "_""#,
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[api]
path = "/v1/"
[upstreams.llm]"#,
        &[
            r#"gateway.toml:1:2: api: the route "/v1/" would never be reached: /v1/ is the API's; give [api] or the route another path, or set api.enabled = false"#,
        ],
    ),
    (
        r#"upstream = "llm""#,
        r#"upstraem = "llm""#,
        &[r#"gateway.toml:5:1: routes[0].upstraem: unknown key; did you mean "upstream"?"#],
    ),
    (
        r#"upstream = "llm""#,
        r#"upstream = "lmm""#,
        &[r#"gateway.toml:5:12: routes[0].upstream: no upstream is called "lmm"; did you mean "llm"?"#],
    ),
    (
        r#"upstream = "llm""#,
        "upstream = 5",
        &[
            "gateway.toml:5:12: routes[0].upstream: must be a string, not an integer; write the name of an upstream",
        ],
    ),
    (
        "[upstreams.llm]",
        r#"enforcment = "observe"
[upstreams.llm]"#,
        &[r#"gateway.toml:1:1: enforcment: unknown key; did you mean "enforcement"?"#],
    ),
    (
        "[upstreams.llm]",
        r#"enforcement = "observ"
[upstreams.llm]"#,
        &[r#"gateway.toml:1:15: enforcement: unknown value "observ"; did you mean "observe"?"#],
    ),
    (
        "[upstreams.llm]",
        r#"durability = "disk"
[upstreams.llm]"#,
        &[r#"gateway.toml:1:14: durability: unknown value "disk"; write one of "process", "power""#],
    ),
    (
        "[upstreams.llm]",
        r"workers = 0
[upstreams.llm]",
        &["gateway.toml:1:11: workers: 0 is out of bounds; write 1 to 1024"],
    ),
    (
        "[upstreams.llm]",
        r#"tiers = ""
[upstreams.llm]"#,
        &["gateway.toml:1:9: tiers: this names no file; write the path of a file"],
    ),
    (
        "[upstreams.llm]",
        r#"listen = "127.0.0.1:80"
[upstreams.llm]"#,
        &["gateway.toml:1:10: listen: must be a table, not a string; write [listen] on a line of its own"],
    ),
    (
        "[upstreams.llm]",
        r"[lisen]
[upstreams.llm]",
        &[r#"gateway.toml:1:2: lisen: unknown key; did you mean "listen"?"#],
    ),
    (
        "[upstreams.llm]",
        r#"[listen]
address = "localhost:80"
[upstreams.llm]"#,
        &[
            r#"gateway.toml:2:11: listen.address: "localhost:80" is not an IP address with a port; write it as in "127.0.0.1:8080" or "[::1]:8080""#,
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[listen]
tls = { cert = "c.pem" }
[upstreams.llm]"#,
        &[r#"gateway.toml:2:1: listen.tls.key: missing; add key = "key.pem""#],
    ),
    (
        "[upstreams.llm]",
        r#"[listen]
header_bytes_max = "32KB"
connections_max = 1e4
[upstreams.llm]"#,
        &[
            r#"gateway.toml:2:20: listen.header_bytes_max: "32KB" is not a whole number; did you mean "32kB"?"#,
            "gateway.toml:3:19: listen.connections_max: 1e4 is not a whole number; write 10000",
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[listen]
header_bytes_max = "4KiB"
streams_max = -1
connections_max = 99999999999999999999
[upstreams.llm]"#,
        &[
            r#"gateway.toml:2:20: listen.header_bytes_max: "4KiB" is out of bounds; write "8KiB" to "1MiB""#,
            "gateway.toml:3:15: listen.streams_max: -1 is negative; write 0 or more",
            "gateway.toml:4:19: listen.connections_max: 99999999999999999999 is more than can be counted; write at most 9223372036854775807",
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[listen]
header_timeout = 10
keep_alive_timeout = "75 sec"
[upstreams.llm]"#,
        &[
            r#"gateway.toml:2:18: listen.header_timeout: has no unit; write "10s" or "10ms""#,
            r#"gateway.toml:3:22: listen.keep_alive_timeout: "75 sec" is not a duration; write "75s""#,
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[listen]
header_timeout = "0s"
keep_alive_timeout = true
[upstreams.llm]"#,
        &[
            r#"gateway.toml:2:18: listen.header_timeout: 0s is out of bounds; write "100ms" to "5m""#,
            r#"gateway.toml:3:22: listen.keep_alive_timeout: must be a duration, not true or false; write "30s""#,
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[admin]
address = "127.0.0.1:8080"
token_env = "s3cr3t-canary"
[upstreams.llm]"#,
        &[
            "gateway.toml:2:11: admin.address: 127.0.0.1:8080 is already the address of [listen]; give the operator's side an address of its own",
            r#"gateway.toml:3:13: admin.token_env: this is not the name of an environment variable; write the variable's name, not its value: letters, digits and "_""#,
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[identity]
trusted_peers = ["10.0.0.1", "10.0.0.1/8", "all"]
[upstreams.llm]"#,
        &[
            r#"gateway.toml:2:18: identity.trusted_peers[0]: "10.0.0.1" is one address; write "10.0.0.1/32""#,
            r#"gateway.toml:2:30: identity.trusted_peers[1]: "10.0.0.1/8" has bits set beyond its prefix; write "10.0.0.0/8""#,
            r#"gateway.toml:2:44: identity.trusted_peers[2]: "all" is not a network; write it as in "10.0.0.0/8" or "fd00::/8""#,
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[identity]
user = "X User"
org = "Host"
tier = "x_user_tier"
email = "X.User.Tier"
[upstreams.llm]"#,
        &[
            r#"gateway.toml:2:8: identity.user: "X User" is not a header name; use letters, digits and "-", as in "X-User-Id""#,
            r#"gateway.toml:3:7: identity.org: "Host" already has a meaning; name a header of your own, as in "X-User-Id""#,
            r#"gateway.toml:5:9: identity.email: "x.user.tier" is also the header of tier; name another header"#,
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[identity]
user = "X-Org-Id"
[upstreams.llm]"#,
        &[r#"gateway.toml:1:2: identity: "x-org-id" of org is also the header of user; name another header"#],
    ),
    (
        "[upstreams.llm]",
        r#"[identity]
anonymous = "fre"
signature = { header = "X-User-Id" }
[upstreams.llm]"#,
        &[
            r#"gateway.toml:2:13: identity.anonymous: no tier is called "fre"; did you mean "free"?"#,
            r#"gateway.toml:3:1: identity.signature.key_env: missing; add key_env = "TOLLGATE_SIGNATURE_KEY""#,
            r#"gateway.toml:3:24: identity.signature.header: "x-user-id" is also the header of user; name another header"#,
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[counters]
store = "redis://:canary@host:6379"
[ledger]
store = "postgres://user:canary@host:canary/db"
url_env = "LEDGER"
[upstreams.llm]"#,
        &[
            r#"gateway.toml:4:9: ledger.store: the URL's port is none, or its password is not encoded; write it as in "postgres://user@host:5432/database""#,
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[ledger]
store = "postgres"
password_env = "canary!"
[upstreams.llm]"#,
        &[
            r#"gateway.toml:1:2: ledger: the URL of the store is missing; add url_env = "TOLLGATE_LEDGER_URL", or write the URL as store"#,
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[ledger]
store = "postgres://me@host/db?sslmode=require"
password_env = "PASSWORD"
ca = "ca.pem"
[upstreams.llm]"#,
        &[
            "gateway.toml:4:1: ledger.ca: with this sslmode no certificate is verified, so ca has no use; write sslmode=verify-full",
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[ledger]
store = "canary"
url_env = "LEDGER"
[upstreams.llm]"#,
        &[
            r#"gateway.toml:2:9: ledger.store: this is not a store; write "sqlite" or "postgres://user@host/database""#,
            r#"gateway.toml:3:1: ledger.url_env: this goes with a Postgres store; remove it, or write store = "postgres""#,
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[counters]
store = "redis"
url_env = "REDIS"
[upstreams.llm]"#,
        &[
            r#"gateway.toml:1:2: counters: counters that several gateways share need a ledger that they share; write [ledger] store = "postgres://user@host/database""#,
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[counters]
store = "redis://:canary@host:canary"
url_env = "REDIS"
[upstreams.llm]"#,
        &[
            r#"gateway.toml:2:9: counters.store: the URL's host is none, or its password is not encoded; write @, : and / in a password as %40, %3A and %2F"#,
            r#"gateway.toml:3:1: counters.url_env: the store is a URL already; remove it, or write store = "redis""#,
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[counters]
store = "canary"
subjects_max = 1
[upstreams.llm]"#,
        &[
            r#"gateway.toml:2:9: counters.store: this is not a store; write "memory", "redis://host:6379", "redis+sentinel://host:26379,host:26379/master" or "redis+cluster://host:6379,host:6379""#,
            "gateway.toml:3:16: counters.subjects_max: 1 is out of bounds; write 1000 to 100000000",
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[journal]
bytes_max = "10MiB"
segment_bytes = "8MiB"
unanswered = "chrage"
[upstreams.llm]"#,
        &[
            r#"gateway.toml:2:13: journal.bytes_max: the journal needs room for two segments; write "16MiB" or more"#,
            r#"gateway.toml:4:14: journal.unanswered: unknown value "chrage"; did you mean "charge"?"#,
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[subjects]
cache = "10ms"
cach = "60s"
[upstreams.llm]"#,
        &[
            r#"gateway.toml:2:9: subjects.cache: 10ms is out of bounds; write "1s" to "1h""#,
            r#"gateway.toml:3:1: subjects.cach: unknown key; did you mean "cache"?"#,
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[shutdown]
grace = "2h"
[log]
level = "information"
requests = "yes"
[upstreams.llm]"#,
        &[
            r#"gateway.toml:2:9: shutdown.grace: 2h is out of bounds; write "0s" to "1h""#,
            r#"gateway.toml:4:9: log.level: unknown value "information"; write one of "info", "error", "warn", "debug", "trace""#,
            "gateway.toml:5:12: log.requests: must be true or false, not a string; write true",
        ],
    ),
    (
        "[upstreams.llm]",
        r#"[upstreams."a b"]
urls = ["http://x"]
[upstreams.llm]"#,
        &[r#"gateway.toml:1:12: upstreams."a b": "a b" is no name; use A-Z, a-z, 0-9, "_" and "-""#],
    ),
];

#[test]
fn every_mistake_is_explained() {
    for (part, instead, mistakes) in CASES {
        assert!(GATEWAY.contains(part), "{part}");
        let text = GATEWAY.replacen(part, instead, 1);
        assert_eq!(report(&text, TIERS), *mistakes, "{instead}");
    }
}
