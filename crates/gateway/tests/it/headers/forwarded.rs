//! Who is calling, on which way, and in which trace: what the upstream gets.

use tollgate_testkit::{Client, Origin};

use super::{OUTSIDE, scene, scene_with};
use crate::scene::request_id;

#[test]
fn the_upstream_learns_who_is_calling_and_on_which_tier() {
    let scene = scene();
    let identity = [
        ("x-user-id", "ann"),
        ("X-Org-Id", "acme"),
        ("X-User-Email", "ann@example.com"),
        ("X-User-Role", "admin"),
        ("X-User-Tier", "limited"),
        ("X-Custom", "stays"),
        ("Accept-Encoding", "gzip"),
    ];
    let answer = scene.send("GET", "/x/?q=%20a", &identity, "");
    let seen = scene.origin.last();
    assert_eq!(seen.target, "/x/?q=%20a");
    for (name, value) in identity {
        assert_eq!(seen.all(name), [value], "{name}");
    }
    assert_eq!(seen.all("X-Request-Id"), [request_id(&answer)]);

    let answer = scene.send("GET", "/x/", &[("X-User-Id", "bob")], "");
    assert_eq!(answer.status, 200);
    let seen = scene.origin.last();
    assert_eq!(
        seen.all("X-User-Tier"),
        ["free"],
        "who names no tier is on the default one, and upstreams know"
    );
    for absent in ["X-Org-Id", "X-User-Email", "X-User-Role"] {
        assert_eq!(seen.header(absent), None, "{absent}");
    }
}

#[test]
fn a_request_id_is_kept_from_a_trusted_peer_only() {
    let inside = scene();
    let id = [("X-User-Id", "ann"), ("X-Request-Id", "abc-123")];
    let answer = inside.send("GET", "/x/", &id, "");
    assert_eq!(request_id(&answer), "abc-123");
    assert_eq!(inside.origin.last().all("X-Request-Id"), ["abc-123"]);
    assert_eq!(inside.lines_of(&answer).len(), 3, "the ledger has it too");

    let outside = scene_with(Origin::builder(), OUTSIDE);
    let answer = outside.send("GET", "/x/", &id, "");
    assert_ne!(request_id(&answer), "abc-123");
    assert_eq!(outside.origin.last().all("X-Request-Id"), [request_id(&answer)]);
}

#[test]
fn a_valid_traceparent_is_kept_and_any_other_replaced() {
    let scene = scene();
    let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let sent = |value: &str| {
        let answer = scene.send("GET", "/x/", &[("X-User-Id", "ann"), ("traceparent", value)], "");
        assert_eq!(answer.status, 200);
        let seen = scene.origin.last();
        assert_eq!(seen.all("traceparent").len(), 1, "{value}");
        seen.header("traceparent").unwrap().to_owned()
    };
    assert_eq!(sent(valid), valid);
    for invalid in [
        "nonsense",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
    ] {
        let made = sent(invalid);
        assert_ne!(made, invalid);
        let parts: Vec<_> = made.split('-').map(str::len).collect();
        assert_eq!(parts, [2, 32, 16, 2], "{made}");
        assert!(made.starts_with("00-") && made.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()));
    }
    let (first, second) = (sent("none"), sent("none"));
    assert_ne!(first, second, "every request has a trace of its own");
}

#[test]
fn the_way_of_a_request_is_appended_to_for_trusted_peers() {
    let scene = scene();
    let way = [
        ("X-User-Id", "ann"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "api.example.com"),
        ("Forwarded", "for=203.0.113.9;proto=https"),
    ];
    assert_eq!(scene.send("GET", "/x/", &way, "").status, 200);
    let seen = scene.origin.last();
    assert_eq!(seen.all("X-Forwarded-For"), ["203.0.113.9, 127.0.0.1"]);
    assert_eq!(seen.all("Forwarded"), ["for=203.0.113.9;proto=https, for=127.0.0.1;proto=http"]);
    assert_eq!(seen.all("X-Forwarded-Proto"), ["https"]);
    assert_eq!(seen.all("X-Forwarded-Host"), ["api.example.com"]);
}

#[test]
fn several_lines_of_a_way_are_all_kept_in_their_order() {
    let scene = scene();
    let way = [
        ("X-User-Id", "ann"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("Forwarded", "for=203.0.113.9"),
        ("X-Forwarded-For", "198.51.100.7"),
        ("Forwarded", "for=198.51.100.7"),
    ];
    assert_eq!(scene.send("GET", "/x/", &way, "").status, 200);
    let seen = scene.origin.last();
    assert_eq!(seen.all("X-Forwarded-For").join(", "), "203.0.113.9, 198.51.100.7, 127.0.0.1");
    let forwarded = "for=203.0.113.9, for=198.51.100.7, for=127.0.0.1;proto=http";
    assert_eq!(seen.all("Forwarded").join(", "), forwarded);
}

#[test]
fn the_way_that_an_untrusted_peer_tells_is_replaced() {
    let scene = scene_with(Origin::builder(), OUTSIDE);
    let way = [
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "bank.example"),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Prefix", "/admin"),
        ("X-Real-IP", "127.0.0.1"),
        ("Forwarded", "for=127.0.0.1"),
    ];
    assert_eq!(scene.send("GET", "/x/", &way, "").status, 200);
    let seen = scene.origin.last();
    assert_eq!(seen.all("X-Forwarded-For"), ["127.0.0.1"], "which the socket says");
    assert_eq!(seen.all("Forwarded"), ["for=127.0.0.1;proto=http"]);
    assert_eq!(seen.all("X-Forwarded-Proto"), ["http"]);
    assert_eq!(seen.all("X-Forwarded-Host"), ["gateway.test"]);
    for absent in ["X-Forwarded-Port", "X-Forwarded-Prefix", "X-Real-IP"] {
        assert_eq!(seen.header(absent), None, "{absent}");
    }
}

#[test]
fn the_upstream_is_asked_by_its_own_host() {
    let scene = scene();
    assert_eq!(scene.get("/x/", "ann", "free").status, 200);
    let seen = scene.origin.last();
    assert_eq!(seen.all("Host"), [scene.origin.address().to_string()]);
    assert_eq!(seen.all("X-Forwarded-Host"), ["gateway.test"]);
}

#[tokio::test]
async fn cookies_that_http2_splits_are_one_line_for_an_http1_upstream() {
    let scene = scene();
    let mut client = Client::http2(scene.gateway.address()).await.unwrap();
    let cookies = [("x-user-id", "ann"), ("cookie", "a=1; b=2"), ("cookie", "c=3")];
    assert_eq!(client.get("/x/", &cookies).await.unwrap().status, 200);
    let seen = scene.origin.last();
    assert_eq!((&*seen.version, seen.all("Cookie")), ("HTTP/1.1", vec!["a=1; b=2; c=3"]));
}
