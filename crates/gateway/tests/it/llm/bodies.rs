//! Real answers of providers, where they are at hand: each is charged what its provider meant, however it is cut.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use proptest::{
    prelude::Rng as _,
    test_runner::{RngAlgorithm, TestRng},
};
use serde_json::{Value, json};
use tollgate_testkit::{Answer, Client, Origin, Received, Reply, Response};

use super::{Charged, Sent, scene};
use crate::scene::{Scene, request_id};

/// Pieces of a body that is cut in random places, at most.
const PIECES: usize = 8;

/// What is said of a model that a provider does not name in an answer either.
const MODEL: &str = "some-model";

/// A recorded answer, with the request that it is the answer to.
struct Case {
    id: String,
    facts: Value,
    request: Vec<u8>,
    body: Vec<u8>,
}

/// How the origin sends it.
#[derive(Clone, Copy, Debug)]
enum Way {
    Whole,
    BytewiseChunks,
    RandomChunks,
}

const WAYS: [Way; 3] = [Way::Whole, Way::BytewiseChunks, Way::RandomChunks];

/// The cases; none when they are not there.
#[expect(clippy::print_stdout, reason = "what a run leaves out")]
fn cases() -> Vec<Case> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/bodies");
    let folder = env::var_os("TOLLGATE_BODIES").map_or_else(beside, PathBuf::from);
    let Ok(index) = fs::read(folder.join("index.json")) else {
        println!("skipped: no real bodies in {}", folder.display());
        return Vec::new();
    };
    let mut index: Value = serde_json::from_slice(&index).unwrap();
    let Value::Array(cases) = index["cases"].take() else { panic!("{} has no cases", folder.display()) };
    assert!(!cases.is_empty(), "{} has no cases", folder.display());
    let cases = cases.into_iter().flat_map(|facts| Case::read(&folder, facts));
    cases.collect()
}

impl Case {
    /// The case; streams of OpenAI's shape also as the answer to a client who did not ask for usage.
    fn read(folder: &Path, facts: Value) -> Vec<Self> {
        let read = |key: &str| facts[key].as_str().map(|name| fs::read(folder.join(name)).unwrap());
        let made = match facts["method"].as_str() {
            Some("GET") => String::new(),
            _ => json!({ "model": MODEL, "stream": facts["streaming"] }).to_string(),
        };
        let request = read("request_file").unwrap_or_else(|| made.into_bytes());
        let body = read("file").unwrap();
        let id = facts["id"].as_str().unwrap().to_owned();
        let unasked = serde_json::from_slice::<Value>(&request).ok().and_then(|mut request| {
            let options = request.as_object_mut()?.remove("stream_options")?;
            let asked = facts["api_shape"] == "openai.chat" && options["include_usage"] == true;
            asked.then(|| request.to_string().into_bytes())
        });
        let unasked = unasked.map(|request| Self {
            id: format!("{id}-unasked"),
            facts: facts.clone(),
            request,
            body: body.clone(),
        });
        [Self { id, facts, request, body }].into_iter().chain(unasked).collect()
    }

    fn fact(&self, key: &str) -> Option<&str> {
        self.facts[key].as_str()
    }

    /// As a client sends it; some placeholders of the recordings have no place in a URL.
    fn target(&self) -> String {
        self.fact("path").unwrap().replace('<', "%3C").replace('>', "%3E")
    }

    fn request_type(&self) -> String {
        match self.request.strip_prefix(b"--").and_then(|rest| rest.split(|byte| *byte == b'\r').next()) {
            Some(boundary) => {
                format!("multipart/form-data; boundary=\"{}\"", String::from_utf8_lossy(boundary))
            }
            None => "application/json".to_owned(),
        }
    }

    fn answer(&self, way: Way, rng: &mut TestRng) -> Answer {
        let mut reply = Reply::of(self.fact("content_type").unwrap(), &*self.body);
        reply.status = u16::try_from(self.facts["status"].as_u64().unwrap()).unwrap();
        if let Some(coding) = self.fact("content_encoding") {
            reply = reply.header("Content-Encoding", coding);
        }
        match way {
            Way::Whole => Answer::Reply(reply),
            Way::BytewiseChunks => Answer::Pieces { sizes: vec![1; self.body.len()], reply },
            Way::RandomChunks => {
                let bound = (2 * self.body.len() / PIECES).max(1);
                let size = |_| 1 + usize::try_from(rng.next_u32()).unwrap() % bound;
                Answer::Pieces { sizes: (1..PIECES).map(size).collect(), reply }
            }
        }
    }

    /// Whether it says that the model failed, after a head that says otherwise.
    fn fails(&self) -> bool {
        self.facts["tags"].as_array().unwrap().iter().any(|tag| tag == "error-mid-stream")
    }

    /// Whether a model worked for it. A moderation is not charged by those who offer it.
    fn is_billable(&self) -> bool {
        self.facts["billable"] == true
            && !self.fails()
            && self.fact("api_shape") != Some("openai.moderations")
    }

    fn expected(&self, part: &str) -> Option<i64> {
        self.facts["expected"][part].as_i64()
    }

    fn check_request(&self, arrived: &Received) -> Result<bool, String> {
        if arrived.body == self.request {
            return Ok(false);
        }
        let mut wanted: Value = serde_json::from_slice(&self.request).map_err(|e| format!("edited: {e}"))?;
        wanted["stream_options"] = json!({ "include_usage": true });
        let arrived = serde_json::from_slice::<Value>(&arrived.body).map_err(|e| format!("broken: {e}"))?;
        if arrived == wanted { Ok(true) } else { Err(format!("the upstream was sent {arrived}")) }
    }

    fn check_charged(&self, charged: &Charged) -> Result<(), String> {
        let says = ["input_all", "output_all", "total_reported"].iter().any(|p| self.expected(p).is_some());
        let error = |what: &str| Err(format!("{what}: {charged:?}"));
        if !self.is_billable() {
            let is_free = charged.tokens() == 0 && !charged.estimated;
            let is_told = !self.fails() || charged.metadata["error"] == true && charged.amount("calls") == 0;
            return if is_free && is_told { Ok(()) } else { error("nothing is billable") };
        }
        if !says {
            let is_estimate = charged.estimated && charged.amount("total") > 0;
            return if is_estimate { Ok(()) } else { error("no estimate") };
        }
        for (part, key) in [
            ("input_all", "input"),
            ("output_all", "output"),
            ("cached_read", "cached_read"),
            ("cache_write", "cache_write"),
            ("reasoning", "reasoning"),
            ("total_reported", "total_reported"),
        ] {
            if charged.metadata[key].as_i64() != self.expected(part) {
                return error(&format!("{part} is {:?}", self.expected(part)));
            }
        }
        let amount = |part: &str| self.expected(part).unwrap_or(0);
        let (input, output) = (amount("input_all"), amount("output_all"));
        let wanted = [
            ("calls", 1),
            ("total", (input + output).max(amount("total_reported"))),
            ("input", input),
            ("output", output),
            ("cached", amount("cached_read")),
            ("reasoning", amount("reasoning")),
        ];
        if charged.estimated || wanted.iter().any(|(meter, wanted)| charged.amount(meter) != *wanted) {
            return error(&format!("not {wanted:?}"));
        }
        Ok(())
    }

    fn check_answer(&self, answer: &Response, is_asked_for: bool) -> Result<(), String> {
        let wanted = if is_asked_for { without_usage_chunk(&self.body) } else { self.body.clone() };
        if answer.body != wanted {
            return Err(format!("{} bytes arrived, not {}: {answer:?}", answer.body.len(), wanted.len()));
        }
        for (header, fact) in [("content-type", "content_type"), ("content-encoding", "content_encoding")] {
            if answer.header(header) != self.fact(fact) {
                return Err(format!("{header} is {:?}", answer.header(header)));
            }
        }
        Ok(())
    }
}

/// The events of a stream, all but those that only have usage.
fn without_usage_chunk(body: &[u8]) -> Vec<u8> {
    let text = str::from_utf8(body).unwrap();
    let is_usage_chunk = |event: &str| {
        let data = event.trim().strip_prefix("data:").unwrap_or_default();
        serde_json::from_str::<Value>(data)
            .is_ok_and(|data| data["choices"] == json!([]) && !data["usage"].is_null())
    };
    text.split_inclusive("\n\n").filter(|event| !is_usage_chunk(event)).collect::<String>().into_bytes()
}

/// A gateway in front of a service that answers request `case-way` with this case, sent in this way.
fn replaying(cases: &Arc<Vec<Case>>, http2: bool) -> Scene {
    let cases = Arc::clone(cases);
    let origin = Origin::builder().on("/mark", Answer::Echo).otherwise(move |received| {
        let (case, way) = received.header("x-request-id").unwrap().split_once('-').unwrap();
        let (case, way): (usize, usize) = (case.parse().unwrap(), way.parse().unwrap());
        let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        cases[case].answer(WAYS[way], &mut rng)
    });
    if !http2 {
        return scene(origin, "");
    }
    let origin = origin.http2().start();
    let config = crate::scene::config(origin.address(), &super::route(""));
    let config = config.replace("\nurls = ", "\nprotocol = \"http2\"\nurls = ");
    let gateway = crate::support::gateway().config(config).tiers(crate::scene::tiers(super::TIERS)).start();
    Scene { gateway, origin }
}

/// Fails unless each answer is as it was sent, and charged what was meant.
#[expect(clippy::print_stdout, reason = "the figures of a run")]
fn check(scene: &Scene, cases: &[Case], answers: &[(usize, Way, Response)]) {
    let (lines, received) = (scene.settled(), scene.origin.received());
    let (mut failures, mut edited) = (Vec::new(), 0);
    for (case, way, answer) in answers {
        let (case, id) = (&cases[*case], request_id(answer));
        let checked = received
            .iter()
            .find(|received| received.header("x-request-id") == Some(id))
            .ok_or_else(|| format!("refused: {answer:?}"))
            .and_then(|arrived| case.check_request(arrived))
            .and_then(|is_edited| {
                edited += usize::from(is_edited);
                case.check_answer(answer, is_edited)?;
                case.check_charged(&Charged::of(&lines, answer))
            });
        if let Err(failure) = checked {
            failures.push(format!("{} {way:?}: {failure}", case.id));
        }
    }
    let all = answers.len();
    println!("{all} exchanges of {} cases, {edited} of them with an edited request", cases.len());
    assert!(failures.is_empty(), "{} of {all} failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn real_answers_are_charged_what_their_provider_meant_and_pass_untouched() {
    let cases = Arc::new(cases());
    let scene = replaying(&cases, false);
    let mut answers = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        for (way, how) in WAYS.into_iter().enumerate() {
            let (id, content_type) = (format!("{number}-{way}"), case.request_type());
            let headers = [("Content-Type", &*content_type), ("X-Request-Id", &id)];
            let (method, target) = (case.fact("method").unwrap(), &case.target());
            let answer = Sent { method, target, headers: &headers, body: &case.request }.to(&scene);
            answers.push((number, how, answer));
        }
    }
    check(&scene, &cases, &answers);
}

#[tokio::test]
async fn real_answers_are_charged_what_their_provider_meant_over_http_2() {
    let cases = Arc::new(cases());
    let scene = replaying(&cases, true);
    let mut client = Client::http2(scene.gateway.address()).await.unwrap();
    let mut answers = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let (id, content_type) = (format!("{number}-2"), case.request_type());
        let headers = [("X-User-Id", "ann"), ("Content-Type", &*content_type), ("X-Request-Id", &id)];
        let method = case.fact("method").unwrap().parse().unwrap();
        let answer = client.request(method, &case.target(), &headers, case.request.clone().into()).await;
        answers.push((number, Way::RandomChunks, answer.unwrap()));
    }
    check(&scene, &cases, &answers);
}
