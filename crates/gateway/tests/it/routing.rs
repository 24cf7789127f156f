//! One normal path for matching, metering and forwarding; what matches no route is denied.

mod http2;

use tollgate_testkit::{BOUND, Origin, Wire};

use crate::scene::{Scene, assert_refusal};

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls = { unit = "calls" }
[tiers.free]
other_meters = "unlimited"
"#;

/// The route `open` is free, so whatever reaches a charged path by it would be unmetered.
const ROUTES: &str = r#"
[[routes]]
name = "llm"
path = "/api/v1/llm/"
rewrite = "/v1/"
upstream = "origin"
charge = [{ meter = "calls" }]
[[routes]]
name = "deeper"
path = "/api/v1/llm/deeper/"
upstream = "origin"
charge = [{ meter = "calls" }]
[[routes]]
name = "open"
path = "/open/"
upstream = "origin"
[[routes]]
name = "exact"
path = "/exact"
upstream = "origin"
[[routes]]
name = "posts"
path = "/posts/"
methods = ["POST"]
upstream = "origin"
charge = [{ meter = "calls" }]
[[routes]]
name = "gets"
path = "/posts/"
methods = ["GET"]
upstream = "origin"
[[routes]]
name = "hosted"
path = "/hosted/"
host = "a.example.com"
upstream = "origin"
"#;

fn scene() -> Scene {
    Scene::start(Origin::builder(), ROUTES, TIERS)
}

/// Sends a head with exactly this request line and these `Host` lines.
fn send(scene: &Scene, request_line: &str, hosts: &str) -> tollgate_testkit::Response {
    let mut wire = Wire::connect(scene.gateway.address());
    wire.send(format!("{request_line} HTTP/1.1\r\n{hosts}X-User-Id: ann\r\n\r\n"));
    wire.response(request_line.starts_with("HEAD "), BOUND).expect("an answer")
}

fn get(scene: &Scene, target: &str) -> tollgate_testkit::Response {
    send(scene, &format!("GET {target}"), "Host: gateway.test\r\n")
}

#[test]
fn the_longest_path_wins_and_the_rewrite_replaces_it() {
    let scene = scene();
    for (target, forwarded, route) in [
        ("/api/v1/llm/chat/completions?stream=true", "/v1/chat/completions?stream=true", Some("llm")),
        ("/api/v1/llm/", "/v1/", Some("llm")),
        ("/api/v1/llm/deeper/x", "/api/v1/llm/deeper/x", Some("deeper")),
        ("/api/v1/llm/deeper", "/v1/deeper", Some("llm")),
        ("/open/x?a=b?c&d=%2f%2e%2e", "/open/x?a=b?c&d=%2f%2e%2e", None),
        ("/exact", "/exact", None),
        ("/exact/below", "/exact/below", None),
    ] {
        let answer = get(&scene, target);
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        assert_eq!(scene.origin.last().target, forwarded, "{target}");
        // A charged route charges, however its path was reached.
        assert_eq!(answer.header("x-ratelimit-limit").is_some(), route.is_some(), "{target}");
    }
}

#[test]
fn what_matches_no_route_is_denied() {
    let scene = scene();
    for target in [
        "/",
        "/api",
        "/api/v1/llm",
        "/api/v1/llmx",
        "/open",
        "/exactly",
        "/exact2/x",
        "/v1/chat",
        "/healthz",
        "/metrics",
    ] {
        assert_refusal(&get(&scene, target), 404, "no_route");
    }
    assert_eq!(scene.origin.requests(), 0);
}

#[test]
fn other_spellings_of_a_path_are_brought_into_the_one_that_is_metered() {
    let scene = scene();
    for (target, forwarded) in [
        ("//api//v1/llm//x", "/v1/x"),
        ("/api/./v1/llm/x", "/v1/x"),
        ("/open/../api/v1/llm/x", "/v1/x"),
        ("/open/a/../../api/v1/llm/x", "/v1/x"),
        ("/%61pi/v1/%6C%6cm/x", "/v1/x"),
        ("/api/v1/llm/x/..", "/v1/"),
        ("/api/v1/llm/%e4%20", "/v1/%E4%20"),
        ("/api/v1/llm/a;v=1/b", "/v1/a;v=1/b"),
        ("/api/v1/llm/x/../deeper/y", "/api/v1/llm/deeper/y"),
    ] {
        let answer = get(&scene, target);
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        assert_eq!(scene.origin.last().target, forwarded, "{target}");
        assert_eq!(answer.header("x-ratelimit-limit"), Some("unlimited"), "{target} is metered");
    }
    assert_eq!(scene.settled().len(), 9, "each is charged");
}

#[test]
fn what_services_read_differently_is_refused() {
    let scene = scene();
    for target in [
        "/open/%2e%2e/api/v1/llm/x",
        "/open/%2E%2E/api/v1/llm/x",
        "/open/.%2e/api/v1/llm/x",
        "/open/..%2fapi/v1/llm/x",
        "/open%2fx",
        "/open/%252e%252e/api/v1/llm/x",
        "/open/%25%32%65%25%32%65/x",
        "/open/..\\api\\v1\\llm\\x",
        "/open/..%5capi/x",
        "/open/..;/api/v1/llm/x",
        "/open/..;a=b/api/v1/llm/x",
        "/open/.;/x",
        "/../open/x",
        "/open/../../x",
        "/open/%00",
        "/open/%0d%0aX-User-Id:%20admin",
        "/open/%zz",
        "/open/%",
        "/open/%u002e%u002e/x",
    ] {
        let answer = get(&scene, target);
        assert_refusal(&answer, 400, "bad_request");
        assert_eq!(answer.header("connection"), Some("close"), "{target}");
    }
    for raw in
        ["/open/\u{e4}", "/open/\u{ff0e}\u{ff0e}/x", "/open/\"x\"", "/open/<x>", "/open/{x}", "/open/a|b"]
    {
        let answer = get(&scene, raw);
        assert!([200, 400].contains(&answer.status), "{raw}: {answer:?}");
        if answer.status == 200 {
            assert!(scene.origin.last().target.is_ascii(), "{raw}");
        }
    }
    assert!(scene.origin.received().iter().all(|request| request.target.starts_with("/open/")));
}

#[test]
fn paths_are_compared_with_their_case() {
    let scene = scene();
    for target in ["/API/v1/llm/x", "/api/V1/LLM/x", "/Open/x"] {
        assert_refusal(&get(&scene, target), 404, "no_route");
    }
    assert_eq!(scene.origin.requests(), 0);
}

#[test]
fn an_overlong_path_is_refused() {
    let scene = scene();
    let answer = get(&scene, &format!("/open/{}", "a".repeat(9000)));
    assert_refusal(&answer, 400, "bad_request");
    assert_eq!(scene.origin.requests(), 0);
}

#[test]
fn the_method_is_what_the_request_line_says_and_in_upper_case() {
    let scene = scene();
    // `/posts/` is free to GET and charged to POST: nobody may POST for free.
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x_http_method_override"] {
        let answer = send(&scene, "GET /posts/", &format!("Host: gateway.test\r\n{name}: POST\r\n"));
        assert_eq!((answer.status, answer.header("x-ratelimit-limit")), (200, None));
        let seen = scene.origin.last();
        assert_eq!((&*seen.method, seen.header(name)), ("GET", None), "{name}");
    }
    let requests = scene.origin.requests();
    for method in ["post", "Post", "get"] {
        let answer = send(&scene, &format!("{method} /posts/"), "Host: gateway.test\r\n");
        assert_refusal(&answer, 400, "bad_request");
    }
    for method in ["DELETE", "PATCH", "HEAD", "OPTIONS", "BREW"] {
        let answer = send(&scene, &format!("{method} /posts/"), "Host: gateway.test\r\n");
        assert_eq!(answer.status, 404, "{method}");
    }
    assert_eq!(scene.origin.requests(), requests);
    let answer = send(&scene, "POST /posts/", "Host: gateway.test\r\n");
    assert_eq!((answer.status, answer.header("x-ratelimit-limit")), (200, Some("unlimited")));
}

#[test]
fn an_absolute_target_must_agree_with_host() {
    let scene = scene();
    let answer = send(&scene, "GET http://gateway.test/open/x?q", "Host: gateway.test\r\n");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(scene.origin.last().target, "/open/x?q", "the upstream sees a path");
    assert_eq!(scene.origin.last().all("host"), [scene.origin.address().to_string()]);
    let requests = scene.origin.requests();
    for line in [
        "GET http://other.test/open/x",
        "GET http://gateway.test:81/open/x",
        "GET http://gateway.test@other.test/open/x",
        "GET http://other.test@gateway.test/open/x",
        "GET http:///open/x",
    ] {
        let answer = send(&scene, line, "Host: gateway.test\r\n");
        assert_eq!(answer.status, 400, "{line}: {answer:?}");
    }
    // Without a path it is the root, which no route serves.
    assert_refusal(&send(&scene, "GET http://gateway.test", "Host: gateway.test\r\n"), 404, "no_route");
    assert_refusal(&send(&scene, "OPTIONS *", "Host: gateway.test\r\n"), 400, "bad_request");
    assert_eq!(scene.origin.requests(), requests);
}

#[test]
fn a_request_has_exactly_one_valid_host() {
    let scene = scene();
    for hosts in [
        "",
        "Host: a.example.com\r\nHost: gateway.test\r\n",
        "Host: gateway.test\r\nHost: gateway.test\r\n",
        "Host: a.example.com, gateway.test\r\n",
        "Host: a.example.com gateway.test\r\n",
        "Host: a.example.com/x\r\n",
        "Host: user@a.example.com\r\n",
        "Host: a.example.com:80:80\r\n",
        "Host: a.example.com:8o\r\n",
        "Host: [::1\r\n",
        "Host: [::1]x\r\n",
        "Host: \u{430}.example.com\r\n",
    ] {
        let answer = send(&scene, "GET /hosted/", hosts);
        assert_eq!(answer.status, 400, "{hosts:?}: {answer:?}");
    }
    assert_eq!(scene.origin.requests(), 0);
}

#[test]
fn a_route_for_a_host_serves_that_host_in_any_case_and_port_and_no_other() {
    let scene = scene();
    for host in ["a.example.com", "A.Example.COM", "a.example.com:8443"] {
        assert_eq!(send(&scene, "GET /hosted/", &format!("Host: {host}\r\n")).status, 200, "{host}");
    }
    for host in ["b.example.com", "a.example.com.evil.test", "xa.example.com", "example.com"] {
        assert_refusal(&send(&scene, "GET /hosted/", &format!("Host: {host}\r\n")), 404, "no_route");
    }
    // What a trusted peer forwards is not what was asked for here.
    let forwarded = "Host: b.example.com\r\nX-Forwarded-Host: a.example.com\r\n";
    assert_refusal(&send(&scene, "GET /hosted/", forwarded), 404, "no_route");
}

#[test]
fn a_target_in_no_form_that_http_knows_is_refused() {
    let scene = scene();
    for target in ["open/x", "?x", "gateway.test", "ftp://gateway.test/open/x"] {
        let answer = get(&scene, target);
        assert_eq!(answer.status, 400, "{target}: {answer:?}");
    }
    assert_eq!(scene.origin.requests(), 0);
    // A fragment is the client's own: it takes part in nothing.
    assert_eq!(get(&scene, "/open/x#/../../api/v1/llm/x").status, 200);
    assert_eq!(scene.origin.last().target, "/open/x");
}

/// Its answer would show the upstream's view of the request, with what only upstreams are told.
#[test]
fn trace_is_refused() {
    let scene = scene();
    for path in ["/open/x", "/api/v1/llm/x", "/nowhere"] {
        let answer = send(&scene, &format!("TRACE {path}"), "Host: gateway.test\r\n");
        assert_refusal(&answer, 400, "bad_request");
    }
    assert_eq!(scene.origin.requests(), 0);
}
