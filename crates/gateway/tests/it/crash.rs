//! Promises 3 and 4: whatever a `kill -9` interrupts, each answered request is in the ledger once.

use std::{
    collections::{HashMap, HashSet},
    fs,
    time::Duration,
};

use tollgate_testkit::{Answer, BOUND, Gate, Gateway, Origin, Received, eventually, free_port};

use crate::{
    books::{self, Books, Line},
    load::{Call, Connections, Load, Outcome, once},
    support,
};

const TIERS: &str = r#"
default_tier = "free"
[meters]
calls  = { unit = "calls" }
tokens = { unit = "tokens" }
[tiers.free]
other_meters = "unlimited"
[tiers.free.limits]
calls  = "1000000/lifetime"
tokens = "1000000000/lifetime"
[tiers.small]
other_meters = "unlimited"
[tiers.small.limits]
calls = "60/lifetime"
"#;
const FREE_LIMIT: i64 = 1_000_000;
const SMALL_LIMIT: i64 = 60;
/// Tokens set aside for a request until its answer says how many it took.
const HOLD: i64 = 7;
const CLIENTS: usize = 6;

fn config(origin: &Origin, durability: &str, unanswered: &str) -> String {
    format!(
        r#"
data_dir = "@DATA@"
workers = 2
durability = "{durability}"
[listen]
address = "@LISTEN@"
[admin]
address = "@ADMIN@"
[journal]
segment_bytes = "256KiB"
bytes_max = "64MiB"
requests_in_flight_max = 256
unanswered = "{unanswered}"
[upstreams.llm]
urls = ["http://{}"]
[[routes]]
name = "llm"
path = "/llm/"
upstream = "llm"
charge = [{{ meter = "calls" }}, {{ meter = "tokens", amount = "llm.total_tokens", hold = {HOLD} }}]
"#,
        origin.address()
    )
}

fn start(origin: &Origin, durability: &str, unanswered: &str) -> Gateway {
    support::gateway().config(config(origin, durability, unanswered)).tiers(TIERS).start()
}

/// How many tokens a request takes: its target says so.
fn tokens(target: &str) -> i64 {
    target.rsplit_once('=').unwrap().1.parse().unwrap()
}

/// Answers with the usage that the target asks for; one path in two as a stream.
fn origin() -> Origin {
    let answer = |received: &Received| {
        let total = tokens(&received.target);
        let usage = format!(
            r#""usage":{{"prompt_tokens":1,"completion_tokens":{},"total_tokens":{total}}}"#,
            total - 1
        );
        if received.path() == "/llm/stream" {
            let delta = "data: {\"choices\":[{\"delta\":{\"content\":\"word\"}}]}\n\n".to_owned();
            let usage = format!("data: {{\"choices\":[],{usage}}}\n\n");
            let events = vec![delta.clone(), delta, usage, "data: [DONE]\n\n".to_owned()];
            return Answer::Sse { events, gate: None };
        }
        Answer::json(format!(r#"{{"choices":[],{usage}}}"#))
    };
    Origin::builder().otherwise(answer).on("/llm/hang", Answer::Hang).start()
}

/// Each client is a user of its own, the last one on the tier with the small limit.
fn call(round: usize, client: usize, number: usize) -> Call {
    let id = format!("{round}-{client}-{number}");
    let total = 2 + (round * 7 + client * 5 + number * 3) % 40;
    let path = if number.is_multiple_of(2) { "call" } else { "stream" };
    let call = Call::new(id, &format!("user-{client}"), format!("/llm/{path}?tokens={total}"));
    if client + 1 == CLIENTS { call.on("small") } else { call }
}

/// Kills a loaded gateway at a random moment, again and again on the same data.
fn kill_rounds(gateway: &mut Gateway, rounds: usize) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for round in 0..rounds {
        let load = Load::start(gateway.address(), CLIENTS, Connections::Kept, move |client, number| {
            Some(call(round, client, number))
        });
        let moment = fastrand::usize(1..150);
        assert!(eventually(BOUND, || load.answered() >= moment), "round {round}: the load stands still");
        // Not right behind an answer, where every round would be killed at the same step of an exchange.
        std::thread::sleep(Duration::from_micros(fastrand::u64(0..5000)));
        gateway.kill_9();
        outcomes.extend(load.stop());
        gateway.restart();
    }
    outcomes
}

/// What must hold of the ledger, whatever was interrupted. `held` is what recovery charges: calls, tokens.
fn assert_accounted(books: &Books, outcomes: &[Outcome], held: [i64; 2]) {
    let by_request = books.by_request();
    let sent: HashMap<_, _> = outcomes.iter().map(|outcome| (&*outcome.call.id, outcome)).collect();
    for (id, lines) in &by_request {
        let outcome = sent.get(id).unwrap_or_else(|| panic!("nobody sent {id}: {lines:?}"));
        let meters: HashSet<_> = lines.iter().map(|line| &*line.meter).collect();
        assert_eq!((lines.len(), meters.len()), (2, 2), "one line per meter: {lines:?}");
        let [calls, tokens] =
            ["calls", "tokens"].map(|meter| lines.iter().find(|l| l.meter == meter).unwrap());
        match outcome.status() {
            Some(200) => assert_answered(outcome, calls, tokens),
            Some(429) => panic!("a refused request is charged: {lines:?}"),
            // Killed between its settlement and its last byte, or settled by the next start.
            None if calls.status == 0 => assert_recovered([calls, tokens], held),
            None => assert!([200, 499].contains(&calls.status), "{lines:?}"),
            Some(status) => panic!("{status} for {id}"),
        }
    }
    for outcome in outcomes.iter().filter(|outcome| outcome.status() == Some(200)) {
        assert!(by_request.contains_key(&*outcome.call.id), "answered and lost: {outcome:?}");
    }
}

fn assert_answered(outcome: &Outcome, calls: &Line, charged: &Line) {
    let wanted = (1, tokens(&outcome.call.target), 200, false, false);
    let found = (calls.amount, charged.amount, calls.status, calls.estimated, charged.estimated);
    assert_eq!(found, wanted, "{outcome:?}");
}

fn assert_recovered(lines: [&Line; 2], held: [i64; 2]) {
    for (line, amount) in lines.into_iter().zip(held) {
        assert_eq!((line.amount, line.estimated, line.status), (amount, true, 0), "{line:?}");
    }
}

/// What must hold of the gateway after the last restart.
fn assert_at_rest(gateway: &mut Gateway, origin: &Origin, mut outcomes: Vec<Outcome>, held: [i64; 2]) {
    // Counters rebuilt from the ledger know what was used over all the lives before.
    let books = Books::settled(gateway);
    for client in 0..CLIENTS - 1 {
        let next = once(gateway.address(), call(1000, client, 0));
        let user = format!("user-{client}");
        let remaining: i64 =
            next.answer.as_ref().unwrap().header("x-ratelimit-remaining").unwrap().parse().unwrap();
        assert_eq!(remaining, FREE_LIMIT - books.sum(&user, "calls") - 1, "{user}");
        outcomes.push(next);
    }
    // A hard limit holds over all lives, and is there to its last unit.
    let small = CLIENTS - 1;
    for number in 0.. {
        let next = once(gateway.address(), call(1001, small, number));
        let refused = next.status() == Some(429);
        outcomes.push(next);
        if refused {
            break;
        }
    }
    let books = Books::settled(gateway);
    assert_eq!(books.sum(&format!("user-{small}"), "calls"), SMALL_LIMIT);
    assert_accounted(&books, &outcomes, held);
    let by_request = books.by_request();
    for received in origin.received() {
        let id = received.header("x-request-id").unwrap();
        assert!(by_request.contains_key(id), "the upstream did work that is not in the ledger: {id}");
    }
    assert_eq!(books::held(gateway), 0);
    books::assert_clean(gateway);
    gateway.terminate();
    assert!(gateway.wait_exit(BOUND).unwrap().success());
    books::assert_clean(gateway);
}

#[test]
fn kill_9_at_random_moments_loses_and_doubles_nothing() {
    let origin = origin();
    let mut gateway = start(&origin, "process", "charge");
    let outcomes = kill_rounds(&mut gateway, 20);
    let unanswered = outcomes.iter().filter(|outcome| outcome.answer.is_none()).count();
    assert!(unanswered > 0, "no kill interrupted a request");
    assert_at_rest(&mut gateway, &origin, outcomes, [1, HOLD]);
}

#[test]
fn kill_9_loses_and_doubles_nothing_with_durability_power() {
    let origin = origin();
    let mut gateway = start(&origin, "power", "charge");
    let outcomes = kill_rounds(&mut gateway, 4);
    assert_at_rest(&mut gateway, &origin, outcomes, [1, HOLD]);
}

#[test]
fn kill_9_loses_and_doubles_nothing_when_the_unanswered_are_released() {
    let origin = origin();
    let mut gateway = start(&origin, "process", "release");
    let outcomes = kill_rounds(&mut gateway, 4);
    assert_at_rest(&mut gateway, &origin, outcomes, [0, 0]);
}

/// Kills a gateway with three requests at the upstream; the lines that the next start writes.
fn unanswered_lines(unanswered: &str) -> Vec<Line> {
    let origin = origin();
    let mut gateway = start(&origin, "process", unanswered);
    let load = Load::start(gateway.address(), 3, Connections::New, |client, number| {
        (number == 0).then(|| Call::new(format!("open-{client}"), "alice", "/llm/hang"))
    });
    assert!(origin.wait_requests(3, BOUND));
    gateway.kill_9();
    assert!(load.join().iter().all(|outcome| outcome.answer.is_none()));
    // Twice: what the first start settled is not settled again by the second.
    gateway.restart();
    gateway.kill_9();
    gateway.restart();
    let books = Books::settled(&gateway);
    let next = once(gateway.address(), call(1, 0, 0).on("free"));
    assert_eq!(next.status(), Some(200));
    books::assert_clean(&gateway);
    books.0
}

#[test]
fn what_a_crash_left_open_is_charged_once_as_it_was_held() {
    let lines = unanswered_lines("charge");
    assert_eq!(lines.len(), 6, "{lines:#?}");
    for pair in lines.chunks(2) {
        assert_eq!((&*pair[0].meter, &*pair[1].meter), ("calls", "tokens"));
        assert_recovered([&pair[0], &pair[1]], [1, HOLD]);
    }
}

#[test]
fn what_a_crash_left_open_is_released_when_the_configuration_says_so() {
    let lines = unanswered_lines("release");
    assert_eq!(lines.len(), 6, "{lines:#?}");
    for line in &lines {
        assert_eq!((line.amount, line.status), (0, 0), "{line:?}");
    }
}

/// The settlement is written before the request's place in the table of open ones is cleared, and a start settles
/// what is open before it clears the table: in both cases a death in between leaves both.
#[test]
fn what_is_settled_and_still_looks_open_is_not_settled_again() {
    let gate = Gate::new();
    let events = vec!["data: {\"usage\":{\"total_tokens\":9}}\n\n".to_owned(), "data: [DONE]\n\n".to_owned()];
    let origin = origin();
    origin.set("/llm/gated", Answer::Sse { events, gate: Some(gate.clone()) });
    let mut gateway = start(&origin, "process", "charge");
    let load = Load::start(gateway.address(), 1, Connections::New, |_, number| {
        (number == 0).then(|| Call::new("gated", "alice", "/llm/gated"))
    });
    assert!(origin.wait_requests(1, BOUND));
    let (table, open) = (gateway.data_dir().join("journal/in-flight"), gateway.home().join("open"));
    fs::copy(&table, &open).unwrap();
    gate.open();
    assert_eq!(load.join()[0].status(), Some(200));
    for _ in 0..2 {
        gateway.kill_9();
        fs::copy(&open, &table).unwrap();
        gateway.restart();
    }
    let books = Books::settled(&gateway);
    let charged: Vec<_> = books.0.iter().map(|line| (line.amount, line.estimated, line.status)).collect();
    assert_eq!(charged, [(1, false, 200), (9, false, 200)]);
    books::assert_clean(&gateway);
}

#[test]
fn a_job_that_a_crash_interrupted_leaves_no_place_taken() {
    let tiers = r#"
default_tier = "free"
[meters]
jobs = { unit = "jobs", kind = "concurrent" }
[tiers.free.limits]
jobs = 1
"#;
    let origin = origin();
    let config = config(&origin, "process", "charge");
    let config = config.split("charge = [").next().unwrap().to_owned() + "charge = [{ meter = \"jobs\" }]\n";
    let mut gateway = support::gateway().config(config).tiers(tiers).start();
    let load = Load::start(gateway.address(), 1, Connections::New, |_, number| {
        (number == 0).then(|| Call::new("hanging", "alice", "/llm/hang"))
    });
    assert!(origin.wait_requests(1, BOUND));
    let second = once(gateway.address(), Call::new("second", "alice", "/llm/call?tokens=2"));
    assert_eq!(second.status(), Some(429));
    gateway.kill_9();
    assert!(load.join()[0].answer.is_none());
    gateway.restart();
    let third = once(gateway.address(), Call::new("third", "alice", "/llm/call?tokens=2"));
    assert_eq!(third.status(), Some(200));
}

/// Two processes that write one journal would be the end of both.
#[test]
fn a_second_gateway_on_the_same_data_is_turned_away_and_the_first_goes_on() {
    let origin = origin();
    let gateway = start(&origin, "process", "charge");
    let [listen, admin] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let data = gateway.data_dir().display().to_string();
    let text = config(&origin, "process", "charge").replace("@DATA@", &data);
    let second = gateway.home().join("second.toml");
    fs::write(&second, text.replace("@LISTEN@", &listen).replace("@ADMIN@", &admin)).unwrap();
    let said = books::tollgate(["serve".as_ref(), second.as_os_str()]);
    assert!(said.code.is_some_and(|code| code != 0), "{said:?}");
    assert!(said.err.contains(&data) && !said.err.contains("panicked"), "{said:?}");
    assert_eq!(once(gateway.address(), call(0, 0, 0)).status(), Some(200));
    drop(Books::settled(&gateway));
    books::assert_clean(&gateway);
}
