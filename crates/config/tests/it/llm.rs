//! Models, prices and money in both files.

use std::time::Duration;

use tollgate_config::{Amount, ClientGone, Effect, LlmMeasure, LlmOptions, Measure, diff};
use tollgate_core::{Currency, Limit, Max, PricedTokens, UnixMillis, Window};

use crate::{GATEWAY, TIERS, good, measured, report};

/// A small configuration with money in it.
pub(crate) const LLM_GATEWAY: &str = r#"[llm]
look_bytes_max = "64KiB"
[models]
"*" = { context = 8192 }
"gpt-4o*" = { context = 128_000, max_output = 16_384 }
[upstreams.llm]
urls = ["http://127.0.0.1:9101"]
provider = "openai"
[[routes]]
path = "/v1/"
upstream = "llm"
charge = [{ meter = "tokens", amount = "llm.total_tokens" }, { meter = "spend", amount = "llm.cost" }]
llm = { client_gone = "cancel", include_usage = false, max_output_tokens = "8k" }
"#;

/// The plans to it.
pub(crate) const LLM_TIERS: &str = r#"default_tier = "free"
[meters]
tokens = { unit = "tokens", models = ["gpt-4*", "o3"] }
spend = { unit = "USD" }
[prices]
currency = "USD"
"gpt-4o*" = { input = "2.50", output = 10, cached_read = "1.25" }
"o3" = [
    { input = "10", output = "40" },
    { from = "2026-01-01", input = "2", output = "8", cache_write = "2.5" },
    { from = 2027-01-01T12:00:00Z, input = "1", output = "4" },
]
[tiers.free.limits]
tokens = { limit = "1000/day", overdraw = "25%" }
spend = { limit = "5.00/day", overdraw = "0.50" }
"#;

fn free(meter: usize, tiers: &str) -> Vec<Limit> {
    good(LLM_GATEWAY, tiers).plans.tiers[0].limits[meter].clone().unwrap()
}

#[test]
fn everything_that_can_be_said() {
    let config = good(LLM_GATEWAY, LLM_TIERS);
    let (gateway, plans) = (config.gateway, config.plans);
    assert_eq!((gateway.llm.look_bytes_max, gateway.llm.drains_max), (64 << 10, 1000));
    assert_eq!(gateway.llm.drain_timeout, Duration::from_secs(120));
    assert_eq!(&*gateway.upstreams[0].provider, "openai");
    let sources = gateway.routes[0].charges.iter().map(|charge| match &charge.amount {
        Amount::Measured(measured) => measured.source.clone(),
        Amount::Constant(_) => panic!("{charge:?}"),
    });
    assert!(sources.eq([LlmMeasure::TotalTokens, LlmMeasure::Cost].map(Measure::Llm)));
    let llm = LlmOptions {
        client_gone: ClientGone::Cancel,
        include_usage: false,
        max_output_tokens: 8000,
        usage: None,
    };
    assert_eq!(gateway.routes[0].llm, llm);
    let limits = |model| gateway.model_limits(model).map(|limits| (limits.context, limits.max_output));
    assert_eq!(limits("GPT-4o-mini"), Some((Some(128_000), Some(16_384))));
    assert_eq!(limits("gpt-4"), Some((Some(8192), None)));

    let [tokens, spend] = &plans.meters[..] else { panic!("{:?}", plans.meters) };
    assert!(tokens.counts_model(Some("gpt-4o")) && !tokens.counts_model(Some("o3-mini")));
    assert_eq!((tokens.currency(), spend.currency()), (None, Currency::parse("USD")));
    let prices = plans.prices.unwrap();
    assert_eq!(prices.currency, Currency::parse("USD").unwrap());
    let cost = |model, at| {
        let used = PricedTokens { input: 1_000_000, output: 1_000_000, cached_read: 0, cache_write: 500_000 };
        prices.cost(model, UnixMillis::parse(at).unwrap(), &used)
    };
    assert_eq!(cost("gpt-4o", "2020-01-01"), Some(12_500_000_000));
    assert_eq!(cost("o3", "2025-12-31T23:59:59.999Z"), Some(50_000_000_000));
    assert_eq!(cost("o3", "2026-01-01"), Some(10_250_000_000));
    assert_eq!(cost("o3", "2027-01-01T12:00:00Z"), Some(5_000_000_000));
    assert_eq!(cost("o3-mini", "2026-01-01"), None);
}

#[test]
fn defaults() {
    let gateway = good(GATEWAY, TIERS).gateway;
    assert_eq!((gateway.llm.look_bytes_max, gateway.llm.drains_max), (1 << 20, 1000));
    assert_eq!((&gateway.models[..], &*gateway.upstreams[0].provider), (&[][..], "llm"));
    let LlmOptions { client_gone, include_usage, max_output_tokens, usage } = gateway.routes[0].llm.clone();
    assert_eq!((client_gone, include_usage, max_output_tokens), (ClientGone::Drain, true, 4096));
    assert_eq!(usage, None);
    assert_eq!(gateway.model_limits("gpt-4o"), None);
}

#[test]
fn amounts_of_money() {
    const UNIT: i64 = 1_000_000_000;
    for (text, window, nanos) in [
        ("\"5.00/day\"", Window::Day, 5 * UNIT),
        ("\"5/month\"", Window::Month, 5 * UNIT),
        ("\"1_000.5 / 7days\"", Window::Days(7), 1000 * UNIT + UNIT / 2),
        ("\"0.000000001/lifetime\"", Window::Lifetime, 1),
        ("0", Window::Lifetime, 0),
    ] {
        let old = "{ limit = \"5.00/day\", overdraw = \"0.50\" }";
        let [limit] = &free(1, &LLM_TIERS.replace(old, text))[..] else { panic!("{text}") };
        assert_eq!((limit.window, limit.max, limit.overdraw), (window, Max::AtMost(nanos), 0), "{text}");
    }
    let level =
        LLM_TIERS.replace("unit = \"USD\"", "unit = \"USD\", kind = \"level\"").replace("5.00/day", "5.00");
    assert_eq!(free(1, &level)[0].max, Max::AtMost(5 * UNIT));
    let amount = |text: &str| {
        let charge = format!("{{ meter = \"spend\", {text} }}");
        let gateway = LLM_GATEWAY.replace("{ meter = \"spend\", amount = \"llm.cost\" }", &charge);
        good(&gateway, LLM_TIERS).gateway.routes[0].charges[1].amount.clone()
    };
    assert_eq!(amount("amount = \"0.05\""), Amount::Constant(UNIT / 20));
    assert_eq!(amount("amount = 2"), Amount::Constant(2 * UNIT));
    let cost = Measure::Llm(LlmMeasure::Cost);
    assert_eq!(amount("amount = \"llm.cost\""), measured(cost.clone(), 1));
    assert_eq!(amount("amount = \"llm.cost\", hold = \"0.10\""), measured(cost, UNIT / 10));
    assert_eq!(amount("amount = \"upstream\", hold = 1"), measured(Measure::Upstream, UNIT));
}

#[test]
fn overdraw_is_an_amount_or_a_part_of_the_limit() {
    let overdraw = |text: &str| free(0, &LLM_TIERS.replace("\"25%\"", text))[0].overdraw;
    assert_eq!(overdraw("\"25%\""), 250);
    assert_eq!(overdraw("\" 100 % \""), 1000);
    assert_eq!(overdraw("200"), 200);
    assert_eq!(overdraw("\"2k\""), 2000);
    assert_eq!(overdraw("0"), 0);
    let down = LLM_TIERS.replace("1000/day", "199/day").replace("25%", "1%");
    assert_eq!(free(0, &down)[0].overdraw, 1, "it is rounded down");
    assert_eq!(free(1, LLM_TIERS)[0].overdraw, 500_000_000);
    assert_eq!(free(1, &LLM_TIERS.replace("\"0.50\"", "\"10%\""))[0].overdraw, 500_000_000);
}

#[test]
fn usage_in_a_shape_of_its_own() {
    let usage = r#"max_output_tokens = "8k", usage = { input = "/u/in", output = "/u/*/out", total = "/t", cached_read = "/c",
    cache_write = "/w", reasoning = "/r", model = "/meta/0/model" }"#;
    let gateway = LLM_GATEWAY.replace("max_output_tokens = \"8k\"", &usage.replace("\n    ", " "));
    let usage = good(&gateway, LLM_TIERS).gateway.routes[0].llm.usage.clone().unwrap();
    assert_eq!(usage.input, "/u/in".parse().ok());
    assert_eq!(usage.output, "/u/*/out".parse().ok());
    assert_eq!(usage.model, "/meta/0/model".parse().ok());
}

/// A meter that counts only some models makes a route one that asks which model is meant.
#[test]
fn a_route_that_charges_a_narrowed_meter_has_llm_options() {
    let gateway = LLM_GATEWAY.replace("\"llm.total_tokens\"", "1").replace("\"llm.cost\"", "\"0.1\"");
    assert_eq!(report(&gateway, LLM_TIERS), [""; 0]);
}

#[test]
fn changes_of_prices_models_and_overdraw() {
    for (part, instead, change, effect) in [
        ("\"2.50\"", "\"3\"", "price of gpt-4o*: input 2.5 → 3 (loses)", Effect::Loses),
        ("output = 10", "output = \"9.5\"", "price of gpt-4o*: output 10 → 9.5 (gains)", Effect::Gains),
        ("\"1.25\"", "\"1.20\"", "price of gpt-4o*: cached_read 1.25 → 1.2 (gains)", Effect::Gains),
        (
            ", cached_read = \"1.25\"",
            "",
            "price of gpt-4o*: cached_read 1.25 → as input (loses)",
            Effect::Loses,
        ),
        (
            "cache_write = \"2.5\"",
            "cache_write = \"3\"",
            "price of o3 from 2026-01-01: cache_write 2.5 → 3 (loses)",
            Effect::Loses,
        ),
        ("    { input = \"10\", output = \"40\" },\n", "", "price of o3 is removed", Effect::Neutral),
        (
            "\"o3\" = [",
            "\"o4\" = { from = \"2026-06-01\", input = \"1\", output = \"4.0\" }\n\"o3\" = [",
            "price of o4 from 2026-06-01 is new: input 1, output 4",
            Effect::Neutral,
        ),
        ("\"25%\"", "\"50%\"", "free: tokens per day: overdraw 250 → 500 (gains)", Effect::Gains),
        ("\"0.50\"", "\"0.25\"", "free: spend per day: overdraw 0.5 USD → 0.25 USD (loses)", Effect::Loses),
        ("\"5.00/day\"", "\"4.75/day\"", "free: spend per day 5 USD → 4.75 USD (loses)", Effect::Loses),
        (", \"o3\"]", "]", "meter tokens: models gpt-4*, o3 → gpt-4*", Effect::Neutral),
        (", models = [\"gpt-4*\", \"o3\"]", "", "meter tokens: models gpt-4*, o3 → all", Effect::Neutral),
    ] {
        assert!(LLM_TIERS.contains(part), "{part}");
        let plans = |tiers: &str| good(LLM_GATEWAY, tiers).plans;
        let changes = diff(&plans(LLM_TIERS), &plans(&LLM_TIERS.replacen(part, instead, 1)));
        let [found] = &changes[..] else { panic!("{instead}: {changes:?}") };
        assert_eq!((found.to_string(), found.effect), (change.to_owned(), effect));
    }
}

#[test]
fn prices_in_another_currency_are_neither_more_nor_less() {
    let euro = LLM_TIERS.replace("USD", "EUR").replace("\"2.50\"", "\"3\"");
    let changes = diff(&good(LLM_GATEWAY, LLM_TIERS).plans, &good(LLM_GATEWAY, &euro).plans);
    let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        ["meter spend: unit USD → EUR", "prices: currency USD → EUR", "price of gpt-4o*: input 2.5 → 3",]
    );
}
