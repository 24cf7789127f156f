//! Fields that a route names are found in any chunks, and where serde_json finds them.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::Value;
use tollgate_core::Pointer;
use tollgate_usage::{Pointers, Response, Scanner, Shape};
use tollgate_usage_fuzz::case::Case;
use tollgate_usage_fuzz::pointed::amount;
use tollgate_usage_fuzz::seen::Seen;

fuzz_target!(|input: &[u8]| -> Corpus {
    // Six pointers, separated by LF, come before the case.
    let mut parts = input.splitn(7, |byte| *byte == b'\n');
    let mut pointer = || -> Option<Pointer> { std::str::from_utf8(parts.next()?).ok()?.parse().ok() };
    let [total, input, output, cached_read, reasoning, model] = [(); 6].map(|()| pointer());
    let Some(case) = parts.next().and_then(Case::of) else { return Corpus::Reject };
    let total_at = total.clone();
    let shape =
        Pointers { input, output, total, cached_read, reasoning, model, ..Pointers::default() }.shape();
    let scanner = || Scanner::with_pointers(&shape, case.response);
    let [Some(mut pieces), Some(mut bytes), Some(mut whole)] = [(); 3].map(|()| scanner()) else {
        return Corpus::Reject;
    };
    for piece in case.lengths.cut(case.body) {
        pieces.feed(piece);
        piece.chunks(1).for_each(|byte| bytes.feed(byte));
        assert_eq!(Seen::of(&pieces), Seen::of(&bytes));
    }
    whole.feed(case.body);
    let seen = Seen::of(&whole);
    assert_eq!(seen, Seen::of(&pieces));
    if let (Some(pointer), Ok(document)) = (total_at, serde_json::from_slice::<Value>(case.body)) {
        assert_is_found(&pointer, &shape, &document);
    }
    Corpus::Keep
});

/// Written anew, because a key that is there twice is unclear to us.
fn assert_is_found(pointer: &Pointer, shape: &Shape, document: &Value) {
    let Ok(expected) = amount(document, pointer) else { return };
    let response = Response { content_type: Some("application/json"), content_encoding: None };
    let mut scanner = Scanner::with_pointers(shape, response).expect("JSON is read");
    scanner.feed(format!("{document:#}").as_bytes());
    assert_eq!(scanner.finish().and_then(|usage| usage.total_reported), expected, "{document}");
}
