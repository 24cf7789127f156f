//! Mistakes of upstreams and routes in `gateway.toml`, one by one.

use crate::{GATEWAY, TIERS, report};

/// A part of the good file, what stands in its place, and the mistakes that this makes.
const CASES: &[(&str, &str, &[&str])] = &[
    (
        r#"urls = ["http://127.0.0.1:9101"]"#,
        "urls = []",
        &[r#"gateway.toml:2:8: upstreams.llm.urls: there is no URL; write ["http://127.0.0.1:9101"]"#],
    ),
    (
        r#"urls = ["http://127.0.0.1:9101"]"#,
        r#"protocol = "http1""#,
        &[r#"gateway.toml:1:12: upstreams.llm.urls: missing; add urls = ["http://127.0.0.1:9101"]"#],
    ),
    (
        r#"urls = ["http://127.0.0.1:9101"]"#,
        r#"urls = ["http://x/v1", "x:80", "http://y", "http://Y:80/", "http://user:canary@z"]"#,
        &[
            r#"gateway.toml:2:9: upstreams.llm.urls[0]: "http://x/v1" has a path or a query; end the URL after the port, and use rewrite in the route"#,
            r#"gateway.toml:2:24: upstreams.llm.urls[1]: the URL has no scheme; write "http://" or "https://" first, as in "http://127.0.0.1:9101""#,
            "gateway.toml:2:44: upstreams.llm.urls[3]: the same URL stands here twice; remove one",
            "gateway.toml:2:60: upstreams.llm.urls[4]: a URL with a user or password is not supported; remove what is before the @",
        ],
    ),
    (
        r#"urls = ["http://127.0.0.1:9101"]"#,
        r#"urls = "http://x""#,
        &[
            r#"gateway.toml:2:8: upstreams.llm.urls: must be a list, not a string; write ["http://127.0.0.1:9101"]"#,
        ],
    ),
    (
        r#"urls = ["http://127.0.0.1:9101"]"#,
        r#"urls = ["http://x"]
protocol = "auto"
ca = "ca.pem""#,
        &[
            r#"gateway.toml:3:12: upstreams.llm.protocol: only a TLS handshake can agree on a protocol, and a URL is not https; write "http1" or "http2", or "https://" in urls"#,
            r#"gateway.toml:4:1: upstreams.llm.ca: there is no https URL whose certificate it could check; remove it, or write "https://" in urls"#,
        ],
    ),
    (
        r#"urls = ["http://127.0.0.1:9101"]"#,
        r#"urls = ["http://x"]
conections_max = 7
health = { path = "healthz", interval = "1s", timeout = "2s", healthy_after = 0 }"#,
        &[
            r#"gateway.toml:3:1: upstreams.llm.conections_max: unknown key; did you mean "connections_max"?"#,
            r#"gateway.toml:4:19: upstreams.llm.health.path: "healthz" does not begin with "/"; write "/healthz""#,
            "gateway.toml:4:57: upstreams.llm.health.timeout: a check may not last longer than the interval between checks; write a shorter timeout, or a longer interval",
            "gateway.toml:4:79: upstreams.llm.health.healthy_after: 0 is out of bounds; write 1 to 1000",
        ],
    ),
    (
        r#"path = "/v1/""#,
        r#"path = "v1""#,
        &[r#"gateway.toml:4:8: routes[0].path: "v1" does not begin with "/"; write "/v1""#],
    ),
    (
        r#"path = "/v1/""#,
        r#"path = "/v1//x/../y""#,
        &[
            r#"gateway.toml:4:8: routes[0].path: "/v1//x/../y" is not in normal form, and no request would match it; write "/v1/y""#,
        ],
    ),
    (
        r#"path = "/v1/""#,
        r#"path = "/v1/*?""#,
        &[
            r#"gateway.toml:4:8: routes[0].path: "?" cannot stand in a path; leave out query and fragment, and percent-encode the rest"#,
        ],
    ),
    (
        r#"path = "/v1/""#,
        r#"path = "/v%31/""#,
        &[
            r#"gateway.toml:4:8: routes[0].path: "/v%31/" has an escape that requests are matched without; write letters, digits, "-", ".", "_" and "~" plainly, other characters as in "%C3", and never an encoded slash or percent sign"#,
        ],
    ),
    (
        r#"path = "/v1/""#,
        r#"host = "example.com:80""#,
        &[
            r#"gateway.toml:3:1: routes[0].path: missing; add path = "/api/v1/llm/""#,
            r#"gateway.toml:4:8: routes[0].host: "example.com:80" is not a host; write a host name such as "api.example.com", without scheme, port and path"#,
        ],
    ),
    (
        r#"path = "/v1/""#,
        r#"path = "/v1/"
methods = ["post", "GET", "GET", "CONNECT"]"#,
        &[
            r#"gateway.toml:5:12: routes[0].methods[0]: "post" is not a method; write "POST""#,
            "gateway.toml:5:27: routes[0].methods[2]: the same method stands here twice; remove one",
            "gateway.toml:5:34: routes[0].methods[3]: CONNECT has no path and matches no route; remove it",
        ],
    ),
    (
        r#"path = "/v1/""#,
        r#"path = "/v1/"
rewrite = "/v2""#,
        &[
            r#"gateway.toml:5:11: routes[0].rewrite: "/v2" and the path "/v1/" must both end with "/" or neither; write "/v2/""#,
        ],
    ),
    (
        r#"path = "/v1/""#,
        r#"path = "/v1"
rewrite = "/""#,
        &[
            r#"gateway.toml:5:11: routes[0].rewrite: "/" and the path "/v1" must both end with "/" or neither; end the path with "/""#,
        ],
    ),
    (
        r#"path = "/v1/""#,
        r#"path = "/vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv/""#,
        &[
            "gateway.toml:3:1: routes[0]: the path is too long to be the route's name; add a name of at most 64 bytes",
        ],
    ),
    (
        "[[routes]]",
        r#"[[routes]]
path = "/v1/"
methods = ["GET"]
upstream = "llm"
[[routes]]"#,
        &[
            r#"gateway.toml:7:1: routes[1]: serves the same requests as the route "/v1/"; give them different paths, hosts or methods, or remove one"#,
        ],
    ),
    (
        "[[routes]]",
        r#"[[routes]]
name = "a b"
path = "/v2/"
upstream = "llm"
charge_on = ["2xx"]
[[routes]]"#,
        &[
            r#"gateway.toml:4:8: routes[0].name: "a b" is no name; use printable ASCII without spaces"#,
            "gateway.toml:7:1: routes[0].charge_on: the route has no charge, so this has no meaning; add charge, or remove charge_on",
        ],
    ),
    (
        r#"charge = [{ meter = "calls" }]"#,
        r#"charge = [{ meter = "call" }, { amount = 2 }, { meter = "calls" }, { meter = "calls" }]"#,
        &[
            r#"gateway.toml:6:21: routes[0].charge[0].meter: no meter is called "call"; did you mean "calls"?"#,
            r#"gateway.toml:6:31: routes[0].charge[1].meter: missing; add meter = "api_calls""#,
            "gateway.toml:6:68: routes[0].charge[3]: the route has the same charge twice; leave one, or write a larger amount",
        ],
    ),
    (
        r#"charge = [{ meter = "calls" }]"#,
        r#"charge = { meter = "calls" }"#,
        &[
            r#"gateway.toml:6:10: routes[0].charge: must be a list, not a table; write [{ meter = "api_calls" }]"#,
        ],
    ),
    (
        r#"charge = [{ meter = "calls" }]"#,
        r#"charge = [{ meter = "calls", amount = 0 }, { meter = "tokens", amount = -1 }, { meter = "storage", amount = 1e3 }]"#,
        &[
            "gateway.toml:6:39: routes[0].charge[0].amount: 0 charges nothing; remove this charge, or write 1 or more",
            "gateway.toml:6:73: routes[0].charge[1].amount: -1 is negative, and only a level can be given back; write 1 or more",
            "gateway.toml:6:109: routes[0].charge[2].amount: 1e3 is not a whole number; write 1000",
        ],
    ),
    (
        r#"charge = [{ meter = "calls" }]"#,
        r#"charge = [{ meter = "tokens", amount = "llm.tokens" }, { meter = "jobs", amount = "upstream" }, { meter = "calls", hold = 5 }]"#,
        &[
            r#"gateway.toml:6:40: routes[0].charge[0].amount: "llm.tokens" is not measured; write one of "llm.total_tokens", "llm.input_tokens", "llm.output_tokens", "llm.cached_tokens", "llm.reasoning_tokens", "llm.cost", "request.bytes", "response.bytes", "duration", "upstream", "memory.size", or a place, as in "response.json:/items/*/pages""#,
            "gateway.toml:6:83: routes[0].charge[1].amount: how many run at once is known beforehand, not measured; write a whole number, or remove amount to count 1",
            "gateway.toml:6:116: routes[0].charge[2].hold: a constant amount is known beforehand: all of it is held; remove hold",
        ],
    ),
    (
        r#"charge = [{ meter = "calls" }]"#,
        r#"charge = [{ meter = "tokens", amount = "llm.total_tokens", hold = 0 }]"#,
        &[
            "gateway.toml:6:67: routes[0].charge[0].hold: holding 0 would admit requests when nothing is left; write what a request usually needs, 1 or more",
        ],
    ),
    (
        r#"charge = [{ meter = "calls" }]"#,
        r#"charge = [{ meter = "calls" }]
charge_on = ["2xx", 600, "4x", 404, true]"#,
        &[
            r#"gateway.toml:7:21: routes[0].charge_on[1]: "600" is not an outcome; write 100 to 599"#,
            r#"gateway.toml:7:26: routes[0].charge_on[2]: "4x" is not an outcome; did you mean "4xx"?"#,
            r#"gateway.toml:7:37: routes[0].charge_on[4]: must be an outcome, not true or false; write "2xx", 404 or "no_answer""#,
        ],
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
