//! Models that write more than the request says: while there is quota it is taken, and then the stream ends.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use tollgate_testkit::{Answer, BOUND, Client, Ending, Gate, Origin, Reply, eventually};

use super::{
    CHAT, Calls, MESSAGES, Setting, answer, chat_stream, end, ends, events, gated, message_events, metadata,
};
use crate::scene::assert_refusal;

/// Far more than the request says.
const WORDS: usize = 400;
const OUTPUT: i64 = 450;
/// What the model gets to write before the test looks.
const PASSED: usize = 300;

fn before(gate: &Gate) -> tollgate_testkit::OriginBuilder {
    Origin::builder()
        .on(CHAT, gated(events(WORDS, 5, OUTPUT), gate))
        .on(MESSAGES, gated(message_events(WORDS, 5, OUTPUT), gate))
}

/// What the events of a stream say; `[DONE]` is the text.
pub(super) fn said(text: &str) -> Vec<Value> {
    let data = |event: &str| {
        let data = event.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
        serde_json::from_str(data).unwrap_or_else(|_| data.into())
    };
    assert!(text.ends_with("\n\n"), "the last event is whole: {text}");
    text.split("\n\n").filter(|event| !event.is_empty()).map(data).collect()
}

/// Fails unless a chat's stream ends as OpenAI ends one at a limit, after nearly so many words.
fn assert_ends_as_chat(text: &str, words: std::ops::RangeInclusive<usize>) {
    let said = said(text);
    let [written @ .., last, done] = &said[..] else { panic!("{text}") };
    assert!(words.contains(&written.len()), "{} words", written.len());
    assert!(written.iter().all(|word| word["choices"][0]["delta"]["content"] == "word"), "{text}");
    assert_eq!(
        (&last["choices"][0]["finish_reason"], &last["id"], done),
        (&json!("length"), &json!("c1"), &json!("[DONE]"))
    );
}

#[test]
fn what_outgrows_its_hold_takes_more_while_there_is_some() {
    let gate = Gate::new();
    let calls = Setting::new().limits("output = \"2000/lifetime\"").start(before(&gate));
    let mut stream = calls.begun("ann", CHAT, chat_stream(10));
    assert_eq!(calls.held("output"), 10, "not more than the request says, while the model keeps to it");
    gate.pass(PASSED);
    assert!(
        eventually(BOUND, || calls.held("output") >= i64::try_from(PASSED).unwrap()),
        "{}",
        calls.held("output")
    );
    assert!(calls.held("output") <= 2000);
    gate.open();
    let answer = stream.response(false, BOUND).unwrap();
    assert!(answer.ending == Ending::Complete && answer.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(ends(&calls.lines("output")), [(OUTPUT, false, None)]);
    assert_eq!(calls.held("output"), 0);
}

#[test]
fn at_a_hard_limit_a_chat_ends_as_at_its_length() {
    let gate = Gate::new();
    let calls = Setting::new().limits("output = \"100/lifetime\"").start(before(&gate));
    let mut stream = calls.begun("ann", CHAT, chat_stream(10));
    gate.pass(PASSED);
    let answer = stream.response(false, BOUND).unwrap();
    assert_eq!((answer.status, answer.ending), (200, Ending::Complete));
    assert_ends_as_chat(&answer.text(), 95..=101);
    assert!(eventually(BOUND, || calls.origin.abandoned() == 1), "the model is told to stop");
    assert_eq!(ends(&calls.lines("output")), [(100, true, end("limit"))]);
    assert_refusal(&calls.call("ann", CHAT, chat_stream(1)), 429, "quota_exceeded");
    assert_eq!(calls.held("output"), 0);
    // Whoever asked for usage is told it.
    let mut call = chat_stream(10);
    call["stream_options"] = json!({ "include_usage": true });
    let mut stream = calls.begun("bob", CHAT, call);
    gate.pass(PASSED);
    let answer = stream.response(false, BOUND).unwrap();
    let said = said(&answer.text());
    let usage = &said[said.len() - 2]["usage"];
    assert!(
        usage["completion_tokens"].as_i64().is_some_and(|tokens| (95..=101).contains(&tokens)),
        "{usage}"
    );
}

#[test]
fn a_limit_of_what_is_made_of_tokens_ends_a_stream_too() {
    let gate = Gate::new();
    let calls = Setting::new()
        .meters("credits = { unit = \"credits\", of = { output = \"1/10\" } }")
        .limits("credits = \"10/lifetime\"")
        .start(before(&gate));
    let mut stream = calls.begun("ann", CHAT, chat_stream(10));
    assert_eq!(calls.held("credits"), 1);
    gate.pass(PASSED);
    let answer = stream.response(false, BOUND).unwrap();
    assert_eq!((answer.status, answer.ending), (200, Ending::Complete));
    assert_ends_as_chat(&answer.text(), 95..=101);
    assert_eq!(ends(&calls.lines("credits")), [(10, true, end("limit"))]);
    assert_eq!(calls.held("credits"), 0);
    assert_refusal(&calls.call("ann", CHAT, chat_stream(1)), 429, "quota_exceeded");
    // What is not too much is charged as it is said.
    gate.open();
    let short = Setting::new().meters("credits = { unit = \"credits\", of = { output = \"1/10\" } }");
    let calls = short.limits("credits = \"100/lifetime\"").start(before(&gate));
    let _ = calls.call("ann", CHAT, chat_stream(500));
    assert_eq!(ends(&calls.lines("output")), [(OUTPUT, false, None)]);
    assert_eq!(ends(&calls.lines("credits")), [(OUTPUT / 10, false, None)]);
}

#[test]
fn at_a_hard_limit_a_message_ends_as_at_its_length() {
    let gate = Gate::new();
    let calls = Setting::new().limits("total = \"200/lifetime\"").start(before(&gate));
    let mut stream = calls.begun("ann", MESSAGES, chat_stream(10));
    gate.pass(PASSED);
    let answer = stream.response(false, BOUND).unwrap();
    assert_eq!((answer.status, answer.ending), (200, Ending::Complete));
    let said = said(&answer.text());
    let types: Vec<_> = said.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types[types.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    assert_eq!(said[said.len() - 2]["delta"]["stop_reason"], "max_tokens");
    assert!(eventually(BOUND, || calls.origin.abandoned() == 1), "the model is told to stop");
    // What it said that it read counts, not what was estimated before.
    assert_eq!(ends(&calls.lines("total")), [(200, true, end("limit"))]);
    assert_eq!(metadata(&calls.lines("total")[0])["input"], 5);
}

/// A provider may say only at the end that it wrote much more, unseen.
#[test]
fn a_message_that_has_said_its_own_end_is_passed_to_its_end() {
    let text = message_events(20, 5, OUTPUT).concat();
    let said = format!("\"output_tokens\":{OUTPUT}}}");
    let (seen, rest) = text.split_at(text.find(&said).unwrap() + said.len());
    let gate = Gate::new();
    let origin = Origin::builder().on(MESSAGES, gated(vec![seen.to_owned(), rest.to_owned()], &gate));
    let calls = Setting::new().limits("output = \"100/lifetime\"").start(origin);
    let mut stream = calls.sent("ann", MESSAGES, chat_stream(10));
    assert!(stream.read_until(BOUND, |read| String::from_utf8_lossy(read).contains(&said)));
    gate.open();
    let answer = stream.response(false, BOUND).unwrap();
    assert_eq!((answer.ending, answer.text()), (Ending::Complete, text));
    assert_eq!(calls.lines("output").len(), 1);
}

/// Nobody knows how to write the end of what somebody else compresses.
#[test]
fn at_a_hard_limit_a_compressed_message_passes_and_is_charged() {
    let text = message_events(WORDS, 5, OUTPUT).concat();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    let body = encoder.finish().unwrap();
    let reply = Reply::of("text/event-stream", &*body).header("Content-Encoding", "gzip");
    let setting = Setting::new().limits("output = \"100/lifetime\"");
    let calls = setting.start(Origin::builder().on(MESSAGES, Answer::Reply(reply)));
    let answer = calls.call("ann", MESSAGES, chat_stream(10));
    assert_eq!((answer.status, answer.ending, answer.body), (200, Ending::Complete, body));
    assert_eq!(ends(&calls.lines("output")), [(OUTPUT, false, None)]);
    assert_refusal(&calls.call("ann", MESSAGES, chat_stream(1)), 429, "quota_exceeded");
}

#[test]
fn a_model_that_keeps_to_what_was_asked_is_not_ended_for_its_long_words() {
    let (honest, greedy) = (Gate::new(), Gate::new());
    let long = |words| events(words, 5, 100).into_iter().map(|event| event.replace("word", "letters"));
    let origin = Origin::builder()
        .on(CHAT, gated(long(100).collect(), &honest))
        .on("/greedy/chat/completions", gated(long(400).collect(), &greedy));
    let calls = Setting::new().limits("output = \"100/lifetime\"").start(origin);
    honest.open();
    let answer = calls.call("ann", CHAT, chat_stream(100));
    assert_eq!(said(&answer.text()).len(), 102, "all of its words");
    let mut stream = calls.begun("bob", "/greedy/chat/completions", chat_stream(100));
    greedy.pass(PASSED);
    let text = stream.response(false, BOUND).unwrap().text();
    assert!(
        said(&text).len() < 125,
        "twice as much as was asked for can be no mistake: {}",
        said(&text).len()
    );
    assert_eq!(ends(&calls.lines("output")), [(100, false, None), (100, true, end("limit"))]);
    // Cut in the middle, it is not said to have passed the limit either.
    let cut = Gate::new();
    let calls = Setting::new()
        .llm("client_gone = \"cancel\"")
        .limits("output = \"100/lifetime\"")
        .start(Origin::builder().on(CHAT, gated(long(100).collect(), &cut)));
    let mut stream = calls.begun("ann", CHAT, chat_stream(100));
    cut.pass(95);
    let reads = |read: &[u8]| String::from_utf8_lossy(read).matches("letters").count() == 96;
    assert!(stream.read_until(BOUND, reads));
    drop(stream);
    assert_eq!(ends(&calls.lines("output")), [(100, true, end("client_gone"))]);
}

#[test]
fn what_others_hold_is_not_taken() {
    let (gate, other) = (Gate::new(), Gate::new());
    let origin = before(&gate).on("/slow/chat/completions", gated(events(60, 5, 60), &other));
    let calls = Setting::new().limits("output = \"200/lifetime\"").start(origin);
    let mut honest = calls.begun("ann", "/slow/chat/completions", chat_stream(60));
    let mut greedy = calls.begun("ann", CHAT, chat_stream(10));
    gate.pass(PASSED);
    assert_ends_as_chat(&greedy.response(false, BOUND).unwrap().text(), 135..=141);
    other.open();
    assert!(honest.response(false, BOUND).unwrap().text().ends_with("data: [DONE]\n\n"));
    let lines = calls.lines("output");
    assert_eq!(ends(&lines), [(60, false, None), (140, true, end("limit"))]);
}

#[test]
fn of_what_is_set_aside_ahead_nothing_is_charged_that_was_not_written() {
    let gate = Gate::new();
    let calls = Setting::new().llm("client_gone = \"cancel\"").start(before(&gate));
    // Of such a body nobody knows how much is read: what the route says is held, and charged.
    drop(calls.begun("ann", CHAT, "{}"));
    let mut stream = calls.begun("bob", CHAT, "{}");
    gate.pass(PASSED);
    let words = |read: &[u8]| String::from_utf8_lossy(read).matches("word").count();
    assert!(stream.read_until(BOUND, |read| words(read) == PASSED + 1));
    drop(stream);
    let amounts = |meter| calls.lines(meter).iter().map(|line| line.amount).collect::<Vec<_>>();
    assert_eq!((amounts("output"), amounts("total")), (vec![30, 301], vec![40, 301]));
}

#[test]
fn a_limit_that_is_charged_ends_nothing() {
    let calls = Setting::new()
        .limits("output = { limit = \"100/lifetime\", over = \"charge\" }")
        .start(Origin::builder().on(CHAT, Answer::Sse { events: events(WORDS, 5, OUTPUT), gate: None }));
    let answer = calls.call("ann", CHAT, chat_stream(10));
    assert_eq!(said(&answer.text()).len(), WORDS + 2, "all of it, but for the usage that was not asked for");
    assert_eq!(ends(&calls.lines("output")), [(OUTPUT, false, None)]);
}

#[test]
fn a_limit_that_only_observes_ends_nothing() {
    let setting = Setting::new().limits("output = \"100/lifetime\"");
    let origin =
        Origin::builder().on(CHAT, Answer::Sse { events: events(WORDS, 5, OUTPUT), gate: None }).start();
    let gateway = setting.gateway(&origin, "enforcement = \"observe\"", "");
    let calls = Calls { gateway, origin };
    assert_eq!(said(&calls.call("ann", CHAT, chat_stream(10)).text()).len(), WORDS + 2);
    assert_eq!(ends(&calls.lines("output")), [(OUTPUT, false, None)]);
}

#[test]
fn a_limit_with_overdraw_is_carried_so_far_by_what_runs() {
    let gate = Gate::new();
    let calls = Setting::new()
        .limits("output = { limit = \"100/lifetime\", overdraw = \"50%\" }")
        .start(before(&gate));
    let mut stream = calls.begun("ann", CHAT, chat_stream(10));
    gate.pass(PASSED);
    assert_ends_as_chat(&stream.response(false, BOUND).unwrap().text(), 145..=151);
    assert_eq!(ends(&calls.lines("output")), [(150, true, end("limit"))]);
    assert_refusal(&calls.call("ann", CHAT, chat_stream(1)), 429, "quota_exceeded");
}

#[test]
fn a_stream_in_any_pieces_ends_after_a_whole_event() {
    for piece_bytes in [11, 37, 1000] {
        let gate = Gate::new();
        let whole = events(WORDS, 5, OUTPUT).concat();
        let pieces: Vec<_> = whole
            .as_bytes()
            .chunks(piece_bytes)
            .map(|piece| String::from_utf8(piece.to_vec()).unwrap())
            .collect();
        let passed = pieces.len() / 2;
        let calls = Setting::new()
            .limits("output = \"60/lifetime\"")
            .start(Origin::builder().on(CHAT, gated(pieces, &gate)));
        let mut stream = calls.sent("ann", CHAT, chat_stream(10));
        gate.pass(passed);
        let answer = stream.response(false, BOUND).unwrap();
        assert_eq!((answer.status, answer.ending), (200, Ending::Complete));
        assert_ends_as_chat(&answer.text(), 55..=61);
        let lines = calls.lines("output");
        assert!((55..=60).contains(&lines[0].amount) && lines[0].estimated, "{piece_bytes}: {lines:?}");
        assert_eq!(metadata(&lines[0])["end"], "limit", "{piece_bytes}");
    }
}

#[test]
fn a_stream_whose_length_was_said_ends_all_the_same() {
    let long = events(5000, 5, 5000).concat();
    let reply = Reply {
        status: 200,
        headers: vec![("Content-Type".into(), "text/event-stream".into())],
        body: long.into(),
    };
    let calls = Setting::new()
        .llm("include_usage = false")
        .limits("output = \"100/lifetime\"")
        .start(Origin::builder().on(CHAT, Answer::Reply(reply)));
    let answer = calls.call("ann", CHAT, chat_stream(10));
    assert_eq!(
        (answer.status, answer.ending, answer.header("content-length")),
        (200, Ending::Complete, None)
    );
    let said = said(&answer.text());
    assert_eq!(said[said.len() - 2]["choices"][0]["finish_reason"], "length");
    assert_eq!(ends(&calls.lines("output")), [(100, true, end("limit"))]);
}

#[test]
fn an_answer_in_one_piece_is_charged_as_it_was() {
    let calls = Setting::new()
        .limits("output = \"100/lifetime\"")
        .start(Origin::builder().on(CHAT, answer(5, OUTPUT)));
    let answer = calls.call("ann", CHAT, super::chat(10));
    assert_eq!((answer.status, answer.ending), (200, Ending::Complete));
    assert_eq!(ends(&calls.lines("output")), [(OUTPUT, false, None)], "it was written before it was sent");
}

#[tokio::test]
async fn a_stream_over_http2_ends_well_and_the_model_is_told_to_stop() {
    for upstream_h2 in [false, true] {
        let gate = Gate::new();
        let origin = if upstream_h2 { before(&gate).http2().start() } else { before(&gate).start() };
        let upstream = if upstream_h2 { "protocol = \"http2\"" } else { "" };
        let gateway =
            Setting::new().limits("output = \"100/lifetime\"").gateway(&origin, "workers = 1", upstream);
        let calls = Calls { gateway, origin };
        gate.pass(PASSED);
        let mut client = Client::http2(calls.gateway.address()).await.unwrap();
        let answer = client.post(CHAT, &[("X-User-Id", "ann")], chat_stream(10).to_string()).await.unwrap();
        assert_eq!((answer.status, answer.ending), (200, Ending::Complete), "h2 out: {upstream_h2}");
        assert_ends_as_chat(&answer.text(), 95..=101);
        assert!(tollgate_testkit::eventually_async(BOUND, || calls.origin.abandoned() == 1).await);
        assert_eq!(ends(&calls.lines("output")), [(100, true, end("limit"))], "h2 out: {upstream_h2}");
    }
}
