//! Compressed answers: measured as if they were plain, and passed on as they are.

use std::io::Write as _;

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use tollgate_testkit::{Answer, Origin, Reply};

use super::{Charged, Sent, scene};

const CHAT: &str = "/v1/chat/completions";
const JSON: &str = r#"{"model":"m-1","choices":[{"index":0,"message":{"content":"hello"}}],
    "usage":{"prompt_tokens":24,"completion_tokens":8,"total_tokens":32}}"#;

type Encode = fn(&[u8]) -> Vec<u8>;

const CODINGS: [(&str, Encode); 6] = [
    ("gzip", gzip),
    ("x-gzip", gzip),
    ("deflate", zlib),
    ("deflate", deflate),
    ("br", brotli),
    ("zstd", zstd),
];

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zstd(body: &[u8]) -> Vec<u8> {
    zstd::encode_all(body, 3).unwrap()
}

/// One stored block (RFC 7932, section 9.2): a window of 16 bits, the length less one in 16 bits, the mark of a block
/// that is not compressed; then an empty last one.
fn brotli(body: &[u8]) -> Vec<u8> {
    let length = u32::from(u16::try_from(body.len() - 1).unwrap());
    let head = (length << 4 | 1 << 20).to_le_bytes();
    [&head[..3], body, &[3]].concat()
}

fn stream() -> String {
    let word = "data: {\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word \"}}]}\n\n";
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":24,\"completion_tokens\":8,\"total_tokens\":32}}\n\n";
    word.repeat(100) + usage + "data: [DONE]\n\n"
}

#[test]
fn each_coding_is_read_and_passes_untouched() {
    let scene = scene(Origin::builder(), "");
    let mut answers = Vec::new();
    let asked = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
    for (coding, encode) in CODINGS {
        for (content_type, body, request) in [
            ("application/json", JSON.to_owned(), "{}"),
            ("text/event-stream; charset=utf-8", stream(), asked),
        ] {
            let coded = encode(body.as_bytes());
            let reply = Reply::of(content_type, &*coded).header("Content-Encoding", coding);
            let pieces = Answer::Pieces { sizes: vec![1; coded.len()], reply: reply.clone() };
            for answer in [Answer::Reply(reply), pieces] {
                scene.origin.set(CHAT, answer);
                let headers = &[("Accept-Encoding", coding), ("Content-Type", "application/json")];
                let seen = Sent { headers, ..Sent::json(CHAT, request) }.to(&scene);
                assert_eq!(scene.origin.last().header("accept-encoding"), Some(coding));
                assert_eq!(seen.header("content-encoding"), Some(coding));
                assert!(seen.body == coded, "{coding} {content_type}: {seen:?}");
                answers.push((coding, seen));
            }
        }
    }
    let lines = scene.settled();
    for (coding, answer) in &answers {
        let charged = Charged::of(&lines, answer);
        assert_eq!((charged.said(), &charged.metadata["model"]), ((24, 8), &"m-1".into()), "{coding}");
    }
}

/// What cannot be read passes too, and what was held is charged.
#[test]
fn what_cannot_be_decoded_is_charged_as_an_estimate() {
    let scene = scene(Origin::builder(), "");
    let cases = [
        ("gzip", JSON.as_bytes().to_vec()),
        ("gzip", gzip(JSON.as_bytes())[..40].to_vec()),
        ("compress", JSON.as_bytes().to_vec()),
        ("gzip, br", JSON.as_bytes().to_vec()),
    ];
    let sent = cases.map(|(coding, body)| {
        let reply = Reply::of("application/json", &*body).header("Content-Encoding", coding);
        scene.origin.set(CHAT, Answer::Reply(reply));
        let seen = Sent::json(CHAT, "{}").to(&scene);
        assert_eq!((seen.header("content-encoding"), &seen.body), (Some(coding), &body));
        (coding, seen)
    });
    let lines = scene.settled();
    for (coding, answer) in &sent {
        let charged = Charged::of(&lines, answer);
        assert!(charged.estimated && charged.amount("total") == 300, "{coding}: {charged:?}");
    }
}

/// A service that compresses though nothing was said to allow it: the event that was asked for stays in.
#[test]
fn a_compressed_stream_has_the_event_that_was_asked_for() {
    let coded = gzip(stream().as_bytes());
    let reply = Reply::of("text/event-stream", &*coded).header("Content-Encoding", "gzip");
    let scene = scene(Origin::builder().on(CHAT, Answer::Reply(reply)), "");
    let seen = Sent::json(CHAT, r#"{"model":"m","stream":true}"#).to(&scene);
    assert!(seen.body == coded, "{seen:?}");
    assert_eq!(Charged::of(&scene.settled(), &seen).said(), (24, 8));
}
