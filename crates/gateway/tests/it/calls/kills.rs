//! Promise 3 for streams: whatever dies in their middle, each is settled once, and nothing stays held.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;
use tollgate_testkit::{BOUND, Ending, Gate, Gateway, Origin, OriginBuilder, Response, Wire, eventually};

use super::{Setting, chat_stream, events, gated, held};
use crate::{
    books::{self, Books},
    scene::{head, request_id},
};

/// Kills in all, of clients, models and gateways.
const KILLS: usize = 200;
const SEED: u64 = 4;
const CLIENTS: usize = 8;
const WORDS: usize = 12;
/// Tokens that a call asks for at most.
const MAX: i64 = 100;
/// Tokens that the model says it used.
const USED: i64 = 45;
const LIMIT: i64 = 1_000_000;
/// One client in two calls where an abandoned answer is read on, the others where it is ended.
const PATHS: [&str; 2] = ["/on/chat/completions", "/off/chat/completions"];

const ROUTES: &str = r#"
[[routes]]
name = "off"
path = "/off/"
upstream = "model"
charge = [{ meter = "calls" }, { meter = "output", amount = "llm.output_tokens", hold = 30 }]
llm = { client_gone = "cancel" }
"#;

/// What lets each model write, word by word, and how many words it was let so far.
type Gates = Arc<Mutex<Vec<(Gate, usize)>>>;

/// A model that writes as fast as its gate lets it.
fn model(gates: &Gates) -> OriginBuilder {
    let gates = Arc::clone(gates);
    Origin::builder().otherwise(move |_| {
        let gate = Gate::new();
        gates.lock().unwrap().push((gate.clone(), 0));
        gated(events(WORDS, 5, USED), &gate)
    })
}

/// Lets each model write a word now and then.
fn pace(gates: &Gates, ended: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (gates, ended) = (Arc::clone(gates), Arc::clone(ended));
    thread::spawn(move || {
        while !ended.load(Ordering::SeqCst) {
            gates.lock().unwrap().retain_mut(|(gate, passed)| {
                gate.pass(1);
                *passed += 1;
                *passed < WORDS + 3
            });
            // The pace itself: nothing is waited for.
            thread::sleep(Duration::from_millis(2));
        }
    })
}

/// What clients do and have seen.
#[derive(Default)]
struct Seen {
    ended: AtomicBool,
    /// By client: whether it is to leave in the middle.
    leave: [AtomicBool; CLIENTS],
    /// Answers of which something was read, all clients together.
    begun: AtomicUsize,
    /// The requests that were answered to their last byte, by their id.
    whole: Mutex<Vec<String>>,
}

/// Whether it is the whole answer of a gateway whose model is away.
fn is_refused(read: &[u8]) -> bool {
    Response::parse(read, false)
        .is_some_and(|(answer, _)| answer.status != 200 && answer.ending == Ending::Complete)
}

/// One client: one stream after the other, until it ends.
fn client(number: usize, address: std::net::SocketAddr, seen: &Seen) {
    while !seen.ended.load(Ordering::SeqCst) {
        let Ok(mut wire) = Wire::try_connect(address) else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        let body = chat_stream(MAX).to_string();
        let headers = [("X-User-Id", "ann"), ("Content-Type", "application/json")];
        wire.send(head("POST", PATHS[number % 2], &headers, Some(body.len())) + &body);
        let is_begun = |read: &[u8]| read.ends_with(b"\n\n\r\n");
        let _ = wire.read_until(BOUND, |read| is_begun(read) || is_refused(read));
        if !is_begun(wire.unread()) {
            continue;
        }
        seen.begun.fetch_add(1, Ordering::SeqCst);
        let whole = |read: &[u8]| read.ends_with(b"0\r\n\r\n");
        let _ = wire.read_until(BOUND, |read| whole(read) || seen.leave[number].load(Ordering::SeqCst));
        seen.leave[number].store(false, Ordering::SeqCst);
        if whole(wire.unread()) {
            let answer = Response::parse(wire.unread(), false).expect("an answer").0;
            assert_eq!(answer.status, 200, "{answer:?}");
            seen.whole.lock().unwrap().push(request_id(&answer).to_owned());
        }
    }
}

#[test]
fn two_hundred_deaths_of_clients_models_and_gateways_leave_nothing_held_and_charge_once() {
    let gates = Gates::default();
    let mut origin = model(&gates).start();
    let setting = Setting::new().limits(format!("output = \"{LIMIT}/lifetime\"")).more(ROUTES);
    let mut gateway = setting.gateway(&origin, "workers = 2", "eject_after = 1000");
    let seen = Arc::new(Seen::default());
    let ended = Arc::new(AtomicBool::new(false));
    let pacer = pace(&gates, &ended);
    let address = gateway.address();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let seen = Arc::clone(&seen);
            thread::spawn(move || client(number, address, &seen))
        })
        .collect();
    let asked = strike(&gates, &mut origin, &mut gateway, &seen);
    seen.ended.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_settled_once(&gateway, &seen, &asked);
    assert_usable(&gateway);
    ended.store(true, Ordering::SeqCst);
    pacer.join().unwrap();
}

/// Kills one after the other, each when something new has begun; the requests that models were asked.
fn strike(gates: &Gates, origin: &mut Origin, gateway: &mut Gateway, seen: &Seen) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut asked = Vec::new();
    let mut kills = [0; 3];
    let ids = |origin: &Origin| -> Vec<_> {
        let received = origin.received();
        received.iter().map(|call| call.header("x-request-id").unwrap().to_owned()).collect()
    };
    for _ in 0..KILLS {
        let begun = seen.begun.load(Ordering::SeqCst) + random.usize(1..4);
        let goes_on = eventually(BOUND * 2, || seen.begun.load(Ordering::SeqCst) >= begun);
        assert!(goes_on, "nothing begins any more: {kills:?}");
        // Not right behind the first word.
        thread::sleep(Duration::from_micros(random.u64(0..5000)));
        let victim = random.usize(..3);
        kills[victim] += 1;
        match victim {
            0 => seen.leave[random.usize(..CLIENTS)].store(true, Ordering::SeqCst),
            1 => {
                let address = origin.address();
                origin.stop();
                asked.extend(ids(origin));
                *origin = model(gates).at(address).start();
            }
            _ => gateway.restart(),
        }
    }
    assert!(kills.iter().all(|kills| *kills > KILLS / 5), "{kills:?}");
    asked.extend(ids(origin));
    asked
}

fn assert_settled_once(gateway: &Gateway, seen: &Seen, asked: &[String]) {
    let books = Books::settled(gateway);
    let by_request = books.by_request();
    let mut ends = std::collections::BTreeMap::<String, usize>::new();
    for (id, lines) in &by_request {
        let mut meters: Vec<_> = lines.iter().map(|line| &*line.meter).collect();
        meters.sort_unstable();
        let is_whole = meters == ["calls", "output"] || meters == ["calls", "output", "total"];
        assert!(is_whole, "one line for each meter: {id} {lines:#?}");
        let output = lines.iter().find(|line| line.meter == "output").unwrap();
        let metadata: Value =
            output.metadata.as_deref().map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
        let end = metadata["end"].as_str().unwrap_or(if output.status == 0 { "crash" } else { "answered" });
        *ends.entry(end.to_owned()).or_default() += 1;
        match end {
            "answered" | "client_gone_read_on" => {
                assert_eq!((output.amount, output.estimated), (USED, false), "{output:?}");
            }
            // What was held is charged.
            "crash" => assert_eq!((output.amount, output.estimated), (MAX, true), "{output:?}"),
            "no_answer" => assert_eq!((output.amount, output.estimated), (0, false), "{output:?}"),
            "upstream_cut" | "client_gone" => assert!((0..=MAX).contains(&output.amount), "{output:?}"),
            other => panic!("{other}: {output:?}"),
        }
    }
    for end in ["answered", "client_gone_read_on", "client_gone", "upstream_cut", "crash"] {
        assert!(ends.contains_key(end), "no stream ended so: {end}; {ends:?}");
    }
    for id in asked.iter().chain(&*seen.whole.lock().unwrap()) {
        assert!(by_request.contains_key(&**id), "{id} is in no line; {ends:?}");
    }
    books::assert_clean(gateway);
}

/// Fails unless what is not in the ledger can be used, to the last token.
fn assert_usable(gateway: &Gateway) {
    assert_eq!(held(gateway, "output"), 0);
    let call = |max_tokens: i64| {
        let body = chat_stream(max_tokens).to_string();
        let headers = [("X-User-Id", "ann"), ("Content-Type", "application/json")];
        let mut wire = Wire::connect(gateway.address());
        assert!(wire.send(head("POST", PATHS[0], &headers, Some(body.len())) + &body));
        wire.response(false, BOUND).expect("an answer")
    };
    let left = LIMIT - Books::settled(gateway).sum("ann", "output");
    assert_eq!(call(left + 1).status, 429, "more than the {left} that are left");
    assert_eq!(call(left).status, 200, "all of the {left} that are left");
    let _ = Books::settled(gateway);
    assert_eq!(held(gateway, "output"), 0);
    books::assert_clean(gateway);
}
