//! One JSON document, read as it arrives.
//!
//! Only objects on the way to a wanted field are taken apart. All else is skipped: strings to their closing quote,
//! objects and arrays by counting brackets. Scalars end at the next delimiter, whatever they are, because some
//! services write `NaN`. A document that is no object, or that breaks the grammar, is ignored from there on; what it
//! said before stands.

use crate::find;
use crate::paths::{Node, PATH_OBJECTS_MAX};
use crate::readings::Readings;
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

/// Where a byte is with respect to a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quote {
    Outside,
    Inside,
    /// After a backslash.
    Escaped,
}

/// The reader of one document; it holds a path and a key, never the document.
#[derive(Debug)]
pub(crate) struct Document {
    state: State,
    /// The objects that are open on the way to a field; `objects[..depth]` are in use.
    objects: [&'static Node; PATH_OBJECTS_MAX],
    depth: usize,
    /// Where the present key leads.
    at: Option<&'static Node>,
    key: [u8; KEY_BYTES_MAX],
    /// More than `KEY_BYTES_MAX` when the key is too long.
    key_bytes: usize,
    key_has_escape: bool,
}

impl Document {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Start,
            objects: [Node::root(); PATH_OBJECTS_MAX],
            depth: 0,
            at: None,
            key: [0; KEY_BYTES_MAX],
            key_bytes: 0,
            key_has_escape: false,
        }
    }

    /// Forgets the document; the next byte begins another.
    pub(crate) fn restart(&mut self) {
        self.state = State::Start;
        self.depth = 0;
        self.at = None;
    }

    /// Reads the document's next bytes. Amounts go to `readings` when the byte after them shows that they are whole.
    pub(crate) fn feed(&mut self, chunk: &[u8], readings: &mut Readings) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let read = self.step(rest, readings);
            rest = rest.get(read..).unwrap_or_default();
        }
    }

    /// Reads at least one byte; returns how many. `rest` is not empty.
    fn step(&mut self, rest: &[u8], readings: &mut Readings) -> usize {
        match self.state {
            State::Over => rest.len(),
            State::Skipping { depth, quote } => self.skip(rest, depth, quote),
            State::InString(quote) => self.read_string(rest, quote),
            State::InKey(quote) => self.read_key(rest, quote),
            State::InScalar(scalar) => self.read_scalar(rest, scalar, readings),
            State::Start | State::BeforeKey | State::BeforeColon | State::BeforeValue | State::AfterValue => {
                self.punctuation(rest, readings)
            }
        }
    }

    fn punctuation(&mut self, rest: &[u8], readings: &mut Readings) -> usize {
        let byte = rest[0];
        match (self.state, byte) {
            (_, b' ' | b'\n' | b'\r' | b'\t') => {}
            // A byte order mark.
            (State::Start, 0xef | 0xbb | 0xbf) => {}
            (State::Start, b'{') => self.open(Node::root()),
            (State::BeforeKey, b'"') => {
                (self.key_bytes, self.key_has_escape) = (0, false);
                return 1 + self.read_key(&rest[1..], Quote::Inside);
            }
            (State::BeforeKey | State::AfterValue, b'}') => self.close(),
            (State::AfterValue, b',') => self.state = State::BeforeKey,
            (State::BeforeColon, b':') => self.state = State::BeforeValue,
            (State::BeforeValue, _) => return self.value(rest, readings),
            _ => self.state = State::Over,
        }
        1
    }

    fn value(&mut self, rest: &[u8], readings: &mut Readings) -> usize {
        let (byte, after) = (rest[0], &rest[1..]);
        match (byte, self.at) {
            (b'{', Some(node)) if node.is_inner() => self.open(node),
            (b'{' | b'[', at) => {
                take(at, Reading::Unreadable, readings);
                return 1 + self.skip(after, 1, Quote::Outside);
            }
            (b'"', at) => {
                take(at, Reading::Unreadable, readings);
                return 1 + self.read_string(after, Quote::Inside);
            }
            (b',' | b':' | b'}' | b']', _) => self.state = State::Over,
            (_, _) => return self.read_scalar(rest, Scalar::Empty, readings),
        }
        1
    }

    fn open(&mut self, node: &'static Node) {
        match self.objects.get_mut(self.depth) {
            Some(object) => {
                *object = node;
                self.depth += 1;
                self.state = State::BeforeKey;
            }
            None => self.state = State::Over,
        }
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.state = if self.depth == 0 { State::Over } else { State::AfterValue };
    }

    /// A key that is whole and plain is compared where it lies; one that is cut or escaped is kept until it ends.
    fn read_key(&mut self, rest: &[u8], quote: Quote) -> usize {
        if self.key_bytes == 0 && quote == Quote::Inside {
            let end = find::string_end(rest);
            if rest.get(end) == Some(&b'"') {
                self.at = self.object().and_then(|object| object.child(&rest[..end]));
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
    fn kept_child(&self) -> Option<&'static Node> {
        let key = self.key.get(..self.key_bytes)?;
        if self.key_has_escape {
            let quoted = [b"\"", key, b"\""].concat();
            self.object()?.child(serde_json::from_slice::<String>(&quoted).ok()?.as_bytes())
        } else {
            self.object()?.child(key)
        }
    }

    /// The innermost open object.
    fn object(&self) -> Option<&'static Node> {
        self.objects.get(self.depth.checked_sub(1)?).copied()
    }

    fn read_scalar(&mut self, rest: &[u8], scalar: Scalar, readings: &mut Readings) -> usize {
        let read = rest.iter().position(|&byte| ends_scalar(byte)).unwrap_or(rest.len());
        let is_whole = read < rest.len();
        let Some(node) = self.at else {
            self.state = if is_whole { State::AfterValue } else { State::InScalar(scalar) };
            return read;
        };
        let scalar = rest[..read].iter().fold(scalar, |scalar, &byte| scalar.push(byte));
        if is_whole {
            readings.take(node.takes(), scalar.end());
            self.state = State::AfterValue;
        } else {
            self.state = State::InScalar(scalar);
        }
        read
    }

    fn read_string(&mut self, rest: &[u8], mut quote: Quote) -> usize {
        let mut read = 0;
        while quote != Quote::Outside && read < rest.len() {
            let (next, in_string) = skip_string(&rest[read..], quote);
            (quote, read) = (next, read + in_string);
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

fn take(at: Option<&Node>, reading: Reading, readings: &mut Readings) {
    if let Some(node) = at {
        readings.take(node.takes(), reading);
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
