//! Models that write more than the request says, where the counters are in Redis: it is asked while the stream runs.

use std::ops::RangeInclusive;

use tollgate_testkit::{BOUND, Ending, Gate, Gateway, Origin, Postgres, Redis, Wire, eventually};

use super::{CHAT, Setting, chat_stream, events, gated, growth::said, held, post};
use crate::books;

const WORDS: usize = 900;
const OUTPUT: i64 = 1000;

struct Shared {
    gateways: [Gateway; 2],
    origin: Origin,
    gate: Gate,
    postgres: Postgres,
    _redis: Redis,
}

impl Shared {
    fn start(limit: &str) -> Self {
        let gate = Gate::new();
        let origin = Origin::builder().on(CHAT, gated(events(WORDS, 5, OUTPUT), &gate)).start();
        let (redis, postgres) = (Redis::start(), Postgres::new());
        let stores =
            format!("[counters]\nstore = \"{}\"\n[ledger]\nstore = \"{}\"", redis.url(), postgres.url());
        let setting = Setting::new().tables(&stores).limits(format!("output = {limit}"));
        let gateways = [0, 1].map(|_| setting.gateway(&origin, "workers = 1", ""));
        Self { gateways, origin, gate, postgres, _redis: redis }
    }

    /// A stream for ten tokens at one of the gateways, begun.
    fn begin(&self, gateway: usize) -> Wire {
        let mut begun = None;
        let served = eventually(BOUND, || {
            let mut wire = Wire::connect(self.gateways[gateway].address());
            assert!(wire.send(post("ann", CHAT, &chat_stream(10).to_string())));
            let is_answered = wire.read_until(BOUND, |read| read.windows(4).any(|end| end == b"\r\n\r\n"));
            let is_served = is_answered && wire.unread().starts_with(b"HTTP/1.1 200");
            begun = Some(wire);
            is_served
        });
        assert!(served, "{:?}", begun.map(|wire| super::text(&wire)));
        begun.unwrap()
    }

    /// What was charged, one amount for each request.
    fn charged(&self) -> Vec<i64> {
        let rest = "which 0 are not shipped yet, 0 requests in flight";
        for gateway in &self.gateways {
            assert!(
                eventually(BOUND, || books::audit(gateway).out.contains(rest)),
                "{:?}",
                books::audit(gateway)
            );
            assert_eq!(held(gateway, "output"), 0);
            books::assert_clean(gateway);
        }
        let sql = "SELECT amount FROM usage_ledger WHERE meter = 'output' ORDER BY id";
        self.postgres.sql("postgres", sql).lines().map(|amount| amount.parse().unwrap()).collect()
    }
}

/// Fails unless this stream ends as at a limit; the words that it wrote.
fn assert_limited(mut wire: Wire, words: RangeInclusive<usize>) {
    let answer = wire.response(false, BOUND).expect("an answer");
    assert_eq!((answer.status, answer.ending), (200, Ending::Complete));
    let said = said(&answer.text());
    assert_eq!(said[said.len() - 2]["choices"][0]["finish_reason"], "length");
    assert!(words.contains(&(said.len() - 2)), "{} words", said.len() - 2);
}

#[test]
fn what_outgrows_its_hold_is_given_more_by_the_store() {
    let shared = Shared::start("\"10_000/lifetime\"");
    let mut streams = [0, 1, 0].map(|gateway| shared.begin(gateway));
    shared.gate.open();
    for stream in &mut streams {
        let answer = stream.response(false, BOUND).unwrap();
        assert!(answer.ending == Ending::Complete && answer.text().ends_with("data: [DONE]\n\n"));
    }
    assert_eq!(shared.charged(), [OUTPUT; 3]);
}

#[test]
fn at_a_hard_limit_the_stream_ends_when_nothing_is_left_anywhere() {
    let shared = Shared::start("\"700/lifetime\"");
    let stream = shared.begin(0);
    shared.gate.pass(WORDS - 10);
    assert_limited(stream, 690..=702);
    assert!(eventually(BOUND, || shared.origin.abandoned() == 1), "the model is told to stop");
    let charged = shared.charged();
    assert!(charged.len() == 1 && (690..=700).contains(&charged[0]), "{charged:?}");
}

#[test]
fn two_streams_at_two_gateways_share_what_is_left() {
    let shared = Shared::start("\"700/lifetime\"");
    let streams = [0, 1].map(|gateway| shared.begin(gateway));
    shared.gate.pass(2 * WORDS - 20);
    for stream in streams {
        assert_limited(stream, 1..=702);
    }
    let charged = shared.charged();
    let sum: i64 = charged.iter().sum();
    assert!(charged.len() == 2 && (680..=700).contains(&sum), "{charged:?}");
}

#[test]
fn an_overdraw_is_given_by_the_store_too() {
    let shared = Shared::start("{ limit = \"600/lifetime\", overdraw = 100 }");
    let stream = shared.begin(0);
    shared.gate.pass(WORDS - 10);
    assert_limited(stream, 690..=702);
    let charged = shared.charged();
    assert!(charged.len() == 1 && (690..=700).contains(&charged[0]), "{charged:?}");
}
