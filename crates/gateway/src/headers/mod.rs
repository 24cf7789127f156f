//! The header fields of a message, in the order in which they came (RFC 9110, section 5).
//!
//! A head that was read is kept in one piece, and its fields are places in it: nothing is hashed, counted or copied
//! for a field that only passes through. What the gateway adds is text behind it. Names are in lower case, and
//! names and values valid, whoever they come from.

mod known;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) use known::Known;

/// Longest name, in bytes, which is what `http` takes.
pub(crate) const NAME_BYTES_MAX: usize = 64 * 1024 - 1;
/// Lines, and bytes of own text, for which memory is kept between messages: more than most have.
const LINES_KEPT_MAX: usize = 64;
const OWN_BYTES_KEPT_MAX: usize = 4 * 1024;
/// Means nothing to anybody.
const UNNAMED: HeaderName = HeaderName::from_static("x-unnamed");

/// The fields of one message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Headers {
    /// What was read.
    head: Bytes,
    /// What was added.
    own: Vec<u8>,
    lines: Vec<Line>,
    /// Which known names there are, or were.
    seen: u32,
}

/// A field: where its name and value begin and end in the text that has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) known: Known,
    text: Text,
    name: (usize, usize),
    value: (usize, usize),
    /// Where the next line begins, if this one ends as most do: then it can be written as it is.
    next: Option<usize>,
}

/// What a line is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Head,
    Own,
    /// Nothing any more: it was taken away.
    Gone,
}

/// A field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) known: Known,
    /// In lower case.
    pub(crate) name: &'a [u8],
    /// Without the white space around it.
    pub(crate) value: &'a [u8],
    /// What it was read from.
    head: Option<&'a Bytes>,
}

impl Line {
    /// A line of a head with these places in it; `next` is where the next begins, if this one ends with `CRLF`.
    pub(crate) fn new(
        known: Known,
        name: (usize, usize),
        value: (usize, usize),
        next: Option<usize>,
    ) -> Self {
        Self { known, text: Text::Head, name, value, next }
    }

    pub(crate) fn name<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.name.0..self.name.1).unwrap_or_default()
    }

    pub(crate) fn value<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.value.0..self.value.1).unwrap_or_default()
    }

    /// `None` if it is gone.
    fn field<'a>(&self, head: &'a Bytes, own: &'a [u8]) -> Option<Field<'a>> {
        let (text, head) = match self.text {
            Text::Head => (&**head, Some(head)),
            Text::Own => (own, None),
            Text::Gone => return None,
        };
        Some(Field { known: self.known, name: self.name(text), value: self.value(text), head })
    }
}

impl Field<'_> {
    /// The name, to keep.
    pub(crate) fn to_name(self) -> HeaderName {
        // What is a field's name is a name.
        HeaderName::from_bytes(self.name).unwrap_or(UNNAMED)
    }

    /// The value, to keep; without a copy of it, if it was read.
    pub(crate) fn to_value(self) -> HeaderValue {
        let value = match self.head {
            Some(head) => HeaderValue::from_maybe_shared(head.slice_ref(self.value)),
            None => HeaderValue::from_bytes(self.value),
        };
        // What is a field's value is a value.
        value.unwrap_or(HeaderValue::from_static(""))
    }
}

impl Headers {
    /// Takes the place of what was here: the memory of a message's lines serves for the next.
    pub(crate) fn begin(&mut self) -> &mut Vec<Line> {
        self.clear();
        &mut self.lines
    }

    /// The lines are places of this.
    pub(crate) fn found_in(&mut self, head: Bytes) {
        self.seen = self.lines.iter().fold(0, |seen, line| seen | line.known.bit());
        self.head = head;
    }

    /// What was read.
    pub(crate) fn head(&self) -> &Bytes {
        &self.head
    }

    /// Forgets all fields, but not their memory, unless that is much.
    pub(crate) fn clear(&mut self) {
        if self.lines.capacity() > LINES_KEPT_MAX || self.own.capacity() > OWN_BYTES_KEPT_MAX {
            *self = Self::default();
            return;
        }
        // Not cleared: that would keep what was read in memory.
        self.head = Bytes::new();
        self.own.clear();
        self.lines.clear();
        self.seen = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.iter().filter(|line| line.text != Text::Gone).count()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.lines.iter().filter_map(|line| line.field(&self.head, &self.own))
    }

    /// The values of all fields of this name.
    pub(crate) fn all<'a, 'n>(
        &'a self,
        name: &'n HeaderName,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let name = name.as_str().as_bytes();
        self.iter().filter(move |field| field.name == name).map(|field| field.value)
    }

    /// The values of all fields of this name.
    pub(crate) fn all_known(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        let lines = if self.may_have(known) { &self.lines[..] } else { &[] };
        let lines = lines.iter().filter(move |line| line.known == known);
        lines.filter_map(|line| line.field(&self.head, &self.own)).map(|field| field.value)
    }

    /// The first field of this name.
    pub(crate) fn first_known(&self, known: Known) -> Option<Field<'_>> {
        let mut lines =
            self.may_have(known).then_some(&self.lines)?.iter().filter(|line| line.known == known);
        lines.find_map(|line| line.field(&self.head, &self.own))
    }

    /// The fields that are known.
    pub(crate) fn known(&self) -> impl Iterator<Item = Field<'_>> {
        let lines = self.lines.iter().filter(|line| line.known != Known::Other);
        lines.filter_map(|line| line.field(&self.head, &self.own))
    }

    /// Whether there is, or was, one of this name.
    pub(crate) fn may_have(&self, known: Known) -> bool {
        self.seen & known.bit() != 0
    }

    /// The first value of this name.
    pub(crate) fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        let name = name.as_str().as_bytes();
        self.iter().find(|field| field.name == name).map(|field| field.value)
    }

    /// The first value of this name, if it is visible ASCII.
    pub(crate) fn text(&self, name: &HeaderName) -> Option<&str> {
        text(self.get(name)?)
    }

    pub(crate) fn has(&self, name: &HeaderName) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn has_known(&self, known: Known) -> bool {
        self.first_known(known).is_some()
    }

    /// Adds a field.
    pub(crate) fn append(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append_text(name, |own| own.extend_from_slice(value.as_bytes()));
    }

    /// Adds a field whose value `write` writes behind what is there; visible ASCII only.
    pub(crate) fn append_text(&mut self, name: &HeaderName, write: impl FnOnce(&mut Vec<u8>)) {
        self.append_after(name, |_, own| write(own));
    }

    /// Adds a field with the value of the first of another name, if there is one.
    pub(crate) fn append_copy(&mut self, name: &HeaderName, of: Known) -> bool {
        let is_it = |line: &&Line| line.known == of && line.text != Text::Gone;
        let Some(Line { text, value: (from, to), .. }) = self.lines.iter().find(is_it).copied() else {
            return false;
        };
        self.append_after(name, |head, own| match text {
            Text::Own => own.extend_from_within(from..to),
            Text::Head | Text::Gone => own.extend_from_slice(&head[from..to]),
        });
        true
    }

    fn append_after(&mut self, name: &HeaderName, write: impl FnOnce(&[u8], &mut Vec<u8>)) {
        let name = name.as_str().as_bytes();
        let known = Known::of(name);
        let own = &mut self.own;
        let start = own.len();
        own.extend_from_slice(name);
        own.extend_from_slice(b": ");
        let from = own.len();
        write(&self.head, own);
        let to = own.len();
        own.extend_from_slice(b"\r\n");
        let (name, value, next) = ((start, start + name.len()), (from, to), Some(own.len()));
        self.seen |= known.bit();
        self.lines.push(Line { known, text: Text::Own, name, value, next });
    }

    /// Takes the place of all fields of this name.
    pub(crate) fn insert(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.remove(name);
        self.append(name, value);
    }

    pub(crate) fn remove(&mut self, name: &HeaderName) {
        let name = name.as_str().as_bytes();
        let known = Known::of(name);
        if self.may_have(known) {
            self.retain(|field| field.known != known || field.name != name);
        }
    }

    /// Removes all fields of these names, however many there are: who sends them may have chosen both lists.
    pub(crate) fn remove_all(&mut self, mut names: Vec<HeaderName>) {
        if names.is_empty() {
            return;
        }
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        let is_named =
            |name: &[u8]| names.binary_search_by(|named| named.as_str().as_bytes().cmp(name)).is_ok();
        self.retain(|field| !is_named(field.name));
    }

    /// Keeps only the fields for which `keeps` holds; each is asked for once, in order.
    pub(crate) fn retain(&mut self, mut keeps: impl FnMut(Field<'_>) -> bool) {
        for line in &mut self.lines {
            if line.field(&self.head, &self.own).is_some_and(|field| !keeps(field)) {
                line.text = Text::Gone;
            }
        }
    }

    /// Writes the fields for which `passes` holds, each as a line.
    pub(crate) fn write(&self, buffer: &mut Vec<u8>, passes: impl Fn(Field<'_>) -> bool) {
        // What stands together is written together.
        let (mut text, mut run): (&[u8], _) = (&self.head, (0, 0));
        for line in &self.lines {
            let Some(field) = line.field(&self.head, &self.own).filter(|field| passes(*field)) else {
                continue;
            };
            let of: &[u8] = if line.text == Text::Own { &self.own } else { &self.head };
            if let Some(next) = line.next {
                if line.name.0 != run.1 || !std::ptr::eq(of, text) {
                    buffer.extend_from_slice(&text[run.0..run.1]);
                    (text, run.0) = (of, line.name.0);
                }
                run.1 = next;
            } else {
                buffer.extend_from_slice(&text[run.0..run.1]);
                (text, run) = (of, (0, 0));
                write_line(buffer, field.name, field.value);
            }
        }
        buffer.extend_from_slice(&text[run.0..run.1]);
    }

    /// As libraries have them.
    pub(crate) fn into_map(mut self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.len());
        let own = Bytes::from(std::mem::take(&mut self.own));
        for line in &self.lines {
            let Some(field) = line.field(&self.head, &own) else { continue };
            map.append(field.to_name(), Field { head: field.head.or(Some(&own)), ..field }.to_value());
        }
        map
    }
}

impl From<HeaderMap> for Headers {
    fn from(map: HeaderMap) -> Self {
        let mut headers = Self::default();
        headers.lines.reserve(map.len());
        map.iter().for_each(|(name, value)| headers.append(name, value));
        headers
    }
}

/// A value as text, if it is visible ASCII.
pub(crate) fn text(value: &[u8]) -> Option<&str> {
    let is_visible = value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    str::from_utf8(value).ok().filter(|_| is_visible)
}

/// Writes one field as a line.
pub(crate) fn write_line(buffer: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    buffer.reserve(name.len() + value.len() + 4);
    buffer.extend_from_slice(name);
    buffer.extend_from_slice(b": ");
    buffer.extend_from_slice(value);
    buffer.extend_from_slice(b"\r\n");
}
