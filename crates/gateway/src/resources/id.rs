//! Which ids a resource may have.

use tollgate_ledger::RESOURCE_BYTES_MAX;

use super::HOLD;

/// `id`, if a request or an answer may name a resource so. Not what the ledger would cut: others would have the same
/// name there. And not what holds of the usage API are called.
pub(crate) fn named<T: AsRef<str>>(id: T) -> Option<T> {
    let text = id.as_ref();
    (text.len() <= RESOURCE_BYTES_MAX && !text.starts_with(HOLD)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_or_a_hold_is_no_name() {
        let longest = "ä".repeat(RESOURCE_BYTES_MAX / 2);
        for id in ["", "a", "hold", "held:a", "/hold:a", &longest] {
            assert_eq!(named(id), Some(id));
        }
        for id in ["hold:", "hold:01a214c6-8f64-7ff3-83d5-3fe52dc8ff00", &format!("{longest}a")] {
            assert_eq!(named(id), None, "{id}");
        }
    }
}
