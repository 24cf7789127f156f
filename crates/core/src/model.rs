//! Patterns for the names of models, as limits, prices and model limits are narrowed by.

use std::{cmp::Reverse, fmt, str::FromStr};

/// Twice the longest names of models that are known.
const PATTERN_BYTES_MAX: usize = 128;

/// Names of models: `*` stands for any run of characters, also for none; everything else for itself, with
/// ASCII letters in either case. `gpt-4o*` matches `gpt-4o` and `GPT-4o-mini`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelPattern {
    /// In lower case.
    text: Box<str>,
    /// For each byte of `text`, how much of the beginning of its literal ends there (its border), so that a
    /// search never goes back in what it searches. The bound of `text` keeps it within a byte.
    borders: Box<[u8]>,
}

/// Why a text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelPatternError {
    /// There is nothing in it.
    #[error("the pattern is empty")]
    Empty,
    /// It has too many bytes.
    #[error("the pattern is longer than {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    /// It has a space or a control character, which no name of a model has.
    #[error("the pattern has a space or a control character")]
    Blank,
}

impl FromStr for ModelPattern {
    type Err = ModelPatternError;

    fn from_str(text: &str) -> Result<Self, ModelPatternError> {
        if text.is_empty() {
            return Err(ModelPatternError::Empty);
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(ModelPatternError::TooLong);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(ModelPatternError::Blank);
        }
        let text = text.to_ascii_lowercase().into_boxed_str();
        let borders = text.split('*').flat_map(|literal| borders(literal.as_bytes()).chain([0]));
        let borders = borders.take(text.len()).collect();
        Ok(Self { text, borders })
    }
}

impl ModelPattern {
    /// Whether `model` is one of those meant. Takes time in proportion to the length of `model`.
    #[must_use]
    pub fn matches(&self, model: &str) -> bool {
        let model = model.as_bytes();
        let Some((first, rest)) = self.text.split_once('*') else {
            return self.text.as_bytes().eq_ignore_ascii_case(model);
        };
        let (middle, last) =
            rest.rsplit_once('*').map_or((None, rest), |(middle, last)| (Some(middle), last));
        let Some((start, model)) = model.split_at_checked(first.len()) else { return false };
        let Some(end) = model.len().checked_sub(last.len()) else { return false };
        let (mut model, tail) = model.split_at(end);
        if !start.eq_ignore_ascii_case(first.as_bytes()) || !tail.eq_ignore_ascii_case(last.as_bytes()) {
            return false;
        }
        let mut at = first.len() + 1;
        for literal in middle.into_iter().flat_map(|middle| middle.split('*')) {
            let borders = self.borders.get(at..).unwrap_or_default();
            let Some(end) = find(literal.as_bytes(), borders, model) else { return false };
            model = model.get(end..).unwrap_or_default();
            at += literal.len() + 1;
        }
        true
    }

    /// How many bytes it fixes: the more, the more specific it is.
    #[must_use]
    pub fn literal_bytes(&self) -> usize {
        self.text.bytes().filter(|byte| *byte != b'*').count()
    }

    /// Orders patterns so that the most specific is first: by [`literal_bytes`](Self::literal_bytes), then
    /// by their text, so that a name comes before the same with a `*` behind it.
    #[must_use]
    pub fn rank(&self) -> (Reverse<usize>, &str) {
        (Reverse(self.literal_bytes()), &self.text)
    }

    /// As it is written, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ModelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// For each byte, the length of the longest proper beginning of `literal` that ends with it.
fn borders(literal: &[u8]) -> impl Iterator<Item = u8> {
    let mut borders: Vec<u8> = Vec::with_capacity(literal.len());
    for byte in literal {
        let border = match borders.last() {
            None => 0,
            Some(last) => step(literal, &borders, usize::from(*last), *byte),
        };
        borders.push(u8::try_from(border).unwrap_or(0));
    }
    borders.into_iter()
}

/// How much of `literal` is matched after `byte`, where `matched` of it was before.
fn step(literal: &[u8], borders: &[u8], mut matched: usize, byte: u8) -> usize {
    loop {
        if literal.get(matched).is_some_and(|next| next.eq_ignore_ascii_case(&byte)) {
            return matched + 1;
        }
        match matched.checked_sub(1) {
            None => return 0,
            Some(last) => matched = borders.get(last).copied().map_or(0, usize::from),
        }
    }
}

/// Where the first `literal` in `text` ends.
fn find(literal: &[u8], borders: &[u8], text: &[u8]) -> Option<usize> {
    if literal.is_empty() {
        return Some(0);
    }
    let mut matched = 0;
    for (index, byte) in text.iter().enumerate() {
        matched = step(literal, borders, matched, *byte);
        if matched == literal.len() {
            return Some(index + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> ModelPattern {
        text.parse().unwrap()
    }

    #[test]
    fn known_names() {
        for (text, model, matches) in [
            ("gpt-4o", "gpt-4o", true),
            ("gpt-4o", "GPT-4o", true),
            ("gpt-4o", "gpt-4o-mini", false),
            ("gpt-4o*", "gpt-4o", true),
            ("GPT-4o*", "gpt-4O-mini", true),
            ("gpt-4o*", "gpt-4", false),
            ("*", "", true),
            ("*", "anything", true),
            ("*claude*", "us.anthropic.claude-sonnet-4-v1:0", true),
            ("*-mini", "o3-mini", true),
            ("*-mini", "o3-mini-high", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a**b*", "ab", true),
            ("*aab*", "aaab", true),
            ("*é*", "modèle-é-1", true),
        ] {
            assert_eq!(pattern(text).matches(model), matches, "{text} {model}");
        }
    }

    #[test]
    fn what_is_no_pattern() {
        assert_eq!("".parse::<ModelPattern>(), Err(ModelPatternError::Empty));
        assert_eq!("a b".parse::<ModelPattern>(), Err(ModelPatternError::Blank));
        assert_eq!("a\n".parse::<ModelPattern>(), Err(ModelPatternError::Blank));
        assert!("a".repeat(PATTERN_BYTES_MAX).parse::<ModelPattern>().is_ok());
        assert_eq!(
            "a".repeat(PATTERN_BYTES_MAX + 1).parse::<ModelPattern>(),
            Err(ModelPatternError::TooLong)
        );
    }

    #[test]
    fn the_most_specific_is_first() {
        let mut patterns = ["*", "gpt*", "gpt-4o*", "gpt-4o", "o*"].map(pattern);
        patterns.sort_by(|one, other| one.rank().cmp(&other.rank()));
        assert_eq!(patterns.each_ref().map(ModelPattern::as_str), ["gpt-4o", "gpt-4o*", "gpt*", "o*", "*"]);
    }

    /// What a pattern means, by trying every run for each `*`.
    fn matches_by_definition(pattern: &[u8], model: &[u8]) -> bool {
        match (pattern, model) {
            ([], model) => model.is_empty(),
            ([b'*', rest @ ..], model) => {
                (0..=model.len()).any(|run| matches_by_definition(rest, &model[run..]))
            }
            ([byte, rest @ ..], [first, others @ ..]) => {
                byte.eq_ignore_ascii_case(first) && matches_by_definition(rest, others)
            }
            (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn matches_what_it_means(text in "[abB*]{1,10}", model in "[aAb]{0,14}") {
            prop_assert_eq!(
                pattern(&text).matches(&model),
                matches_by_definition(text.as_bytes(), model.as_bytes())
            );
        }

        #[test]
        fn any_text_is_matched_or_not(text in any::<String>(), model in any::<String>()) {
            if let Ok(pattern) = text.parse::<ModelPattern>() {
                prop_assert_eq!(pattern.matches(&model), pattern.matches(&model.to_ascii_uppercase()));
                prop_assert!(pattern.matches(&text));
            }
        }
    }
}
