//! Fields that a route names are found in any chunks, and where serde_json finds them.
#![no_main]

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::Value;
use tollgate_core::Pointer;
use tollgate_usage::{Pointers, Response, Scanner, Shape};
use tollgate_usage_fuzz::case::Case;
use tollgate_usage_fuzz::pointed::amount;
use tollgate_usage_fuzz::seen::Seen;

/// Pointers whose shapes are kept: making one takes longer than reading a body.
const SHAPES_MAX: usize = 256;

static SHAPES: Mutex<BTreeMap<Vec<u8>, Shape>> = Mutex::new(BTreeMap::new());

fuzz_target!(|input: &[u8]| -> Corpus {
    // Six pointers, each with an LF behind it, come before the case.
    let Some((end, _)) = input.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(5) else {
        return Corpus::Reject;
    };
    let (lines, rest) = input.split_at(end + 1);
    let (Some(case), pointers) = (Case::of(rest), pointers(lines)) else { return Corpus::Reject };
    let total_at = pointers.total.clone();
    let shape = shape(lines, &pointers);
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
    assert_eq!(Seen::of(&whole), Seen::of(&pieces));
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

/// What the lines say; those that are no pointers say none.
fn pointers(lines: &[u8]) -> Pointers {
    let mut lines = lines.split(|byte| *byte == b'\n');
    let mut pointer = || -> Option<Pointer> { std::str::from_utf8(lines.next()?).ok()?.parse().ok() };
    let [total, input, output, cached_read, reasoning, model] = [(); 6].map(|()| pointer());
    Pointers { input, output, total, cached_read, reasoning, model, ..Pointers::default() }
}

fn shape(lines: &[u8], pointers: &Pointers) -> Shape {
    let mut shapes = SHAPES.lock().unwrap_or_else(PoisonError::into_inner);
    if shapes.len() >= SHAPES_MAX {
        shapes.clear();
    }
    shapes.entry(lines.to_vec()).or_insert_with(|| pointers.shape()).clone()
}
