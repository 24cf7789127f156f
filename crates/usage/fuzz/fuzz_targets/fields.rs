//! Fields of any document say the same in any chunks, and what a reader of the whole document finds.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::Value;
use tollgate_core::{Decimal, Pointer, Wanted};
use tollgate_usage::{Field, FieldReader, Fields, Said, Want};
use tollgate_usage_fuzz::pieces::{LENGTHS, Lengths};
use tollgate_usage_fuzz::pointed;

/// All that a reader says of its fields.
type AllSaid = (Said<Decimal>, Option<String>, [Said<i64>; 2], Option<bool>);

fn said(reader: &FieldReader) -> AllSaid {
    let id = match reader.id(1) {
        Said::Value(id) => Some(id.to_owned()),
        Said::Missing | Said::Wrong => None,
    };
    (reader.amount(0), id, [reader.bytes(2), reader.bytes(3)], reader.is_met(4))
}

fn read<'a>(pointer: &Pointer, pieces: impl Iterator<Item = &'a [u8]>) -> AllSaid {
    let present = Want::AnyOf([Wanted::Present].into());
    let wants = [Want::Amount, Want::Id, Want::TextBytes, Want::JsonBytes, present];
    let fields = wants.map(|want| Field { pointer: pointer.clone(), want });
    let mut reader = Fields::of(fields.into()).reader(None).expect("no coding");
    pieces.for_each(|piece| reader.feed(piece));
    reader.end();
    said(&reader)
}

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some(end) = input.iter().position(|&byte| byte == b'\n') else { return Corpus::Reject };
    let (line, rest) = input.split_at(end);
    let pointer = std::str::from_utf8(line).ok().and_then(|text| text.parse::<Pointer>().ok());
    let (Some(pointer), Some((lengths, body))) = (pointer, rest[1..].split_first_chunk::<LENGTHS>()) else {
        return Corpus::Reject;
    };
    let whole = read(&pointer, std::iter::once(body));
    assert_eq!(read(&pointer, Lengths::new(*lengths).cut(body)), whole, "in pieces");
    assert_eq!(read(&pointer, body.chunks(1)), whole, "byte by byte");
    let Ok(document) = serde_json::from_slice::<Value>(body) else { return Corpus::Keep };
    // What is there twice is told of neither.
    if let Some(is_there) = whole.3 {
        let values = pointed::values(&document, &pointer.tokens().collect::<Vec<_>>());
        assert_eq!(is_there, values.iter().any(|value| !value.is_null()));
        if let (Said::Value(amount), true) = (whole.0, values.iter().all(|value| value.is_i64())) {
            let sum = values.iter().filter_map(|value| value.as_i64()).map(Decimal::from);
            assert_eq!(
                Some(amount),
                sum.map(Some).fold(Some(Decimal::ZERO), |sum, one| sum?.checked_add(one?))
            );
        }
        if let (Said::Value(bytes), [Value::String(text)]) = (whole.2[0], &values[..]) {
            assert_eq!(usize::try_from(bytes), Ok(text.len()));
        }
    }
    Corpus::Keep
});
