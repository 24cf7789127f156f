//! What a call to a model used: amounts of each measure, and what its events say.

use std::fmt::Write as _;

use tollgate_config::LlmMeasure;
use tollgate_core::{Plans, PricedTokens, UnixMillis};
use tollgate_usage::TokenUsage;

use super::{Answer, Call};

/// What is known of a call's use when it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Used {
    /// No model worked.
    Nothing,
    /// What the provider says.
    Said(TokenUsage),
    /// What was seen of an answer that did not say it, or not to its end.
    Seen(TokenUsage),
    /// Nothing is known: what was held has to do.
    Unknown,
}

/// How much of the answer there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    Whole,
    /// Its beginning.
    Cut,
    /// An answer that says that no model worked.
    Refused,
    None,
}

impl Used {
    pub(crate) fn of(call: &Call, answer: Option<&Answer>, extent: Extent) -> Self {
        if !call.is_billable() || extent == Extent::Refused {
            return Self::Nothing;
        }
        let Some(answer) = answer.filter(|_| extent != Extent::None) else { return Self::Unknown };
        let said = answer.usage();
        match said {
            Some(said) if extent == Extent::Whole => return Self::Said(said),
            // Whatever it took before it failed, nobody said it.
            None if answer.has_failed() => return Self::Nothing,
            Some(_) | None => {}
        }
        let written = answer.written();
        let mut seen = said.unwrap_or_default();
        seen.input = seen.input.or(call.bound().map(|bound| bound.input));
        seen.output = seen.output.max((written > 0).then_some(written));
        let is_enough = seen.total().is_some() && (written > 0 || said.is_some());
        if is_enough { Self::Seen(seen) } else { Self::Unknown }
    }

    /// How much of `measure`; `None` when it is not known, and so what was held is charged.
    pub(crate) fn amount(
        &self,
        measure: LlmMeasure,
        model: Option<&str>,
        (plans, at): (&Plans, UnixMillis),
    ) -> Option<i64> {
        let usage = match self {
            Self::Nothing => return Some(0),
            Self::Said(usage) | Self::Seen(usage) => usage,
            Self::Unknown => return None,
        };
        amount(measure, usage, model, (plans, at))
    }

    pub(crate) fn is_estimated(&self) -> bool {
        matches!(self, Self::Seen(_) | Self::Unknown)
    }

    /// Tokens written, if the provider says how many.
    pub(crate) fn output_said(&self) -> Option<i64> {
        match self {
            Self::Said(usage) => usage.output,
            Self::Nothing | Self::Seen(_) | Self::Unknown => None,
        }
    }
}

/// A part that the provider leaves out while it says others did not occur: there was no cache, or no reasoning.
pub(super) fn amount(
    measure: LlmMeasure,
    usage: &TokenUsage,
    model: Option<&str>,
    (plans, at): (&Plans, UnixMillis),
) -> Option<i64> {
    let input = || usage.input.or(usage.total_reported.filter(|_| usage.input_only));
    let output = || usage.output.or(usage.input_only.then_some(0));
    match measure {
        LlmMeasure::TotalTokens => usage.total(),
        LlmMeasure::InputTokens => input(),
        LlmMeasure::OutputTokens => output(),
        LlmMeasure::CachedTokens => Some(usage.cached_read.unwrap_or(0)),
        LlmMeasure::ReasoningTokens => Some(usage.reasoning.unwrap_or(0)),
        LlmMeasure::Cost => {
            let tokens = PricedTokens {
                input: input()?,
                output: output()?,
                cached_read: usage.cached_read.unwrap_or(0),
                cache_write: usage.cache_write.unwrap_or(0),
            };
            plans.prices.as_ref()?.cost(model?, at, &tokens)
        }
    }
}

/// The event's metadata: one JSON object with the model, the provider, and the parts of the usage that were said.
pub(crate) fn metadata(
    used: &Used,
    model: Option<&str>,
    provider: &str,
    end: Option<&'static str>,
    has_failed: bool,
) -> String {
    let mut text = String::from("{");
    let mut field = |name: &str, value: &dyn std::fmt::Display| {
        let comma = if text.len() > 1 { "," } else { "" };
        // Writing to a String does not fail.
        let _ = write!(text, "{comma}\"{name}\":{value}");
    };
    let quoted = |text: &str| serde_json::Value::from(text);
    if let Some(end) = end {
        field("end", &quoted(end));
    }
    if let Some(model) = model {
        field("model", &quoted(model));
    }
    field("provider", &quoted(provider));
    if has_failed {
        field("error", &true);
    }
    if let Used::Said(usage) | Used::Seen(usage) = used {
        for (name, part) in [
            ("input", usage.input),
            ("output", usage.output),
            ("cached_read", usage.cached_read),
            ("cache_write", usage.cache_write),
            ("reasoning", usage.reasoning),
            ("total_reported", usage.total_reported),
        ] {
            if let Some(tokens) = part {
                field(name, &tokens);
            }
        }
    }
    text.push('}');
    text
}
