//! `memory = { … }` of a charge: what a memory takes where it is stored.

use tollgate_core::Pointer;

use super::place::parse_pointer;
use crate::{item::Item, number::Unit, section::Section};

const EXAMPLE: &str = "{ text = \"/content\", dimensions = 384 }";

/// Those of the largest embeddings in use are a twentieth of it.
const DIMENSIONS_BOUNDS: std::ops::RangeInclusive<i64> = 0..=65_536;
const DIMENSIONS_DEFAULT: i64 = 384;

/// Bytes of a vector's element.
const ELEMENT_BYTES: i64 = 4;
/// Bytes of what else is stored of a memory: ids, times, and the like.
const OVERHEAD_BYTES: i64 = 162;

/// Where a request says what a memory is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemorySize {
    /// The text, of which every byte in UTF-8 counts.
    pub text: Pointer,
    /// Tags, as compact JSON; may be missing.
    pub tags: Pointer,
    /// Metadata, as compact JSON; may be missing.
    pub metadata: Pointer,
    /// Elements of the text's vector.
    pub dimensions: i64,
}

impl MemorySize {
    /// Bytes that a memory takes beside its text, tags and metadata.
    #[must_use]
    pub const fn fixed_bytes(&self) -> i64 {
        self.dimensions.saturating_mul(ELEMENT_BYTES).saturating_add(OVERHEAD_BYTES)
    }

    /// As `memory` says, or as memories usually are.
    pub(super) fn read(item: Option<&Item<'_>>) -> Option<Self> {
        let [text, tags, metadata] = ["/content", "/tags", "/metadata"].map(parse_pointer);
        let usual = Self {
            text: text.ok()?,
            tags: tags.ok()?,
            metadata: metadata.ok()?,
            dimensions: DIMENSIONS_DEFAULT,
        };
        let Some(item) = item else { return Some(usual) };
        item.table(EXAMPLE, |section| {
            let pointer = |section: &mut Section<'_>, key, usual| {
                section.or(key, usual, |item| item.parsed("\"/content\"", single))
            };
            Self {
                text: pointer(section, "text", usual.text),
                tags: pointer(section, "tags", usual.tags),
                metadata: pointer(section, "metadata", usual.metadata),
                dimensions: section.or("dimensions", usual.dimensions, |item| {
                    item.amount_in(Unit::Count, DIMENSIONS_BOUNDS)
                }),
            }
        })
    }
}

fn single(text: &str) -> Result<Pointer, crate::report::Flaw> {
    let pointer = parse_pointer(text)?;
    if pointer.tokens().any(|token| token == Pointer::EACH) {
        let message = "a memory is one value, not one for each element of a list";
        let suggestion = "write the index of an element in place of \"*\", as in \"/0/content\"";
        return Err(crate::report::Flaw::new(message, suggestion));
    }
    Ok(pointer)
}
