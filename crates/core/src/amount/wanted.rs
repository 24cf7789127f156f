//! Values that tell requests apart.

use super::Decimal;

/// What a value is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// It is there, and not `null`.
    Present,
    /// It is this text, byte for byte.
    Text(Box<str>),
    /// It is this number, however it is written; also as text.
    Number(Decimal),
    /// It is true, or it is false; also as text.
    Boolean(bool),
}

/// What stands somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A text, or a header's value.
    Text(&'a str),
    /// A number as it is written.
    Number(&'a str),
    /// True or false.
    Boolean(bool),
    /// What is none of these, and not `null`.
    Other,
}

impl Wanted {
    /// Bytes that a wanted text has at most: longer values are none that tell requests apart.
    pub const TEXT_BYTES_MAX: usize = 256;

    /// Whether `value` is what is wanted.
    #[must_use]
    pub fn is(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::Present, _) => true,
            (Self::Text(wanted), Value::Text(text)) => **wanted == *text,
            (Self::Number(wanted), Value::Text(text) | Value::Number(text)) => {
                Decimal::parse(text) == Some(*wanted)
            }
            (Self::Boolean(wanted), Value::Boolean(truth)) => *wanted == truth,
            (Self::Boolean(wanted), Value::Text(text)) => text == if *wanted { "true" } else { "false" },
            (Self::Text(_) | Self::Number(_) | Self::Boolean(_), _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_they_are() {
        let number = |text: &str| Wanted::Number(Decimal::parse(text).unwrap());
        for (wanted, value, expected) in [
            (Wanted::Present, Value::Other, true),
            (Wanted::Present, Value::Text(""), true),
            (Wanted::Text("stm".into()), Value::Text("stm"), true),
            (Wanted::Text("stm".into()), Value::Text("STM"), false),
            (Wanted::Text("1".into()), Value::Number("1"), false),
            (number("3"), Value::Number("3.00"), true),
            (number("3"), Value::Number("30e-1"), true),
            (number("3"), Value::Text("3"), true),
            (number("3"), Value::Text("three"), false),
            (number("3"), Value::Boolean(true), false),
            (Wanted::Boolean(true), Value::Boolean(true), true),
            (Wanted::Boolean(true), Value::Text("true"), true),
            (Wanted::Boolean(false), Value::Text("true"), false),
            (Wanted::Boolean(false), Value::Other, false),
        ] {
            assert_eq!(wanted.is(value), expected, "{wanted:?} {value:?}");
        }
    }
}
