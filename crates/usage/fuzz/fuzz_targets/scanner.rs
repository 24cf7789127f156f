//! Any chunking of any body gives the same, at every point of it.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use tollgate_usage_fuzz::case::Case;
use tollgate_usage_fuzz::seen::Seen;

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some(case) = Case::of(input) else { return Corpus::Reject };
    let [Some(mut pieces), Some(mut bytes), Some(mut whole)] = [(); 3].map(|()| case.scanner()) else {
        return Corpus::Reject;
    };
    for piece in case.lengths.cut(case.body) {
        pieces.feed(piece);
        piece.chunks(1).for_each(|byte| bytes.feed(byte));
        assert_eq!(Seen::of(&pieces), Seen::of(&bytes));
    }
    whole.feed(case.body);
    assert_eq!(Seen::of(&whole), Seen::of(&pieces));
    assert_eq!(whole.usage(), whole.finish());
    Corpus::Keep
});
