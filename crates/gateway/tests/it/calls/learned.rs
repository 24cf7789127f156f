//! Holds that learn: where limits may be passed by what turns out, what is usual is held.

use tollgate_testkit::{Answer, BOUND, Origin, eventually};

use super::{CHAT, Calls, Setting, answer, chat, chat_stream};

/// More than the gateway wants to have seen.
const ANSWERS: usize = 80;
const USUAL: i64 = 20;
/// Up to a quarter more than what was seen.
const USUAL_HELD: std::ops::RangeInclusive<i64> = 20..=25;

/// A gateway that has seen many answers.
fn taught(limits: &str) -> Calls {
    let origin = Origin::builder().on(CHAT, answer(5, USUAL)).on("/hang/chat/completions", Answer::Hang);
    let calls = Setting::new().llm("client_gone = \"cancel\"").limits(limits).start(origin);
    assert_eq!(held_for(&calls, "gpt", true), 1000, "nothing is known yet");
    for _ in 0..ANSWERS {
        assert_eq!(calls.call("ann", CHAT, chat(1000)).status, 200);
    }
    calls
}

/// What a call for 1000 tokens holds.
fn held_for(calls: &Calls, model: &str, is_stream: bool) -> i64 {
    let before = calls.origin.requests();
    let mut body = if is_stream { chat_stream(1000) } else { chat(1000) };
    body["model"] = model.into();
    let wire = calls.sent("bob", "/hang/chat/completions", body);
    assert!(calls.origin.wait_requests(before + 1, BOUND));
    let held = calls.held("output");
    drop(wire);
    assert!(eventually(BOUND, || calls.held("output") == 0));
    held
}

#[test]
fn where_overage_is_charged_the_usual_is_held() {
    let calls = taught("output = { limit = \"1M/lifetime\", over = \"charge\" }");
    for is_stream in [true, false] {
        let held = held_for(&calls, "gpt", is_stream);
        assert!(USUAL_HELD.contains(&held), "{held}, in a stream: {is_stream}");
    }
    assert_eq!(held_for(&calls, "another", true), 1000, "of another model nothing is known");
}

#[test]
fn an_overdraw_covers_what_is_unusual_as_far_as_it_goes() {
    let calls = taught("output = { limit = \"1M/lifetime\", overdraw = 5000 }");
    let held = held_for(&calls, "gpt", true);
    assert!(USUAL_HELD.contains(&held), "{held}");
    // What comes in one piece cannot be ended where the overdraw ends, and many at once would pass it.
    assert_eq!(held_for(&calls, "gpt", false), 1000);
    let calls = taught("output = { limit = \"1M/lifetime\", overdraw = 300 }");
    assert_eq!(held_for(&calls, "gpt", true), 700, "all but what the overdraw covers");
}

#[test]
fn under_a_hard_limit_the_most_is_held_whatever_is_usual() {
    let calls = taught("output = \"1M/lifetime\"");
    for is_stream in [true, false] {
        assert_eq!(held_for(&calls, "gpt", is_stream), 1000);
    }
}
