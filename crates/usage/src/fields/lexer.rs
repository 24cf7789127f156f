//! One JSON document, read strictly and piece by piece: what is broken is no document, however it is cut into chunks.

use crate::find;
use crate::json::{Bracket, DEPTH_MAX};

/// What a document consists of, as it is read.
pub(super) trait Sink {
    fn open(&mut self, bracket: Bracket);
    fn close(&mut self);
    /// A comma or a colon.
    fn mark(&mut self);
    fn string_begins(&mut self, is_key: bool);
    /// Characters of a string that stand for themselves.
    fn plain(&mut self, bytes: &[u8]);
    /// A character of a string that is escaped; a lone surrogate is U+FFFD.
    fn escaped(&mut self, character: char);
    fn string_ends(&mut self, is_key: bool);
    fn scalar_begins(&mut self);
    fn scalar(&mut self, bytes: &[u8]);
    fn scalar_ends(&mut self);
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Value,
    /// At the beginning of an array.
    ValueOrEnd,
    Key,
    /// At the beginning of an object.
    KeyOrEnd,
    Colon,
    /// A comma, or the end of what is open; after the document, nothing.
    Next,
    String {
        is_key: bool,
        part: Part,
    },
    Number(Number),
    /// The rest of `true`, `false` or `null`.
    Word(&'static [u8]),
    Broken,
}

/// Where in a string it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Plain,
    /// After a backslash.
    Escape,
    /// After `\u` and so many digits.
    Unicode {
        digits: u8,
        code: u16,
    },
}

/// Where in a number it is: what was read last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    /// A leading zero, which no digit may follow.
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

/// The reader of one document.
#[derive(Debug)]
pub(super) struct Lexer {
    state: State,
    /// One bit for each bracket that is open: whether it is an array's.
    arrays: [u64; DEPTH_MAX / 64],
    depth: usize,
    /// The first half of a character beyond U+FFFF.
    high: Option<u16>,
}

impl Lexer {
    pub(super) fn new() -> Self {
        Self { state: State::Value, arrays: [0; DEPTH_MAX / 64], depth: 0, high: None }
    }

    /// Whether a whole document was read, and nothing else. A number at the top ends only with what follows it.
    pub(super) fn is_whole(&self) -> bool {
        self.depth == 0 && self.state == State::Next
    }

    /// Reads the document's next bytes.
    pub(super) fn feed(&mut self, chunk: &[u8], sink: &mut impl Sink) {
        let mut at = 0;
        while let Some(rest) = chunk.get(at..).filter(|rest| !rest.is_empty()) {
            at += match self.state {
                State::Broken => return,
                State::String { is_key, part: Part::Plain } => self.plain(rest, is_key, sink),
                State::Number(number) => self.number(rest, number, sink),
                _ => {
                    self.byte(rest[0], sink);
                    1
                }
            };
        }
    }

    fn byte(&mut self, byte: u8, sink: &mut impl Sink) {
        self.state = match (self.state, byte) {
            (State::String { is_key, part }, _) => self.escape(byte, is_key, part, sink),
            (State::Word(rest), _) => match rest.split_first() {
                Some((&expected, rest)) if expected == byte => {
                    sink.scalar(&[byte]);
                    if rest.is_empty() {
                        sink.scalar_ends();
                        State::Next
                    } else {
                        State::Word(rest)
                    }
                }
                _ => State::Broken,
            },
            (state, b' ' | b'\n' | b'\r' | b'\t') => state,
            (State::Next, b',') if self.depth > 0 => {
                sink.mark();
                if self.is_array() { State::Value } else { State::Key }
            }
            (State::Colon, b':') => {
                sink.mark();
                State::Value
            }
            (State::KeyOrEnd | State::Next, b'}') if self.depth > 0 && !self.is_array() => self.close(sink),
            (State::ValueOrEnd | State::Next, b']') if self.depth > 0 && self.is_array() => self.close(sink),
            (State::Key | State::KeyOrEnd, b'"') => begin_string(true, sink),
            (State::Value | State::ValueOrEnd, b'"') => begin_string(false, sink),
            (State::Value | State::ValueOrEnd, b'{') => self.open(Bracket::Object, sink),
            (State::Value | State::ValueOrEnd, b'[') => self.open(Bracket::Array, sink),
            (State::Value | State::ValueOrEnd, _) => begin_scalar(byte, sink),
            _ => State::Broken,
        };
    }

    fn is_array(&self) -> bool {
        let at = self.depth.saturating_sub(1);
        self.arrays[at / 64] >> (at % 64) & 1 == 1
    }

    fn open(&mut self, bracket: Bracket, sink: &mut impl Sink) -> State {
        if self.depth >= DEPTH_MAX {
            return State::Broken;
        }
        let (word, bit) = (&mut self.arrays[self.depth / 64], 1 << (self.depth % 64));
        self.depth += 1;
        sink.open(bracket);
        match bracket {
            Bracket::Array => {
                *word |= bit;
                State::ValueOrEnd
            }
            Bracket::Object => {
                *word &= !bit;
                State::KeyOrEnd
            }
        }
    }

    fn close(&mut self, sink: &mut impl Sink) -> State {
        self.depth -= 1;
        sink.close();
        State::Next
    }

    /// Reads a string up to its next escape, or its end; how many bytes that is.
    fn plain(&mut self, rest: &[u8], is_key: bool, sink: &mut impl Sink) -> usize {
        let bytes = find::string_end(rest);
        let plain = &rest[..bytes];
        // All of it is looked at, because that is faster.
        if plain.iter().fold(false, |is_control, &byte| is_control | (byte < 0x20)) {
            self.state = State::Broken;
            return rest.len();
        }
        if bytes > 0 {
            self.end_high(sink);
            sink.plain(plain);
        }
        match rest.get(bytes) {
            None => bytes,
            Some(b'"') => {
                self.end_high(sink);
                sink.string_ends(is_key);
                self.state = if is_key { State::Colon } else { State::Next };
                bytes + 1
            }
            Some(_) => {
                self.state = State::String { is_key, part: Part::Escape };
                bytes + 1
            }
        }
    }

    /// What a first half without its second is.
    fn end_high(&mut self, sink: &mut impl Sink) {
        if self.high.take().is_some() {
            sink.escaped(char::REPLACEMENT_CHARACTER);
        }
    }

    fn escape(&mut self, byte: u8, is_key: bool, part: Part, sink: &mut impl Sink) -> State {
        let character = match part {
            Part::Unicode { digits, code } => {
                let Some(digit) = char::from(byte).to_digit(16) else { return State::Broken };
                // A digit of base 16 fits.
                let code = code << 4 | u16::try_from(digit).unwrap_or_default();
                if digits < 3 {
                    return State::String { is_key, part: Part::Unicode { digits: digits + 1, code } };
                }
                self.code_unit(code, sink);
                return State::String { is_key, part: Part::Plain };
            }
            Part::Escape | Part::Plain => match byte {
                b'u' => return State::String { is_key, part: Part::Unicode { digits: 0, code: 0 } },
                b'"' | b'\\' | b'/' => char::from(byte),
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                _ => return State::Broken,
            },
        };
        self.end_high(sink);
        sink.escaped(character);
        State::String { is_key, part: Part::Plain }
    }

    fn code_unit(&mut self, unit: u16, sink: &mut impl Sink) {
        let unit = match (self.high.take(), unit) {
            (Some(high), 0xdc00..=0xdfff) => {
                0x1_0000 + (u32::from(high - 0xd800) << 10) + u32::from(unit - 0xdc00)
            }
            (high, unit) => {
                self.high = high;
                self.end_high(sink);
                u32::from(unit)
            }
        };
        match u16::try_from(unit) {
            Ok(high @ 0xd800..=0xdbff) => self.high = Some(high),
            _ => sink.escaped(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }

    /// Reads a number up to its end; how many bytes that is.
    fn number(&mut self, rest: &[u8], mut number: Number, sink: &mut impl Sink) -> usize {
        let mut bytes = 0;
        let mut state = State::Number(number);
        for &byte in rest {
            match number.next(byte) {
                Some(next) => {
                    number = next;
                    state = State::Number(next);
                }
                None => {
                    state = if number.may_end() { State::Next } else { State::Broken };
                    break;
                }
            }
            bytes += 1;
        }
        sink.scalar(&rest[..bytes]);
        if state == State::Next {
            sink.scalar_ends();
        }
        self.state = state;
        bytes
    }

    /// Nothing more comes: a number at the top has ended.
    pub(super) fn end(&mut self, sink: &mut impl Sink) {
        if let State::Number(number) = self.state
            && number.may_end()
        {
            sink.scalar_ends();
            self.state = State::Next;
        }
    }
}

fn begin_string(is_key: bool, sink: &mut impl Sink) -> State {
    sink.string_begins(is_key);
    State::String { is_key, part: Part::Plain }
}

fn begin_scalar(byte: u8, sink: &mut impl Sink) -> State {
    let state = match byte {
        b'-' => State::Number(Number::Minus),
        b'0' => State::Number(Number::Zero),
        b'1'..=b'9' => State::Number(Number::Whole),
        b't' => State::Word(b"rue"),
        b'f' => State::Word(b"alse"),
        b'n' => State::Word(b"ull"),
        _ => return State::Broken,
    };
    sink.scalar_begins();
    sink.scalar(&[byte]);
    state
}

impl Number {
    /// With one byte more; `None` when it does not belong to it.
    fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus | Self::Whole, b'0'..=b'9') => Some(Self::Whole),
            (Self::Zero | Self::Whole, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Some(Self::Exponent),
            (Self::Exponent, b'+' | b'-') => Some(Self::ExponentSign),
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => {
                Some(Self::ExponentDigits)
            }
            _ => None,
        }
    }

    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction | Self::ExponentDigits)
    }
}
