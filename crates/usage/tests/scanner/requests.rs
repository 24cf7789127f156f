//! Real requests of clients, where they are at hand: what is held for them is never less than what was charged.

use std::path::Path;

use serde_json::{Value, json};
use tollgate_usage::{Asked, Request, ask};

use crate::bodies;

/// Bodies up to this size are cut at each byte, others at so many places.
const CUT_EVERYWHERE_BYTES_MAX: usize = 2048;
const CUTS: usize = 200;

/// Requests whose input is not all in them: the model also read what its provider's search found.
const READ_ELSEWHERE: &[&str] = &["gemini-generatecontent__google-gemini__006"];

fn asked(case: &Value, body: &[u8]) -> Option<Asked> {
    let text = |key: &str| case[key].as_str().unwrap();
    ask(Request { method: text("method"), path: text("path") }, Some("application/json"), body)
}

/// The case's name and the request's body, if there is one.
fn request<'a>(folder: &Path, case: &'a Value) -> Option<(&'a str, Vec<u8>)> {
    let body = std::fs::read(folder.join(case["request_file"].as_str()?)).unwrap();
    Some((case["id"].as_str().unwrap(), body))
}

/// The smallest, the middle and the largest of these percentages.
fn spread(mut percents: Vec<i64>) -> String {
    percents.sort_unstable();
    let at = |place: usize| percents.get(place).copied().unwrap_or_default();
    let count = percents.len();
    format!(
        "{count} requests: min {} %, median {} %, max {} %",
        at(0),
        at(count / 2),
        at(count.saturating_sub(1))
    )
}

#[test]
fn estimates_are_never_under_what_the_provider_counted() {
    let folder = bodies::folder();
    let Some(cases) = bodies::index(&folder) else {
        println!("skipped: no real requests in {}", folder.display());
        return;
    };
    let mut percents = Vec::new();
    let mut failures = Vec::new();
    for case in cases.iter().filter(|case| case["billable"] == true) {
        let Some((id, body)) = request(&folder, case) else { continue };
        let expected = &case["expected"];
        let Some(actual) = expected["input_all"].as_i64() else { continue };
        let Some(asked) = asked(case, &body) else {
            println!("{id}: {actual} tokens; the body cannot be read");
            assert!(body.starts_with(b"--"), "{id} is no form");
            continue;
        };
        let percent = asked.input_tokens * 100 / actual.max(1);
        println!("{id}: {actual} tokens, estimated {} ({percent} %)", asked.input_tokens);
        percents.push((actual, percent));
        if asked.input_tokens < actual {
            failures.push(format!("{id}: {} of {actual} tokens", asked.input_tokens));
        }
        if asked.reads_elsewhere != READ_ELSEWHERE.contains(&id) {
            failures.push(format!("{id}: reads elsewhere: {}", asked.reads_elsewhere));
        }
        let most = asked.output_tokens.map_or(i64::MAX, |tokens| tokens.saturating_mul(asked.choices));
        if expected["output_all"].as_i64().is_some_and(|written| written > most) {
            failures.push(format!("{id}: {most} of {} tokens written", expected["output_all"]));
        }
    }
    println!("all {}", spread(percents.iter().map(|&(_, percent)| percent).collect()));
    let long = percents.iter().filter(|&&(actual, _)| actual > 100);
    println!("over 100 tokens: {}", spread(long.map(|&(_, percent)| percent).collect()));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn cut_requests_cannot_be_read() {
    let folder = bodies::folder();
    let Some(cases) = bodies::index(&folder) else {
        println!("skipped: no real requests in {}", folder.display());
        return;
    };
    for case in &cases {
        let Some((id, body)) = request(&folder, case) else { continue };
        let whole = serde_json::from_slice::<Value>(&body).is_ok_and(|body| body.is_object());
        assert_eq!(asked(case, &body).is_some(), whole, "{id}");
        let step = if body.len() <= CUT_EVERYWHERE_BYTES_MAX { 1 } else { body.len() / CUTS };
        for end in (0..body.trim_ascii_end().len()).step_by(step) {
            assert_eq!(asked(case, &body[..end]), None, "{id} cut at {end}");
        }
    }
}

#[test]
fn streams_are_asked_for_their_usage() {
    let folder = bodies::folder();
    let Some(cases) = bodies::index(&folder) else {
        println!("skipped: no real requests in {}", folder.display());
        return;
    };
    for case in &cases {
        let Some((id, body)) = request(&folder, case) else { continue };
        let Some(asked) = asked(case, &body) else { continue };
        // An error is never streamed.
        if case["billable"] == true {
            assert_eq!(asked.is_stream, case["streaming"] == true, "{id}");
        }
        let mut document: Value = serde_json::from_slice(&body).unwrap();
        let path = case["path"].as_str().unwrap();
        let is_chat = path.split('?').next().unwrap().ends_with("/completions");
        let is_missing = document["stream_options"]["include_usage"] != true;
        assert_eq!(asked.include_usage.is_some(), is_chat && asked.is_stream && is_missing, "{id}");
        if let Some(edit) = asked.include_usage {
            document["stream_options"]["include_usage"] = json!(true);
            let edited = edit.apply(&body);
            assert_eq!(serde_json::from_slice::<Value>(&edited).unwrap(), document, "{id}");
            assert_eq!(self::asked(case, &edited).unwrap().include_usage, None, "{id}");
        }
    }
}
