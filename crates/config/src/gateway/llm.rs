//! `[llm]`, and `llm = { … }` of a route: how requests to models are read and ended.

use std::{ops::RangeInclusive, time::Duration};

use super::UsagePointers;
use crate::{item::Item, number::Unit, report::Flaw, section::Section};

/// A long conversation with its documents; models, tokens asked for and the text to estimate stand in it.
const LOOK_BYTES_DEFAULT: u64 = 1 << 20;
/// From the shortest prompts to what a body with images has.
const LOOK_BYTES_BOUNDS: RangeInclusive<u64> = (1 << 10)..=(16 << 20);

/// A tenth of a default gateway's connections: each costs one to an upstream for as long as it is read.
const DRAINS_DEFAULT: usize = 1000;
/// None, or as many as there can be requests in flight.
const DRAINS_BOUNDS: RangeInclusive<usize> = 0..=1_000_000;

/// What the longest ordinary answers take.
const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(120);
/// Below a second nothing comes to its end; no answer takes longer than an hour.
const DRAIN_TIMEOUT_BOUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// What most models write at most where a request says nothing.
const MAX_OUTPUT_DEFAULT: i64 = 4096;
/// Far beyond any model, and small enough that a price times it fits.
pub(super) const TOKENS_BOUNDS: RangeInclusive<i64> = 1..=1_000_000_000;

/// Bounds of what is done for requests to models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Llm {
    /// Most bytes of a request's body that are read before it is admitted.
    pub look_bytes_max: u64,
    /// Most streams that are read to their end at once for clients who left.
    pub drains_max: usize,
    /// How long a stream is read for a client who left.
    pub drain_timeout: Duration,
}

/// How a route treats requests to models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlmOptions {
    /// What happens to an answer whose client left.
    pub client_gone: ClientGone,
    /// Whether a stream that would not report its usage is asked to.
    pub include_usage: bool,
    /// How many tokens a request that states no maximum is assumed to write, before the limits of its model.
    pub max_output_tokens: i64,
    /// Where answers of a shape of their own say what was used; `None` where they have a known shape.
    pub usage: Option<UsagePointers>,
}

/// What happens to an answer whose client left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientGone {
    /// It is read to its end, so that what it used is known.
    Drain,
    /// The upstream is told at once by closing the connection; what it used is estimated.
    Cancel,
}

impl Default for LlmOptions {
    fn default() -> Self {
        Self {
            client_gone: ClientGone::Drain,
            include_usage: true,
            max_output_tokens: MAX_OUTPUT_DEFAULT,
            usage: None,
        }
    }
}

impl Llm {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            look_bytes_max: section.or("look_bytes_max", LOOK_BYTES_DEFAULT, |item| {
                item.amount_in(Unit::Bytes, LOOK_BYTES_BOUNDS)
            }),
            drains_max: section
                .or("drains_max", DRAINS_DEFAULT, |item| item.amount_in(Unit::Count, DRAINS_BOUNDS)),
            drain_timeout: section
                .or("drain_timeout", DRAIN_TIMEOUT_DEFAULT, |item| item.duration(DRAIN_TIMEOUT_BOUNDS)),
        }
    }
}

impl LlmOptions {
    /// The options of a route, which have a meaning only where it charges for a model's work.
    pub(super) fn read(item: &Item<'_>, is_charged: bool) -> Option<Self> {
        if !is_charged {
            let message = "the route charges nothing that a model's work is measured for";
            let suggestion = "charge an amount such as \"llm.total_tokens\", or remove llm";
            item.wrong_key(Flaw::new(message, suggestion));
        }
        item.table("{ client_gone = \"drain\" }", |section| {
            let ways = [("drain", ClientGone::Drain), ("cancel", ClientGone::Cancel)];
            Self {
                client_gone: section.or("client_gone", ClientGone::Drain, |item| item.one_of(&ways)),
                include_usage: section.or("include_usage", true, |item| item.boolean()),
                max_output_tokens: section.or("max_output_tokens", MAX_OUTPUT_DEFAULT, |item| {
                    item.amount_in(Unit::Count, TOKENS_BOUNDS)
                }),
                usage: section.maybe("usage", UsagePointers::read),
            }
        })
    }
}
