//! Who is calling: believed from trusted peers only, and only when it is said once and well.

use tollgate_testkit::{Answer, BOUND, Origin, OriginBuilder, Received, Response, Wire};

use crate::scene::{Scene, assert_refusal};

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls = { unit = "calls" }
[tiers.free]
other_meters = "unlimited"
[tiers.enterprise]
other_meters = "unlimited"
"#;

const ROUTES: &str = r#"
[[routes]]
path = "/x/"
upstream = "origin"
charge = [{ meter = "calls" }]
"#;

const UNTRUSTED: &str = "[identity]\ntrusted_peers = [\"192.0.2.0/24\"]\nanonymous = \"free\"\n";

/// What one client sent under a name that could mean `X-User-Id`.
struct Row {
    what: &'static str,
    /// Whole header lines.
    lines: &'static [u8],
}

const fn row(what: &'static str, lines: &'static [u8]) -> Row {
    Row { what, lines }
}

/// Claims that a trusted peer has to get right.
const CLAIMS: [Row; 24] = [
    row("an underscore for a dash (CVE-2025-64484)", b"X_User_Id: admin\r\n"),
    row("a misspelling beside the right one", b"X-User-Id: ann\r\nX_User_Id: admin\r\n"),
    row("dots for dashes (CVE-2026-88011)", b"X-User-Id: ann\r\nX.User.Id: admin\r\n"),
    row("mixed separators", b"X-User-Id: ann\r\nx-user_id: admin\r\n"),
    row("another protected header misspelt", b"X-User-Id: ann\r\nX_User_Tier: enterprise\r\n"),
    row("the organisation misspelt", b"X-User-Id: ann\r\nX.Org.Id: acme\r\n"),
    row("two lines", b"X-User-Id: ann\r\nX-User-Id: admin\r\n"),
    row("two equal lines", b"X-User-Id: ann\r\nX-User-Id: ann\r\n"),
    row("two lines in two spellings of case", b"X-User-Id: ann\r\nx-user-id: admin\r\n"),
    row("two tiers", b"X-User-Id: ann\r\nX-User-Tier: free\r\nX-User-Tier: enterprise\r\n"),
    row("two values in a line", b"X-User-Id: a,b\r\n"),
    row("a zero-width space", b"X-User-Id: ad\xe2\x80\x8bmin\r\n"),
    row("a Cyrillic a", b"X-User-Id: \xd0\xb0dmin\r\n"),
    row("a decomposed letter", b"X-User-Id: e\xcc\x81ric\r\n"),
    row("a byte that is no UTF-8", b"X-User-Id: \xff\r\n"),
    row("nothing", b"X-User-Id:\r\n"),
    row("blanks", b"X-User-Id:    \r\n"),
    row("a blank inside", b"X-User-Id: ann admin\r\n"),
    row("a tab inside", b"X-User-Id: ann\tadmin\r\n"),
    row("markup", b"X-User-Id: <script>alert(1)</script>\r\n"),
    row("named by Connection", b"Connection: close, X-User-Id\r\nX-User-Id: ann\r\n"),
    row(
        "named by the second of two Connections",
        b"Connection: close\r\nConnection: x-user-id\r\nX-User-Id: ann\r\n",
    ),
    row("misspelt by Connection", b"Connection: X_User_Id\r\nX-User-Id: ann\r\n"),
    row(
        "the tier named by Connection",
        b"Connection: X-User-Tier\r\nX-User-Id: ann\r\nX-User-Tier: free\r\n",
    ),
];

/// What is no HTTP, whoever sends it.
const NO_HTTP: [Row; 5] = [
    row("a blank before the colon", b"X-User-Id : admin\r\n"),
    row("a folded line", b"X-User-Id: ann\r\n admin\r\n"),
    row("a line that is only folded", b"X-User-Id:\r\n\tadmin\r\n"),
    row("a line that begins with a blank", b" X-User-Id: admin\r\n"),
    row("a bare carriage return", b"X-User-Id: ann\rX-User-Id: admin\r\n"),
];

fn trusted() -> Scene {
    Scene::start(Origin::builder(), ROUTES, TIERS)
}

fn untrusted() -> Scene {
    untrusted_before(Origin::builder(), "")
}

fn untrusted_before(origin: OriginBuilder, upstream: &str) -> Scene {
    Scene::start(origin, &format!("{upstream}{ROUTES}{UNTRUSTED}"), TIERS)
}

fn send(scene: &Scene, lines: &[u8]) -> Response {
    let mut wire = Wire::connect(scene.gateway.address());
    wire.send([b"GET /x/ HTTP/1.1\r\nHost: gateway.test\r\n", lines, b"\r\n"].concat());
    wire.response(false, BOUND).expect("an answer")
}

fn fold(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// All that an upstream could take for the header `name`, in whatever spelling, trailers included.
fn all_spellings<'a>(seen: &'a Received, name: &str) -> Vec<&'a str> {
    let fields = seen.headers.iter().chain(&seen.trailers);
    fields.filter(|(key, _)| fold(key) == name).map(|(_, value)| value.as_str()).collect()
}

/// Fails unless the upstream is told of an anonymous caller on the tier for those, and of nobody else.
fn assert_anonymous(seen: &Received, what: &str) {
    assert_eq!(all_spellings(seen, "x-user-id"), ["anonymous@127.0.0.1"], "{what}");
    assert_eq!(all_spellings(seen, "x-user-tier"), ["free"], "{what}");
    for name in ["x-org-id", "x-user-email", "x-user-role"] {
        assert_eq!(all_spellings(seen, name), [""; 0], "{what}: {name}");
    }
}

#[test]
fn from_a_trusted_peer_an_identity_is_said_once_and_well_or_the_answer_is_400() {
    let scene = trusted();
    for Row { what, lines } in CLAIMS {
        let answer = send(&scene, lines);
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        assert_refusal(&answer, 400, "identity_invalid");
    }
    let long = format!("X-User-Id: {}\r\n", "a".repeat(8 * 1024));
    assert_refusal(&send(&scene, long.as_bytes()), 400, "identity_invalid");
    assert_eq!(scene.origin.requests(), 0, "none of it reaches the upstream");
    assert_eq!(scene.settled(), [], "nobody is charged for it");

    assert_eq!(send(&scene, b"X-User-Id: ann\r\n").status, 200, "as it should be said");
    assert_eq!(all_spellings(&scene.origin.last(), "x-user-id"), ["ann"]);
}

#[test]
fn from_an_untrusted_peer_every_spelling_of_an_identity_is_taken_away() {
    let scene = untrusted();
    let plain = [
        row("an id", b"X-User-Id: admin\r\n"),
        row("all at once", b"X-User-Id: a\r\nX-Org-Id: b\r\nX-User-Tier: enterprise\r\nX-User-Email: c@d\r\nX-User-Role: admin\r\n"),
        row("an unknown tier", b"X-User-Tier: platinum\r\n"),
    ];
    for Row { what, lines } in CLAIMS.iter().chain(&plain) {
        let answer = send(&scene, lines);
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        assert_anonymous(&scene.origin.last(), what);
    }
    let long = format!("X-User-Id: {}\r\n", "a".repeat(8 * 1024));
    assert_eq!(send(&scene, long.as_bytes()).status, 200);
    assert_anonymous(&scene.origin.last(), "8 KB");
    let users: Vec<_> = scene.settled().into_iter().map(|line| (line.user, line.tier)).collect();
    assert!(users.len() > CLAIMS.len());
    assert!(users.iter().all(|(user, tier)| user == "anonymous@127.0.0.1" && tier == "free"), "{users:?}");
}

#[test]
fn what_servers_read_differently_is_no_header_for_anyone() {
    for scene in [trusted(), untrusted()] {
        for Row { what, lines } in NO_HTTP {
            let mut wire = Wire::connect(scene.gateway.address());
            wire.send([b"GET /x/ HTTP/1.1\r\nHost: gateway.test\r\n", lines, b"\r\n"].concat());
            let answer = wire.response(false, BOUND).unwrap_or_else(|| panic!("{what}: no answer"));
            assert_eq!(answer.status, 400, "{what}: {answer:?}");
            assert!(wire.closes(BOUND), "{what}: the connection ends");
        }
        assert_eq!(scene.origin.requests(), 0);
    }
}

#[test]
fn a_header_that_connection_names_cannot_take_the_injected_identity_away() {
    // hyper's HTTP/2 client deletes what Connection names; its HTTP/1.1 client sends Connection on.
    for (origin, upstream) in [(Origin::builder(), ""), (Origin::builder().http2(), "protocol = \"http2\"\n")]
    {
        let origin = origin.start();
        let mark = Origin::echo();
        let config = crate::scene::config(mark.address(), "").replacen(
            &format!("[upstreams.origin]\nurls = [\"http://{}\"]\n", mark.address()),
            &format!(
                "[upstreams.origin]\nurls = [\"http://{}\"]\n{upstream}{ROUTES}{UNTRUSTED}",
                origin.address()
            ),
            1,
        );
        let gateway = crate::support::gateway().config(config).tiers(crate::scene::tiers(TIERS)).start();
        let mut wire = Wire::connect(gateway.address());
        wire.send(
            "GET /x/ HTTP/1.1\r\nHost: gateway.test\r\nX-User-Id: admin\r\n\
             Connection: keep-alive, X-User-Id, X-User-Tier, X-Request-Id, traceparent, Forwarded\r\n\
             Connection: X-Forwarded-For, x-user-id\r\n\r\n",
        );
        let answer = wire.response(false, BOUND).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = origin.last();
        assert_anonymous(&seen, &seen.version);
        for injected in ["X-Request-Id", "traceparent", "Forwarded", "X-Forwarded-For"] {
            assert_eq!(seen.all(injected).len(), 1, "{injected} over {}", seen.version);
        }
        assert_eq!(seen.header("connection"), None, "{}", seen.version);
    }
}

#[test]
fn an_identity_in_trailers_is_taken_away_whoever_sends_it() {
    let trailers = "X-User-Id: admin\r\nX_User_Tier: enterprise\r\nx.org.id: acme\r\nX-Forwarded-For: 127.0.0.1\r\n\
                    X-Usage-calls: -5\r\nX-Checksum: 900150983cd24fb0\r\n";
    for (identity, scene) in [("X-User-Id: ann\r\n", trusted()), ("", untrusted())] {
        let mut wire = Wire::connect(scene.gateway.address());
        wire.send(format!(
            "POST /x/ HTTP/1.1\r\nHost: gateway.test\r\n{identity}Trailer: X-User-Id, X-Checksum\r\n\
             Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n{trailers}\r\n"
        ));
        let answer = wire.response(false, BOUND).unwrap();
        assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("abc")), "{answer:?}");
        let seen = scene.origin.last();
        let expected = if identity.is_empty() { "anonymous@127.0.0.1" } else { "ann" };
        assert_eq!(all_spellings(&seen, "x-user-id"), [expected]);
        assert_eq!(all_spellings(&seen, "x-user-tier"), ["free"]);
        let trailers: Vec<_> =
            seen.trailers.iter().map(|(name, value)| (name.to_lowercase(), &**value)).collect();
        let checksum = ("x-checksum".to_owned(), "900150983cd24fb0");
        assert_eq!(trailers, [checksum], "what is nobody's identity passes");
    }
}

#[test]
fn trailers_of_http2_requests_are_cleaned_as_well() {
    use http_body_util::{BodyExt as _, StreamBody};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mark = Origin::echo();
    let origin = Origin::builder().http2().start();
    let routes = format!("protocol = \"http2\"\n{ROUTES}{UNTRUSTED}");
    let config = crate::scene::config(origin.address(), &routes).replacen(
        &origin.address().to_string(),
        &mark.address().to_string(),
        1,
    );
    let gateway = crate::support::gateway().config(config).tiers(crate::scene::tiers(TIERS)).start();
    runtime.block_on(async {
        let mut client = tollgate_testkit::Client::http2(gateway.address()).await.unwrap();
        let mut trailers = http::HeaderMap::new();
        for (name, value) in [("x-user-id", "admin"), ("x_user_tier", "enterprise"), ("x-checksum", "900150")]
        {
            trailers.insert(name, value.parse().unwrap());
        }
        let frames =
            [http_body::Frame::data(bytes::Bytes::from_static(b"abc")), http_body::Frame::trailers(trailers)];
        let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok))).boxed();
        let request = http::Request::post("/x/").body(body).unwrap();
        assert_eq!(client.open(request).await.unwrap().status(), 200);
    });
    let seen = origin.last();
    assert_anonymous(&seen, "HTTP/2");
    let trailers: Vec<_> = seen.trailers.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(trailers, [("x-checksum", "900150")], "what is nobody's identity passes");
}

#[test]
fn a_forwarded_uri_opens_nothing() {
    // CVE-2026-40575: a service that believed it skipped authentication for its health check.
    let scene = trusted();
    for name in ["X-Forwarded-Uri", "X-Original-URL", "X-Rewrite-URL", "x_forwarded_uri"] {
        let lines = format!("{name}: /healthz\r\n");
        assert_refusal(&send(&scene, lines.as_bytes()), 401, "identity_missing");
        let lines = format!("X-User-Id: ann\r\n{lines}");
        assert_eq!(send(&scene, lines.as_bytes()).status, 200);
        let seen = scene.origin.last();
        assert!(!seen.headers.iter().any(|(_, value)| value == "/healthz"), "{name}: {:?}", seen.headers);
    }
}

#[test]
fn trust_comes_from_the_socket_and_from_nothing_that_is_said() {
    let scene = untrusted();
    for line in [
        "X-Forwarded-For: 192.0.2.1\r\n",
        "X-Forwarded-For: 127.0.0.1\r\n",
        "X-Real-IP: 192.0.2.1\r\n",
        "Forwarded: for=192.0.2.1\r\n",
        "True-Client-IP: 192.0.2.1\r\n",
    ] {
        let lines = format!("{line}X-User-Id: admin\r\nX-User-Tier: enterprise\r\n");
        assert_eq!(send(&scene, lines.as_bytes()).status, 200);
        assert_anonymous(&scene.origin.last(), line);
    }
}

#[test]
fn anonymous_reject_refuses_and_a_tier_serves_by_address() {
    let rejecting = Scene::start(
        Origin::builder(),
        &format!("{ROUTES}[identity]\ntrusted_peers = [\"192.0.2.0/24\"]\nanonymous = \"reject\"\n"),
        TIERS,
    );
    assert_refusal(&send(&rejecting, b"X-User-Id: ann\r\n"), 401, "identity_missing");
    assert_eq!(rejecting.origin.requests(), 0);

    let serving =
        Scene::start(Origin::builder(), &format!("{ROUTES}[identity]\nanonymous = \"free\"\n"), TIERS);
    assert_eq!(send(&serving, b"").status, 200);
    assert_anonymous(&serving.origin.last(), "nothing said");
    assert_eq!(send(&serving, b"X-User-Tier: enterprise\r\nX-User-Role: admin\r\n").status, 200);
    let seen = serving.origin.last();
    assert_eq!(all_spellings(&seen, "x-user-tier"), ["free"], "a tier without a user is nobody's");
    assert_eq!(send(&serving, b"X-User-Id: ann\r\nX-User-Tier: enterprise\r\n").status, 200);
    let seen = serving.origin.last();
    assert_eq!(all_spellings(&seen, "x-user-id"), ["ann"]);
    assert_eq!(all_spellings(&seen, "x-user-tier"), ["enterprise"]);
}

#[test]
fn the_headers_may_have_other_names_and_the_usual_ones_then_mean_nothing() {
    let scene = Scene::start(
        Origin::builder(),
        &format!("{ROUTES}[identity]\nuser = \"X-Account\"\ntier = \"X-Plan\"\n"),
        TIERS,
    );
    assert_refusal(&send(&scene, b"X-User-Id: ann\r\n"), 401, "identity_missing");
    assert_refusal(&send(&scene, b"X-Account: ann\r\nX_Account: bob\r\n"), 400, "identity_invalid");
    assert_eq!(send(&scene, b"X-Account: ann\r\nX-Plan: enterprise\r\n").status, 200);
    let seen = scene.origin.last();
    assert_eq!((seen.all("X-Account"), seen.all("X-Plan")), (vec!["ann"], vec!["enterprise"]));
}

#[test]
fn who_is_refused_by_the_upstream_was_still_who_they_were() {
    let scene = Scene::start(Origin::builder().on("/x/", Answer::status(403)), ROUTES, TIERS);
    let answer = send(&scene, b"X-User-Id: ann\r\nX-User-Tier: enterprise\r\n");
    assert_eq!(answer.status, 403);
    let lines: Vec<_> =
        scene.lines_of(&answer).into_iter().map(|line| (line.user, line.tier, line.amount)).collect();
    assert_eq!(lines, [("ann".to_owned(), "enterprise".to_owned(), 1)]);
}
