//! Names in Redis. All begin with the version of the scripts that read them, so that old and new
//! instances never misread each other; all of a subject have one hash tag, and so one slot.

use std::{collections::BTreeSet, fmt};

use tollgate_core::{Scope, Span, UnixMillis, Window};

use super::claims::ClaimName;
use crate::{CounterKey, MeterId};

/// Instances, and when each last said that it lives (ms).
pub(super) const INSTANCES: &str = "tollgate:1:instances";
/// The channel that says what is wanted back, from whom.
pub(super) const RECALL: &str = "tollgate:1:recall";
/// The channel that says that an epoch begins or is active.
pub(super) const EPOCH: &str = "tollgate:1:epoch";

/// Something that is counted of every subject: one meter in one window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// The meter's name.
    pub meter: Box<str>,
    /// As in the process.
    pub key: CounterKey,
    /// Whether it counts what runs now.
    pub concurrent: bool,
}

/// All that is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kinds(BTreeSet<Kind>);

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        Self(kinds.into_iter().collect())
    }
}

impl Kinds {
    pub(super) fn contains_all(&self, other: &Self) -> bool {
        other.0.is_subset(&self.0)
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    /// The kind of a counter, by what its key in Redis says.
    pub(super) fn find(&self, meter: &str, window: &str) -> Option<&Kind> {
        self.0.iter().find(|kind| *kind.meter == *meter && kind.key.window.to_string() == window)
    }

    pub(super) fn meter(&self, id: MeterId) -> Option<&str> {
        self.0.iter().find(|kind| kind.key.meter == id).map(|kind| &*kind.meter)
    }

    fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|kind| format!("{}:{}", kind.meter, kind.key.window))
    }

    /// Whether an epoch with the kinds `text` counts all of these.
    pub(super) fn are_in(&self, text: &str) -> bool {
        let there: BTreeSet<&str> = text.split_whitespace().collect();
        self.texts().all(|kind| there.contains(&*kind))
    }

    /// These, and those of `text`.
    pub(super) fn joined_with(&self, text: &str) -> String {
        let mut all: BTreeSet<String> = self.texts().collect();
        all.extend(text.split_whitespace().map(str::to_owned));
        all.into_iter().collect::<Vec<_>>().join(" ")
    }
}

/// The key of a bucket's epoch.
pub(super) fn epoch(bucket: usize) -> String {
    format!("tollgate:1:{{{bucket}}}:epoch")
}

/// The key of a subject's calendar.
pub(super) fn calendar(bucket: usize, scope: Scope, id: &str) -> String {
    format!("tollgate:1:{{{bucket}}}:calendar:{}:{id}", letter(scope))
}

/// The key of a counter in one window.
pub(super) fn counter(
    bucket: usize,
    (scope, id): (Scope, &str),
    meter: &str,
    window: Window,
    span: Span,
) -> String {
    let start = start(span);
    format!("tollgate:1:{{{bucket}}}:counter:{}:{meter}:{window}:{start}:{id}", letter(scope))
}

/// The key of a claim.
pub(super) fn claim(bucket: usize, name: &ClaimName) -> String {
    let ClaimName { scope, owner, id } = name;
    // With its length, as either may have a colon.
    format!("tollgate:1:{{{bucket}}}:claim:{}:{}:{owner}:{id}", letter(*scope), owner.len())
}

/// The key of who has a claim next.
pub(super) fn next(bucket: usize, name: &ClaimName) -> String {
    format!("{}:next", claim(bucket, name))
}

/// The key of the set of an instance's claims.
pub(super) fn claims(bucket: usize, instance: &str) -> String {
    format!("tollgate:1:{{{bucket}}}:claims:{instance}")
}

/// The start of a window as the scripts know it: never before 1970.
pub(super) fn start(span: Span) -> i64 {
    span.start.0.max(0)
}

/// The end of a window as the scripts know it; -1 for never.
pub(super) fn end(span: Span) -> i64 {
    if span.end == UnixMillis::MAX { -1 } else { span.end.0 }
}

/// The bucket that a key is in.
pub(super) fn bucket(key: &str) -> Option<usize> {
    key.strip_prefix("tollgate:1:{")?.split_once('}')?.0.parse().ok()
}

/// What a counter's key says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parsed<'a> {
    pub(super) scope: Scope,
    pub(super) meter: &'a str,
    pub(super) window: &'a str,
    pub(super) start: i64,
    pub(super) id: &'a str,
}

/// Reads a counter's key.
pub(super) fn parse(key: &str) -> Option<Parsed<'_>> {
    let rest = key.strip_prefix("tollgate:1:{")?.split_once("}:counter:")?.1;
    let mut parts = rest.splitn(5, ':');
    let scope = match parts.next()? {
        "u" => Scope::User,
        "o" => Scope::Org,
        _ => return None,
    };
    let (meter, window) = (parts.next()?, parts.next()?);
    let start = parts.next()?.parse().ok()?;
    Some(Parsed { scope, meter, window, start, id: parts.next()? })
}

fn letter(scope: Scope) -> impl fmt::Display {
    match scope {
        Scope::User => 'u',
        Scope::Org => 'o',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_whatever_the_id() {
        let span = Span { start: UnixMillis(1_795_000_020_000), end: UnixMillis(1_795_000_080_000) };
        for id in ["ann", "a:b:{c} d", "", "urn:x:1"] {
            let key = counter(7, (Scope::Org, id), "llm_tokens", Window::Days(7), span);
            let parsed = parse(&key).unwrap();
            let expected =
                Parsed { scope: Scope::Org, meter: "llm_tokens", window: "7days", start: span.start.0, id };
            assert_eq!(parsed, expected);
            assert!(key.starts_with("tollgate:1:{7}:"), "one slot for all of a bucket: {key}");
            assert_eq!(bucket(&key), Some(7));
        }
        for wrong in ["", "tollgate:1:{0}:epoch", "tollgate:1:{0}:counter:x:a:day:0:ann"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
