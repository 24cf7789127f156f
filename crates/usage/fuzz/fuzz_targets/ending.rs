//! A stream that is ended at any of its boundaries goes on to be one, without errors.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use tollgate_usage::Progress;
use tollgate_usage_fuzz::case::Case;
use tollgate_usage_fuzz::ending::documents;
use tollgate_usage_fuzz::seen::Seen;

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&[flags, cut, input_tokens, output_tokens], input)) = input.split_first_chunk() else {
        return Corpus::Reject;
    };
    let Some(case) = Case::of(input) else { return Corpus::Reject };
    let [Some(mut scanner), Some(mut bytes), Some(mut whole)] = [(); 3].map(|()| case.plain_scanner()) else {
        return Corpus::Reject;
    };
    let cut = case.body.len() * usize::from(cut) / 255;
    scanner.feed(&case.body[..cut]);
    case.body[..cut].chunks(1).for_each(|byte| bytes.feed(byte));
    let read = scanner.feed_to_boundary(&case.body[cut..]);
    let next = (cut..=case.body.len()).find(|&at| {
        if at > cut {
            bytes.feed(&case.body[at - 1..at]);
        }
        bytes.is_at_boundary()
    });
    assert_eq!(read.map(|read| cut + read), next, "another boundary with other pieces");
    assert_eq!(Seen::of(&scanner), Seen::of(&bytes));
    let Some(end_at) = next else {
        assert_eq!(scanner.final_events(Progress::default(), false), None);
        return Corpus::Keep;
    };

    let said = scanner.progress();
    let progress = match flags & 2 {
        0 => said,
        _ => Progress { input: Some(amount(input_tokens)), output: amount(output_tokens) },
    };
    let wants_usage = flags & 1 == 1;
    let end = scanner.final_events(progress, wants_usage);
    assert_eq!(bytes.final_events(progress, wants_usage), end);
    let Some(end) = end.filter(|end| !end.is_empty()) else { return Corpus::Keep };
    let content_type = case.response.content_type.expect("a case has one");
    assert!(!documents(content_type, &end).is_empty(), "it is no ending");

    whole.feed(&case.body[..end_at]);
    whole.feed(&end);
    assert!(whole.is_at_boundary() || end.ends_with(b"]"), "the end is cut");
    assert_eq!(whole.has_error(), scanner.has_error());
    // Usage is what the caller says, even if that is less.
    let least = said.output.min(progress.output);
    assert!(whole.progress().output >= least, "the end takes back what was written");
    Corpus::Keep
});

/// Small numbers and the largest.
fn amount(byte: u8) -> i64 {
    if byte == u8::MAX { i64::MAX } else { i64::from(byte) }
}
