//! A real trace through services that say what a stream used only when they are asked to: the ledger has each token.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use serde_json::Value;
use tollgate_testkit::{Answer, BOUND, Gate, Origin, OriginBuilder, Received, Wire};

use super::TIERS;
use crate::{
    books::{self, Books, Line},
    load::{Call, send},
    scene::Scene,
    trace::{Row, rows},
};

const CLIENTS: usize = 6;
const MODEL: &str = "gpt-4o";

const ROUTE: &str = r#"
[[routes]]
path = "/v1/"
upstream = "origin"
charge = [
    { meter = "input", amount = "llm.input_tokens", hold = 20_000 },
    { meter = "output", amount = "llm.output_tokens", hold = 20_000 },
]
"#;

/// What the client of a row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Takes the answer whole.
    Whole,
    /// Takes a stream, and asks for what it used.
    StreamAsking,
    /// Takes a stream.
    Stream,
}

impl Kind {
    fn of(number: usize) -> Self {
        match number % 4 {
            1 => Self::StreamAsking,
            3 => Self::Stream,
            _ => Self::Whole,
        }
    }

    fn body(self) -> String {
        let more = match self {
            Self::Whole => "",
            Self::StreamAsking => r#","stream":true,"stream_options":{"include_usage":true}"#,
            Self::Stream => r#","stream":true"#,
        };
        format!(r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"code"}}]{more}}}"#)
    }
}

/// Two of five streams, and so a fifth of all calls.
fn is_left(number: usize) -> bool {
    Kind::of(number) != Kind::Whole && matches!(number / 2 % 5, 1 | 3)
}

/// A token an event, in pieces of a few kilobytes; what was used only for those who ask.
fn stream(row: Row, received: &Received, gate: Option<Gate>) -> Answer {
    let request: Value = serde_json::from_slice(&received.body).unwrap();
    let event = |delta: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{{delta}}}}}]}}\n\n");
    let words = vec![event(r#""content":"word ""#); usize::try_from(row.generated).unwrap()];
    let mut events = vec![event(r#""role":"assistant""#)];
    events.extend(words.chunks(32).map(<[String]>::concat));
    if request["stream_options"]["include_usage"] == true {
        events.push(format!("data: {{\"choices\":[],{}}}\n\n", row.usage()));
    }
    events.push("data: [DONE]\n\n".to_owned());
    Answer::Sse { events, gate }
}

/// The service of a trace. Streams whose clients leave stand still behind their first event, until their gate opens.
fn origin(rows: &Arc<Vec<Row>>, gates: Vec<Option<Gate>>) -> OriginBuilder {
    let rows = Arc::clone(rows);
    Origin::builder().on("/mark", Answer::Echo).otherwise(move |received| {
        let number = number(received.header("x-request-id").unwrap());
        match Kind::of(number) {
            Kind::Whole => rows[number].whole(),
            Kind::StreamAsking | Kind::Stream => stream(rows[number], received, gates[number].clone()),
        }
    })
}

fn number(id: &str) -> usize {
    id.strip_prefix("row-").unwrap().parse().unwrap()
}

/// Sends all rows from a few clients, one after the other; who is to leave leaves when the answer has begun.
fn replay(scene: &Scene, rows: &[Row], gates: &[Option<Gate>]) {
    let next = AtomicUsize::new(0);
    let address = scene.gateway.address();
    let client = || {
        let mut kept = None;
        while let number = next.fetch_add(1, Ordering::SeqCst)
            && let Some(row) = rows.get(number)
        {
            let kind = Kind::of(number);
            let call = Call::new(format!("row-{number}"), "ann", "/v1/chat/completions").asking(kind.body());
            let mut wire = kept.take().unwrap_or_else(|| Wire::connect(address));
            if let Some(gate) = &gates[number] {
                wire.send(call.bytes());
                let has_begun = |read: &[u8]| String::from_utf8_lossy(read).contains("assistant");
                assert!(wire.read_until(BOUND, has_begun), "the stream begins: {row:?}");
                drop(wire);
                gate.open();
                continue;
            }
            let (outcome, wire) = send(wire, call);
            kept = wire;
            let text = outcome.answer.as_ref().unwrap_or_else(|| panic!("failed: {outcome:?}")).text();
            let words = i64::try_from(text.matches("word ").count()).unwrap();
            let says = text.contains(r#""usage""#);
            let expected = (Some(200), row.generated, kind != Kind::Stream);
            assert_eq!((outcome.status(), words, says), expected, "{number}: {text}");
        }
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
}

/// Each row is charged once and to the token, and so all of them are.
fn assert_charged(lines: &[Line], rows: &[Row]) {
    let sum =
        |meter: &str| lines.iter().filter(|line| line.meter == meter).map(|line| line.amount).sum::<i64>();
    assert_eq!(sum("input"), rows.iter().map(|row| row.context).sum::<i64>());
    assert_eq!(sum("output"), rows.iter().map(|row| row.generated).sum::<i64>());
    assert_eq!(lines.len(), 2 * rows.len());
    for line in lines {
        let row = rows[number(&line.request_id)];
        let expected = if line.meter == "input" { row.context } else { row.generated };
        assert_eq!((line.amount, line.estimated, line.status), (expected, false, 200), "{line:?}");
    }
}

#[expect(clippy::print_stdout, reason = "the figures of a run")]
fn check(gates: Vec<Option<Gate>>, rows: Arc<Vec<Row>>) -> Vec<Line> {
    let scene = Scene::start_with_two_workers(origin(&rows, gates.clone()), ROUTE, TIERS);
    let started = Instant::now();
    replay(&scene, &rows, &gates);
    let lines = Books::settled(&scene.gateway).0;
    println!("{} requests in {:.1} s", rows.len(), started.elapsed().as_secs_f64());
    assert_charged(&lines, &rows);
    assert_eq!(scene.origin.requests(), rows.len());
    assert_eq!(scene.origin.abandoned(), 0, "each stream was read to its end");
    books::assert_clean(&scene.gateway);
    lines
}

#[test]
fn the_ledger_of_a_real_trace_has_each_token_though_streams_only_say_them_when_asked() {
    let rows = Arc::new(rows());
    let _ = check(vec![None; rows.len()], rows);
}

#[test]
fn the_ledger_of_a_real_trace_has_each_token_though_one_client_in_five_leaves() {
    let rows = Arc::new(rows());
    let gates: Vec<_> = (0..rows.len()).map(|number| is_left(number).then(Gate::new)).collect();
    let left = gates.iter().flatten().count();
    let lines = check(gates, rows);
    let says_so = |line: &&Line| line.metadata.as_deref().unwrap().contains("client_gone_read_on");
    let read_on = lines.iter().filter(says_so).count() / 2;
    // A gateway that has the end of an answer at once may not notice that nobody takes it.
    assert!(read_on <= left && (left == 0 || read_on > 0), "{read_on} of {left}");
}
