//! `usage = { … }` of a route's `llm`: where answers of a shape of their own say what was used.

use tollgate_core::{Pointer, PointerError};

use crate::{item::Item, report::Flaw, section::Section};

const EXAMPLE: &str = "{ total = \"/usage/total_tokens\" }";

/// Where an answer, or an event of a stream, says what a model used; at least one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsagePointers {
    /// All input tokens, those of caches included.
    pub input: Option<Pointer>,
    /// All output tokens, reasoning included.
    pub output: Option<Pointer>,
    /// Input and output together.
    pub total: Option<Pointer>,
    /// Input tokens that were read from a cache.
    pub cached_read: Option<Pointer>,
    /// Input tokens that were written to a cache.
    pub cache_write: Option<Pointer>,
    /// Output tokens of reasoning.
    pub reasoning: Option<Pointer>,
    /// Which model answered; one place, not every element of a list.
    pub model: Option<Pointer>,
}

impl UsagePointers {
    pub(super) fn read(item: &Item<'_>) -> Option<Self> {
        item.table(EXAMPLE, |section| {
            if section.is_empty() {
                item.wrong(Flaw::new(
                    "this names no place",
                    format!("write as in {EXAMPLE}, or remove usage"),
                ));
            }
            let pointer = |section: &mut Section<'_>, key| {
                section.maybe(key, |item| item.parsed("\"/usage/total_tokens\"", parse))
            };
            Self {
                input: pointer(section, "input"),
                output: pointer(section, "output"),
                total: pointer(section, "total"),
                cached_read: pointer(section, "cached_read"),
                cache_write: pointer(section, "cache_write"),
                reasoning: pointer(section, "reasoning"),
                model: section.maybe("model", |item| item.parsed("\"/model\"", parse_single)),
            }
        })
    }
}

fn parse(text: &str) -> Result<Pointer, Flaw> {
    text.parse().map_err(|error: PointerError| Flaw::with(error.to_string(), None))
}

fn parse_single(text: &str) -> Result<Pointer, Flaw> {
    let pointer = parse(text)?;
    if pointer.tokens().any(|token| token == Pointer::EACH) {
        let message = "a request has one model, not one for each element of a list";
        return Err(Flaw::new(
            message,
            "write the index of an element in place of \"*\", as in \"/0/model\"",
        ));
    }
    Ok(pointer)
}
