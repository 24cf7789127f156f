//! Calls to models: what their answers say was used is what is charged, and the bytes pass as they are.

mod bodies;
mod codings;
mod failures;
mod floods;
mod free;
mod include_usage;
mod models;
mod prices;
mod trace;
mod uploads;
mod usage_chunk;

use std::collections::HashMap;

use serde_json::Value;
use tollgate_testkit::{BOUND, OriginBuilder, Response, Wire};

use crate::{
    books::Line,
    scene::{Scene, of},
};

/// All that a model's answer can say, a meter each; [`ALL`] charges them.
const TIERS: &str = r#"
default_tier = "free"
[meters]
calls = { unit = "calls" }
total = { unit = "tokens" }
input = { unit = "tokens" }
output = { unit = "tokens" }
cached = { unit = "tokens" }
reasoning = { unit = "tokens" }
[tiers.free]
other_meters = "unlimited"
"#;

const ALL: &str = r#"{ meter = "calls" },
    { meter = "total", amount = "llm.total_tokens", hold = 300 },
    { meter = "input", amount = "llm.input_tokens", hold = 100 },
    { meter = "output", amount = "llm.output_tokens", hold = 200 },
    { meter = "cached", amount = "llm.cached_tokens", hold = 10 },
    { meter = "reasoning", amount = "llm.reasoning_tokens", hold = 20 }"#;

/// A route for everything that charges [`ALL`]; `more` continues it.
fn route(more: &str) -> String {
    format!("[[routes]]\nname = \"all\"\npath = \"/\"\nupstream = \"origin\"\ncharge = [{ALL}]\n{more}\n")
}

/// A gateway that charges all that answers say, in front of `origin`; `more` continues the route.
fn scene(origin: OriginBuilder, more: &str) -> Scene {
    Scene::start(origin, &route(more), TIERS)
}

/// A request with its whole body.
#[derive(Clone, Copy)]
struct Sent<'a> {
    method: &'a str,
    target: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
}

impl<'a> Sent<'a> {
    /// POST of a JSON body.
    fn json(target: &'a str, body: &'a str) -> Self {
        let headers = &[("Content-Type", "application/json")];
        Self { method: "POST", target, headers, body: body.as_bytes() }
    }

    /// Sends it as the user ann, on a connection that ends with the answer.
    fn to(self, scene: &Scene) -> Response {
        let Self { method, target, headers, body } = self;
        let own = [("X-User-Id", "ann"), ("Connection", "close")];
        let headers = [&own, headers].concat();
        let head = crate::scene::head(method, target, &headers, Some(body.len()));
        let mut wire = Wire::connect(scene.gateway.address());
        assert!(wire.send([head.as_bytes(), body].concat()), "the gateway takes the request");
        assert!(wire.closes(BOUND), "the answer ends: {target}");
        let (answer, _) = Response::parse(wire.unread(), method == "HEAD").expect("an answer");
        answer
    }
}

/// What one request was charged, by meter, and whether any of it is an estimate; nothing for one that has no lines.
#[derive(Debug, PartialEq, Eq)]
struct Charged {
    amounts: HashMap<String, i64>,
    estimated: bool,
    metadata: Value,
}

impl Charged {
    fn of(lines: &[Line], answer: &Response) -> Self {
        let lines = of(lines, answer);
        let metadata = lines.first().and_then(|line| line.metadata.as_deref());
        Self {
            amounts: lines.iter().map(|line| (line.meter.clone(), line.amount)).collect(),
            estimated: lines.iter().any(|line| line.estimated),
            metadata: metadata.map_or(Value::Null, |text| serde_json::from_str(text).expect("JSON")),
        }
    }

    fn amount(&self, meter: &str) -> i64 {
        *self.amounts.get(meter).unwrap_or_else(|| panic!("no {meter}: {self:?}"))
    }

    /// Input and output, where the answer said them.
    fn said(&self) -> (i64, i64) {
        assert!(!self.estimated, "{self:?}");
        (self.amount("input"), self.amount("output"))
    }

    /// All tokens of all meters.
    fn tokens(&self) -> i64 {
        self.amounts.iter().filter(|(meter, _)| *meter != "calls").map(|(_, amount)| amount).sum()
    }
}
