//! A real trace: the calls of a code assistant in their order, time compressed, half of the answers streamed.

use std::{
    collections::HashMap,
    env, fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tollgate_testkit::{Answer, Gateway, Origin, Received};

use crate::{
    books::{self, Books},
    load::{Call, Connections, Load, Outcome},
    support,
};

const FILE: &str = "AzureLLMInferenceTrace_code_2023.csv";
const CLIENTS: usize = 6;
const USERS: usize = 50;
const TIERS: [&str; 4] = ["free", "starter", "professional", "enterprise"];
/// No call of the trace takes more.
const HOLD: i64 = 20_000;
const FREE_CALLS: i64 = 100;
const STARTER_TOKENS: i64 = 200_000;

/// The first rows of the trace, for machines that do not have it.
const SAMPLE: &str = "\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:04.0781890,110,27
2023-11-16 18:17:04.0847520,7433,14
2023-11-16 18:17:04.1184270,34,12
";

/// Tokens of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) context: i64,
    pub(crate) generated: i64,
}

/// The trace; `TOLLGATE_TRACES` names the folder it is in.
pub(crate) fn rows() -> Vec<Row> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/traces");
    let folder = env::var_os("TOLLGATE_TRACES").map_or_else(beside, PathBuf::from);
    let text = fs::read_to_string(folder.join(FILE)).unwrap_or_else(|_| SAMPLE.to_owned());
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let number = |record: &csv::StringRecord, at: usize| record[at].trim().parse().unwrap();
    let rows = reader.records().map(|record| {
        let record = record.unwrap();
        Row { context: number(&record, 1), generated: number(&record, 2) }
    });
    rows.collect()
}

impl Row {
    fn total(self) -> i64 {
        self.context + self.generated
    }

    /// As OpenAI says it.
    pub(crate) fn usage(self) -> String {
        let Self { context, generated } = self;
        let total = self.total();
        format!(
            r#""usage":{{"prompt_tokens":{context},"completion_tokens":{generated},"total_tokens":{total}}}"#
        )
    }

    /// As large as its tokens say: a word each.
    pub(crate) fn whole(self) -> Answer {
        let words = "word ".repeat(usize::try_from(self.generated).unwrap());
        let message = format!(r#"{{"role":"assistant","content":"{words}"}}"#);
        Answer::json(format!(r#"{{"choices":[{{"index":0,"message":{message}}}],{}}}"#, self.usage()))
    }

    /// A token an event, the usage in the last one.
    fn streamed(self) -> Answer {
        let word = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word \"}}]}\n\n".to_owned();
        let mut events = vec![word; usize::try_from(self.generated).unwrap()];
        events.push(format!("data: {{\"choices\":[],{}}}\n\n", self.usage()));
        events.push("data: [DONE]\n\n".to_owned());
        // In pieces of a few kilobytes, as a fast model's tokens arrive.
        let events = events.chunks(32).map(<[String]>::concat).collect();
        Answer::Sse { events, gate: None }
    }
}

fn gateway(origin: &Origin) -> Gateway {
    let config = format!(
        r#"
data_dir = "@DATA@"
workers = 2
[listen]
address = "@LISTEN@"
[admin]
address = "@ADMIN@"
[upstreams.llm]
urls = ["http://{}"]
[[routes]]
name = "llm"
path = "/v1/"
upstream = "llm"
charge = [{{ meter = "calls" }}, {{ meter = "tokens", amount = "llm.total_tokens", hold = {HOLD} }}]
"#,
        origin.address()
    );
    let tiers = format!(
        r#"
default_tier = "free"
[meters]
calls  = {{ unit = "calls" }}
tokens = {{ unit = "tokens" }}
[tiers.free.limits]
calls  = "{FREE_CALLS}/lifetime"
tokens = "unlimited"
[tiers.starter.limits]
calls  = ["1_000_000/day", "10_000_000/lifetime"]
tokens = "{STARTER_TOKENS}/lifetime"
[tiers.professional.limits]
calls  = {{ limit = "10/lifetime", over = "charge", price = "0.008 EUR per 10" }}
tokens = {{ limit = "1_000_000_000/lifetime", scope = "org" }}
[tiers.enterprise]
other_meters = "unlimited"
"#
    );
    support::gateway().config(config).tiers(tiers).start()
}

/// Row `number` as a call.
fn call(number: usize) -> Call {
    let user = number % USERS;
    let path = if number.is_multiple_of(2) { "/v1/chat/completions" } else { "/v1/stream" };
    let call = Call::new(format!("row-{number}"), &format!("user-{user}"), format!("{path}?row={number}"));
    call.on(TIERS[user % TIERS.len()])
}

fn row_of(call: &Call) -> usize {
    call.id.strip_prefix("row-").unwrap().parse().unwrap()
}

fn origin(rows: &Arc<Vec<Row>>) -> Origin {
    let rows = Arc::clone(rows);
    let answer = move |received: &Received| {
        let row: usize = received.target.rsplit_once('=').unwrap().1.parse().unwrap();
        if received.path() == "/v1/stream" { rows[row].streamed() } else { rows[row].whole() }
    };
    Origin::builder().otherwise(answer).start()
}

#[test]
fn the_ledger_of_a_real_trace_has_each_answered_call_once_and_no_refused_one() {
    let rows = Arc::new(rows());
    let origin = origin(&rows);
    let gateway = gateway(&origin);
    let (next, count) = (AtomicUsize::new(0), rows.len());
    let outcomes = Load::start(gateway.address(), CLIENTS, Connections::Kept, move |_, _| {
        let number = next.fetch_add(1, Ordering::SeqCst);
        (number < count).then(|| call(number))
    })
    .join();
    assert_eq!(outcomes.len(), rows.len());
    assert_answers(&outcomes, &rows);

    let books = Books::settled(&gateway);
    assert_charged(&books, &outcomes, &rows);
    let answered = outcomes.iter().filter(|outcome| outcome.status() == Some(200)).count();
    assert_eq!(origin.requests(), answered, "what was refused never reached the upstream");
    assert_limits(&books, &outcomes);
    books::assert_clean(&gateway);
}

/// Answered in full, or refused because of a limit of a tier that has one.
fn assert_answers(outcomes: &[Outcome], rows: &[Row]) {
    for outcome in outcomes {
        let answer = outcome.answer.as_ref().unwrap_or_else(|| panic!("failed: {outcome:?}"));
        let row = rows[row_of(&outcome.call)];
        if answer.status == 429 {
            assert!(["free", "starter"].contains(&&*outcome.call.tier), "{outcome:?}");
            continue;
        }
        let words = i64::try_from(answer.text().matches("word ").count()).unwrap();
        assert_eq!((answer.status, words), (200, row.generated), "{:?}", outcome.call);
    }
}

fn assert_charged(books: &Books, outcomes: &[Outcome], rows: &[Row]) {
    let by_request = books.by_request();
    let mut tokens: HashMap<&str, i64> = HashMap::new();
    for Outcome { call, answer } in outcomes {
        let lines = by_request.get(&*call.id).map(Vec::as_slice).unwrap_or_default();
        let charged: Vec<_> = lines.iter().map(|line| (&*line.meter, line.amount, line.estimated)).collect();
        let total = rows[row_of(call)].total();
        if answer.as_ref().unwrap().status == 200 {
            assert_eq!(charged, [("calls", 1, false), ("tokens", total, false)], "{call:?}");
            assert!(lines.iter().all(|line| line.user == call.user && line.tier == call.tier), "{lines:?}");
            *tokens.entry(&call.user).or_default() += total;
        } else {
            assert!(charged.is_empty(), "a refused call is charged: {lines:?}");
        }
    }
    for (user, total) in tokens {
        assert_eq!(books.sum(user, "tokens"), total, "{user}");
    }
}

/// No user has more than the tier allows; where calls are what is limited, not one less either.
fn assert_limits(books: &Books, outcomes: &[Outcome]) {
    for user in 0..USERS {
        let name = format!("user-{user}");
        let sent = outcomes.iter().filter(|outcome| outcome.call.user == name).count();
        match TIERS[user % TIERS.len()] {
            "free" => {
                let allowed = FREE_CALLS.min(i64::try_from(sent).unwrap());
                assert_eq!(books.sum(&name, "calls"), allowed, "{name} sent {sent} calls");
            }
            "starter" => {
                let used = books.sum(&name, "tokens");
                assert!(used <= STARTER_TOKENS, "{name} used {used} tokens");
                // What is held for a call has to fit in; fewer than all clients hold something.
                let refused = outcomes.iter().any(|o| o.call.user == name && o.status() == Some(429));
                let held_at_most = HOLD * i64::try_from(CLIENTS).unwrap();
                assert!(!refused || used > STARTER_TOKENS - held_at_most, "{name} was refused with {used}");
            }
            _ => {}
        }
    }
}
