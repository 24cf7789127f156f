//! One JSON document, read as it arrives.
//!
//! Only objects and arrays on the way to a wanted field are taken apart. All else is skipped: strings to their closing quote,
//! objects and arrays by counting brackets. Scalars end at the next delimiter, whatever they are, because some
//! services write `NaN`. A document that is no object, or that breaks the grammar, is ignored from there on; what it
//! said before stands.

use std::num::NonZeroU32;

use crate::find;
use crate::paths::{Node, PATH_LEVELS_MAX, Paths, Place, Tree};
use crate::readings::{Piece, Sink};
use crate::scalar::{Reading, Scalar};

/// Bytes of a key that are looked at, escapes included; longer keys are no field of ours.
pub(crate) const KEY_BYTES_MAX: usize = 192;

/// Where in the document the next byte is.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Before the document.
    Start,
    /// In an object on the way, before a key or the object's end.
    BeforeKey,
    InKey(Quote),
    BeforeColon,
    BeforeValue,
    InString(Quote),
    InScalar(Scalar),
    /// Inside `depth` brackets that hold nothing of interest.
    Skipping {
        depth: u32,
        quote: Quote,
    },
    AfterValue,
    /// The document has ended, or cannot be read.
    Over,
}

/// Where in a row of documents the next byte is, between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// Before all.
    Begin,
    /// In an array, where a document is next.
    Before,
    /// In an array, after a document.
    After,
    /// After a document that is in no array, on its line.
    Line,
    /// After that line.
    NextLine,
}

/// Where a byte is with respect to a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quote {
    Outside,
    Inside,
    /// After a backslash.
    Escaped,
}

/// An object or an array that is open.
#[derive(Clone, Copy, Debug)]
struct Level {
    place: Place,
    /// Of an array, which element is next, counted from 1.
    element: Option<NonZeroU32>,
}

/// Where a reader stands in a document after a key, or before a key or an element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Halt {
    state: State,
    levels: [Level; PATH_LEVELS_MAX],
    depth: usize,
    at: Option<Place>,
}

/// The reader of one document; it holds a path and a key, never the document.
#[derive(Debug)]
pub(crate) struct Document {
    state: State,
    paths: Paths,
    /// Whether other documents may follow, in an array or not.
    may_be_many: bool,
    row: Row,
    /// The objects and arrays that are open on the way to a field; `levels[..depth]` are in use.
    levels: [Level; PATH_LEVELS_MAX],
    depth: usize,
    /// Where the present key leads.
    at: Option<Place>,
    key: [u8; KEY_BYTES_MAX],
    /// More than `KEY_BYTES_MAX` when the key is too long.
    key_bytes: usize,
    key_has_escape: bool,
}

impl Document {
    /// A reader of what is at `paths`.
    pub(crate) fn new(paths: Paths) -> Self {
        Self {
            state: State::Start,
            paths,
            may_be_many: false,
            row: Row::Begin,
            levels: [Level { place: Tree::ROOT, element: None }; PATH_LEVELS_MAX],
            depth: 0,
            at: None,
            key: [0; KEY_BYTES_MAX],
            key_bytes: 0,
            key_has_escape: false,
        }
    }

    /// A reader of an array of documents, as if one came after the other; also of such a row without its brackets.
    pub(crate) fn of_many(paths: Paths) -> Self {
        Self { may_be_many: true, ..Self::new(paths) }
    }

    /// Forgets the document; the next byte begins another.
    pub(crate) fn restart(&mut self) {
        self.state = State::Start;
        self.depth = 0;
        self.at = None;
    }

    /// Passes over the rest of the document.
    pub(crate) fn abandon(&mut self) {
        self.state = State::Over;
    }

    /// Whether nothing more is read of the document, because it is whole or because it cannot be read.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Whether the document has ended as it should.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_over() && self.depth == 0
    }

    /// Whether other documents may follow.
    pub(crate) fn may_be_many(&self) -> bool {
        self.may_be_many
    }

    /// Where in the row of documents the next byte is; `None` within one, or after the last.
    pub(crate) fn between(&self) -> Option<Row> {
        matches!(self.state, State::Start).then_some(self.row)
    }

    /// Whether the document has not begun.
    pub(crate) fn is_at_start(&self) -> bool {
        matches!(self.state, State::Start)
    }

    /// Where the reader stands, if that does not depend on the bytes that come next.
    pub(crate) fn halt(&self) -> Option<Halt> {
        let Self { state, levels, depth, at, .. } = *self;
        matches!(state, State::BeforeKey | State::BeforeValue).then_some(Halt { state, levels, depth, at })
    }

    /// Reads on as if the document's beginning had led here.
    pub(crate) fn resume(&mut self, halt: Halt) {
        Halt { state: self.state, levels: self.levels, depth: self.depth, at: self.at } = halt;
    }

    /// Reads the document's next bytes. Amounts go to `sink` when the byte after them shows that they are whole.
    pub(crate) fn feed(&mut self, chunk: &[u8], sink: &mut impl Sink) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let read = self.step(rest, sink);
            rest = rest.get(read..).unwrap_or_default();
        }
    }

    /// Reads at least one byte; returns how many. `rest` is not empty.
    pub(crate) fn step(&mut self, rest: &[u8], sink: &mut impl Sink) -> usize {
        match self.state {
            State::Over => rest.len(),
            State::Skipping { depth, quote } => self.skip(rest, depth, quote),
            State::InString(quote) => self.read_string(rest, quote, sink),
            State::InKey(quote) => self.read_key(rest, quote),
            State::InScalar(scalar) => self.read_scalar(rest, scalar, sink),
            State::Start | State::BeforeKey | State::BeforeColon | State::BeforeValue | State::AfterValue => {
                self.punctuation(rest, sink)
            }
        }
    }

    fn punctuation(&mut self, rest: &[u8], sink: &mut impl Sink) -> usize {
        let byte = rest[0];
        match (self.state, byte) {
            (State::Start, b'\n') if self.row == Row::Line => self.row = Row::NextLine,
            (_, b' ' | b'\n' | b'\r' | b'\t') => {}
            // A byte order mark.
            (State::Start, 0xef | 0xbb | 0xbf) => {}
            (State::Start, b'{') => self.open(Tree::ROOT, None),
            (State::Start, b'[' | b',') if self.may_be_many => self.row = Row::Before,
            (State::Start, b'[') if self.paths.node(Tree::ROOT).is_array() => {
                self.open(Tree::ROOT, Some(NonZeroU32::MIN));
            }
            (State::BeforeKey, b'"') => {
                (self.key_bytes, self.key_has_escape) = (0, false);
                return 1 + self.read_key(&rest[1..], Quote::Inside);
            }
            (State::BeforeKey | State::AfterValue, b'}') if !self.in_array() => self.close(sink),
            (State::BeforeValue | State::AfterValue, b']') if self.in_array() => self.close(sink),
            (State::AfterValue, b',') => self.before_next(),
            (State::BeforeColon, b':') => self.state = State::BeforeValue,
            (State::BeforeValue, _) => return self.value(rest, sink),
            _ => self.state = State::Over,
        }
        1
    }

    fn value(&mut self, rest: &[u8], sink: &mut impl Sink) -> usize {
        let (byte, after) = (rest[0], &rest[1..]);
        let node = self.at.map(|place| self.paths.node(place));
        match (byte, self.at, node) {
            (b'{', Some(place), Some(node)) if node.is_object() => {
                sink.take(node.takes(), Reading::Unreadable);
                self.open(place, None);
            }
            (b'[', Some(place), Some(node)) if node.is_array() => {
                sink.take(node.takes(), Reading::Unreadable);
                if let Some(mark) = node.mark() {
                    sink.begin(mark);
                }
                self.open(place, Some(NonZeroU32::MIN));
            }
            (b'{' | b'[', _, node) => {
                take(node, Reading::Unreadable, sink);
                return 1 + self.skip(after, 1, Quote::Outside);
            }
            (b'"', _, node) => {
                take(node, Reading::Unreadable, sink);
                if let Some(text) = node.and_then(Node::text) {
                    sink.text(text, Piece::Begin);
                }
                return 1 + self.read_string(after, Quote::Inside, sink);
            }
            (b',' | b':' | b'}' | b']', _, _) => self.state = State::Over,
            (_, _, _) => return self.read_scalar(rest, Scalar::Empty, sink),
        }
        1
    }

    fn open(&mut self, place: Place, element: Option<NonZeroU32>) {
        match self.levels.get_mut(self.depth) {
            Some(level) => {
                *level = Level { place, element };
                self.depth += 1;
                self.before_next();
            }
            None => self.state = State::Over,
        }
    }

    fn close(&mut self, sink: &mut impl Sink) {
        self.depth = self.depth.saturating_sub(1);
        self.state = match self.depth {
            0 if self.may_be_many => {
                sink.next_document();
                self.row = match self.row {
                    Row::Before | Row::After => Row::After,
                    Row::Begin | Row::Line | Row::NextLine => Row::Line,
                };
                State::Start
            }
            0 => State::Over,
            _ => State::AfterValue,
        };
    }

    /// An element of the innermost array, or a field of the innermost object, is next.
    fn before_next(&mut self) {
        let innermost = self.depth.checked_sub(1).and_then(|depth| self.levels.get_mut(depth));
        let Some(Level { place, element: Some(element) }) = innermost else {
            (self.state, self.at) = (State::BeforeKey, None);
            return;
        };
        self.at = self.paths.element(*place, element.get() - 1);
        *element = element.saturating_add(1);
        self.state = State::BeforeValue;
    }

    /// A key that is whole and plain is compared where it lies; one that is cut or escaped is kept until it ends.
    fn read_key(&mut self, rest: &[u8], quote: Quote) -> usize {
        if self.key_bytes == 0 && quote == Quote::Inside {
            let end = find::string_end(rest);
            if rest.get(end) == Some(&b'"') {
                self.at = self.child(&rest[..end]);
                let colon = rest.get(end + 1) == Some(&b':');
                self.state = if colon { State::BeforeValue } else { State::BeforeColon };
                return end + 1 + usize::from(colon);
            }
        }
        self.keep_key(rest, quote)
    }

    fn keep_key(&mut self, rest: &[u8], mut quote: Quote) -> usize {
        for (read, &byte) in rest.iter().enumerate() {
            quote = match (quote, byte) {
                (Quote::Inside, b'"') => {
                    self.at = self.kept_child();
                    self.state = State::BeforeColon;
                    return read + 1;
                }
                (Quote::Inside, b'\\') => {
                    self.key_has_escape = true;
                    Quote::Escaped
                }
                (Quote::Inside | Quote::Escaped | Quote::Outside, _) => Quote::Inside,
            };
            if let Some(slot) = self.key.get_mut(self.key_bytes) {
                *slot = byte;
            }
            self.key_bytes = (self.key_bytes + 1).min(KEY_BYTES_MAX + 1);
        }
        self.state = State::InKey(quote);
        rest.len()
    }

    /// Where the kept key leads.
    fn kept_child(&self) -> Option<Place> {
        let key = self.key.get(..self.key_bytes)?;
        if self.key_has_escape {
            let quoted = [b"\"", key, b"\""].concat();
            self.child(serde_json::from_slice::<String>(&quoted).ok()?.as_bytes())
        } else {
            self.child(key)
        }
    }

    /// Where `key` leads from the innermost object.
    fn child(&self, key: &[u8]) -> Option<Place> {
        self.paths.child(self.level()?.place, key)
    }

    fn in_array(&self) -> bool {
        self.level().is_some_and(|level| level.element.is_some())
    }

    /// The innermost object or array that is open.
    fn level(&self) -> Option<&Level> {
        self.levels.get(self.depth.checked_sub(1)?)
    }

    fn node(&self) -> Option<&Node> {
        self.at.map(|place| self.paths.node(place))
    }

    fn read_scalar(&mut self, rest: &[u8], scalar: Scalar, sink: &mut impl Sink) -> usize {
        let read = rest.iter().position(|&byte| ends_scalar(byte)).unwrap_or(rest.len());
        let is_whole = read < rest.len();
        if self.at.is_none() {
            self.state = if is_whole { State::AfterValue } else { State::InScalar(scalar) };
            return read;
        }
        let scalar = rest[..read].iter().fold(scalar, |scalar, &byte| scalar.push(byte));
        if is_whole {
            take(self.node(), scalar.end(), sink);
            self.state = State::AfterValue;
        } else {
            self.state = State::InScalar(scalar);
        }
        read
    }

    fn read_string(&mut self, rest: &[u8], mut quote: Quote, sink: &mut impl Sink) -> usize {
        let text = self.node().and_then(Node::text);
        let mut read = 0;
        while quote != Quote::Outside && read < rest.len() {
            let (next, in_string) = skip_string(&rest[read..], quote);
            let end = read + in_string;
            if let Some(text) = text {
                let is_over = next == Quote::Outside;
                sink.text(text, Piece::Bytes(&rest[read..end - usize::from(is_over)]));
                if is_over {
                    sink.text(text, Piece::End);
                }
            }
            (quote, read) = (next, end);
        }
        self.state = if quote == Quote::Outside { State::AfterValue } else { State::InString(quote) };
        read
    }

    /// Reads on within `depth` brackets.
    fn skip(&mut self, rest: &[u8], mut depth: u32, mut quote: Quote) -> usize {
        let mut read = 0;
        while let Some(&byte) = rest.get(read) {
            if quote != Quote::Outside {
                let (next, in_string) = skip_string(&rest[read..], quote);
                (quote, read) = (next, read + in_string);
                continue;
            }
            read += 1;
            match byte {
                b'"' => quote = Quote::Inside,
                b'{' | b'[' => match depth.checked_add(1) {
                    Some(deeper) => depth = deeper,
                    None => {
                        self.state = State::Over;
                        return read;
                    }
                },
                b'}' | b']' if depth > 1 => depth -= 1,
                b'}' | b']' => {
                    self.state = State::AfterValue;
                    return read;
                }
                _ => read += find::structure(&rest[read..]),
            }
        }
        self.state = State::Skipping { depth, quote };
        read
    }
}

fn take(node: Option<&Node>, reading: Reading, sink: &mut impl Sink) {
    if let Some(node) = node {
        sink.take(node.takes(), reading);
        if let Some(mark) = node.mark() {
            sink.mark(mark, reading);
        }
    }
}

/// Skips to the end of a string or to a backslash; returns where that leaves us and how many bytes were read.
fn skip_string(rest: &[u8], quote: Quote) -> (Quote, usize) {
    if quote == Quote::Escaped {
        return (Quote::Inside, 1);
    }
    let read = find::string_end(rest);
    match rest.get(read) {
        None => (Quote::Inside, read),
        Some(b'"') => (Quote::Outside, read + 1),
        Some(_) => (Quote::Escaped, read + 1),
    }
}

/// Whether a byte ends a scalar.
const fn ends_scalar(byte: u8) -> bool {
    matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b',' | b':' | b' ' | b'\n' | b'\r' | b'\t')
}
