//! Many calls at once of one subject that is near the end of its quota.

use std::{
    collections::{HashMap, HashSet},
    thread,
};

use serde_json::{Value, json};
use tollgate_testkit::{
    Answer, BOUND, Ending, Gate, Gateway, Origin, OriginBuilder, Postgres, Redis, Response, Wire, eventually,
};

use super::{CHAT, Setting, chat_stream, events, held, post};
use crate::{
    books::{self, Books},
    scene::request_id,
};

const CLIENTS: usize = 200;
const LIMIT: i64 = 20_000;
/// Most tokens that a call asks for.
const MAX: std::ops::RangeInclusive<i64> = 50..=400;
/// A call that looks whether something is left.
const PROBE: i64 = 100;

/// A request, and the tokens that it used in all.
type Charged = (String, i64);

/// A model that reads at most what is estimated, and writes a random amount up to what it may.
fn model(gate: &Gate) -> OriginBuilder {
    let gate = gate.clone();
    Origin::builder().on("/hang/chat/completions", Answer::Hang).otherwise(move |received| {
        let call: Value = serde_json::from_slice(&received.body).unwrap();
        let output = fastrand::i64(1..=call["max_tokens"].as_i64().unwrap());
        Answer::Sse { events: events(3, fastrand::i64(5..=40), output), gate: Some(gate.clone()) }
    })
}

/// Begins a call at a gateway; one that cannot be decided is sent again.
fn begin(gateway: &Gateway, max_tokens: i64) -> (Wire, u16) {
    let mut begun = None;
    let decided = eventually(BOUND * 3, || {
        let mut wire = Wire::connect(gateway.address());
        assert!(wire.send(post("ann", CHAT, &chat_stream(max_tokens).to_string())));
        assert!(wire.read_until(BOUND, |read| read.windows(4).any(|end| end == b"\r\n\r\n")), "no answer");
        let status = Response::parse(wire.unread(), false).unwrap().0.status;
        begun = Some((wire, status));
        status != 503
    });
    assert!(decided, "nothing is decided");
    begun.unwrap()
}

fn whole(mut wire: Wire) -> Response {
    let answer = wire.response(false, BOUND * 3).expect("an answer");
    assert!(answer.ending == Ending::Complete, "{answer:?}");
    answer
}

/// What a call holds beside the tokens that it asks for.
fn input_held(gateway: &Gateway, origin: &Origin) -> i64 {
    let mut call = chat_stream(1);
    call["user"] = json!("x");
    // Counters in a Redis that is asked for the first time may be away for a moment.
    let mut wire = None;
    let begun = eventually(BOUND * 3, || {
        let mut tried = Wire::connect(gateway.address());
        assert!(tried.send(post("probe", "/hang/chat/completions", &call.to_string())));
        let is_answered = tried.read_until(BOUND / 5, |read| !read.is_empty());
        wire = Some(tried);
        !is_answered && origin.requests() == 1
    });
    assert!(begun, "the probe is not forwarded");
    let input = held(gateway, "total") - 1;
    drop(wire);
    assert!(eventually(BOUND, || held(gateway, "total") == 0));
    input
}

/// Sends all at once to these gateways, and then uses what is left. `charged` reads the ledger when all is in it.
fn never_over(gateways: &[&Gateway], origin: &Origin, gate: &Gate, charged: impl Fn() -> Vec<Charged>) {
    let input = input_held(gateways[0], origin);
    let decided: Vec<_> = thread::scope(|scope| {
        let client =
            |number: usize| scope.spawn(move || begin(gateways[number % gateways.len()], fastrand::i64(MAX)));
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let all_held: i64 = gateways.iter().map(|gateway| held(gateway, "total")).sum();
    assert!(all_held <= LIMIT, "{all_held} are held of {LIMIT}");
    assert!(
        all_held > LIMIT - input - MAX.end(),
        "a call was refused that would have fitted: {all_held} are held"
    );
    let (admitted, refused): (Vec<_>, Vec<_>) = decided.into_iter().partition(|(_, status)| *status == 200);
    assert!(refused.iter().all(|(_, status)| *status == 429) && !refused.is_empty() && !admitted.is_empty());
    gate.open();
    let ids = |answers: Vec<(Wire, u16)>| -> HashSet<_> {
        answers.into_iter().map(|(wire, _)| request_id(&whole(wire)).to_owned()).collect()
    };
    let (admitted, refused) = (ids(admitted), ids(refused));
    assert_charged(&charged(), origin, &admitted, &refused);

    // What was held and not used can be used, to less than one call.
    for turn in 0.. {
        let (wire, status) = begin(gateways[turn % gateways.len()], PROBE);
        let _ = whole(wire);
        if status == 429 {
            break;
        }
    }
    let used = |charged: Vec<Charged>| charged.iter().map(|(_, amount)| amount).sum::<i64>();
    let left = LIMIT - used(charged());
    assert!(
        (0..input + PROBE).contains(&left),
        "{left} are left, and a call of at most {} does not fit",
        input + PROBE
    );
    if left > input {
        let (wire, status) = begin(gateways[0], left - input);
        assert_eq!((status, whole(wire).status), (200, 200), "the last {left} can be used");
    }
    assert!(used(charged()) <= LIMIT);
    for gateway in gateways {
        assert!(eventually(BOUND, || held(gateway, "total") == 0));
        books::assert_clean(gateway);
    }
}

/// Fails unless the ledger has what was admitted, as the model said it, and nothing else.
fn assert_charged(
    charged: &[Charged],
    origin: &Origin,
    admitted: &HashSet<String>,
    refused: &HashSet<String>,
) {
    let asked: HashSet<_> =
        origin.received().iter().map(|call| call.header("x-request-id").unwrap().to_owned()).collect();
    assert!(
        admitted.is_subset(&asked) && refused.is_disjoint(&asked),
        "refused calls do not reach the model"
    );
    let mut times: HashMap<&str, usize> = HashMap::new();
    for (id, _) in charged {
        *times.entry(id).or_default() += 1;
    }
    assert!(admitted.iter().all(|id| times.get(&**id) == Some(&1)), "each is charged once");
    assert!(refused.iter().all(|id| !times.contains_key(&**id)), "refused calls are nowhere");
    let sum: i64 = charged.iter().map(|(_, amount)| amount).sum();
    assert!(sum <= LIMIT, "{sum} are charged of {LIMIT}");
}

#[test]
fn of_two_hundred_at_once_as_many_are_admitted_as_fit_and_what_is_left_over_is_used() {
    let gate = Gate::new();
    let origin = model(&gate).start();
    let setting =
        Setting::new().llm("client_gone = \"cancel\"").limits(format!("total = \"{LIMIT}/lifetime\""));
    let gateway = setting.gateway(&origin, "workers = 2", "");
    let charged = || {
        let lines = Books::settled(&gateway).0.into_iter();
        lines
            .filter(|line| line.meter == "total" && line.user == "ann")
            .map(|line| (line.request_id, line.amount))
            .collect()
    };
    never_over(&[&gateway], &origin, &gate, charged);
}

#[test]
fn two_gateways_admit_together_as_many_as_fit() {
    let gate = Gate::new();
    let origin = model(&gate).start();
    let (redis, postgres) = (Redis::start(), Postgres::new());
    let stores = format!("[counters]\nstore = \"{}\"\n[ledger]\nstore = \"{}\"", redis.url(), postgres.url());
    let setting = Setting::new()
        .llm("client_gone = \"cancel\"")
        .tables(&stores)
        .limits(format!("total = \"{LIMIT}/lifetime\""));
    let gateways = [0, 1].map(|_| setting.gateway(&origin, "workers = 1", ""));
    let charged = || {
        let rest = "which 0 are not shipped yet, 0 requests in flight";
        for gateway in &gateways {
            assert!(
                eventually(BOUND * 3, || books::audit(gateway).out.contains(rest)),
                "{:?}",
                books::audit(gateway)
            );
        }
        let sql = "SELECT request_id, amount FROM usage_ledger WHERE meter = 'total' AND user_id = 'ann'";
        let text = postgres.sql("postgres", sql);
        let line = |line: &str| {
            line.split_once('|').map(|(id, amount)| (id.to_owned(), amount.parse().unwrap())).unwrap()
        };
        text.lines().map(line).collect()
    };
    never_over(&[&gateways[0], &gateways[1]], &origin, &gate, charged);
}
