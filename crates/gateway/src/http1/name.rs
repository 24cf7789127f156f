//! Header names, without making each anew.

use std::cell::RefCell;

use http::{HeaderName, header::InvalidHeaderName};

/// Places for names that were read lately, a power of two: most services hear far fewer.
const PLACES: usize = 128;
/// Longer names are made anew: few are, and each place has room for the longest.
const TEXT_BYTES_MAX: usize = 32;

/// A name, and how it was spelt.
struct Known {
    length: usize,
    text: [u8; TEXT_BYTES_MAX],
    name: HeaderName,
}

thread_local! {
    /// By [`place`]; a name takes the place of the last that belonged there.
    static KNOWN: RefCell<[Option<Known>; PLACES]> = const { RefCell::new([const { None }; PLACES]) };
}

/// The name that `text` spells.
pub(crate) fn name(text: &[u8]) -> Result<HeaderName, InvalidHeaderName> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return HeaderName::from_bytes(text);
    }
    KNOWN.with_borrow_mut(|known| {
        let known = &mut known[place(text)];
        if let Some(known) = known.as_ref().filter(|known| known.text[..known.length] == *text) {
            return Ok(known.name.clone());
        }
        let name = HeaderName::from_bytes(text)?;
        let mut copy = [0; TEXT_BYTES_MAX];
        copy[..text.len()].copy_from_slice(text);
        *known = Some(Known { length: text.len(), text: copy, name: name.clone() });
        Ok(name)
    })
}

/// Where a name that is not empty belongs. Names that share a place cost no more than they did without one.
fn place(text: &[u8]) -> usize {
    let byte = |at: usize| usize::from(text[at]);
    let last = text.len() - 1;
    (text.len() ^ byte(0) ^ byte(last / 2) << 2 ^ byte(last) << 3) % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_however_often_and_however_spelt() {
        let texts = ["Host", "HOST", "host", "X-User-Id", "x-user-id", "X-Uses-Id"];
        for text in texts.repeat(2) {
            assert_eq!(name(text.as_bytes()).unwrap().as_str(), text.to_lowercase());
        }
        for wrong in ["", "a b", "a\u{e4}"] {
            assert!(name(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        assert_eq!(name(long.as_bytes()).unwrap().as_str(), long);
    }
}
