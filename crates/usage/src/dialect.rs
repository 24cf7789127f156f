//! The dialects: one file each, with the paths of its fields and what they mean together.

mod anthropic;
mod chat;
mod responses;

use crate::TokenUsage;
use crate::readings::{Part, Parts, Readings};

/// Whose field names a response speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// OpenAI chat, completions and embeddings, and the many services shaped like them.
    Chat,
    /// OpenAI Responses, and what shares its field names (images, transcriptions).
    Responses,
    /// Anthropic Messages.
    Anthropic,
}

/// A field: where it is in a document, and which part of the usage it gives.
pub(crate) type Field = (&'static [&'static str], Part);

impl Dialect {
    pub(crate) const ALL: [Self; 3] = [Self::Chat, Self::Responses, Self::Anthropic];

    /// The fields that the dialect looks at.
    pub(crate) fn fields(self) -> &'static [Field] {
        match self {
            Self::Chat => chat::FIELDS,
            Self::Responses => responses::FIELDS,
            Self::Anthropic => anthropic::FIELDS,
        }
    }
}

impl Readings {
    pub(crate) fn of(&mut self, dialect: Dialect) -> &mut Parts {
        match dialect {
            Dialect::Chat => &mut self.chat,
            Dialect::Responses => &mut self.responses,
            Dialect::Anthropic => &mut self.anthropic,
        }
    }

    /// What the response says in the dialect it speaks; `None` when it says nothing that can be charged.
    ///
    /// Fields that only one dialect has decide. Some OpenAI-shaped services repeat Anthropic's cache fields, so chat
    /// is asked first; Responses and Anthropic share the rest of their names, and their arithmetic without caches.
    pub(crate) fn usage(&self) -> Option<TokenUsage> {
        let Self { chat, responses, anthropic } = self;
        let has = |parts: &Parts, any: &[Part]| any.iter().any(|&part| parts.get(part).is_present());
        let usage = if has(chat, &[Part::Input, Part::Output]) {
            chat::read(chat)
        } else if has(anthropic, &[Part::CachedRead, Part::CacheWrite]) {
            anthropic::read(anthropic)
        } else if has(responses, &[Part::Total, Part::CachedRead, Part::Reasoning]) {
            responses::read(responses)
        } else {
            anthropic::read(anthropic)
        };
        (!usage.is_silent()).then_some(usage)
    }
}
