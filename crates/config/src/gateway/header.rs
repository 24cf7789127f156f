//! Names of identity headers: valid, not needed for anything else, and distinct in every spelling.

use http::HeaderName;

use crate::{
    report::Flaw,
    section::Section,
    text::{NAME_BYTES_MAX, quote},
};

/// Headers that carry the message or that the gateway writes itself, folded. Identity in one of them
/// would break requests or be overwritten.
const TAKEN: [&str; 23] = [
    "accept",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "traceparent",
    "tracestate",
    "upgrade",
    "via",
    "x-request-id",
    "proxy-authorization",
    "user-agent",
];

/// Prefixes of header names that the gateway writes or reads itself, folded.
const TAKEN_PREFIXES: [&str; 4] = ["x-forwarded-", "x-usage-", "x-ratelimit-", "ratelimit"];

/// The names read so far, folded, each with its key.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<(String, &'static str)>);

impl Names {
    /// The header name that `key` says, or `default`.
    pub(super) fn read(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        default: HeaderName,
    ) -> HeaderName {
        let item = section.get(key);
        let example = format!("{:?}", default.as_str());
        let name = item.as_ref().and_then(|item| item.parsed(&example, parse)).unwrap_or(default);
        let folded = fold(name.as_str());
        if let Some((_, other)) = self.0.iter().find(|(known, _)| *known == folded) {
            let flaw = |message| Flaw::new(message, "name another header");
            let name = name.as_str();
            match item {
                Some(item) => item.wrong(flaw(format!("{name:?} is also the header of {other}"))),
                None => section.wrong(flaw(format!("{name:?} of {key} is also the header of {other}"))),
            }
        }
        self.0.push((folded, key));
        name
    }
}

fn parse(text: &str) -> Result<HeaderName, Flaw> {
    let flaw = |why: &str, suggestion: &str| Flaw::new(format!("{} {why}", quote(text)), suggestion);
    let name = HeaderName::from_bytes(text.as_bytes())
        .ok()
        .filter(|name| name.as_str().bytes().any(|b| b.is_ascii_alphanumeric()))
        .ok_or_else(|| flaw("is not a header name", "use letters, digits and \"-\", as in \"X-User-Id\""))?;
    if text.len() > NAME_BYTES_MAX {
        return Err(flaw("is too long", &format!("use at most {NAME_BYTES_MAX} characters")));
    }
    let folded = fold(text);
    if TAKEN.contains(&folded.as_str()) || TAKEN_PREFIXES.iter().any(|prefix| folded.starts_with(prefix)) {
        return Err(flaw("already has a meaning", "name a header of your own, as in \"X-User-Id\""));
    }
    Ok(name)
}

/// What all spellings of a name have in common: lower case, and `-` for all that is not alphanumeric.
pub(super) fn fold(name: &str) -> String {
    let fold = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(fold).collect()
}
