//! Both files: whatever is in them, they are a configuration or a list of mistakes that lie in them.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use tollgate_config::{Mistakes, Position, Source, Sources, diff, parse, parse_plans};

/// Separates `gateway.toml` from the tiers file in an input.
const SEPARATOR: char = '\0';

fuzz_target!(|input: &str| -> Corpus {
    let Some((gateway, tiers)) = input.split_once(SEPARATOR) else { return Corpus::Reject };
    let source = |path: &str, text: &str| Source { path: path.into(), text: text.to_owned() };
    let sources = Sources { gateway: source("gateway.toml", gateway), tiers: source("tiers.toml", tiers) };
    let config = parse(&sources);
    assert_eq!(parse(&sources), config);
    let plans = parse_plans(&sources.tiers);
    match &config {
        Ok(config) => {
            assert_eq!(plans.as_ref(), Ok(&config.plans), "the tiers file alone means something else");
            assert_eq!(diff(&config.plans, &config.plans), []);
        }
        Err(mistakes) => assert_lie_in(mistakes, &sources),
    }
    if let Err(mistakes) = &plans {
        assert_lie_in(mistakes, &sources);
        assert!(config.is_err(), "a bad tiers file is a good one with routes");
    }
    Corpus::Keep
});

fn assert_lie_in(mistakes: &Mistakes, sources: &Sources) {
    assert!(mistakes.count() > 0, "it is refused without a reason");
    for mistake in mistakes {
        assert!(!mistake.message.is_empty(), "{mistake:?}");
        assert!(!mistake.to_string().contains('\n'), "{mistake:?}");
        let source = if mistake.file == "gateway.toml" { &sources.gateway } else { &sources.tiers };
        assert_eq!(source.path.display().to_string(), mistake.file);
        let Some(Position { line, column }) = mistake.at else { continue };
        let text = source.text.split('\n').nth(line - 1).expect("the line is there");
        assert!((1..=text.chars().count() + 1).contains(&column), "{mistake} in {text:?}");
    }
}
