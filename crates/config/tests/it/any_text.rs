//! No text, however strange, ends the process or passes without either a configuration or a mistake.

use proptest::prelude::*;
use tollgate_config::{Mistakes, Sources};

use crate::{
    GATEWAY, TIERS,
    llm::{LLM_GATEWAY, LLM_TIERS},
    read, sources,
};

/// Every mistake must have something to say, at a place that exists.
fn check(sources: &Sources) {
    let Err(mistakes) = tollgate_config::parse(sources) else { return };
    assert!(mistakes.count() > 0);
    for mistake in &mistakes {
        let text = match mistake.file.as_str() {
            "gateway.toml" => &sources.gateway.text,
            "tier-limits.toml" => &sources.tiers.text,
            other => panic!("{other}"),
        };
        assert!(!mistake.message.is_empty());
        assert_eq!(mistake.to_string().lines().count(), 1, "{mistake}");
        if let Some(at) = mistake.at {
            let line = text.split('\n').nth(at.line - 1).expect("the line exists");
            assert!((1..=line.chars().count() + 1).contains(&at.column), "{mistake}");
        }
    }
}

/// Pieces that mean something in these files, and some that mean nothing.
fn token() -> impl Strategy<Value = String> {
    let words = [
        "tiers",
        "meters",
        "limits",
        "calls",
        "free",
        "inherits",
        "limit",
        "over",
        "charge",
        "price",
        "routes",
        "path",
        "urls",
        "health",
        "unlimited",
        "\"10/day\"",
        "\"7days\"",
        "1e3",
        "-1",
        "0",
        "99999999999999999999",
        "=",
        " = ",
        ".",
        ",",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "\n",
        "\"",
        "'''",
        "\\u0000",
        "#",
        "é",
        "true",
        "1979-05-27",
        "\"1GiB\"",
        "prices",
        "currency",
        "overdraw",
        "models",
        "\"USD\"",
        "\"gpt*\"",
        "\"5.00/day\"",
        "\"25%\"",
        "2.5",
        "\"2026-01-01\"",
        "\"/\"",
        "nan",
        "0x10",
        "\r\n",
        "\u{feff}",
    ];
    prop_oneof![4 => prop::sample::select(words.map(str::to_owned).to_vec()), 1 => any::<String>()]
}

/// One of the good files with pieces of it replaced.
fn mutated(text: &'static str) -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), 0..20usize, prop::collection::vec(token(), 0..3));
    prop::collection::vec(edit, 0..4).prop_map(move |edits| {
        let mut chars: Vec<char> = text.chars().collect();
        for (at, width, tokens) in edits {
            let start = at.index(chars.len() + 1);
            let end = (start + width).min(chars.len());
            chars.splice(start..end, tokens.concat().chars());
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn any_text_is_read_or_explained(gateway in any::<String>(), tiers in any::<String>()) {
        check(&sources(&gateway, &tiers));
    }

    #[test]
    fn any_tokens_are_read_or_explained(tokens in prop::collection::vec(token(), 0..40)) {
        check(&sources(GATEWAY, &tokens.concat()));
        check(&sources(&tokens.concat(), TIERS));
    }

    #[test]
    fn any_edit_is_read_or_explained(gateway in mutated(GATEWAY), tiers in mutated(TIERS)) {
        check(&sources(&gateway, &tiers));
    }

    #[test]
    fn any_edit_of_models_and_money_is_read_or_explained(
        gateway in mutated(LLM_GATEWAY), tiers in mutated(LLM_TIERS),
    ) {
        check(&sources(&gateway, &tiers));
    }

    #[test]
    fn a_truncated_file_is_read_or_explained(gateway in 0..=GATEWAY.len(), tiers in 0..=TIERS.len()) {
        check(&sources(&GATEWAY[..gateway], &TIERS[..tiers]));
    }
}

#[test]
fn hostile_sizes_are_explained() {
    const MIB: usize = 1 << 20;
    let many_tiers: String =
        (0..20_000).map(|n| format!("[tiers.t{n}]\ninherits = \"t{}\"\n", n + 1)).collect();
    let many_mistakes: String = (0..20_000).map(|n| format!("k{n} = 1\n")).collect();
    let chain: String =
        (0..1000).map(|n| format!("[tiers.t{n}]\ninherits = \"t{}\"\n", (n + 1) % 1000)).collect();
    for tiers in [
        "a.".repeat(MIB / 2),
        format!("a = {}", "[".repeat(MIB)),
        format!("a = {}", "{a=".repeat(MIB / 3)),
        format!("[{}a]", "a.".repeat(MIB / 2)),
        format!("{} = 1", "a".repeat(MIB)),
        format!("default_tier = \"{}\"", "é".repeat(MIB / 2)),
        format!("{TIERS}{many_tiers}"),
        format!("{TIERS}{chain}"),
        many_mistakes,
    ] {
        check(&sources(GATEWAY, &tiers));
        check(&sources(&tiers, TIERS));
        let shown: Mistakes = read(GATEWAY, &tiers).expect_err("none of them is good");
        assert!(shown.to_string().len() < 4 * MIB, "what is printed is bounded");
    }
}
