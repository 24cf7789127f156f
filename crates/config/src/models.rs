//! Patterns for models: as keys of a table, and in lists.

use tollgate_core::{ModelPattern, ModelPatternError};

use crate::{item::Item, report::Flaw, section::Section};

/// More models than any gateway serves; the patterns of a table are tried one after the other.
const PATTERNS_MAX: usize = 512;

/// Each is tried for every request that the meter counts.
const LIST_MAX: usize = 32;

const EXAMPLE: &str = "\"gpt-4*\"";

/// The entries of a table whose keys are patterns; each pattern once.
pub(crate) fn entries<'a>(
    section: &Section<'a>,
    mut entries: Vec<(&'a str, Item<'a>)>,
) -> Vec<(ModelPattern, Item<'a>)> {
    if entries.len() > PATTERNS_MAX {
        let message = format!("there are {} patterns", entries.len());
        section.wrong(Flaw::new(message, format!("use at most {PATTERNS_MAX}")));
        entries.truncate(PATTERNS_MAX);
    }
    let mut patterns: Vec<(ModelPattern, Item<'a>)> = Vec::new();
    for (text, item) in entries {
        match parse(text) {
            Ok(pattern) => {
                if patterns.iter().any(|(other, _)| *other == pattern) {
                    item.wrong_key(twice());
                }
                patterns.push((pattern, item));
            }
            Err(flaw) => item.wrong_key(flaw),
        }
    }
    patterns
}

/// A list of patterns, each once; not empty.
pub(crate) fn list(item: &Item<'_>) -> Option<Vec<ModelPattern>> {
    let items = item.list(LIST_MAX, &format!("[{EXAMPLE}]"))?;
    if items.is_empty() {
        item.wrong(Flaw::new("no request would count", "remove models, so that all do"));
    }
    let mut patterns: Vec<ModelPattern> = Vec::new();
    for item in items {
        let Some(pattern) = item.parsed(EXAMPLE, parse) else { continue };
        if patterns.contains(&pattern) {
            item.wrong(twice());
        }
        patterns.push(pattern);
    }
    Some(patterns)
}

fn twice() -> Flaw {
    Flaw::new("the same pattern stands here twice, whatever the case of its letters", "remove one")
}

fn parse(text: &str) -> Result<ModelPattern, Flaw> {
    text.parse().map_err(|error: ModelPatternError| {
        Flaw::new(
            error.to_string(),
            format!("write the name of a model, with * for any run, as in {EXAMPLE}"),
        )
    })
}
