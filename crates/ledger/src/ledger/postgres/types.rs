//! Values as Postgres has them.

use std::{borrow::Cow, error::Error};

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tollgate_core::UnixMillis;

/// From 1970 to 2000, where Postgres counts from.
const EPOCH_MILLIS: i64 = 946_684_800_000;
/// What Postgres can tell from infinity, in microseconds from 2000: from 4713 BC to 294276.
const MICROS_MIN: i64 = -211_813_488_000_000_000;
const MICROS_END: i64 = 9_223_371_331_200_000_000;

/// A timestamptz. What is out of its range is infinite, as the ends of all time are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At(pub(super) i64);

impl At {
    /// As microseconds from 2000.
    pub(super) fn micros(self) -> i64 {
        let micros = self.0.checked_sub(EPOCH_MILLIS).and_then(|millis| millis.checked_mul(1000));
        match micros.filter(|micros| (MICROS_MIN..MICROS_END).contains(micros)) {
            Some(micros) => micros,
            None if self.0 < 0 => i64::MIN,
            None => i64::MAX,
        }
    }

    /// What is read back.
    pub(super) fn kept(self) -> Self {
        Self::from_micros(self.micros())
    }

    fn from_micros(micros: i64) -> Self {
        match micros {
            i64::MIN | i64::MAX => Self(micros),
            _ => Self(micros.div_euclid(1000).saturating_add(EPOCH_MILLIS)),
        }
    }
}

impl From<UnixMillis> for At {
    fn from(at: UnixMillis) -> Self {
        Self(at.0)
    }
}

impl ToSql for At {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i64(self.micros());
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for At {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let micros = raw.first_chunk().copied().ok_or("a timestamp has eight bytes")?;
        Ok(Self::from_micros(i64::from_be_bytes(micros)))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }
}

/// A text as Postgres can keep it: it has no zero characters.
pub(super) fn stored(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// Metadata as jsonb keeps it, in one way of writing it. What is no JSON, or none that jsonb takes, is a
/// JSON string: a line must not be kept out of the ledger by what it says about itself.
pub(super) fn stored_json(text: &str) -> String {
    let text = stored(text);
    let parsed = serde_json::from_str::<serde_json::Value>(&text).map(|value| value.to_string());
    match parsed {
        Ok(json) if !json.contains("\\u0000") => json,
        Ok(_) | Err(_) => serde_json::Value::String(text.replace("\\u0000", "\u{fffd}")).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_survive_and_the_ends_are_infinite() {
        for at in [0, -1, 946_684_800_000, 1_795_377_600_123, -62_135_596_800_000] {
            assert_eq!(At::from_micros(At(at).micros()), At(at));
        }
        for at in [i64::MIN, i64::MAX] {
            assert_eq!(At(at).micros(), at);
            assert_eq!(At::from_micros(at), At(at));
        }
        assert_eq!((At(i64::MIN / 2).micros(), At(i64::MAX / 2).micros()), (i64::MIN, i64::MAX));
    }

    #[test]
    fn any_metadata_is_json_that_stays_the_same() {
        for text in
            ["", "{", "{\"a\":1e999}", "\"\\u0000\"", "{\"b\":1.50, \"a\":[1e2]}", "\0", "\"\\ud800\""]
        {
            let json = stored_json(text);
            assert_eq!(stored_json(&json), json, "{text:?}");
            assert!(!json.contains("\\u0000") && !json.contains('\0'), "{text:?}");
        }
        assert_eq!(stored_json("{\"b\": 1, \"a\": 2}"), "{\"a\":2,\"b\":1}");
    }
}
