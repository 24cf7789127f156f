//! Embeddings: unit vectors that depend on the text and on nothing else.

use std::hash::{DefaultHasher, Hash, Hasher};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Refusal, tokens};

const DIMENSIONS: usize = 64;

/// Plus or minus one over the root of `DIMENSIONS`: vectors of these have length one.
const COMPONENTS: [f32; 2] = [-0.125, 0.125];

const INPUTS_MAX: usize = 2_048;

/// What a client asks; fields that are not here are ignored.
#[derive(Deserialize)]
pub(super) struct Question {
    model: Option<String>,
    input: Option<Input>,
    encoding_format: Option<Encoding>,
    dimensions: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    TokenLists(Vec<Vec<u32>>),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Float,
    Base64,
}

/// Something to embed, and how many tokens it has.
struct Entry {
    hash: u64,
    tokens: usize,
}

pub(super) fn answer(question: Question) -> Result<Value, Refusal> {
    let Question { model, input, encoding_format, dimensions } = question;
    let Some(model) = model else {
        return Err(Refusal::invalid("model", "you must provide a model parameter"));
    };
    let Some(input) = input else { return Err(Refusal::invalid("input", "'input' is a required property")) };
    if dimensions.is_some_and(|dimensions| dimensions != DIMENSIONS) {
        return Err(Refusal::invalid("dimensions", format!("This sample has {DIMENSIONS} dimensions only.")));
    }
    let entries = entries(&input);
    if entries.is_empty() || entries.len() > INPUTS_MAX {
        return Err(Refusal::invalid("input", format!("'input' must have 1 to {INPUTS_MAX} entries.")));
    }
    let encoding = encoding_format.unwrap_or(Encoding::Float);
    let prompt: usize = entries.iter().map(|entry| entry.tokens).sum();
    let data: Vec<Value> = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| json!({ "object": "embedding", "index": index, "embedding": embed(entry, encoding) }))
        .collect();
    let usage = json!({ "prompt_tokens": prompt, "total_tokens": prompt });
    Ok(json!({ "object": "list", "data": data, "model": model, "usage": usage }))
}

fn entries(input: &Input) -> Vec<Entry> {
    let of_text = |text: &String| Entry { hash: hash(text), tokens: tokens(text) };
    let of_tokens = |tokens: &Vec<u32>| Entry { hash: hash(tokens), tokens: tokens.len() };
    match input {
        Input::Text(text) => vec![of_text(text)],
        Input::Texts(texts) => texts.iter().map(of_text).collect(),
        Input::Tokens(tokens) => vec![of_tokens(tokens)],
        Input::TokenLists(lists) => lists.iter().map(of_tokens).collect(),
    }
}

fn embed(entry: &Entry, encoding: Encoding) -> Value {
    let mut random = fastrand::Rng::with_seed(entry.hash);
    let vector = std::iter::repeat_with(|| COMPONENTS[usize::from(random.bool())]).take(DIMENSIONS);
    match encoding {
        Encoding::Float => vector.collect::<Vec<f32>>().into(),
        Encoding::Base64 => STANDARD.encode(vector.flat_map(f32::to_le_bytes).collect::<Vec<u8>>()).into(),
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
