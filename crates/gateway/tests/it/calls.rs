//! Calls to models: what is held for them, what ends them, and what they cost then.

mod crowd;
mod gone;
mod gone_early;
mod growth;
mod growth_shared;
mod holds;
mod kills;
mod learned;

use serde_json::{Value, json};
use tollgate_testkit::{Answer, BOUND, Gate, Gateway, Origin, OriginBuilder, Response, Wire, eventually};

use crate::{
    books::{Books, Line},
    scene::head,
    support,
};

/// What the route charges unless a test says otherwise. `hold` is for bodies that cannot be read.
const CHARGE: &str = r#"{ meter = "calls" }, { meter = "output", amount = "llm.output_tokens", hold = 30 },
    { meter = "total", amount = "llm.total_tokens", hold = 40 }"#;
/// Limits that nothing here reaches.
const WIDE: &str = "calls = \"1M/lifetime\"\noutput = \"100M/lifetime\"\ntotal = \"100M/lifetime\"";
/// The path of an OpenAI chat.
pub(super) const CHAT: &str = "/v1/chat/completions";
/// The path of Anthropic's messages.
pub(super) const MESSAGES: &str = "/v1/messages";

/// A gateway that is not started yet: one route for everything, before one origin.
#[derive(Clone)]
pub(super) struct Setting {
    route: String,
    more: String,
    tables: String,
    meters: String,
    limits: String,
}

/// A gateway before a scripted model.
pub(super) struct Calls {
    pub(super) gateway: Gateway,
    pub(super) origin: Origin,
}

impl Setting {
    pub(super) fn new() -> Self {
        let (route, more, tables, meters) = Default::default();
        Self { route, more, tables, meters, limits: WIDE.to_owned() }
    }

    /// More keys of the route's `llm = { … }`.
    pub(super) fn llm(self, keys: &str) -> Self {
        Self { route: format!("llm = {{ {keys} }}"), ..self }
    }

    /// More routes.
    pub(super) fn more(self, routes: &str) -> Self {
        Self { more: routes.to_owned(), ..self }
    }

    /// More tables of gateway.toml.
    pub(super) fn tables(self, tables: &str) -> Self {
        Self { tables: tables.to_owned(), ..self }
    }

    /// More lines of `[meters]`.
    pub(super) fn meters(self, meters: &str) -> Self {
        Self { meters: meters.to_owned(), ..self }
    }

    /// The limits of the only tier.
    pub(super) fn limits(self, limits: impl Into<String>) -> Self {
        Self { limits: limits.into(), ..self }
    }

    pub(super) fn start(self, origin: OriginBuilder) -> Calls {
        let origin = origin.start();
        let gateway = self.gateway(&origin, "workers = 1", "idle_timeout = \"30s\"");
        Calls { gateway, origin }
    }

    /// A gateway before `origin`; `top` are keys before all tables, `upstream` more of the upstream's.
    pub(super) fn gateway(&self, origin: &Origin, top: &str, upstream: &str) -> Gateway {
        let Self { route, more, tables, .. } = self;
        let config = format!(
            "data_dir = \"@DATA@\"\n{top}\n[listen]\naddress = \"@LISTEN@\"\n[admin]\naddress = \"@ADMIN@\"\n\
             {tables}\n[upstreams.model]\nurls = [\"http://{}\"]\n{upstream}\n\
             [[routes]]\nname = \"all\"\npath = \"/\"\nupstream = \"model\"\ncharge = [{CHARGE}]\n{route}\n{more}\n",
            origin.address()
        );
        support::gateway().config(config).tiers(self.tiers()).start()
    }

    /// The text of tier-limits.toml.
    pub(super) fn tiers(&self) -> String {
        format!(
            "default_tier = \"basic\"\n[meters]\ncalls = {{ unit = \"calls\" }}\noutput = {{ unit = \"tokens\" }}\n\
             total = {{ unit = \"tokens\" }}\n{}\n[tiers.basic]\nother_meters = \"unlimited\"\n[tiers.basic.limits]\n{}\n",
            self.meters, self.limits
        )
    }
}

impl Calls {
    /// A connection on which this call was sent.
    pub(super) fn sent(&self, user: &str, path: &str, body: impl ToString) -> Wire {
        let mut wire = Wire::connect(self.gateway.address());
        assert!(wire.send(post(user, path, &body.to_string())), "the gateway takes the request");
        wire
    }

    /// A connection on which this call was sent, and the answer's first event has come.
    pub(super) fn begun(&self, user: &str, path: &str, body: impl ToString) -> Wire {
        let mut wire = self.sent(user, path, body);
        assert!(wire.read_until(BOUND, |read| read.ends_with(b"\n\n\r\n")), "{:?}", text(&wire));
        wire
    }

    /// The answer to this call.
    pub(super) fn call(&self, user: &str, path: &str, body: impl ToString) -> Response {
        self.sent(user, path, body).response(false, BOUND).expect("an answer")
    }

    /// What is held of a meter, all subjects together.
    pub(super) fn held(&self, meter: &str) -> i64 {
        held(&self.gateway, meter)
    }

    /// Waits until so much is held of a meter.
    pub(super) fn assert_held(&self, meter: &str, amount: i64) {
        let is_held = eventually(BOUND, || self.held(meter) == amount);
        assert!(is_held, "{meter}: {} are held, not {amount}", self.held(meter));
    }

    /// The ledger's lines of a meter once nothing is in flight, by the time of their admission.
    pub(super) fn lines(&self, meter: &str) -> Vec<Line> {
        let mut lines = Books::settled(&self.gateway).0;
        lines.retain(|line| line.meter == meter);
        lines
    }
}

/// What is held of a meter, all subjects together.
pub(super) fn held(gateway: &Gateway, meter: &str) -> i64 {
    let counters = gateway.admin_get("/admin/counters").json();
    let counters = counters["counters"].as_array().unwrap().iter();
    counters
        .filter(|counter| counter["meter"] == meter)
        .map(|counter| counter["held"].as_i64().unwrap())
        .sum()
}

/// A call as it is sent.
pub(super) fn post(user: &str, path: &str, body: &str) -> String {
    let headers = [("X-User-Id", user), ("Content-Type", "application/json")];
    head("POST", path, &headers, Some(body.len())) + body
}

/// What a line says of its request beside amounts.
pub(super) fn metadata(line: &Line) -> Value {
    serde_json::from_str(line.metadata.as_deref().unwrap_or("null")).unwrap()
}

/// Of each line the amount, whether it is an estimate, and how the request ended.
pub(super) fn ends(lines: &[Line]) -> Vec<(i64, bool, Option<String>)> {
    let end = |line: &Line| metadata(line)["end"].as_str().map(str::to_owned);
    lines.iter().map(|line| (line.amount, line.estimated, end(line))).collect()
}

/// An end of a request as the ledger has it.
pub(super) fn end(name: &str) -> Option<String> {
    Some(name.to_owned())
}

/// What was read of an answer and not yet taken.
pub(super) fn text(wire: &Wire) -> String {
    String::from_utf8_lossy(wire.unread()).into_owned()
}

/// A call for at most so many tokens.
pub(super) fn chat(max_tokens: i64) -> Value {
    json!({ "model": "gpt", "max_tokens": max_tokens, "messages": [{ "role": "user", "content": "Write." }] })
}

/// The same as a stream.
pub(super) fn chat_stream(max_tokens: i64) -> Value {
    let mut call = chat(max_tokens);
    call["stream"] = true.into();
    call
}

/// A whole answer that used so many tokens.
pub(super) fn answer(input: i64, output: i64) -> Answer {
    Answer::json(
        json!({
            "id": "c1", "object": "chat.completion", "model": "gpt",
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": "x" }, "finish_reason": "stop" }],
            "usage": usage(input, output),
        })
        .to_string(),
    )
}

fn usage(input: i64, output: i64) -> Value {
    json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output })
}

fn chunk(choices: &Value, usage: &Value) -> String {
    let chunk = json!({
        "id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "gpt", "choices": choices, "usage": usage,
    });
    format!("data: {chunk}\n\n")
}

/// The events of a stream that writes a word of one token `words` times, and says that it used so many.
pub(super) fn events(words: usize, input: i64, output: i64) -> Vec<String> {
    let word = json!([{ "index": 0, "delta": { "content": "word" }, "finish_reason": null }]);
    let last = json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }]);
    let mut events = vec![chunk(&word, &Value::Null); words];
    events.push(chunk(&last, &Value::Null));
    events.push(chunk(&json!([]), &usage(input, output)));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// The same as Anthropic streams it; what was read is said at the beginning.
pub(super) fn message_events(words: usize, input: i64, output: i64) -> Vec<String> {
    let event = |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
    let message = json!({
        "id": "m1", "type": "message", "role": "assistant", "model": "claude", "content": [],
        "stop_reason": null, "usage": { "input_tokens": input, "output_tokens": 1 },
    });
    let block = json!({ "type": "text", "text": "" });
    let word = json!({ "type": "text_delta", "text": "word" });
    let stop = json!({ "stop_reason": "end_turn", "stop_sequence": null });
    let mut events = vec![
        event(json!({ "type": "message_start", "message": message })),
        event(json!({ "type": "content_block_start", "index": 0, "content_block": block })),
    ];
    let delta = event(json!({ "type": "content_block_delta", "index": 0, "delta": word }));
    events.extend(vec![delta; words]);
    events.push(event(json!({ "type": "content_block_stop", "index": 0 })));
    events
        .push(event(json!({ "type": "message_delta", "delta": stop, "usage": { "output_tokens": output } })));
    events.push(event(json!({ "type": "message_stop" })));
    events
}

/// A stream of these events, each but the first when `gate` lets it pass.
pub(super) fn gated(events: Vec<String>, gate: &Gate) -> Answer {
    Answer::Sse { events, gate: Some(gate.clone()) }
}
