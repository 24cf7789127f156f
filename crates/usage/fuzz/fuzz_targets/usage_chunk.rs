//! Any chunking of a stream leaves the same of it, which is what came without some whole events.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::Value;
use tollgate_usage::{USAGE_CHUNK_BYTES_MAX, UsageChunkFilter};
use tollgate_usage_fuzz::events::{data, events};
use tollgate_usage_fuzz::pieces::Lengths;

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((lengths, stream)) = input.split_first_chunk() else { return Corpus::Reject };
    let whole = filtered([stream]);
    assert_eq!(filtered(stream.chunks(1)), whole);
    assert_eq!(filtered(Lengths::new(*lengths).cut(stream)), whole);
    let mut came = stream.iter();
    assert!(whole.iter().all(|byte| came.any(|other| other == byte)), "something was added or moved");
    assert_eq!(filtered([&whole[..]]), whole, "what is left has the chunk");
    assert_only_chunks_are_missing(stream);
    Corpus::Keep
});

/// Event by event, where another reader knows what the event is.
fn assert_only_chunks_are_missing(stream: &[u8]) {
    let mut filter = UsageChunkFilter::new();
    for event in events(stream) {
        let mut left = 0;
        filter.feed(&Bytes::copy_from_slice(event), |bytes| left += bytes.len());
        if let Some(is_chunk) = is_usage_chunk(event) {
            assert_eq!(left < event.len(), is_chunk, "{:?}", String::from_utf8_lossy(event));
        }
    }
}

/// Whether `event` has usage and no choice; `None` when that depends on the reader: keys that are there twice, escapes,
/// byte order marks, and what is no JSON.
fn is_usage_chunk(event: &[u8]) -> Option<bool> {
    let count = |key: &[u8]| event.windows(key.len()).filter(|window| *window == key).count();
    let is_marked = event.iter().any(|byte| matches!(byte, b'\\' | 0xef | 0xbb | 0xbf));
    if is_marked || count(b"choices") > 1 || count(b"usage") > 1 {
        return None;
    }
    let document: Value = serde_json::from_slice(&data(event)).ok()?;
    let has_no_choice = document.get("choices").and_then(Value::as_array).is_some_and(Vec::is_empty);
    let has_usage = document.get("usage").is_some_and(|usage| !usage.is_null());
    Some(has_no_choice && has_usage && event.len() <= USAGE_CHUNK_BYTES_MAX)
}

fn filtered<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut filter = UsageChunkFilter::new();
    let mut seen = Vec::new();
    for chunk in chunks {
        filter.feed(&Bytes::copy_from_slice(chunk), |bytes| {
            assert!(!bytes.is_empty(), "nothing is passed on");
            seen.extend_from_slice(&bytes);
        });
    }
    let held = filter.finish();
    assert!(held.as_ref().is_none_or(|held| !held.is_empty()), "nothing is held back");
    seen.extend(held.into_iter().flatten());
    seen
}
