//! The option that makes a stream of OpenAI's shape say what it used: put into requests that lack it, and nothing else.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use tollgate_testkit::Origin;

use super::{Charged, Sent, scene};
use crate::scene::{Scene, request_id};

const CHAT: &str = "/v1/chat/completions";
const OPTIONS: &str = r#""stream_options":{"include_usage":true},"#;

/// What the origin got in place of `body`.
fn arrived(scene: &Scene, sent: Sent<'_>) -> Vec<u8> {
    let answer = sent.to(scene);
    assert_eq!(answer.status, 200, "{answer:?}");
    let received = scene.origin.received();
    let id = Some(request_id(&answer));
    let request = received.into_iter().find(|request| request.header("x-request-id") == id).unwrap();
    assert_eq!(request.header("content-length"), Some(&*request.body_bytes.to_string()));
    request.body
}

fn assert_untouched(scene: &Scene, sent: Sent<'_>) {
    let arrived = arrived(scene, sent);
    assert_eq!(String::from_utf8_lossy(&arrived), String::from_utf8_lossy(sent.body), "{:?}", sent.headers);
}

#[test]
fn it_is_added_where_it_is_missing_and_all_other_bytes_stay() {
    let scene = scene(Origin::builder(), "");
    for (body, before, added, after) in [
        (r#"{"stream":true}"#, r"{", OPTIONS, r#""stream":true}"#),
        // Whatever stands elsewhere: spaces, odd numbers, keys twice, escapes, text that looks like the option.
        (
            "\u{feff} {\r\n\t\"n\" : 1.50e0, \"n\":1 ,\"x\":\"\\u0041 \\\"include_usage\\\":true\", \"stream\" : true }\n",
            "\u{feff} {",
            OPTIONS,
            "\r\n\t\"n\" : 1.50e0, \"n\":1 ,\"x\":\"\\u0041 \\\"include_usage\\\":true\", \"stream\" : true }\n",
        ),
        (
            r#"{"stream_options":{"include_usage":false},"stream":true}"#,
            r#"{"stream_options":{"include_usage":"#,
            "true",
            r#"},"stream":true}"#,
        ),
        (
            r#"{"stream":true,"stream_options":null}"#,
            r#"{"stream":true,"stream_options":"#,
            r#"{"include_usage":true}"#,
            "}",
        ),
        (
            r#"{"stream":true,"stream_options":{ }}"#,
            r#"{"stream":true,"stream_options":{"#,
            r#""include_usage":true"#,
            " }}",
        ),
        (
            r#"{"stream":true,"stream_options":{"include_obfuscation":false}}"#,
            r#"{"stream":true,"stream_options":{"#,
            r#""include_usage":true,"#,
            r#""include_obfuscation":false}}"#,
        ),
    ] {
        for path in [CHAT, "/v1/completions", "/openai/deployments/x/chat/completions?api-version=1"] {
            let arrived = arrived(&scene, Sent::json(path, body));
            assert_eq!(String::from_utf8_lossy(&arrived), [before, added, after].concat(), "{body}");
        }
    }
}

#[test]
fn what_needs_no_option_or_cannot_have_one_is_left() {
    let scene = scene(Origin::builder(), "");
    for body in [
        r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
        r#"{"stream":false}"#,
        r#"{"model":"m","messages":[]}"#,
        r#"{"model":"m","nested":{"stream":true}}"#,
        // No option is known that is right for both.
        r#"{"stream":true,"stream":false}"#,
        r#"{"stream":true,"stream_options":7}"#,
        // Broken, cut, something else, nothing.
        r#"{"stream":true"#,
        r#"{"stream":true}}"#,
        "[{\"stream\":true}]",
        "stream=true",
        "\u{0}\u{1}\u{2}",
        "",
    ] {
        if body.is_empty() {
            assert_eq!(Sent::json(CHAT, body).to(&scene).status, 200);
            assert_eq!(scene.origin.last().body_bytes, 0);
        } else {
            assert_untouched(&scene, Sent::json(CHAT, body));
        }
    }
    // Other dialects say it unasked.
    for path in
        ["/v1/responses", "/v1/messages", "/api/chat", "/v1/embeddings", "/v1beta/models/g:generateContent"]
    {
        assert_untouched(&scene, Sent::json(path, r#"{"stream":true}"#));
    }
}

#[test]
fn what_a_client_has_signed_or_coded_is_left() {
    let scene = scene(Origin::builder(), "");
    let body = r#"{"model":"m","stream":true}"#;
    for header in [
        ("Content-Digest", "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"),
        ("Repr-Digest", "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"),
        ("Digest", "sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE="),
        ("Content-MD5", "Q2hlY2sgSW50ZWdyaXR5IQ=="),
        ("Authorization", "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/bedrock/aws4_request"),
        ("X-Amz-Content-Sha256", "5f8f04f6a3a892aaabbddb6cf273894493773960d4a325b105fee46eef4304f1"),
    ] {
        assert_untouched(&scene, Sent { headers: &[header], ..Sent::json(CHAT, body) });
        assert_eq!(scene.origin.last().header(header.0), Some(header.1));
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(body.as_bytes()).unwrap();
    let coded = gzip.finish().unwrap();
    let headers = &[("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
    assert_untouched(&scene, Sent { headers, body: &coded, ..Sent::json(CHAT, "") });
    let form = &[("Content-Type", "multipart/form-data; boundary=x")];
    assert_untouched(&scene, Sent { headers: form, ..Sent::json(CHAT, body) });
}

#[test]
fn a_route_that_does_not_want_it_leaves_requests_alone() {
    let scene = scene(Origin::builder(), "llm = { include_usage = false }");
    assert_untouched(&scene, Sent::json(CHAT, r#"{"model":"m","stream":true}"#));
}

#[test]
fn accept_encoding_is_forwarded_unless_an_event_has_to_be_taken_out_again() {
    let scene = scene(Origin::builder(), "");
    let headers = &[("Accept-Encoding", "gzip, br;q=0.5, zstd"), ("Content-Type", "application/json")];
    for (body, accepted) in [
        (r#"{"model":"m","stream":true}"#, None),
        (r#"{"model":"m"}"#, Some(headers[0].1)),
        (r#"{"stream":true,"stream_options":{"include_usage":true}}"#, Some(headers[0].1)),
    ] {
        assert_eq!(Sent { headers, ..Sent::json(CHAT, body) }.to(&scene).status, 200);
        assert_eq!(scene.origin.last().header("accept-encoding"), accepted, "{body}");
    }
    assert_eq!(Sent { headers, method: "GET", ..Sent::json("/v1/models", "") }.to(&scene).status, 200);
    assert_eq!(scene.origin.last().header("accept-encoding"), Some(headers[0].1));
}

/// A body that is not looked at: the hold is the route's, and what is charged without an answer that says it.
#[test]
fn a_body_that_is_too_long_to_be_looked_at_passes_and_holds_what_the_route_says() {
    let look = "[llm]\nlook_bytes_max = \"1KiB\"\n";
    let scene = Scene::start(Origin::builder(), &(super::route("") + look), super::TIERS);
    let body = |bytes: usize| {
        let rest = r#"{"model":"m","max_tokens":7,"stream":true,"prompt":""}"#.len();
        format!(r#"{{"model":"m","max_tokens":7,"stream":true,"prompt":"{}"}}"#, "p".repeat(bytes - rest))
    };
    let (fits, is_long) = (body(1024), body(1025));
    let edited = arrived(&scene, Sent::json(CHAT, &fits));
    assert_eq!(edited.len(), fits.len() + OPTIONS.len());
    assert_untouched(&scene, Sent::json(CHAT, &is_long));
    let answer = Sent::json(CHAT, &is_long).to(&scene);
    let charged = Charged::of(&scene.settled(), &answer);
    assert_eq!((charged.amount("total"), charged.amount("output"), charged.estimated), (300, 200, true));
}
