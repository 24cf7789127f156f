//! Levels by what they are made of: whatever is sent, retried, given up or killed, the level is the sum of what exists.

mod fleet;
pub(crate) mod store;

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use proptest::prelude::*;
use tollgate_testkit::{BOUND, Gateway, Response, eventually};

use self::store::{Op, STORAGE_MAX, Store, gateway, remaining};
use crate::books::{self, Books};

/// What is left of the level, asked of a document that is not there.
fn left(gateway: &Gateway, user: &str) -> i64 {
    let answer = Op::delete(user, "no-such-thing").insist(gateway.address());
    assert_eq!(answer.status, 404);
    remaining(&answer)
}

/// Fails unless counter and ledger say of each user what the store has.
fn assert_true(gateway: &Gateway, store: &Store, users: &[&str]) {
    let matches = |books: &Books| users.iter().all(|user| books.sum(user, "storage") == store.bytes_of(user));
    // What was given up may still be on its way.
    let _ = eventually(BOUND, || matches(&Books::settled(gateway)));
    let books = Books::settled(gateway);
    for user in users {
        let sums = (books.sum(user, "storage"), store.bytes_of(user));
        assert!(sums.0 == sums.1, "{user}: ledger and store: {sums:?}\n{:#?}", books.0);
        assert_eq!(left(gateway, user), STORAGE_MAX - store.bytes_of(user), "{user}: as answers tell it");
    }
    let by_request = books.by_request();
    assert!(by_request.values().all(|lines| lines.len() == 2), "one line per meter: {by_request:#?}");
    drop(Books::settled(gateway));
    books::assert_clean(gateway);
}

/// What was charged of a meter for each of these answers.
fn charged(gateway: &Gateway, meter: &str, answers: &[Response]) -> Vec<i64> {
    let books = Books::settled(gateway);
    let amount = |answer: &Response| {
        let lines = books.of(answer.header("x-request-id").unwrap());
        lines.iter().find(|line| line.meter == meter).unwrap_or_else(|| panic!("{lines:?}")).amount
    };
    answers.iter().map(amount).collect()
}

#[test]
fn what_an_id_has_is_set_and_given_back_once() {
    let store = Store::start();
    let gateway = gateway(&store, "storage", "1h");
    let steps: [(Op, u16, i64); 12] = [
        (Op::post("ann", "a", 400), 201, 400),
        (Op::post("ann", "a", 400), 201, 0),
        (Op::put("ann", "a", 700), 200, 300),
        (Op::put("ann", "a", 700), 200, 0),
        (Op::put("ann", "a", 200), 200, -500),
        (Op::put("ann", "b", 200), 404, 0),
        (Op::put("ann", "a", 900).with("X-Fail: 500"), 500, 0),
        (Op::delete("ann", "a").with("X-Fail: 409"), 409, 0),
        (Op::delete("ann", "a"), 204, -200),
        (Op::delete("ann", "a"), 404, 0),
        (Op::post("ann", "a", 5), 201, 5),
        (Op::new("GET", "ann", "/docs/a"), 200, 0),
    ];
    let (mut level, mut answers) = (0, Vec::new());
    for (op, status, amount) in &steps {
        let answer = op.send(gateway.address()).unwrap();
        assert_eq!(answer.status, *status, "{op:?}");
        level += amount;
        assert_eq!(left(&gateway, "ann"), STORAGE_MAX - level, "{op:?}");
        answers.push(answer);
    }
    assert_eq!(charged(&gateway, "storage", &answers), steps.map(|(_, _, amount)| amount));
    assert_true(&gateway, &store, &["ann"]);
}

#[test]
fn what_was_deleted_by_others_holds_nothing_any_more() {
    let store = Store::start();
    let gateway = gateway(&store, "storage", "1h");
    let made = Op::post("ann", "a", 400).insist(gateway.address());
    store.things().docs.clear();
    let gone = [(); 2].map(|()| Op::delete("ann", "a").insist(gateway.address()));
    assert_eq!(gone.each_ref().map(|answer| answer.status), [404, 404]);
    let [first, second] = gone;
    assert_eq!(charged(&gateway, "storage", &[made, first, second]), [400, -400, 0]);
    assert_true(&gateway, &store, &["ann"]);
}

#[test]
fn ids_are_each_owners_own() {
    let store = Store::start();
    let gateway = gateway(&store, "storage", "1h");
    for (user, id, bytes) in
        [("ann", "a", 1), ("ben", "a", 10), ("ann", "%61%2Bb", 100), ("ann", "a b", 1000)]
    {
        // In a body an id is what it is; in a path it is encoded.
        let id = if id.contains('%') { "a+b" } else { id };
        assert_eq!(Op::post(user, id, bytes).insist(gateway.address()).status, 201);
    }
    assert_eq!(Op::delete("ann", "a").insist(gateway.address()).status, 204);
    assert_eq!((left(&gateway, "ann"), left(&gateway, "ben")), (STORAGE_MAX - 1100, STORAGE_MAX - 10));
    assert_true(&gateway, &store, &["ann", "ben"]);
}

#[test]
fn what_an_organisation_pays_for_any_of_its_users_may_give_back() {
    let store = Store::start();
    let gateway = gateway(&store, "shared", "1h");
    let send = |op: Op| op.in_org("acme").insist(gateway.address());
    let answers = [
        send(Op::post("ann", "a", 400)),
        send(Op::put("ben", "a", 300)),
        send(Op::delete("cat", "a")),
        send(Op::delete("cat", "a")),
    ];
    assert_eq!(answers.each_ref().map(|answer| answer.status), [201, 200, 204, 404]);
    assert_eq!(remaining(&answers[3]), STORAGE_MAX);
    assert_eq!(charged(&gateway, "shared", &answers), [400, -100, -300, 0]);
    drop(Books::settled(&gateway));
    books::assert_clean(&gateway);
}

#[test]
fn ids_that_are_cut_or_holds_are_no_ids() {
    let store = Store::start();
    let gateway = gateway(&store, "storage", "1h");
    let long = "x".repeat(256);
    assert_eq!(Op::post("ann", &long, 400).insist(gateway.address()).status, 201);
    // As long as the ledger keeps, both are the same; and the usage API has its holds.
    for id in [format!("{long}1"), format!("{long}2"), "hold:a".to_owned()] {
        let before = left(&gateway, "ann");
        Op::post("ann", &id, 900).insist(gateway.address());
        assert_eq!(left(&gateway, "ann"), before);
    }
    let hold = post(&gateway, "holds", &serde_json::json!({ "meter": "storage", "amount": 7 }));
    assert_eq!(hold.status, 200, "{hold:?}");
    let before = left(&gateway, "ann");
    let id = hold.json()["id"].as_str().unwrap().to_owned();
    Op::delete("ann", &format!("hold:{id}")).insist(gateway.address());
    assert_eq!(left(&gateway, "ann"), before, "what is held is held");
    books::assert_clean(&gateway);
}

fn post(gateway: &Gateway, what: &str, body: &serde_json::Value) -> Response {
    let mut wire = tollgate_testkit::Wire::connect(gateway.address());
    let headers = [("X-User-Id", "ann"), ("Content-Type", "application/json")];
    let body = body.to_string();
    wire.send(
        crate::scene::head("POST", &format!("/api/v1/usage/{what}"), &headers, Some(body.len())) + &body,
    );
    wire.response(false, BOUND).unwrap()
}

#[test]
fn what_is_not_the_callers_frees_nothing_of_the_organisation() {
    let store = Store::start();
    let gateway = gateway(&store, "shared", "1h");
    let send = |op: Op| op.in_org("acme").insist(gateway.address());
    let made = send(Op::post("ann", "a", 400));
    let refused = Op::delete("ben", "a").in_org("acme").with("X-Fail: 404").send(gateway.address()).unwrap();
    let gone = Op::delete("ben", "a").in_org("acme").with("X-Fail: 410").send(gateway.address()).unwrap();
    assert_eq!([refused.status, gone.status], [404, 410]);
    let deleted = send(Op::delete("cat", "a"));
    assert_eq!(charged(&gateway, "shared", &[made, refused, gone, deleted]), [400, 0, 0, -400]);
    books::assert_clean(&gateway);
}

/// One change of a document, by a client that may go away.
#[derive(Clone, Debug)]
struct Step {
    user: usize,
    id: usize,
    act: Act,
    /// Whether the client goes away before the answer, and how soon.
    gone: Option<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Post(u16),
    /// Creates one that the service names, and changes or deletes that.
    Create(u16, Option<u16>),
    Put(u16),
    Delete,
    Fail,
}

const USERS: [&str; 2] = ["ann", "ben"];

impl Step {
    fn op(&self) -> Op {
        let (user, id) = (USERS[self.user], format!("doc-{}", self.id));
        match self.act {
            Act::Post(bytes) => Op::post(user, &id, bytes.into()),
            Act::Create(bytes, _) => Op::create(user, bytes.into()),
            Act::Put(bytes) => Op::put(user, &id, bytes.into()),
            Act::Delete => Op::delete(user, &id),
            Act::Fail => Op::put(user, &id, 77).with("X-Fail: 503"),
        }
    }
}

fn steps(gone: bool) -> impl Strategy<Value = Vec<Step>> {
    let act = prop_oneof![
        2 => any::<u16>().prop_map(Act::Post),
        2 => any::<(u16, Option<u16>)>().prop_map(|(bytes, then)| Act::Create(bytes, then)),
        3 => any::<u16>().prop_map(Act::Put),
        3 => Just(Act::Delete),
        1 => Just(Act::Fail),
    ];
    let gone = if gone { prop::option::weighted(0.2, 0..4u8).boxed() } else { Just(None).boxed() };
    let step =
        (0..USERS.len(), 0..3usize, act, gone).prop_map(|(user, id, act, gone)| Step { user, id, act, gone });
    prop::collection::vec(step, 1..25)
}

/// Sends all steps of a client; who gets no answer tries again, as a client must.
fn client(gateways: &[std::net::SocketAddr], steps: &[Step], answered: &AtomicUsize) {
    for (number, step) in steps.iter().enumerate() {
        let address = gateways[number % gateways.len()];
        match step.gone {
            Some(after) => step.op().abandon(address, Duration::from_millis(after.into())),
            None if matches!(step.act, Act::Fail) => {
                let _ = step.op().send(address);
            }
            None => {
                let answer = step.op().insist(address);
                if let Act::Create(_, then) = step.act {
                    // Nobody else knows the id.
                    let (user, id) = (USERS[step.user], answer.json()["id"].as_str().unwrap().to_owned());
                    match then {
                        Some(bytes) => Op::put(user, &id, bytes.into()).insist(address),
                        None => Op::delete(user, &id).insist(address),
                    };
                }
            }
        }
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_leaves_the_sum_of_what_exists(clients in prop::collection::vec(steps(true), 1..6)) {
        let store = Store::start();
        let gateway = gateway(&store, "storage", "1h");
        let answered = AtomicUsize::new(0);
        thread::scope(|scope| {
            for steps in &clients {
                scope.spawn(|| client(&[gateway.address()], steps, &answered));
            }
        });
        assert_true(&gateway, &store, &USERS);
    }
}

/// Kills the gateway at random moments while clients change what exists, and starts it again.
#[test]
fn any_kill_leaves_the_sum_of_what_exists() {
    let store = Store::start();
    let mut gateway = gateway(&store, "storage", "1h");
    let (address, stop, answered) = (gateway.address(), AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..6u64 {
            let (stop, answered) = (&stop, &answered);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(number);
                while !stop.load(Ordering::SeqCst) {
                    let act = match random.u8(..4) {
                        0 => Act::Post(random.u16(..)),
                        1 | 2 => Act::Put(random.u16(..)),
                        _ => Act::Delete,
                    };
                    let step = Step { user: random.usize(..2), id: random.usize(..3), act, gone: None };
                    client(&[address], &[step], answered);
                }
            });
        }
        for round in 0..8 {
            let before = answered.load(Ordering::SeqCst);
            let moment = before + fastrand::usize(5..120);
            assert!(
                eventually(BOUND, || answered.load(Ordering::SeqCst) >= moment),
                "round {round} stands still"
            );
            gateway.kill_9();
            gateway.restart();
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert_true(&gateway, &store, &USERS);
    gateway.restart();
    assert_true(&gateway, &store, &USERS);
}
