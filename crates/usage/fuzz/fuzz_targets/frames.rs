//! Frames of the AWS event stream around arbitrary payloads, read as the frames they are; also after a broken one.
#![no_main]

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use libfuzzer_sys::{Corpus, fuzz_target};
use tollgate_usage_fuzz::case::Case;
use tollgate_usage_fuzz::frame::{event, frame, header};
use tollgate_usage_fuzz::seen::Seen;

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some(case) = Case::of(input) else { return Corpus::Reject };
    let case = case.in_frames();
    let [Some(mut pieces), Some(mut bytes), Some(mut frames)] = [(); 3].map(|()| case.scanner()) else {
        return Corpus::Reject;
    };
    let (mut body, mut rest, mut is_broken) = (Vec::new(), case.body, false);
    while let Some((next, after)) = next_frame(rest) {
        let Frame { bytes, breaks } = next;
        frames.feed(&bytes);
        is_broken |= breaks;
        assert_eq!(frames.is_at_boundary(), !is_broken);
        body.extend(bytes);
        rest = after;
    }
    for piece in case.lengths.cut(&body) {
        pieces.feed(piece);
        piece.chunks(1).for_each(|byte| bytes.feed(byte));
        assert_eq!(Seen::of(&pieces), Seen::of(&bytes));
    }
    assert_eq!(Seen::of(&pieces), Seen::of(&frames));
    Corpus::Keep
});

struct Frame {
    bytes: Vec<u8>,
    /// Nothing can be read from this frame on.
    breaks: bool,
}

/// The frame at the beginning of `input`: its kind, the lengths of its parts, the parts.
fn next_frame(input: &[u8]) -> Option<(Frame, &[u8])> {
    let (&[kind, name, high, low], rest) = input.split_first_chunk()?;
    let (name, rest) = rest.split_at(usize::from(name).min(rest.len()));
    let payload = usize::from(u16::from_be_bytes([high, low]));
    let (payload, rest) = rest.split_at(payload.min(rest.len()));
    let bytes = match kind % 8 {
        0 | 1 => event(name, payload),
        2 => event(name, format!("{{\"bytes\":\"{}\"}}", BASE64_STANDARD.encode(payload)).as_bytes()),
        3 => event(b"chunk", payload),
        4 => frame(
            &[header(b":exception-type", name), header(b":message-type", b"exception")].concat(),
            payload,
        ),
        5 => frame(&header(name, payload), payload),
        // Headers that may be none.
        6 => frame(name, payload),
        _ => {
            let mut broken = event(name, payload);
            broken[8] ^= 1;
            return Some((Frame { bytes: broken, breaks: true }, rest));
        }
    };
    Some((Frame { bytes, breaks: false }, rest))
}
