//! A JSON scalar read byte by byte, as a count of tokens.

/// What a document says about one field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Not there, or `null`.
    #[default]
    Missing,
    /// A count of tokens, at least zero.
    Amount(i64),
    /// There, but no count: negative, fractional, an exponent, too large, a string, an object, or said twice.
    Unreadable,
}

impl Reading {
    /// The count, if there is one.
    pub(crate) fn amount(self) -> Option<i64> {
        match self {
            Reading::Amount(amount) => Some(amount),
            Reading::Missing | Reading::Unreadable => None,
        }
    }

    /// Two shares of one count together.
    pub(crate) fn plus(self, other: Self) -> Self {
        let sum = self.amount().zip(other.amount()).and_then(|(one, two)| one.checked_add(two));
        sum.map_or(Reading::Unreadable, Reading::Amount)
    }

    /// Whether the document has the field at all.
    pub(crate) fn is_present(self) -> bool {
        match self {
            Reading::Missing => false,
            Reading::Amount(_) | Reading::Unreadable => true,
        }
    }
}

/// A reading in eight bytes: a scanner holds one for each part of each dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed(i64);

impl Packed {
    /// No count is negative.
    const MISSING: i64 = -1;
    const UNREADABLE: i64 = -2;
}

impl Default for Packed {
    fn default() -> Self {
        Self(Self::MISSING)
    }
}

impl From<Reading> for Packed {
    fn from(reading: Reading) -> Self {
        Self(match reading {
            Reading::Missing => Self::MISSING,
            Reading::Amount(amount) => amount,
            Reading::Unreadable => Self::UNREADABLE,
        })
    }
}

impl From<Packed> for Reading {
    fn from(Packed(packed): Packed) -> Self {
        match packed {
            Packed::MISSING => Reading::Missing,
            0.. => Reading::Amount(packed),
            _ => Reading::Unreadable,
        }
    }
}

/// A scalar that is still being read. No digits are kept, so its length does not matter.
///
/// `12.0` is a whole number written by a language that has only floats, and is taken; `12.5` and `1e3` are not.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scalar {
    /// Nothing read yet.
    Empty,
    /// A lone `0`, which no digit may follow.
    Zero,
    /// Digits of a whole number.
    Whole(i64),
    /// The decimal point.
    Point(i64),
    /// Zeros after the decimal point.
    Zeros(i64),
    /// The first bytes of `null`.
    Null(usize),
    /// Nothing that counts tokens.
    Unreadable,
}

impl Scalar {
    /// The scalar with one byte more.
    pub(crate) fn push(self, byte: u8) -> Self {
        const NULL: &[u8] = b"null";
        match (self, byte) {
            (Scalar::Empty, b'0') => Scalar::Zero,
            (Scalar::Empty, b'1'..=b'9') => Scalar::Whole(i64::from(byte - b'0')),
            (Scalar::Empty, b'n') => Scalar::Null(1),
            (Scalar::Null(read), _) if NULL.get(read) == Some(&byte) => Scalar::Null(read + 1),
            (Scalar::Whole(amount), b'0'..=b'9') => amount
                .checked_mul(10)
                .and_then(|amount| amount.checked_add(i64::from(byte - b'0')))
                .map_or(Scalar::Unreadable, Scalar::Whole),
            (Scalar::Zero, b'.') => Scalar::Point(0),
            (Scalar::Whole(amount), b'.') => Scalar::Point(amount),
            (Scalar::Point(amount) | Scalar::Zeros(amount), b'0') => Scalar::Zeros(amount),
            (
                Scalar::Empty
                | Scalar::Zero
                | Scalar::Whole(_)
                | Scalar::Point(_)
                | Scalar::Zeros(_)
                | Scalar::Null(_)
                | Scalar::Unreadable,
                _,
            ) => Scalar::Unreadable,
        }
    }

    /// What the finished scalar says.
    pub(crate) fn end(self) -> Reading {
        match self {
            Scalar::Zero => Reading::Amount(0),
            Scalar::Whole(amount) | Scalar::Zeros(amount) => Reading::Amount(amount),
            Scalar::Null(4) => Reading::Missing,
            Scalar::Empty | Scalar::Point(_) | Scalar::Null(_) | Scalar::Unreadable => Reading::Unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Reading {
        text.bytes().fold(Scalar::Empty, Scalar::push).end()
    }

    #[test]
    fn only_whole_numbers_count() {
        let max = i64::MAX.to_string();
        for (text, amount) in [("0", 0), ("7", 7), ("12.0", 12), ("0.000", 0), (max.as_str(), i64::MAX)] {
            assert_eq!(read(text), Reading::Amount(amount), "{text}");
        }
        assert_eq!(read("null"), Reading::Missing);
        for text in [
            "-5",
            "-0",
            "1.5",
            "1.",
            ".5",
            "1e3",
            "1e309",
            "012",
            "00",
            "NaN",
            "Infinity",
            "true",
            "nul",
            "nulll",
            "9223372036854775808",
            "18446744073709551616",
            "+5",
            "0x10",
            "1_000",
            "",
        ] {
            assert_eq!(read(text), Reading::Unreadable, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_amount_reads_back(amount in 0..=i64::MAX) {
            prop_assert_eq!(read(&amount.to_string()), Reading::Amount(amount));
            for reading in [Reading::Amount(amount), Reading::Missing, Reading::Unreadable] {
                prop_assert_eq!(Reading::from(Packed::from(reading)), reading);
            }
        }
    }
}
