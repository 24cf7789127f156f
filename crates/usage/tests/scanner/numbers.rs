//! What is no count of tokens is absent: never wrapped, never zero.

use tollgate_usage::{Framing, Scanner, TokenUsage};

fn scan(framing: Framing, body: &str) -> Option<TokenUsage> {
    let mut scanner = Scanner::new(framing);
    scanner.feed(body.as_bytes());
    scanner.finish()
}

#[test]
fn unreadable_counts_are_absent() {
    for bad in [
        "-5",
        "NaN",
        "1e309",
        "9223372036854775808",
        "18446744073709551616",
        "1.5",
        "\"12\"",
        "{}",
        "[12]",
        "true",
        "012",
        "-9223372036854775809",
        "Infinity",
        "0x1f",
    ] {
        let body =
            format!(r#"{{"usage":{{"prompt_tokens":{bad},"completion_tokens":8,"other":{bad}}},"x":{bad}}}"#);
        let usage = scan(Framing::Json, &body).expect(bad);
        assert_eq!((usage.input, usage.output, usage.total()), (None, Some(8), None), "{bad}");
        let alone = format!(r#"{{"usage":{{"total_tokens":{bad}}}}}"#);
        assert_eq!(scan(Framing::Json, &alone), None, "{bad}");
    }
}

#[test]
fn sums_beyond_i64_are_absent() {
    let body = format!(r#"{{"usage":{{"prompt_tokens":{},"completion_tokens":1}}}}"#, i64::MAX);
    assert_eq!(scan(Framing::Json, &body).unwrap().total(), None);
}

#[test]
fn explicit_zero_is_an_amount() {
    let usage = scan(Framing::Json, r#"{"usage":{"prompt_tokens":0,"completion_tokens":0}}"#).unwrap();
    assert_eq!(usage.total(), Some(0));
}

#[test]
fn a_key_given_twice_is_absent() {
    let usage =
        scan(Framing::Json, r#"{"usage":{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens":0}}"#);
    assert_eq!(usage.unwrap().total(), None);
    let usage = scan(
        Framing::Json,
        r#"{"usage":{"prompt_tokens":9,"completion_tokens":1},"usage":{"prompt_tokens":0}}"#,
    );
    assert_eq!(usage.unwrap().total(), None);
}

#[test]
fn usage_twice_in_a_stream_is_the_last() {
    let event =
        |n: i64| format!("data: {{\"usage\":{{\"prompt_tokens\":{n},\"completion_tokens\":{n}}}}}\n\n");
    assert_eq!(scan(Framing::Sse, &(event(3) + &event(5))).unwrap().total(), Some(10));
    let then_null = event(3) + "data: {\"usage\":null}\n\n";
    assert_eq!(scan(Framing::Sse, &then_null).unwrap().total(), Some(6));
    let then_bad = event(3) + "data: {\"usage\":{\"completion_tokens\":-1}}\n\n";
    assert_eq!(scan(Framing::Sse, &then_bad).unwrap().total(), None);
}

#[test]
fn usage_elsewhere_is_not_usage() {
    for body in [
        r#"{"choices":[{"usage":{"total_tokens":5}}]}"#,
        r#"{"choices":{"usage":{"total_tokens":5}}}"#,
        r#"[{"usage":{"total_tokens":5}}]"#,
        r#"{"text":"\"usage\":{\"total_tokens\":5}"}"#,
        r#"{"total_tokens":5}"#,
        r#""usage""#,
        r#"{"usage":"total_tokens"}"#,
    ] {
        assert_eq!(scan(Framing::Json, body), None, "{body}");
    }
}

#[test]
fn escaped_and_very_long_keys_are_read_as_json_means_them() {
    let long = "u".repeat(100_000);
    let body = format!(
        "\u{feff}{{\"{long}\":{{\"usage\":1}},\"us\\u0061ge\":{{\"total_\\u0074okens\":5,\"\\\"\":1}}}}"
    );
    assert_eq!(scan(Framing::Json, &body).unwrap().total(), Some(5));
}

#[test]
fn depth_does_not_matter() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = open.repeat(100_000) + "1" + &close.repeat(100_000);
        let body = format!(r#"{{"a":{deep},"usage":{{"x":{deep},"total_tokens":5}}}}"#);
        assert_eq!(scan(Framing::Json, &body).unwrap().total(), Some(5));
    }
}
