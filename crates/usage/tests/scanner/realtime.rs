//! WebSockets: usage is given once for each message that has it, however the messages lie in frames and chunks.

use proptest::prelude::*;
use serde_json::json;
use tollgate_usage::{Realtime, TokenUsage, close_frame};

use crate::chunking::split_at;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const PING: u8 = 9;

/// A frame as a server sends it, or with a mask as a client does.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(u8::try_from(length).unwrap() | bit),
        length @ 126..0x1_0000 => {
            frame.push(126 | bit);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(127 | bit);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(mask.iter().flatten());
    let mask = mask.unwrap_or_default();
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn message(text: &str) -> Vec<u8> {
    frame(0x80 | TEXT, text.as_bytes(), None)
}

fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<TokenUsage>, Realtime) {
    let (mut realtime, mut usages) = (Realtime::new(), Vec::new());
    chunks.into_iter().for_each(|chunk| realtime.feed(chunk, |usage| usages.push(usage)));
    (usages, realtime)
}

fn totals(messages: &[&str]) -> Vec<Option<i64>> {
    let bytes: Vec<u8> = messages.iter().flat_map(|text| message(text)).collect();
    read([&bytes[..]]).0.iter().map(TokenUsage::total).collect()
}

#[test]
fn each_answer_of_openai_counts_once() {
    let done = r#"{"event_id":"e","response":{"object":"realtime.response","usage":{"total_tokens":30,"input_tokens":20,"output_tokens":10,
        "input_token_details":{"text_tokens":5,"audio_tokens":15,"cached_tokens":8,"cached_tokens_details":{"text_tokens":8}},
        "output_token_details":{"text_tokens":4,"audio_tokens":6}},"output":[{"usage":{"input_tokens":1}}]},"type":"response.done"}"#;
    let usage = read([&message(done)[..]]).0[0];
    assert_eq!((usage.input, usage.output, usage.cached_read), (Some(20), Some(10), Some(8)));
    let transcribed = |usage: &str| {
        format!(
            "{{\"type\":\"conversation.item.input_audio_transcription.completed\",\"transcript\":\"\\\"usage\\\"\",\"usage\":{usage}}}"
        )
    };
    assert_eq!(
        totals(&[
            r#"{"type":"session.created","session":{"model":"gpt-realtime"}}"#,
            r#"{"type":"response.created","response":{"usage":null}}"#,
            done,
            &transcribed(r#"{"type":"tokens","total_tokens":7,"input_tokens":5,"output_tokens":2}"#),
            &transcribed(r#"{"type":"duration","seconds":3.5}"#),
            // What an answer has used so far is not what it is charged for.
            r#"{"type":"response.in_progress","response":{"usage":{"input_tokens":1,"output_tokens":1}}}"#,
            r#"{"type":"response.completed","response":{"model":"m","usage":{"input_tokens":3,"output_tokens":1}}}"#,
            done,
        ]),
        [Some(30), Some(7), Some(4), Some(30)]
    );
}

#[test]
fn each_turn_of_gemini_counts_for_itself() {
    let turn = |prompt: i64, answer: &str| {
        format!(
            "{{\"serverContent\":{{\"turnComplete\":true}},\"usageMetadata\":{{\"promptTokenCount\":{prompt},{answer}}}}}"
        )
    };
    assert_eq!(
        totals(&[
            r#"{"setupComplete":{}}"#,
            r#"{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"data":"AAAA"}}]}}}"#,
            &turn(143, r#""responseTokenCount":19,"totalTokenCount":162"#),
            // The sum that the service gives leaves thoughts out.
            &turn(522, r#""responseTokenCount":42,"thoughtsTokenCount":136,"totalTokenCount":564"#),
            &turn(224, r#""candidatesTokenCount":24,"toolUsePromptTokenCount":2"#),
            r#"{"usageMetadata":{"trafficType":"ON_DEMAND"}}"#,
        ]),
        [Some(162), Some(700), Some(250)]
    );
}

#[test]
fn the_last_model_is_known() {
    for (text, model) in [
        (r#"{"type":"session.updated","session":{"model":"gpt-realtime"}}"#, "gpt-realtime"),
        (r#"{"setup":{"model":"models/gemini-live"}}"#, "models/gemini-live"),
    ] {
        let bytes = [message(r#"{"session":{"model":"first"}}"#), message(text), message("{}")].concat();
        assert_eq!(read(bytes.chunks(3)).1.model(), Some(model));
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    let done = r#"{"type":"response.done","response":{"usage":{"input_tokens":3,"output_tokens":1}}}"#;
    // Compressed.
    let compressed =
        [frame(0x40 | TEXT, done.as_bytes(), None), frame(0x80, b"x", None), message(done)].concat();
    let (usages, realtime) = read([&compressed[..]]);
    assert_eq!((usages.len(), realtime.has_unread(), realtime.is_at_boundary()), (1, true, true));
    // A control frame that is too long, one that goes on, a length that is none.
    for broken in [
        frame(0x80 | PING, &[0; 126], None),
        frame(PING, b"", None),
        vec![0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 0],
    ] {
        let (usages, realtime) = read([&[message(done), broken, message(done)].concat()[..]]);
        assert_eq!((usages.len(), realtime.has_unread(), realtime.is_at_boundary()), (1, true, false));
    }
    // A message that is cut off by another, and a frame that continues nothing.
    let cut = [frame(TEXT, &done.as_bytes()[..40], None), message(done), frame(0x80, b"{}", None)].concat();
    let (usages, realtime) = read([&cut[..]]);
    assert_eq!((usages.len(), realtime.has_unread()), (1, false));
}

#[test]
fn a_close_frame_is_a_frame() {
    let close = close_frame(1008, "quota used up", None);
    assert_eq!(close, [&[0x88, 15, 0x03, 0xf0][..], b"quota used up"].concat());
    assert_eq!(
        close_frame(1008, "a", Some([1, 2, 3, 4])),
        [0x88, 0x83, 1, 2, 3, 4, 0x03 ^ 1, 0xf0 ^ 2, b'a' ^ 3]
    );
    let long = close_frame(1008, &"é".repeat(100), None);
    assert_eq!((long.len(), long[1]), (2 + 124, 124));
    assert!(std::str::from_utf8(&long[4..]).is_ok());
    assert!(read([&close[..]]).1.is_at_boundary());
}

/// Messages with what they say.
fn said() -> impl Strategy<Value = (String, Option<i64>)> {
    let long = prop_oneof![4 => 0..100_usize, 1 => Just(300), 1 => Just(70_000)];
    (0..1_000_i64, 0..1_000_i64, long, 0..4).prop_map(|(input, output, long, kind)| {
        let pad = "é{".repeat(long / 3);
        let (message, says) = match kind {
            0 => (json!({"pad": pad, "type": "response.done", "response": {"usage": {"input_tokens": input, "output_tokens": output}}}), true),
            1 => (json!({"pad": pad, "usageMetadata": {"promptTokenCount": input, "responseTokenCount": output}}), true),
            2 => (json!({"delta": pad, "type": "response.output_audio.delta"}), false),
            _ => (json!({"pad": pad, "type": "response.created", "response": {"usage": {"input_tokens": input}}}), false),
        };
        (message.to_string(), says.then_some(input + output))
    })
}

proptest! {
    #[test]
    fn frames_and_chunks_change_nothing(
        messages in prop::collection::vec((said(), any::<bool>(), prop::option::of(any::<[u8; 4]>()),
            prop::collection::vec(any::<prop::sample::Index>(), 0..3), any::<bool>()), 0..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let (mut bytes, mut expected, mut boundaries) = (Vec::new(), Vec::<i64>::new(), vec![0]);
        for ((text, total), is_binary, mask, fragments, pings) in &messages {
            let pieces = split_at(text.as_bytes(), fragments);
            for (place, piece) in pieces.iter().enumerate() {
                let opcode = match (place, is_binary) { (0, true) => BINARY, (0, false) => TEXT, _ => 0 };
                let last = if place + 1 == pieces.len() { 0x80 } else { 0 };
                bytes.extend(frame(last | opcode, piece, *mask));
                boundaries.push(bytes.len());
                if *pings {
                    bytes.extend(frame(0x80 | PING, b"{\"usageMetadata\":{\"promptTokenCount\":1}}", *mask));
                    boundaries.push(bytes.len());
                }
            }
            expected.extend(total);
        }
        for chunks in [vec![&bytes[..]], bytes.chunks(1).collect(), split_at(&bytes, &cuts)] {
            let (usages, realtime) = read(chunks);
            prop_assert_eq!(usages.iter().filter_map(TokenUsage::total).collect::<Vec<_>>(), expected.clone());
            prop_assert!(realtime.is_at_boundary() && !realtime.has_unread());
        }
        for cut in cuts.iter().map(|cut| cut.index(bytes.len() + 1)) {
            let (before, mut realtime) = read([&bytes[..cut]]);
            let mut seen = before.len();
            let read = realtime.feed_to_boundary(&bytes[cut..], |_| seen += 1).unwrap();
            prop_assert_eq!(boundaries.iter().copied().find(|&boundary| boundary >= cut), Some(cut + read));
            realtime.feed(&bytes[cut + read..], |_| seen += 1);
            prop_assert_eq!(seen, expected.len());
        }
    }

    #[test]
    fn arbitrary_bytes_neither_panic_nor_depend_on_chunks(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (whole, one) = (read([&bytes[..]]), read(bytes.chunks(1)));
        prop_assert_eq!(whole.0, one.0);
        prop_assert_eq!(whole.1.is_at_boundary(), one.1.is_at_boundary());
        prop_assert_eq!(whole.1.has_unread(), one.1.has_unread());
    }
}
