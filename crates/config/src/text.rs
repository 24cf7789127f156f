//! Showing what a file says in a message, and the characters that names are made of.

use crate::report::Flaw;

/// Longest name of a meter, tier, route or upstream in bytes: names travel in headers and metric labels.
pub(crate) const NAME_BYTES_MAX: usize = 64;

/// What is shown of a long value.
const SHOWN_CHARS_MAX: usize = 60;

/// `text` in quotes on one line, cut where it is long.
pub(crate) fn quote(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((cut, _)) => format!("{:?}…", text.get(..cut).unwrap_or("")),
        None => format!("{text:?}"),
    }
}

/// Whether `name` is a meter's: it is part of header names, so it is folded and spelled one way only.
pub(crate) fn check_meter_name(name: &str) -> Result<(), Flaw> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let starts = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if !starts || !name.bytes().all(legal) {
        let message = format!("{} is no name of a meter", quote(name));
        return Err(Flaw::new(message, "use a-z, 0-9 and \"_\", beginning with a letter"));
    }
    check_length(name)
}

/// Whether `name` is a tier's or an upstream's: a tier's is a header's value.
pub(crate) fn check_name(name: &str) -> Result<(), Flaw> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.is_empty() || !name.bytes().all(legal) {
        return Err(Flaw::new(format!("{} is no name", quote(name)), "use A-Z, a-z, 0-9, \"_\" and \"-\""));
    }
    check_length(name)
}

/// Whether `name` is short enough.
pub(crate) fn check_length(name: &str) -> Result<(), Flaw> {
    if name.len() > NAME_BYTES_MAX {
        let message = format!("the name is {} bytes long", name.len());
        return Err(Flaw::new(message, format!("use at most {NAME_BYTES_MAX}")));
    }
    Ok(())
}
