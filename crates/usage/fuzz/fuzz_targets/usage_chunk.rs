//! Any chunking of a stream leaves the same of it, which is what came without some whole events.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::{Corpus, fuzz_target};
use tollgate_usage::UsageChunkFilter;
use tollgate_usage_fuzz::pieces::Lengths;

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((lengths, stream)) = input.split_first_chunk() else { return Corpus::Reject };
    let whole = filtered([stream]);
    assert_eq!(filtered(stream.chunks(1)), whole);
    assert_eq!(filtered(Lengths::new(*lengths).cut(stream)), whole);
    let mut came = stream.iter();
    assert!(whole.iter().all(|byte| came.any(|other| other == byte)), "something was added or moved");
    assert_eq!(filtered([&whole[..]]), whole, "what is left has the chunk");
    if whole != stream {
        assert!(
            stream.windows(7).any(|window| window == b"choices") || stream.contains(&b'\\'),
            "another event is missing"
        );
    }
    Corpus::Keep
});

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
