//! Real responses of providers, where they are at hand: what each said is what its provider meant.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::Value;
use tollgate_usage::{Request, Response, Scanner, TokenUsage};

/// Random splits of each body.
const SPLITS: usize = 20;

pub(crate) fn folder() -> PathBuf {
    std::env::var_os("TOLLGATE_BODIES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/bodies"),
        PathBuf::from,
    )
}

/// The index of the cases in `folder`, if it is there.
pub(crate) fn index(folder: &Path) -> Option<Vec<Value>> {
    let index = std::fs::read(folder.join("index.json")).ok()?;
    let index: Value = serde_json::from_slice(&index).unwrap();
    let cases = index["cases"].as_array().unwrap().clone();
    assert!(!cases.is_empty(), "{} has no cases", folder.display());
    Some(cases)
}

/// A recorded response.
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) json: Value,
    pub(crate) body: Vec<u8>,
}

impl Case {
    pub(crate) fn scanner(&self) -> Option<Scanner> {
        scanner(&self.json)
    }

    /// What its text alone makes of its output: nothing it reports is readable any more.
    pub(crate) fn estimate(&self) -> i64 {
        let mut body = self.body.clone();
        for key in [&b"\"usage"[..], b"\"eval_count", b"\"meta"] {
            for at in 0..body.len() {
                if body[at..].starts_with(key) {
                    body[at + 1] = b'_';
                }
            }
        }
        let mut scanner = self.scanner().unwrap();
        scanner.feed(&body);
        scanner.progress().output
    }

    /// Whether it is a stream that can be ended.
    pub(crate) fn is_plain_stream(&self) -> bool {
        self.json["streaming"] == true && self.json["content_encoding"].is_null() && self.scanner().is_some()
    }
}

/// The recorded responses; none when they are not at hand.
pub(crate) fn cases() -> Vec<Case> {
    let folder = folder();
    let cases = index(&folder).unwrap_or_default();
    let case = |case: &Value| Case {
        id: case["id"].to_string(),
        json: case.clone(),
        body: std::fs::read(folder.join(case["file"].as_str().unwrap())).unwrap(),
    };
    cases.iter().map(case).collect()
}

fn scanner(case: &Value) -> Option<Scanner> {
    let text = |key: &str| case[key].as_str();
    Scanner::of(
        Request { method: text("method")?, path: text("path")? },
        Response { content_type: text("content_type"), content_encoding: text("content_encoding") },
    )
}

/// Where `body` is cut into at most eight pieces.
fn cuts(body: &[u8], rng: &mut TestRng) -> Vec<usize> {
    let mut cuts: Vec<usize> =
        (0..7).map(|_| usize::try_from(rng.next_u32()).unwrap() % (body.len() + 1)).collect();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    cuts
}

/// The usage, the same in all ways of cutting the body.
fn scan(case: &Value, body: &[u8], rng: &mut TestRng) -> Result<Option<TokenUsage>, String> {
    let Some(mut whole) = scanner(case) else { return Ok(None) };
    whole.feed(body);
    let (model, progress, usage) = (whole.model().map(str::to_owned), whole.progress(), whole.finish());
    let check = |chunks: &mut dyn Iterator<Item = &[u8]>, how: &str| {
        let mut scanner = scanner(case).unwrap();
        chunks.for_each(|chunk| scanner.feed(chunk));
        let is_same = scanner.model() == model.as_deref() && scanner.progress() == progress;
        let seen = scanner.finish();
        if is_same && seen == usage { Ok(()) } else { Err(format!("{how}: {seen:?}, not {usage:?}")) }
    };
    for bytes in [1, 2, 3, 7, 64, 1000] {
        check(&mut body.chunks(bytes), &format!("chunks of {bytes}"))?;
    }
    for _ in 0..SPLITS {
        let cuts = cuts(body, rng);
        check(&mut cuts.windows(2).map(|ends| &body[ends[0]..ends[1]]), &format!("cut at {cuts:?}"))?;
    }
    Ok(usage)
}

fn check(case: &Value, body: &[u8], rng: &mut TestRng) -> Result<(), String> {
    let seen = scan(case, body, rng)?;
    let expected = &case["expected"];
    let parts = ["input_all", "output_all", "total_reported", "cached_read", "cache_write", "reasoning"];
    let says = case["billable"] == true && parts.iter().any(|&part| !expected[part].is_null());
    let Some(usage) = seen else {
        return if says { Err("nothing was seen".to_owned()) } else { Ok(()) };
    };
    if !says {
        return Err(format!("nothing is billable, but {usage:?} was seen"));
    }
    let amounts = [
        usage.input,
        usage.output,
        usage.total_reported,
        usage.cached_read,
        usage.cache_write,
        usage.reasoning,
    ];
    for (part, amount) in parts.into_iter().zip(amounts) {
        if expected[part].as_i64() != amount {
            return Err(format!("{part} is {}, not {amount:?}", expected[part]));
        }
    }
    let all = expected["input_all"].as_i64().unwrap_or(0) + expected["output_all"].as_i64().unwrap_or(0);
    if usage.total() == Some(all) {
        Ok(())
    } else {
        Err(format!("the total is {all}, not {:?}", usage.total()))
    }
}

#[test]
fn real_responses_give_what_the_provider_meant() {
    let folder = folder();
    let Some(cases) = index(&folder) else {
        println!("skipped: no real responses in {}", folder.display());
        return;
    };
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut shapes: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    let mut failures = Vec::new();
    for case in &cases {
        let body = std::fs::read(folder.join(case["file"].as_str().unwrap())).unwrap();
        let (right, all) = shapes.entry(case["api_shape"].as_str().unwrap()).or_default();
        *all += 1;
        match check(case, &body, &mut rng) {
            Ok(()) => *right += 1,
            Err(failure) => failures.push(format!("{}: {failure}", case["id"])),
        }
    }
    for (shape, (right, all)) in shapes {
        println!("{shape}: {right} of {all}");
    }
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), cases.len(), failures.join("\n"));
}
