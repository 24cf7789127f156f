//! SIGTERM: no request fails within the grace time, and what is cut at its end is still charged.

use std::{thread, time::Duration};

use bytes::Bytes;
use http::Method;
use tollgate_testkit::{
    Answer, BOUND, Client, Ending, Gate, Gateway, Origin, Received, Response, Wire, eventually,
};

use crate::{
    books::{self, Books},
    load::{Call, Connections, Load, Outcome},
    support,
};

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls  = { unit = "calls" }
tokens = { unit = "tokens" }
[tiers.free.limits]
calls  = "1000000/lifetime"
tokens = "1000000/lifetime"
"#;
const HOLD: i64 = 50;
const EVENTS: usize = 5;

fn start(origin: &Origin, shutdown: &str) -> Gateway {
    let config = format!(
        r#"
data_dir = "@DATA@"
workers = 2
[listen]
address = "@LISTEN@"
[admin]
address = "@ADMIN@"
[shutdown]
{shutdown}
[upstreams.llm]
urls = ["http://{}"]
[[routes]]
path = "/llm/"
upstream = "llm"
charge = [{{ meter = "calls" }}, {{ meter = "tokens", amount = "llm.total_tokens", hold = {HOLD} }}]
"#,
        origin.address()
    );
    support::gateway().config(config).tiers(TIERS).start()
}

/// Answers at once, and on `/llm/stream` as `gate` lets events pass.
fn origin(gate: &Gate) -> Origin {
    let usage = r#""usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}"#;
    let mut events =
        vec!["data: {\"choices\":[{\"delta\":{\"content\":\"word\"}}]}\n\n".to_owned(); EVENTS - 2];
    events.push(format!("data: {{\"choices\":[],{usage}}}\n\n"));
    events.push("data: [DONE]\n\n".to_owned());
    let answer = move |_: &Received| Answer::json(format!(r#"{{"choices":[],{usage}}}"#));
    let stream = Answer::Sse { events, gate: Some(gate.clone()) };
    Origin::builder().otherwise(answer).on("/llm/stream", stream).start()
}

/// Opens a stream and reads its first event.
fn open_stream(gateway: &Gateway, id: &str) -> Wire {
    let mut wire = Wire::connect(gateway.address());
    wire.send(Call::new(id, "streamer", "/llm/stream").bytes());
    assert!(wire.read_until(BOUND, |read| read.ends_with(b"\n\n\r\n")), "no first event");
    wire
}

/// Sends requests on one HTTP/2 connection, as many as it carries: three at a time, until the gateway ends it.
fn http2_load(gateway: &Gateway) -> thread::JoinHandle<Vec<(String, Response)>> {
    let address = gateway.address();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let mut client = Client::http2(address).await.unwrap();
            let mut answers = Vec::new();
            for number in 0.. {
                let id = format!("h2-{number}");
                let headers = [("X-User-Id", "h2"), ("X-Request-Id", &id)];
                let sent =
                    client.request(Method::POST, "/llm/call", &headers, Bytes::from_static(b"{}")).await;
                match sent {
                    Ok(answer) => answers.push((id, answer)),
                    // Told to go away, before the request was sent.
                    Err(error) if error.is_closed() || error.is_canceled() => break,
                    Err(error) => panic!("{id}: {error:?}"),
                }
            }
            answers
        })
    })
}

/// Fails unless each of these was answered well and charged once.
fn assert_served_and_charged<'a>(
    books: &Books,
    answers: impl Iterator<Item = (&'a str, Option<&'a Response>)>,
) {
    let by_request = books.by_request();
    for (id, answer) in answers {
        let answer = answer.unwrap_or_else(|| panic!("{id} failed"));
        assert_eq!((answer.status, answer.ending), (200, Ending::Complete), "{id}: {answer:?}");
        let lines = &by_request[id];
        let amounts: Vec<_> = lines.iter().map(|line| (line.amount, line.estimated)).collect();
        assert_eq!(amounts, [(1, false), (8, false)], "{lines:?}");
    }
}

fn answers(outcomes: &[Outcome]) -> impl Iterator<Item = (&str, Option<&Response>)> {
    outcomes.iter().map(|outcome| (&*outcome.call.id, outcome.answer.as_ref()))
}

#[test]
fn sigterm_under_load_fails_no_request() {
    let gate = Gate::new();
    let origin = origin(&gate);
    let mut gateway = start(&origin, "delay = \"300ms\"\ngrace = \"20s\"");
    let load = |name: &'static str, connections| {
        Load::start(gateway.address(), 3, connections, move |client, number| {
            Some(Call::new(format!("{name}-{client}-{number}"), name, "/llm/call"))
        })
    };
    let (kept, new) = (load("kept", Connections::Kept), load("new", Connections::New));
    let http2 = http2_load(&gateway);
    let mut streams: Vec<_> = (0..3).map(|n| open_stream(&gateway, &format!("stream-{n}"))).collect();
    assert!(eventually(BOUND, || kept.answered() > 50 && new.answered() > 50));

    gateway.terminate();
    assert!(eventually(BOUND, || !gateway.is_ready()), "readiness stays on");
    let ready = gateway.admin_get("/readyz");
    assert_eq!((ready.status, &ready.json()["serving"]), (503, &"starting or draining".into()));
    assert!(eventually(BOUND, || new.refused() > 0 && kept.refused() > 0), "new connections are accepted");
    assert!(gateway.wait_exit(Duration::ZERO).is_none(), "streams are still open");
    gate.open();
    for stream in &mut streams {
        let answer = stream.response(false, BOUND).unwrap();
        assert_eq!((answer.status, answer.ending), (200, Ending::Complete));
        assert!(answer.text().ends_with("data: [DONE]\n\n"));
    }
    assert_eq!(gateway.wait_exit(BOUND).and_then(|exit| exit.code()), Some(0), "{}", gateway.logs());

    let (kept, new, http2) = (kept.stop(), new.stop(), http2.join().unwrap());
    let books = Books::read(&gateway.data_dir());
    assert_served_and_charged(&books, answers(&kept).chain(answers(&new)));
    assert_served_and_charged(&books, http2.iter().map(|(id, answer)| (&**id, Some(answer))));
    assert_eq!(books.sum("streamer", "calls"), 3);
    assert_eq!(books.sum("streamer", "tokens"), 3 * 8);
    let answered = kept.len() + new.len() + http2.len() + streams.len();
    assert_eq!(books.0.len(), 2 * answered, "charged is what was answered");
    books::assert_clean(&gateway);
}

#[test]
fn what_is_cut_at_the_end_of_the_grace_time_is_charged() {
    let origin = origin(&Gate::new());
    let mut gateway = start(&origin, "grace = \"300ms\"");
    let mut stream = open_stream(&gateway, "cut");
    gateway.terminate();
    assert_eq!(gateway.wait_exit(BOUND).and_then(|exit| exit.code()), Some(0), "{}", gateway.logs());
    assert_eq!(stream.response(false, BOUND).unwrap().ending, Ending::Cut, "a cut is not a clean end");
    assert_cut_and_charged(&gateway);
}

fn assert_cut_and_charged(gateway: &Gateway) {
    let books = Books::read(&gateway.data_dir());
    let lines = books.of("cut");
    let charged: Vec<_> = lines.iter().map(|line| (&*line.meter, line.amount, line.estimated)).collect();
    assert_eq!(charged, [("calls", 1, false), ("tokens", HOLD, true)], "{lines:?}");
    assert!(lines.iter().all(|line| line.status == 200 && line.metadata.is_some()), "{lines:?}");
    books::assert_clean(gateway);
}

#[test]
fn a_second_signal_stops_at_once_and_what_is_cut_is_charged() {
    let origin = origin(&Gate::new());
    let mut gateway = start(&origin, "grace = \"1h\"");
    let mut stream = open_stream(&gateway, "cut");
    gateway.terminate();
    assert!(eventually(BOUND, || !gateway.is_ready()));
    // One signal ends the time for load balancers, or for idle connections, or the grace time itself.
    let exit = (0..5).find_map(|_| {
        gateway.terminate();
        gateway.wait_exit(Duration::from_secs(2))
    });
    assert_eq!(exit.and_then(|exit| exit.code()), Some(0), "{}", gateway.logs());
    assert_eq!(stream.response(false, BOUND).unwrap().ending, Ending::Cut);
    assert_cut_and_charged(&gateway);
}

#[test]
fn a_client_that_was_idle_when_the_drain_began_is_served_and_told_to_go() {
    let origin = Origin::echo();
    let mut gateway = start(&origin, "grace = \"1h\"");
    let mut idle = Wire::connect(gateway.address());
    idle.send(Call::new("before", "alice", "/llm/call").bytes());
    assert_eq!(idle.response(false, BOUND).unwrap().header("connection"), None);
    gateway.terminate();
    assert!(eventually(BOUND, || Wire::try_connect(gateway.address()).is_err()), "it still listens");
    idle.send(Call::new("during", "alice", "/llm/call").bytes());
    let answer = idle.response(false, BOUND).expect("an answer");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(idle.closes(BOUND));
    assert_eq!(gateway.wait_exit(BOUND).and_then(|exit| exit.code()), Some(0), "{}", gateway.logs());
    assert_eq!(Books::read(&gateway.data_dir()).of("during").len(), 2);
}

#[test]
fn an_idle_connection_keeps_nobody_waiting() {
    let origin = Origin::echo();
    let mut gateway = start(&origin, "grace = \"1h\"");
    let mut idle = Wire::connect(gateway.address());
    idle.send(Call::new("first", "alice", "/llm/call").bytes());
    assert_eq!(idle.response(false, BOUND).unwrap().status, 200);
    gateway.terminate();
    assert_eq!(gateway.wait_exit(BOUND).and_then(|exit| exit.code()), Some(0), "{}", gateway.logs());
    assert!(idle.closes(BOUND));
}
