//! What has changed in the prices of models.

use tollgate_core::{ModelPrices, Nanos, PriceTable, TokenPrices, UnixMillis};

use super::{Effect, Recorder};

/// Records the differences, price by price: the same price has the same pattern and date.
pub(super) fn diff((old, new): (Option<&PriceTable>, Option<&PriceTable>), recorder: &mut Recorder<'_>) {
    let currency =
        |table: Option<&PriceTable>| table.map_or("none".to_owned(), |table| table.currency.to_string());
    let currencies = (currency(old), currency(new));
    let is_same_currency = currencies.0 == currencies.1;
    recorder.record("prices: currency", currencies, Effect::Neutral);
    for (key, prices) in entries(old) {
        match entries(new).find(|(other, _)| *other == key) {
            Some((_, new)) => diff_one(&name(key), (prices, new), is_same_currency, recorder),
            None => recorder.say(format!("{} is removed", name(key)), Effect::Neutral),
        }
    }
    for (key, prices) in entries(new).filter(|(key, _)| entries(old).all(|(other, _)| other != *key)) {
        let TokenPrices { input, output, .. } = *prices;
        let what = format!("{} is new: input {}, output {}", name(key), Nanos(input), Nanos(output));
        recorder.say(what, Effect::Neutral);
    }
}

type Key<'a> = (&'a str, UnixMillis);

fn entries(table: Option<&PriceTable>) -> impl Iterator<Item = (Key<'_>, &TokenPrices)> {
    table.into_iter().flat_map(PriceTable::models).flat_map(of_model)
}

fn of_model(model: &ModelPrices) -> impl Iterator<Item = (Key<'_>, &TokenPrices)> {
    model.since.iter().map(|(from, prices)| ((model.pattern.as_str(), *from), prices))
}

/// `price of gpt-4o*`, `price of gpt-4o* from 2026-01-01`.
fn name((pattern, from): Key<'_>) -> String {
    match from {
        UnixMillis::MIN => format!("price of {pattern}"),
        from => format!("price of {pattern} from {from}"),
    }
}

/// Higher prices leave less of what a tier may spend.
fn diff_one(
    what: &str,
    (old, new): (&TokenPrices, &TokenPrices),
    is_same_currency: bool,
    recorder: &mut Recorder<'_>,
) {
    let TokenPrices { input, output, cached_read, cache_write } = *old;
    let mut record = |part: &str, (old, new): (Option<i64>, Option<i64>), stand_in: (i64, i64)| {
        let show = |price: Option<i64>| price.map_or("as input".to_owned(), |price| Nanos(price).to_string());
        let effect = match is_same_currency {
            true => Effect::of_more(&new.unwrap_or(stand_in.1), &old.unwrap_or(stand_in.0)),
            false => Effect::Neutral,
        };
        recorder.record(&format!("{what}: {part}"), (show(old), show(new)), effect);
    };
    let inputs = (input, new.input);
    record("input", (Some(input), Some(new.input)), inputs);
    record("output", (Some(output), Some(new.output)), inputs);
    record("cached_read", (cached_read, new.cached_read), inputs);
    record("cache_write", (cache_write, new.cache_write), inputs);
}
