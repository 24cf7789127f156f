//! Metadata of a settlement: one JSON object for all its events, and objects for those of one meter.
//!
//! A settlement keeps all of it as one text: the shared object, if there is one, then for each meter that has more a
//! separator, the meter's name, `=` and its object. The separator is a control character, which no JSON text has.

use std::borrow::Cow;

const SEPARATOR: char = '\u{1e}';

/// `base`, an object if there is one, with the members of the object `more` behind its own.
#[must_use]
pub fn merged(base: Option<&str>, more: &str) -> String {
    let is_empty = |object: &str| object.trim().trim_start_matches('{').trim_start().starts_with('}');
    match base {
        Some(base) if is_empty(more) => base.to_owned(),
        Some(base) if !is_empty(base) => {
            let (base, more) = (base.trim_end(), more.trim_start());
            let base = base.strip_suffix('}').unwrap_or(base);
            format!("{base},{}", more.strip_prefix('{').unwrap_or(more))
        }
        Some(_) | None => more.to_owned(),
    }
}

/// Adds the members of `object` for the events of `meter` alone; once for each meter.
pub fn add_for_meter(metadata: &mut String, meter: &str, object: &str) {
    metadata.push(SEPARATOR);
    metadata.push_str(meter);
    metadata.push('=');
    metadata.push_str(object);
}

/// What of a settlement's metadata the events of `meter` have: one JSON object, if anything.
#[must_use]
pub fn of_meter<'m>(metadata: &'m str, meter: &str) -> Option<Cow<'m, str>> {
    let mut parts = metadata.split(SEPARATOR);
    let shared = parts.next().filter(|shared| !shared.is_empty());
    let own = parts.find_map(|part| part.split_once('=').filter(|(name, _)| *name == meter));
    match (shared, own) {
        (shared, None) => shared.map(Cow::Borrowed),
        (None, Some((_, own))) => Some(Cow::Borrowed(own)),
        (shared, Some((_, own))) => Some(Cow::Owned(merged(shared, own))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_merged() {
        for (base, more, expected) in [
            (None, r#"{"a":1}"#, r#"{"a":1}"#),
            (Some("{}"), r#"{"a":1}"#, r#"{"a":1}"#),
            (Some(r#"{"a":1}"#), "{ }", r#"{"a":1}"#),
            (Some(r#"{"a":{"b":2}}"#), r#"{"c":3}"#, r#"{"a":{"b":2},"c":3}"#),
            (Some("{}"), "{}", "{}"),
        ] {
            assert_eq!(merged(base, more), expected, "{base:?} {more}");
        }
    }

    #[test]
    fn each_meter_has_its_own() {
        let mut metadata = r#"{"model":"x=y"}"#.to_owned();
        assert_eq!(of_meter(&metadata, "calls").unwrap(), metadata);
        add_for_meter(&mut metadata, "calls", r#"{"units":2}"#);
        add_for_meter(&mut metadata, "tokens", r#"{"units":3}"#);
        assert_eq!(of_meter(&metadata, "calls").unwrap(), r#"{"model":"x=y","units":2}"#);
        assert_eq!(of_meter(&metadata, "tokens").unwrap(), r#"{"model":"x=y","units":3}"#);
        assert_eq!(of_meter(&metadata, "bytes").unwrap(), r#"{"model":"x=y"}"#);
        let mut alone = String::new();
        add_for_meter(&mut alone, "calls", r#"{"units":2}"#);
        assert_eq!(of_meter(&alone, "calls").unwrap(), r#"{"units":2}"#);
        assert_eq!(of_meter(&alone, "tokens"), None);
    }
}
