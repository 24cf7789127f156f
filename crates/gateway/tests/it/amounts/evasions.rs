//! Requests that would be free, or pay with somebody else's money.

use rusqlite::Connection;
use tollgate_testkit::{BOUND, Wire};

use super::{Case, amount, assert_amounts, charged, missing, post, route, scene};
use crate::scene::{assert_refusal, head, request_id};

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

#[test]
fn an_answer_that_does_not_name_what_it_made_is_charged_by_its_request() {
    let routes = [
        route("make", r#"{ meter = "storage", amount = "request.bytes", resource = "response.json:/id" }"#),
        route("job", r#"{ meter = "jobs", job = { id = "response.json:/id", time_limit = "1h" } }"#),
        route("delete", r#"{ meter = "storage", amount = 0, resource = "response.json:/id" }"#),
    ];
    let scene = scene(&routes.concat());
    for (target, name, meter, expected) in [
        ("/make/", "make", "storage", (3, true)),
        ("/job/", "job", "jobs", (1, true)),
        ("/delete/", "delete", "storage", (0, false)),
    ] {
        let answer = post(&scene, target, &[("X-Answer", "{}")], "abc");
        assert_eq!(amount(&scene, &answer), expected, "{target}");
        assert_eq!(missing(&scene, name, meter), Some(1.0), "{target}");
        let own = format!("request:{}", request_id(&answer));
        let ledger = Connection::open(scene.gateway.data_dir().join("ledger.sqlite3")).unwrap();
        let sql = "SELECT resource FROM usage_ledger WHERE request_id = ?1";
        let resource: Option<String> =
            ledger.query_row(sql, [request_id(&answer)], |row| row.get(0)).unwrap();
        assert_eq!(resource, (expected.0 > 0).then_some(own), "{target}");
        let failed = post(&scene, target, &[("X-Status", "422")], "abc");
        assert_eq!(amount(&scene, &failed), (0, false), "{target}");
    }
}

#[test]
fn a_client_does_not_choose_an_answer_that_cannot_be_read() {
    let routes = [
        route("read", r#"{ meter = "calls", amount = "response.json:/n" }"#),
        route("plain", r#"{ meter = "calls" }"#),
    ];
    let scene = scene(&routes.concat());
    let asked = [
        ("Accept-Encoding", "unheard-of, gzip"),
        ("Range", "bytes=0-0"),
        ("If-Range", "\"a\""),
        ("Prefer", "return=minimal"),
    ];
    for target in ["/read/", "/plain/"] {
        assert_eq!(post(&scene, target, &asked, "").status, 200);
    }
    let received = scene.origin.received();
    let [read, plain] = &received[..] else { panic!("{received:?}") };
    assert_eq!(read.header("accept-encoding"), Some("gzip"));
    for (name, value) in &asked[1..] {
        assert_eq!((read.header(name), plain.header(name)), (None, Some(*value)), "{name}");
    }
    assert_eq!(plain.header("accept-encoding"), Some(asked[0].1));
}

#[test]
fn what_is_charged_by_is_said_in_one_spelling() {
    let scene = scene(&route("x", r#"{ meter = "calls", amount = "request.header:X-Rows" }"#));
    let answer =
        post(&scene, "/x/", &[("X-Rows", "1"), ("X_Rows", "1000"), ("X.Rows", "7"), ("Y_Rows", "2")], "");
    let mut wire = Wire::connect(scene.gateway.address());
    let lines =
        [("X-User-Id", "ann"), ("X-Rows", "1"), ("Transfer-Encoding", "chunked"), ("Trailer", "X-Rows, Z")];
    wire.send(head("POST", "/x/", &lines, None) + "1\r\na\r\n0\r\nX-Rows: 9\r\nX_Rows: 9\r\nZ: 3\r\n\r\n");
    assert_eq!(wire.response(false, BOUND).unwrap().status, 200);
    let received = scene.origin.received();
    let [first, second] = &received[..] else { panic!("{received:?}") };
    let said =
        [first.header("x-rows"), first.header("x_rows"), first.header("x.rows"), first.header("y_rows")];
    assert_eq!(said, [Some("1"), None, None, Some("2")]);
    let trailers: Vec<&str> = second.trailers.iter().map(|(name, _)| &**name).collect();
    assert!(
        trailers.iter().all(|name| name.eq_ignore_ascii_case("z")) && trailers.len() == 1,
        "{trailers:?}"
    );
    assert_eq!(amount(&scene, &answer), (1, false));
}
