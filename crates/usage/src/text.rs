//! Tokens of a text, estimated from above.

/// Parts of a token, in which costs are added.
const PARTS: i64 = 12;

/// Adds up the tokens of texts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Text {
    parts: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Break,
    Lower,
    Upper,
    Digit,
    Mark,
    Other,
}

pub(crate) fn tokens(chars: impl Iterator<Item = char>) -> i64 {
    let mut text = Text::default();
    let mut last = Class::Space;
    let mut run = 0_i64;
    for c in chars {
        let class = match c {
            ' ' | '\t' => Class::Space,
            '\n' | '\r' => Class::Break,
            'a'..='z' => Class::Lower,
            'A'..='Z' => Class::Upper,
            '0'..='9' => Class::Digit,
            '!'..='~' => Class::Mark,
            _ => Class::Other,
        };
        run = if class == last { run + 1 } else { 1 };
        text.parts += match class {
            Class::Lower => 4,
            Class::Upper => 8,
            Class::Digit => 12,
            Class::Mark => 12,
            Class::Other => 24,
            Class::Space => {
                if run > 1 {
                    6
                } else {
                    1
                }
            }
            Class::Break => 12,
        };
        last = class;
    }
    text.parts / PARTS + 1
}
