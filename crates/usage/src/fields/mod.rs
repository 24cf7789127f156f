//! Fields of any JSON body, by pointers: amounts, ids, sizes, and values that tell requests apart.
//!
//! A [`FieldReader`] reads a body as it passes, in any chunks and any coding that answers are decoded from. What it
//! reads is one whole document or nothing: of a body that is broken, cut, or of another format it says nothing at all.

mod found;
mod lexer;
mod walk;

use std::sync::Arc;

use tollgate_core::{Decimal, Pointer, Wanted};

pub use self::found::Said;
use self::{lexer::Lexer, walk::Walk};
use crate::{
    coding::Coding,
    decoder::{Decoder, Sink},
};

/// As what a field is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// A number, or a text that reads as one; those of all elements together.
    Amount,
    /// A text, or a number as it is written.
    Id,
    /// Whether it is one of these.
    AnyOf(Box<[Wanted]>),
    /// Bytes of a text in UTF-8.
    TextBytes,
    /// Bytes of a value as compact JSON: without white space, and with no escapes but those that must be.
    JsonBytes,
}

/// A place in a body, and what is wanted there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where it is.
    pub pointer: Pointer,
    /// As what.
    pub want: Want,
}

/// What is wanted of a body, for any number of readers; a copy is cheap.
#[derive(Clone, Debug, Default)]
pub struct Fields(Arc<[Field]>);

/// Reads the fields of one body.
#[derive(Debug)]
pub struct FieldReader {
    decoder: Decoder<Document>,
    has_begun: bool,
}

/// The body, decoded.
#[derive(Debug)]
struct Document {
    lexer: Lexer,
    walk: Walk,
}

impl Field {
    /// The token that leads from the level `depth`, outermost first.
    fn token(&self, depth: usize) -> Option<&str> {
        self.pointer.tokens().nth(depth)
    }

    /// Brackets that are open where it is.
    fn depth(&self) -> usize {
        self.pointer.tokens().len()
    }
}

impl Fields {
    /// The fields, whose numbers are their positions. Those beyond [`Pointer::FIELDS_MAX`] are never found.
    #[must_use]
    pub fn of(fields: Vec<Field>) -> Self {
        Self(fields.into_iter().take(Pointer::FIELDS_MAX).collect())
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where a field is, by its number.
    #[must_use]
    pub fn pointer(&self, field: usize) -> Option<&Pointer> {
        self.0.get(field).map(|field| &field.pointer)
    }

    /// The reader of a body with this `Content-Encoding`; `None` when it cannot be decoded.
    #[must_use]
    pub fn reader(&self, content_encoding: Option<&str>) -> Option<FieldReader> {
        let document = Document { lexer: Lexer::new(), walk: Walk::new(Arc::clone(&self.0)) };
        Some(FieldReader { decoder: Decoder::new(Coding::of(content_encoding)?, document), has_begun: false })
    }
}

impl FieldReader {
    /// Reads the body's next bytes.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.has_begun |= !chunk.is_empty();
        self.decoder.feed(chunk);
    }

    /// The body is whole: nothing more comes. A body of no bytes is a document that says nothing.
    pub fn end(&mut self) {
        let has_begun = std::mem::replace(&mut self.has_begun, true);
        if let Some(Document { lexer, walk }) = self.decoder.sink_mut() {
            if !has_begun {
                lexer.feed(b"null", walk);
            }
            lexer.end(walk);
        }
    }

    /// The sum of a field that is an amount, by its number.
    #[must_use]
    pub fn amount(&self, field: usize) -> Said<Decimal> {
        self.found(field).map_or(Said::Wrong, |found| found.amount())
    }

    /// The size of a field whose bytes are counted.
    #[must_use]
    pub fn bytes(&self, field: usize) -> Said<i64> {
        self.found(field).map_or(Said::Wrong, |found| found.bytes())
    }

    /// The id that a field is.
    #[must_use]
    pub fn id(&self, field: usize) -> Said<&str> {
        self.found(field).map_or(Said::Wrong, |found| found.id())
    }

    /// Whether a field is one of the values that are wanted of it; `None` when it cannot be told.
    #[must_use]
    pub fn is_met(&self, field: usize) -> Option<bool> {
        self.found(field)?.is_met()
    }

    /// What was found of a field, once the document is whole.
    fn found(&self, field: usize) -> Option<&found::Found> {
        let Document { lexer, walk } = self.decoder.sink()?;
        if lexer.is_whole() { walk.found(field) } else { None }
    }
}

impl Sink for Document {
    fn feed(&mut self, chunk: &[u8]) {
        self.lexer.feed(chunk, &mut self.walk);
    }
}
