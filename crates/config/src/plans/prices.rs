//! `[prices]`: what the tokens of models cost.

use tollgate_core::{Currency, ModelPattern, ModelPrices, PriceTable, TokenPrices, UnixMillis};
use toml::de::DeValue;

use crate::{item::Item, models, number::Unit, report::Flaw, section::Section, text::quote};

/// A change every month for five years.
const SINCE_MAX: usize = 60;

const EXAMPLE: &str = "{ input = \"2.50\", output = \"10\" }";
const CURRENCY: &str = "currency";

/// The whole table. The currency is none where it has a mistake.
pub(super) fn read(section: &mut Section<'_>) -> PriceTable {
    let currency = section.need(CURRENCY, "currency = \"USD\"");
    let currency = currency.and_then(|item| item.parsed("\"USD\"", parse_currency));
    let mut entries = section.entries();
    entries.retain(|(key, _)| *key != CURRENCY);
    if entries.is_empty() {
        section.wrong(Flaw::new("no model has a price", format!("add \"gpt-4o*\" = {EXAMPLE}")));
    }
    let models = models::entries(section, entries);
    let models = models.into_iter().map(|(pattern, item)| read_model(pattern, &item)).collect();
    PriceTable::new(currency.unwrap_or(Currency::NONE), models)
}

fn parse_currency(text: &str) -> Result<Currency, Flaw> {
    let parse = |text: &str| Currency::parse(text).filter(|currency| *currency != Currency::NONE);
    parse(text).ok_or_else(|| {
        let suggestion = match parse(&text.to_ascii_uppercase()) {
            Some(meant) => format!("write \"{meant}\""),
            None => "write its three capital letters, as in \"USD\"".to_owned(),
        };
        Flaw::new(format!("{} is not a currency", quote(text)), suggestion)
    })
}

/// The prices of one pattern: a table, or a list of them with the dates from which they hold.
fn read_model(pattern: ModelPattern, item: &Item<'_>) -> ModelPrices {
    let items = match item.value() {
        DeValue::Array(_) => item.list(SINCE_MAX, &format!("[{EXAMPLE}]")).unwrap_or_default(),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Table(_) => vec![item.clone()],
    };
    if matches!(item.value(), DeValue::Array(list) if list.is_empty()) {
        item.wrong(Flaw::new("there is no price", format!("write {EXAMPLE}")));
    }
    let mut since: Vec<(UnixMillis, TokenPrices)> = Vec::new();
    for item in &items {
        let Some(Some((from, prices))) = item.table(EXAMPLE, read_one) else { continue };
        if since.iter().any(|(other, _)| *other == from) {
            let message = match from {
                UnixMillis::MIN => "two prices hold from the beginning".to_owned(),
                from => format!("two prices hold from {from}"),
            };
            item.wrong(Flaw::new(message, "give one of them another date, as in from = \"2026-01-01\""));
        }
        since.push((from, prices));
    }
    since.sort_by_key(|(from, _)| *from);
    ModelPrices { pattern, since }
}

fn read_one(section: &mut Section<'_>) -> Option<(UnixMillis, TokenPrices)> {
    let price = |item: &Item<'_>| item.amount(Unit::Money);
    let input = section.need("input", "input = \"2.50\", the price of a million tokens");
    let output = section.need("output", "output = \"10\", the price of a million tokens");
    let (input, output) = (input.and_then(|item| price(&item)), output.and_then(|item| price(&item)));
    let cached_read = section.maybe("cached_read", price);
    let cache_write = section.maybe("cache_write", price);
    let from = section.get("from");
    let from = from.map_or(Some(UnixMillis::MIN), |item| read_from(&item))?;
    Some((from, TokenPrices { input: input?, output: output?, cached_read, cache_write }))
}

/// A date or an instant, as text or as TOML writes it.
fn read_from(item: &Item<'_>) -> Option<UnixMillis> {
    let example = "\"2026-01-01\"";
    let text = match item.value() {
        DeValue::String(text) => text.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => return item.wrong_type("a date", example),
    };
    let instant = UnixMillis::parse(text.trim());
    if instant.is_none() {
        let message = format!("{} is neither a date nor an instant", quote(&text));
        let suggestion = "write it as in \"2026-01-01\" (from midnight in UTC) or \"2026-01-01T12:00:00Z\"";
        item.wrong(Flaw::new(message, suggestion));
    }
    instant
}
