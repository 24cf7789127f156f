//! Small bodies read in one go, for the tests of the dialects.

use crate::{Request, Response, Scanner, TokenUsage};

pub(crate) fn scan(path: &str, body: &str) -> Option<TokenUsage> {
    scan_as("application/json", path, body)
}

pub(crate) fn scan_lines(path: &str, body: &str) -> Option<TokenUsage> {
    scan_as("application/x-ndjson", path, body)
}

pub(crate) fn scan_as(content_type: &str, path: &str, body: &str) -> Option<TokenUsage> {
    let response = Response { content_type: Some(content_type), content_encoding: None };
    let mut scanner = Scanner::of(Request { method: "POST", path }, response)?;
    scanner.feed(body.as_bytes());
    scanner.finish()
}
