//! From the texts of both files to a configuration, or to its mistakes.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod amounts;
mod any_text;
mod bad_amounts;
mod bad_gateway;
mod bad_llm;
mod bad_routes;
mod bad_tiers;
mod beyond;
mod both;
mod changes;
mod files;
mod good_gateway;
mod good_tiers;
mod llm;
mod overrides;

use tollgate_config::{Amount, Config, Measure, Measured, Missing, Mistakes, Source, Sources, parse};
use tollgate_core::Conversion;

/// A small configuration without mistakes.
const GATEWAY: &str = r#"[upstreams.llm]
urls = ["http://127.0.0.1:9101"]
[[routes]]
path = "/v1/"
upstream = "llm"
charge = [{ meter = "calls" }]
"#;

/// The plans to it.
const TIERS: &str = r#"default_tier = "free"
[meters]
calls = { unit = "calls" }
tokens = { unit = "tokens" }
storage = { unit = "bytes", kind = "level" }
jobs = { unit = "jobs", kind = "concurrent" }
[tiers.free.limits]
calls = "10/day"
tokens = "1000/day"
storage = "1GiB"
jobs = 1
[tiers.pro]
inherits = "free"
"#;

/// Both texts under their usual names.
fn sources(gateway: &str, tiers: &str) -> Sources {
    let source = |path: &str, text: &str| Source { path: path.into(), text: text.to_owned() };
    Sources { gateway: source("gateway.toml", gateway), tiers: source("tier-limits.toml", tiers) }
}

fn read(gateway: &str, tiers: &str) -> Result<Config, Mistakes> {
    parse(&sources(gateway, tiers))
}

/// The mistakes of both texts as they are printed; empty when there are none.
fn report(gateway: &str, tiers: &str) -> Vec<String> {
    match read(gateway, tiers) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

/// A configuration that must be good.
fn good(gateway: &str, tiers: &str) -> Config {
    read(gateway, tiers).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// An amount that counts as it is measured.
fn measured(source: Measure, hold: i64) -> Amount {
    Amount::Measured(Measured { source, hold, conversion: Conversion::NONE, missing: Missing::Hold })
}
