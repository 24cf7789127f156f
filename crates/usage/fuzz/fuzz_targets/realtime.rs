//! Any chunking of a WebSocket says the same, of arbitrary bytes and of frames around arbitrary payloads.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use tollgate_usage::{Realtime, TokenUsage};
use tollgate_usage_fuzz::pieces::Lengths;
use tollgate_usage_fuzz::websocket::frame;

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&[are_frames, ref lengths @ ..], rest)) = input.split_first_chunk::<5>() else {
        return Corpus::Reject;
    };
    let (bytes, ends) = if are_frames & 1 == 1 { frames(rest) } else { (rest.to_vec(), Vec::new()) };
    let (mut pieces, mut single, mut whole) = (Reader::default(), Reader::default(), Reader::default());
    for piece in Lengths::new(*lengths).cut(&bytes) {
        pieces.feed(piece);
        piece.chunks(1).for_each(|byte| single.feed(byte));
        assert_eq!(pieces.seen(), single.seen());
    }
    whole.feed(&bytes);
    assert_eq!(whole.seen(), pieces.seen());

    let mut steps = Reader::default();
    let (mut at, mut last) = (0, 0);
    while at < bytes.len() {
        // One byte first: at a boundary nothing is read up to the next.
        steps.feed(&bytes[at..=at]);
        at += 1;
        let Some(read) = steps.realtime.feed_to_boundary(&bytes[at..], |usage| steps.usages.push(usage))
        else {
            break;
        };
        at += read;
        assert!(steps.realtime.is_at_boundary(), "a boundary is none");
        if !steps.realtime.has_unread() && !ends.is_empty() {
            assert!(ends.contains(&at), "no frame ends at {at}");
            assert!(!ends.iter().any(|&end| last < end && end < at), "a frame ends before {at}");
        }
        last = at;
    }
    assert_eq!(steps.seen(), whole.seen());
    Corpus::Keep
});

/// The frames that `input` says, and where each ends: the first byte, a mask or none, the length, the payload.
fn frames(input: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends, mut rest) = (Vec::new(), Vec::new(), input);
    while let Some((&[first, mask, high, low], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (payload, after) = after.split_at(length.min(after.len()));
        bytes.extend(frame(first, (mask & 1 == 1).then_some([mask, first, low, !mask]), payload));
        ends.push(bytes.len());
        rest = after;
    }
    (bytes, ends)
}

#[derive(Default)]
struct Reader {
    realtime: Realtime,
    usages: Vec<TokenUsage>,
}

impl Reader {
    fn feed(&mut self, bytes: &[u8]) {
        self.realtime.feed(bytes, |usage| self.usages.push(usage));
    }

    fn seen(&self) -> (&[TokenUsage], Option<&str>, bool, bool) {
        let amounts = self.usages.iter().flat_map(|usage| [usage.input, usage.output, usage.total_reported]);
        assert!(amounts.flatten().all(|amount| amount >= 0), "{:?}", self.usages);
        let realtime = &self.realtime;
        (&self.usages, realtime.model(), realtime.has_unread(), realtime.is_at_boundary())
    }
}
