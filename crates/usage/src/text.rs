//! The tokens of a text, estimated from above without a tokenizer.
//!
//! Tokenizers merge what was frequent in their training: short words and common runs are one token, rare letters are up
//! to one token for each of their bytes. So a text is cut into runs of one class, each with a cost in twelfths of a
//! token. A word's cost grows faster than its length, because long words are rare and fall apart, and because languages
//! other than English have more of them. The costs are those that bound eight vocabularies (of Claude 2, GPT-3.5,
//! GPT-4o, Llama 2 and 3, Gemma, Qwen 3, DeepSeek 3) from above on prose in 50 languages, code, JSON, logs and random
//! strings: 1.0 to 1.5 times the largest count of the eight, and 1.6 to 1.9 times GPT-4o's for English and code.
//! Only words of random letters and rare Han and Hangul characters may cost more than estimated.

/// Parts of a token, in which costs are added.
const PARTS: i64 = 12;

/// Words of 1 to 9 lower-case letters, the first of which may be a capital.
const WORDS: [i64; 9] = [12, 13, 15, 18, 23, 29, 37, 46, 55];
/// Each letter after these.
const LETTER: i64 = 8;
/// The capital that begins a word.
const CAPITAL: i64 = 2;
/// A letter in a run of capitals.
const UPPER: i64 = 7;
/// A change of case or between letters and digits within a word, as in names of variables and in base64.
const CHANGE: i64 = 9;
/// Some vocabularies have no numbers above 9.
const DIGIT: i64 = 12;
const MARK: i64 = 10;
/// The mark before once more, as in a line.
const SAME_MARK: i64 = 6;
/// A space usually belongs to the word after it, and a run of them is few tokens.
const SPACE: i64 = 1;
const BREAK: i64 = 12;

/// The twelfths of a token that texts came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    parts: i64,
}

impl Cost {
    pub(crate) const fn of_tokens(tokens: i64) -> Self {
        Self { parts: tokens.saturating_mul(PARTS) }
    }

    /// That of a text.
    pub(crate) fn of(text: impl Iterator<Item = char>) -> Self {
        let mut runs = Runs { parts: 0, last: Class::Space, before: '\0', length: 0 };
        text.for_each(|char| runs.push(char));
        Self { parts: runs.parts }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { parts: self.parts.saturating_add(other.parts) }
    }

    pub(crate) fn tokens(self) -> i64 {
        self.parts / PARTS + i64::from(self.parts % PARTS > 0)
    }
}

/// What a character is to a tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Lower,
    Upper,
    Digit,
    Mark,
    Space,
    Break,
    /// No ASCII, with its cost.
    Other(i64),
}

/// The run that is being read.
struct Runs {
    parts: i64,
    last: Class,
    before: char,
    /// Characters of the run; for lower case, those of the word.
    length: usize,
}

impl Runs {
    fn push(&mut self, char: char) {
        let class = Class::of(char);
        let is_same = class == self.last;
        let cost = match (class, self.last) {
            (Class::Lower, Class::Lower) => letter(self.length),
            // The capital turns out to begin a word.
            (Class::Lower, Class::Upper) if self.length == 1 => CAPITAL - UPPER + WORDS[1],
            (Class::Lower, Class::Digit | Class::Upper) => CHANGE + letter(0),
            (Class::Lower, _) => letter(0),
            (Class::Upper, Class::Lower | Class::Digit) => CHANGE + UPPER,
            (Class::Upper, _) => UPPER,
            (Class::Digit, Class::Lower | Class::Upper) => CHANGE + DIGIT,
            (Class::Digit, _) => DIGIT,
            (Class::Mark, _) if char == self.before => SAME_MARK,
            (Class::Mark, _) => MARK,
            (Class::Space, _) => SPACE,
            (Class::Break, _) => BREAK,
            (Class::Other(cost), _) => cost,
        };
        let continues = is_same || class == Class::Lower && self.last == Class::Upper && self.length == 1;
        self.length = if continues { self.length.saturating_add(1) } else { 1 };
        self.parts = self.parts.saturating_add(cost);
        (self.last, self.before) = (class, char);
    }
}

/// What a word of `length` letters costs more with one more.
fn letter(length: usize) -> i64 {
    match (WORDS.get(length), length.checked_sub(1).and_then(|shorter| WORDS.get(shorter))) {
        (Some(longer), Some(shorter)) => longer - shorter,
        (Some(first), None) => *first,
        (None, _) => LETTER,
    }
}

impl Class {
    /// A character outside ASCII costs what prose of its script does, or one token for each byte where that is rare.
    fn of(char: char) -> Self {
        match char {
            'a'..='z' => Self::Lower,
            'A'..='Z' => Self::Upper,
            '0'..='9' => Self::Digit,
            ' ' => Self::Space,
            '\0'..='\x1f' | '\x7f' => Self::Break,
            '!'..='~' => Self::Mark,
            // Latin with marks.
            '\u{80}'..='\u{24f}' => Self::Other(20),
            // Greek.
            '\u{370}'..='\u{3ff}' => Self::Other(16),
            // Cyrillic.
            '\u{400}'..='\u{52f}' => Self::Other(11),
            // Hebrew and Arabic.
            '\u{590}'..='\u{6ff}' => Self::Other(16),
            // Armenian among them: the spaces between words that are bytes are tokens too.
            '\u{250}'..='\u{7ff}' => Self::Other(26),
            // Devanagari.
            '\u{900}'..='\u{97f}' => Self::Other(17),
            // Thai.
            '\u{e00}'..='\u{e7f}' => Self::Other(22),
            // Georgian.
            '\u{10a0}'..='\u{10ff}' => Self::Other(26),
            // Kana, and the marks of East Asian texts.
            '\u{3000}'..='\u{30ff}' | '\u{ff00}'..='\u{ff9f}' => Self::Other(13),
            // Han.
            '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' => Self::Other(20),
            // Hangul.
            '\u{ac00}'..='\u{d7af}' => Self::Other(18),
            '\u{800}'..='\u{ffff}' => Self::Other(38),
            '\u{10000}'..='\u{10ffff}' => Self::Other(48),
        }
    }
}
