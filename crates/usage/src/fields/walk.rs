//! A document as it is walked through: which places are wanted where it is.

use std::sync::Arc;

use tollgate_core::{Pointer, Value};

use super::{
    Field, Want,
    found::{Found, VALUE_BYTES_MAX, is_element},
    lexer::Sink,
};
use crate::json::Bracket;

/// Bytes of a key that are kept: one more than a token has, so that a longer one is none.
const KEY_BYTES_MAX: usize = Pointer::TOKEN_BYTES_MAX + 1;

/// Places by their number, one bit each.
type Mask = u64;

/// What is open on the way to a wanted place.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// What is wanted below.
    wanted: Mask,
    /// Of these, whose key was there already.
    seen: Mask,
    is_array: bool,
    /// Of the next element.
    index: u32,
}

/// What is wanted of a document, and what was found of it.
#[derive(Debug)]
pub(super) struct Walk {
    fields: Arc<[Field]>,
    found: Box<[Found]>,
    /// What is wanted of the value that comes next.
    next: Mask,
    levels: [Level; Pointer::TOKENS_MAX],
    depth: usize,
    /// Brackets that are open and lead to no wanted place.
    skipped: usize,
    /// What is wanted of the value that is read.
    reading: Mask,
    /// A key, or the value that is read, as far as it is wanted.
    text: Vec<u8>,
    text_bytes_max: usize,
    /// Whether it has more bytes than are kept.
    is_long: bool,
    /// Whether the text or key that is read is looked at.
    is_kept: bool,
    /// Whose size is counted, and how many brackets were open when that began.
    sized: Mask,
    sized_since: [usize; Pointer::FIELDS_MAX],
    open: usize,
}

impl Walk {
    pub(super) fn new(fields: Arc<[Field]>) -> Self {
        let found = fields.iter().map(|field| Found::new(&field.want)).collect();
        let next = match fields.len() {
            0 => 0,
            count => Mask::MAX >> (Pointer::FIELDS_MAX - count.min(Pointer::FIELDS_MAX)),
        };
        Self {
            fields,
            found,
            next,
            levels: [Level::default(); Pointer::TOKENS_MAX],
            depth: 0,
            skipped: 0,
            reading: 0,
            text: Vec::new(),
            text_bytes_max: 0,
            is_long: false,
            is_kept: false,
            sized: 0,
            sized_since: [0; Pointer::FIELDS_MAX],
            open: 0,
        }
    }

    pub(super) fn found(&self, number: usize) -> Option<&Found> {
        self.found.get(number)
    }

    /// The level that is open, if it leads to a wanted place.
    fn level(&mut self) -> Option<&mut Level> {
        if self.skipped > 0 {
            return None;
        }
        self.levels.get_mut(self.depth.checked_sub(1)?)
    }

    /// What is wanted of the value that begins, with what is wanted below it.
    fn begin_value(&mut self) -> Mask {
        if self.depth == 0 && self.skipped == 0 {
            return std::mem::take(&mut self.next);
        }
        let depth = self.depth;
        let Some(level) = self.level() else { return 0 };
        if !level.is_array {
            return std::mem::take(&mut self.next);
        }
        let (index, wanted) = (level.index, level.wanted);
        level.index = index.saturating_add(1);
        let mut mask = 0;
        for number in bits(wanted) {
            let Some(token) = self.fields[number].token(depth - 1) else { continue };
            if is_element(token, index) {
                mask |= 1 << number;
                if token == Pointer::EACH {
                    self.found[number].element_begins();
                }
            }
        }
        mask
    }

    /// Of `mask`, what is wanted of the value itself, which is at the level that is open; the rest is wanted below it.
    fn split(&self, mask: Mask) -> (Mask, Mask) {
        let here = bits(mask).filter(|&number| self.fields[number].depth() == self.depth);
        let here = here.fold(0, |here, number| here | 1 << number);
        (here, mask & !here)
    }

    /// Begins to count the bytes of those whose size is wanted; the others of `mask`.
    fn begin_sizes(&mut self, mask: Mask, is_text: bool) -> Mask {
        let mut others = mask;
        for number in bits(mask) {
            let is_sized = match self.fields[number].want {
                Want::JsonBytes => true,
                Want::TextBytes if is_text => true,
                Want::TextBytes | Want::Amount | Want::Id | Want::AnyOf(_) => false,
            };
            if is_sized {
                self.found[number].size_begins();
                self.sized |= 1 << number;
                self.sized_since[number] = self.open;
                others &= !(1 << number);
            }
        }
        others
    }

    fn end_sizes(&mut self) {
        for number in bits(self.sized) {
            if self.sized_since[number] == self.open {
                self.sized &= !(1 << number);
            }
        }
    }

    /// Counts bytes of compact JSON; `of_text` of them are the text's own.
    fn count(&mut self, bytes: usize, of_text: usize) {
        for number in bits(self.sized) {
            let counts_text = matches!(self.fields[number].want, Want::TextBytes);
            self.found[number].add_bytes(if counts_text { of_text } else { bytes });
        }
    }

    fn begin_text(&mut self, bytes_max: usize) {
        self.text.clear();
        (self.text_bytes_max, self.is_long, self.is_kept) = (bytes_max, false, true);
    }

    fn keep(&mut self, bytes: &[u8]) {
        if !self.is_kept || self.is_long {
            return;
        }
        if self.text.len() + bytes.len() > self.text_bytes_max {
            self.is_long = true;
            return;
        }
        self.text.extend_from_slice(bytes);
    }

    /// Gives the value to those who want it.
    fn end_value(&mut self, value: impl for<'t> Fn(&'t str) -> Option<Value<'t>>) {
        let reading = std::mem::take(&mut self.reading);
        let text = if self.is_long { None } else { std::str::from_utf8(&self.text).ok() };
        for number in bits(reading) {
            self.found[number].value(&self.fields[number].want, text.and_then(&value));
        }
        self.is_kept = false;
    }

    fn end_key(&mut self) {
        self.is_kept = false;
        let Some(level) = self.levels.get_mut(self.depth.saturating_sub(1)) else { return };
        let mut mask = 0;
        for number in bits(level.wanted) {
            let token = self.fields[number].token(self.depth - 1);
            if !self.is_long
                && token.is_some_and(|token| token != Pointer::EACH && token.as_bytes() == self.text)
            {
                mask |= 1 << number;
            }
        }
        // Of a key that is there twice, readers take the one or the other.
        for number in bits(mask & level.seen) {
            self.found[number].set_wrong();
        }
        level.seen |= mask;
        self.next = mask;
    }
}

impl Sink for Walk {
    fn open(&mut self, bracket: Bracket) {
        let mask = self.begin_value();
        let (here, below) = self.split(mask);
        for number in bits(self.begin_sizes(here, false)) {
            self.found[number].value(&self.fields[number].want, Some(Value::Other));
        }
        self.count(1, 0);
        self.open += 1;
        if self.skipped > 0 || below == 0 {
            self.skipped += 1;
            return;
        }
        let is_array = bracket == Bracket::Array;
        if is_array {
            for number in bits(below) {
                if self.fields[number].token(self.depth) == Some(Pointer::EACH) {
                    self.found[number].list_begins();
                }
            }
        }
        // No place is deeper than it has tokens.
        if let Some(level) = self.levels.get_mut(self.depth) {
            *level = Level { wanted: below, seen: 0, is_array, index: 0 };
            self.depth += 1;
        }
    }

    fn close(&mut self) {
        self.count(1, 0);
        self.open = self.open.saturating_sub(1);
        self.end_sizes();
        if self.skipped > 0 {
            self.skipped -= 1;
        } else {
            self.depth = self.depth.saturating_sub(1);
        }
    }

    fn mark(&mut self) {
        self.count(1, 0);
    }

    fn string_begins(&mut self, is_key: bool) {
        if is_key {
            if self.level().is_some() {
                self.begin_text(KEY_BYTES_MAX);
            }
            self.count(2, 0);
            return;
        }
        let mask = self.begin_value();
        let (here, _) = self.split(mask);
        self.reading = self.begin_sizes(here, true);
        self.count(2, 0);
        if self.reading != 0 {
            self.begin_text(VALUE_BYTES_MAX);
        }
    }

    fn plain(&mut self, bytes: &[u8]) {
        self.keep(bytes);
        self.count(bytes.len(), bytes.len());
    }

    fn escaped(&mut self, character: char) {
        self.keep(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.count(json_bytes(character), character.len_utf8());
    }

    fn string_ends(&mut self, is_key: bool) {
        if is_key {
            if self.is_kept {
                self.end_key();
            }
            return;
        }
        self.end_sizes();
        if self.reading != 0 {
            self.end_value(|text| Some(Value::Text(text)));
        }
    }

    fn scalar_begins(&mut self) {
        let mask = self.begin_value();
        self.reading = self.split(mask).0;
        if self.reading != 0 {
            self.begin_text(VALUE_BYTES_MAX);
        }
    }

    fn scalar(&mut self, bytes: &[u8]) {
        self.keep(bytes);
        self.count(bytes.len(), 0);
    }

    fn scalar_ends(&mut self) {
        if self.reading == 0 {
            return;
        }
        if !self.is_long && self.text == b"null" {
            (self.reading, self.is_kept) = (0, false);
            return;
        }
        let (reading, length) = (self.reading, self.text.len());
        self.reading = self.begin_sizes(reading, false);
        // It was not counted while it was not known to be no `null`.
        for number in bits(reading & !self.reading) {
            self.found[number].add_bytes(length);
            if self.is_long {
                self.found[number].set_wrong();
            }
        }
        self.end_sizes();
        self.end_value(|text| match text {
            "true" => Some(Value::Boolean(true)),
            "false" => Some(Value::Boolean(false)),
            number => Some(Value::Number(number)),
        });
    }
}

/// The numbers of the bits that are set, lowest first.
fn bits(mut mask: Mask) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let number = usize::try_from(mask.trailing_zeros()).ok().filter(|_| mask != 0)?;
        mask &= mask - 1;
        Some(number)
    })
}

/// Bytes of a character in compact JSON, in which only that is escaped which has to be.
fn json_bytes(character: char) -> usize {
    match character {
        '"' | '\\' | '\u{8}' | '\u{c}' | '\n' | '\r' | '\t' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    }
}
