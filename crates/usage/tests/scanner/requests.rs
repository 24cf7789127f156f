//! Real requests of clients, where they are at hand: what is held for them is never less than what was charged.

use std::path::Path;

use serde_json::Value;
use tollgate_usage::{Asked, Request, ask};

use crate::bodies;

/// What the provider counted that the request does not show.
const ELSEWHERE: &[(&str, &str)] = &[];

fn asked(case: &Value, body: &[u8]) -> Option<Asked> {
    let text = |key: &str| case[key].as_str().unwrap();
    ask(Request { method: text("method"), path: text("path") }, Some("application/json"), body)
}

fn request(folder: &Path, case: &Value) -> Option<Vec<u8>> {
    Some(std::fs::read(folder.join(case["request_file"].as_str()?)).unwrap())
}

#[test]
fn estimates_are_never_under_what_the_provider_counted() {
    let (folder, cases) = bodies::index();
    let mut ratios = Vec::new();
    let mut failures = Vec::new();
    for case in &cases {
        let (Some(body), Some(actual)) = (request(&folder, case), case["expected"]["input_all"].as_i64())
        else {
            continue;
        };
        if case["billable"] != true {
            continue;
        }
        let id = case["id"].as_str().unwrap();
        let Some(asked) = asked(case, &body) else {
            println!("{id}: {actual} tokens; cannot be read");
            continue;
        };
        let percent = asked.input_tokens * 100 / actual.max(1);
        println!(
            "{id}: {actual} tokens; estimated {} ({percent} %){}; {:?} x {}",
            asked.input_tokens,
            if asked.reads_elsewhere { ", reads elsewhere" } else { "" },
            asked.output_tokens,
            asked.choices
        );
        ratios.push((percent, actual));
        if asked.input_tokens < actual && !ELSEWHERE.iter().any(|(known, _)| *known == id) {
            failures.push(id.to_owned());
        }
        if let (Some(output), Some(actual)) = (asked.output_tokens, case["expected"]["output_all"].as_i64()) {
            if output * asked.choices < actual {
                failures.push(format!("{id}: output {output} < {actual}"));
            }
        }
    }
    report("all", ratios.iter().copied());
    report("over 100 tokens", ratios.iter().copied().filter(|&(_, actual)| actual > 100));
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Ratios of estimated to actual tokens, in percent.
fn report(name: &str, ratios: impl Iterator<Item = (i64, i64)>) {
    let mut ratios: Vec<i64> = ratios.map(|(percent, _)| percent).collect();
    ratios.sort_unstable();
    if let [min, .., max] = ratios[..] {
        let median = ratios[ratios.len() / 2];
        println!("{name}: {} requests, min {min} %, median {median} %, max {max} %", ratios.len());
    }
}
