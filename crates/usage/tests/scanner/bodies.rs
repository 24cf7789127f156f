//! Real responses of providers, where they are at hand.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tollgate_usage::{Framing, Scanner, TokenUsage, framing};

const SHAPES: [&str; 5] =
    ["openai.chat", "openai.completions", "openai.responses", "openai.embeddings", "anthropic.messages"];

fn folder() -> PathBuf {
    std::env::var_os("TOLLGATE_BODIES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/bodies"),
        PathBuf::from,
    )
}

fn scan(framing: Framing, body: &[u8], chunk_bytes: usize) -> Option<TokenUsage> {
    let mut scanner = Scanner::new(framing);
    body.chunks(chunk_bytes).for_each(|chunk| scanner.feed(chunk));
    scanner.finish()
}

fn check(case: &Value, body: &[u8]) {
    let id = &case["id"];
    let framing = framing(case["content_type"].as_str(), case["content_encoding"].as_str());
    let expected = &case["expected"];
    let Some(framing) = framing else {
        assert_eq!(case["billable"], false, "{id} has no framing");
        return;
    };
    let usage = scan(framing, body, body.len().max(1));
    for chunk_bytes in [1, 2, 3, 7, 64, 1000] {
        assert_eq!(scan(framing, body, chunk_bytes), usage, "{id} in chunks of {chunk_bytes}");
    }
    if expected.is_null() {
        assert_eq!(usage, None, "{id}");
        return;
    }
    let usage = usage.unwrap_or_default();
    let all = expected["input_all"].as_i64().zip(expected["output_all"].as_i64());
    assert_eq!(usage.total(), all.and_then(|(input, output)| input.checked_add(output)), "{id}: {usage:?}");
    assert!(usage.total().is_some(), "{id}: no usage");
    for (part, seen) in [
        ("cached_read", usage.cached_read),
        ("cache_write", usage.cache_write),
        ("reasoning", usage.reasoning),
    ] {
        if let Some(expected) = expected[part].as_i64().filter(|&amount| amount > 0) {
            assert_eq!(seen, Some(expected), "{id}: {part}");
        }
    }
}

#[test]
fn real_responses_give_what_the_provider_meant() {
    let folder = folder();
    let Ok(index) = std::fs::read(folder.join("index.json")) else {
        println!("skipped: no real responses in {}", folder.display());
        return;
    };
    let index: Value = serde_json::from_slice(&index).unwrap();
    let cases = index["cases"].as_array().unwrap();
    let mut checked = 0;
    for case in cases.iter().filter(|case| case["content_encoding"].is_null()) {
        if SHAPES.contains(&case["api_shape"].as_str().unwrap()) {
            check(case, &std::fs::read(folder.join(case["file"].as_str().unwrap())).unwrap());
            checked += 1;
        }
    }
    assert!(checked > 0, "{} has no case of a known shape", folder.display());
}
