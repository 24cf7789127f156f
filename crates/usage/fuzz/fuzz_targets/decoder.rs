//! A compressed body is read as if it were plain: all of it, and what of it has come when its service flushed.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use tollgate_usage_fuzz::case::Case;
use tollgate_usage_fuzz::encode::encode;
use tollgate_usage_fuzz::seen::Seen;

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&[flushed, is_bare], input)) = input.split_first_chunk() else { return Corpus::Reject };
    let Some(case) = Case::of(input) else { return Corpus::Reject };
    let Some(coding) = case.response.content_encoding else { return Corpus::Reject };
    let (Some(mut scanner), Some(mut plain)) = (case.scanner(), case.plain_scanner()) else {
        return Corpus::Reject;
    };
    let halves: [&[u8]; 2] = case.body.split_at(case.body.len() * usize::from(flushed) / 255).into();
    let coding = if is_bare & 1 == 1 && coding == "deflate" { "bare deflate" } else { coding };
    for (coded, body) in encode(coding, halves).expect("writing to memory").into_iter().zip(halves) {
        case.lengths.cut(&coded).for_each(|piece| scanner.feed(piece));
        plain.feed(body);
        // A compressed stream is never ended.
        let expected = Seen { is_at_boundary: false, ..Seen::of(&plain) };
        assert_eq!(Seen::of(&scanner), expected, "{coding}");
    }
    Corpus::Keep
});
