//! Compressed bodies: read as if they were plain, in any chunks; cut, broken and endless ones.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;
use tollgate_core::Decimal;
use tollgate_usage::{DECODED_BYTES_MAX, Field, Fields, Request, Response, Said, Scanner, TokenUsage, Want};

use crate::chunking::{chat, split_at};

type Encode = fn(&[u8]) -> Vec<u8>;

const CODINGS: [(&str, Encode); 4] =
    [("gzip", gzip), ("deflate", zlib), ("deflate", deflate), ("zstd", zstd)];

/// A chat answer of 24 and 8 tokens.
const BROTLI: &str = "1b3801008cc374a33d5f94728c261908302ff5e54ba9c3481d963ecb1ba509552899db15e9353fb3a964d94cae42a39b0bc9\
    a687e9a6f0287ebdd41948ab784bfba91355a20044b6ed109400798172dac48b18d801f72537070508465ed86a40884a80dbc397309e3e3e1c96f8fe\
    0d46347b102b1e46c794f8059a3f854a1520e5c2bec09e21564dd7690bfbc9afd00c96cc903a02c4d3d975ed01";

/// 100 spaces more than 64 MiB.
const BROTLI_BOMB: &str = "cbffff3ff82540e2b14020f7fe8fffff7ff04b00c4611180eefd1fffffffe0970088c30200ddfb3ffeffffc12f0110870500ba\
    f77ffcffff835f02200e0b0074effff8ffff07bf04401c1600e8defff1ffff0f7e0980382c00d0bdffe3ffff1ffc1200715800a07bff176300f82500\
    02b000c003";

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
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

fn bytes(hex: &str) -> Vec<u8> {
    let nibbles: Vec<u8> =
        hex.chars().map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap()).collect();
    nibbles.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn scan<'a>(coding: &str, chunks: impl IntoIterator<Item = &'a [u8]>) -> Option<TokenUsage> {
    let response = Response { content_type: Some("application/json"), content_encoding: Some(coding) };
    let request = Request { method: "POST", path: "/v1/chat/completions" };
    let mut scanner = Scanner::of(request, response).unwrap();
    chunks.into_iter().for_each(|chunk| scanner.feed(chunk));
    scanner.finish()
}

fn total(coding: &str, body: &[u8]) -> Option<i64> {
    scan(coding, [body]).and_then(|usage| usage.total())
}

fn usage(total: i64) -> Vec<u8> {
    format!("{{\"usage\":{{\"prompt_tokens\":{total},\"completion_tokens\":0}}}}").into_bytes()
}

#[test]
fn brotli_is_read_in_any_chunks() {
    let body = bytes(BROTLI);
    for chunk_bytes in [1, 2, 3, 64, body.len()] {
        let usage = scan("br", body.chunks(chunk_bytes)).unwrap();
        assert_eq!((usage.input, usage.output), (Some(24), Some(8)));
    }
    for cut in 0..body.len() {
        assert_eq!(scan("br", body[..cut].chunks(1)), scan("br", [&body[..cut]]), "{cut}");
    }
}

#[test]
fn gzip_may_have_several_members() {
    let body = usage(7);
    let members = [gzip(&body[..20]), gzip(&body[20..])].concat();
    assert_eq!(total("gzip", &members), Some(7));
    assert_eq!(scan("gzip", members.chunks(1)).unwrap().total(), Some(7));
}

#[test]
fn a_body_that_breaks_its_coding_says_nothing() {
    for (coding, encode) in CODINGS {
        assert_eq!(total(coding, b"{\"usage\":{\"total_tokens\":5}}"), None, "{coding}");
        let mut broken = encode(&usage(7));
        broken.truncate(broken.len() - 1);
        // Cut short, it says what it said until then.
        assert!(matches!(total(coding, &broken), None | Some(7)), "{coding}");
    }
}

#[test]
fn windows_are_bounded() {
    let encode = |window_log| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.write_all(&usage(7)).unwrap();
        // Before its end is known, an encoder asks for the whole window.
        encoder.flush().unwrap();
        encoder.finish().unwrap()
    };
    assert_eq!(total("zstd", &encode(23)), Some(7));
    assert_eq!(total("zstd", &encode(24)), None);
}

#[test]
fn what_decodes_to_too_much_says_nothing() {
    let mut body = usage(7);
    body.resize(DECODED_BYTES_MAX, b' ');
    for (coding, encode) in CODINGS {
        let encoded = encode(&body);
        assert_eq!(total(coding, &encoded), Some(7), "{coding}");
    }
    body.push(b' ');
    for (coding, encode) in CODINGS {
        let encoded = encode(&body);
        assert_eq!(total(coding, &encoded), None, "{coding}");
        assert_eq!(scan(coding, encoded.chunks(1000)), None, "{coding}");
    }
    assert_eq!(total("br", &bytes(BROTLI_BOMB)), None);
}

proptest! {
    #[test]
    fn compressed_bodies_are_read_as_plain_ones(
        body in chat(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let body = serde_json::to_vec(&body).unwrap();
        let plain = scan("identity", [&body[..]]);
        for (coding, encode) in CODINGS {
            let encoded = encode(&body);
            prop_assert_eq!(scan(coding, [&encoded[..]]), plain, "{}", coding);
            prop_assert_eq!(scan(coding, encoded.chunks(1)), plain, "{}", coding);
            prop_assert_eq!(scan(coding, split_at(&encoded, &cuts)), plain, "{}", coding);
        }
    }

    #[test]
    fn cut_and_broken_bodies_do_not_depend_on_chunks(
        body in chat(), cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), flip in any::<u8>(),
    ) {
        let body = serde_json::to_vec(&body).unwrap();
        for (coding, encode) in CODINGS.into_iter().chain([("br", (|_| bytes(BROTLI)) as Encode)]) {
            let mut encoded = encode(&body);
            encoded.truncate(cut.index(encoded.len()) + 1);
            prop_assert_eq!(scan(coding, encoded.chunks(1)), scan(coding, [&encoded[..]]), "{} cut", coding);
            let at = at.index(encoded.len());
            encoded[at] ^= flip;
            prop_assert_eq!(scan(coding, encoded.chunks(1)), scan(coding, [&encoded[..]]), "{} broken", coding);
        }
    }

    #[test]
    fn arbitrary_bytes_neither_panic_nor_depend_on_chunks(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        for coding in ["gzip", "deflate", "br", "zstd"] {
            prop_assert_eq!(scan(coding, bytes.chunks(1)), scan(coding, [&bytes[..]]), "{}", coding);
        }
    }
}

#[test]
fn fields_are_read_from_compressed_bodies() {
    let field = || Field { pointer: "/items/*/pages".parse().unwrap(), want: Want::Amount };
    let body = br#"{"items":[{"pages":2},{"pages":"0.5"}]}"#;
    for (coding, encode) in CODINGS {
        let encoded = encode(body);
        for cut in 0..=encoded.len() {
            let mut reader = Fields::of(vec![field()]).reader(Some(coding)).unwrap();
            reader.feed(&encoded[..cut]);
            reader.feed(&encoded[cut..]);
            reader.end();
            assert_eq!(reader.amount(0), Said::Value(Decimal::parse("2.5").unwrap()), "{coding}");
        }
        let mut short = Fields::of(vec![field()]).reader(Some(coding)).unwrap();
        short.feed(&encoded[..encoded.len() / 2]);
        short.end();
        assert_eq!(short.amount(0), Said::Wrong, "{coding}");
    }
    assert!(Fields::of(vec![field()]).reader(Some("compress")).is_none());
}
