//! Headers of requests that are not the client's to say, and so nothing to be charged by.

use http::HeaderName;

use super::super::header::fold;
use crate::{report::Flaw, text::quote};

/// What concerns the connection or the way of a request, folded.
const WAY: [&str; 13] = [
    "connection",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-real-ip",
    "x-request-id",
];

const WAY_PREFIXES: [&str; 2] = ["x-forwarded-", "x-tollgate-"];

/// What says who is calling, folded, as long as `[identity]` does not name others.
const IDENTITY_PREFIXES: [&str; 2] = ["x-user-", "x-org-id"];

/// The header, if it is one that clients say.
pub(super) fn check(name: HeaderName) -> Result<HeaderName, Flaw> {
    let folded = fold(name.as_str());
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| folded.starts_with(prefix));
    let flaw =
        |what: &str, suggestion: &str| Err(Flaw::new(format!("{} {what}", quote(name.as_str())), suggestion));
    match &*folded {
        "content-length" => flaw("is not there in every request with a body", "write \"request.bytes\""),
        _ if folded.starts_with("x-usage-") => {
            flaw("is said by services, in their answers", "write amount = \"upstream\"")
        }
        _ if begins(&IDENTITY_PREFIXES) => {
            flaw("says who is calling", "set limits by tier, in tier-limits.toml, and charge everybody")
        }
        way if WAY.contains(&way) || begins(&WAY_PREFIXES) => flaw(
            "is about the way of a request, and not passed on as it came",
            "name another header, as in \"X-Rows\"",
        ),
        _ => Ok(name),
    }
}
