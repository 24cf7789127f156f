//! Requests that would be free, or pay with somebody else's money.

use super::{Case, amount, assert_amounts, charged, missing, post, route, scene};
use crate::scene::assert_refusal;

#[test]
fn an_id_that_a_request_does_not_say_is_no_way_to_be_free() {
    let routes = [
        r#"{ meter = "storage", amount = "request.bytes", resource = "request.json:/id" }"#,
        r#"{ meter = "storage", amount = "request.bytes", resource = "request.header:X-Id" }"#,
        r#"{ meter = "storage", amount = "request.bytes", resource = "path" }"#,
        r#"{ meter = "jobs", job = { id = "request.json:/id", time_limit = "1h" } }"#,
    ];
    let names = ["body", "header", "path", "job"];
    let routes: String = names.iter().zip(routes).map(|(name, charge)| route(name, charge)).collect();
    let scene = scene(&routes);
    let long_id = format!(r#"{{"id":"{}"}}"#, "x".repeat(257));
    let long_body = format!(r#"{{"id":"a","text":"{}"}}"#, "x".repeat(1 << 20));
    let coded = [("Content-Encoding", "unheard-of")];
    let bodies =
        [&*long_id, &*long_body, r#"{"id":"a","id":"a"}"#, "{}", r#"{"id":null}"#, r#"{"id":"a""#, ""];
    for target in ["/body/", "/job/"] {
        for body in bodies {
            let json = assert_refusal(&post(&scene, target, &[], body), 400, "bad_request");
            let message = json["message"].as_str().unwrap();
            assert!(message.contains("/id of the request's body"), "{target}: {message}");
        }
        assert_refusal(&post(&scene, target, &coded, r#"{"id":"a"}"#), 400, "bad_request");
    }
    let ids: [&[(&str, &str)]; 3] = [&[], &[("X-Id", "a"), ("X-Id", "a")], &[("X-Id", "")]];
    for ids in ids {
        let json = assert_refusal(&post(&scene, "/header/", ids, "abc"), 400, "bad_request");
        assert!(json["message"].as_str().unwrap().contains("the header X-Id"), "{json}");
    }
    let json = assert_refusal(&post(&scene, "/path/", &[], "abc"), 400, "bad_request");
    assert!(json["message"].as_str().unwrap().contains("the id in the path"), "{json}");
    assert_eq!(scene.origin.requests(), 0, "nothing was forwarded");
    assert_eq!(missing(&scene, "path", "storage"), Some(0.0), "the metric is there");
    assert_eq!(amount(&scene, &post(&scene, "/path/a", &[], "abc")), (3, false));
    assert_eq!(amount(&scene, &post(&scene, "/header/", &[("X-Id", "b")], "abcd")), (4, false));
}

#[test]
fn what_a_request_says_is_never_below_zero() {
    let routes = [
        ("level", r#"{ meter = "storage", amount = "request.header:X-Bytes" }"#),
        ("back", r#"{ meter = "storage", amount = "request.header:X-Bytes", scale = -1 }"#),
        ("sum", r#"{ meter = "storage", amount = "request.json:/*/pages" }"#),
        ("said", r#"{ meter = "pages", amount = "response.json:/*/pages", hold = 8 }"#),
    ];
    let scene = scene(&routes.map(|(name, charge)| route(name, charge)).concat());
    assert_refusal(&post(&scene, "/level/", &[("X-Bytes", "-1000000000")], ""), 400, "bad_request");
    assert_refusal(&post(&scene, "/back/", &[("X-Bytes", "-1")], ""), 400, "bad_request");
    let cancels = r#"[{"pages":1000},{"pages":-999}]"#;
    assert_refusal(&post(&scene, "/sum/", &[], cancels), 400, "bad_request");
    assert_eq!(scene.origin.requests(), 0, "nothing was forwarded");
    let cases: &[Case<'_>] = &[
        ("/level/", &[("X-Bytes", "7")], "", 7),
        ("/back/", &[("X-Bytes", "7")], "", -7),
        ("/sum/", &[], r#"[{"pages":1},{"pages":2}]"#, 3),
    ];
    assert_amounts(&scene, cases);
    let answer = post(&scene, "/said/", &[("X-Answer", cancels)], "");
    assert_eq!(charged(&scene, &answer)[0], ("pages".to_owned(), 8, true));
}
