//! Which known word was probably meant.

use crate::text::quote;

/// Longer words are not misspellings of ours; comparing them would only cost time.
const WORD_BYTES_MAX: usize = 64;

/// The known word nearest to `word`, if it is near enough to be a misspelling of it.
#[must_use]
pub fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let folded = word.to_lowercase();
    let (distance, best) =
        known.map(|known| (strsim::damerau_levenshtein(&folded, &known.to_lowercase()), known)).min()?;
    let near_enough = (word.chars().count().max(best.chars().count()) / 3).max(1);
    (distance <= near_enough).then_some(best)
}

/// "did you mean …?", or the whole choice.
#[must_use]
pub fn suggest<'k>(word: &str, known: impl Iterator<Item = &'k str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(best) => format!("did you mean {}?", quote(best)),
        None => choice(known),
    }
}

/// "write one of …".
pub(crate) fn choice<'k>(known: impl Iterator<Item = &'k str>) -> String {
    let known: Vec<String> = known.map(quote).collect();
    match &known[..] {
        [] => "declare it first".to_owned(),
        [only] => format!("write {only}"),
        several => format!("write one of {}", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_misspellings_and_nothing_else() {
        let known = ["limits", "inherits", "warn_at", "max_body"];
        for (word, best) in [
            ("limts", Some("limits")),
            ("Limits", Some("limits")),
            ("inherit", Some("inherits")),
            ("warnat", Some("warn_at")),
            ("maxbody", Some("max_body")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), best, "{word}");
        }
        assert_eq!(nearest(&"limits".repeat(1000), known.into_iter()), None);
    }
}
