//! What the tokens of a model cost.

use crate::{Currency, ModelPattern, UnixMillis};

/// What prices of tokens are for.
const PER_TOKENS: i128 = 1_000_000;

/// Prices of a model's tokens: billionths of the currency's unit per million tokens, never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenPrices {
    /// Of input that no cache had a part in.
    pub input: i64,
    /// Of output, reasoning included.
    pub output: i64,
    /// Of input that was read from a cache; that of `input` where none is stated.
    pub cached_read: Option<i64>,
    /// Of input that was written to a cache; that of `input` where none is stated.
    pub cache_write: Option<i64>,
}

/// The prices of the models that a pattern means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPrices {
    /// Which models.
    pub pattern: ModelPattern,
    /// From when on which prices hold, in ascending order. Before the first there is none.
    pub since: Vec<(UnixMillis, TokenPrices)>,
}

/// What every model's tokens cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceTable {
    /// What currency all prices are in.
    pub currency: Currency,
    /// Most specific first.
    models: Vec<ModelPrices>,
}

/// Tokens of one request as prices tell them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PricedTokens {
    /// All input tokens, those of caches included.
    pub input: i64,
    /// All output tokens, reasoning included.
    pub output: i64,
    /// Those of `input` that were read from a cache.
    pub cached_read: i64,
    /// Those of `input` that were written to a cache.
    pub cache_write: i64,
}

impl PriceTable {
    /// A table of these prices. The most specific pattern that matches a model and has a price at that time
    /// decides: the one with the most literal bytes and, among equals, the first by its text
    /// ([`ModelPattern::rank`]).
    #[must_use]
    pub fn new(currency: Currency, mut models: Vec<ModelPrices>) -> Self {
        models.sort_by(|one, other| one.pattern.rank().cmp(&other.pattern.rank()));
        Self { currency, models }
    }

    /// The prices of each pattern, most specific first.
    #[must_use]
    pub fn models(&self) -> &[ModelPrices] {
        &self.models
    }

    /// The prices of `model` at `at`; `None` where it has none.
    #[must_use]
    pub fn prices(&self, model: &str, at: UnixMillis) -> Option<&TokenPrices> {
        let matching = self.models.iter().filter(|prices| prices.pattern.matches(model));
        matching.filter_map(|prices| prices.at(at)).next()
    }

    /// What `used` of `model` costs by the prices of `at`, in billionths of the currency's unit, rounded up
    /// once. `None` where the model has no price then, or the sum does not fit.
    ///
    /// The parts of caches count as at most the input: what is read comes first, what is written is of the
    /// rest. Negative counts are zero.
    #[must_use]
    pub fn cost(&self, model: &str, at: UnixMillis, used: &PricedTokens) -> Option<i64> {
        let prices = self.prices(model, at)?;
        let PricedTokens { input, output, cached_read, cache_write } = *used;
        let input = input.max(0);
        let cached_read = cached_read.clamp(0, input);
        let cache_write = cache_write.clamp(0, input - cached_read);
        round_up([
            (input - cached_read - cache_write, prices.input),
            (cached_read, prices.cached_read.unwrap_or(prices.input)),
            (cache_write, prices.cache_write.unwrap_or(prices.input)),
            (output, prices.output),
        ])
    }

    /// The most that `input_max` and `output_max` tokens of `model` can cost, whatever part caches have in
    /// it: never less than [`cost`](Self::cost) of as many tokens or fewer. `None` as there.
    #[must_use]
    pub fn cost_max(&self, model: &str, at: UnixMillis, input_max: i64, output_max: i64) -> Option<i64> {
        let prices = self.prices(model, at)?;
        round_up([(input_max, prices.dearest_input()), (output_max, prices.output)])
    }
}

impl ModelPrices {
    fn at(&self, at: UnixMillis) -> Option<&TokenPrices> {
        self.since.iter().rev().find(|(since, _)| *since <= at).map(|(_, prices)| prices)
    }
}

impl TokenPrices {
    fn dearest_input(&self) -> i64 {
        let caches = [self.cached_read, self.cache_write].into_iter().flatten();
        caches.fold(self.input, i64::max)
    }
}

/// The sum of tokens at their prices per million.
fn round_up<const N: usize>(parts: [(i64, i64); N]) -> Option<i64> {
    let product = |(tokens, price): (i64, i64)| i128::from(tokens.max(0)) * i128::from(price.max(0));
    let sum = parts.into_iter().try_fold(0i128, |sum, part| sum.checked_add(product(part)))?;
    let whole = sum / PER_TOKENS + i128::from(sum % PER_TOKENS != 0);
    i64::try_from(whole).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CENT: i64 = 10_000_000;

    fn prices(input: i64, output: i64) -> TokenPrices {
        TokenPrices { input, output, cached_read: None, cache_write: None }
    }

    fn model(pattern: &str, since: Vec<(UnixMillis, TokenPrices)>) -> ModelPrices {
        ModelPrices { pattern: pattern.parse().unwrap(), since }
    }

    fn table(models: Vec<ModelPrices>) -> PriceTable {
        PriceTable::new(Currency::parse("USD").unwrap(), models)
    }

    fn always(prices: TokenPrices) -> PriceTable {
        table(vec![model("m", vec![(UnixMillis::MIN, prices)])])
    }

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    #[test]
    fn a_known_bill() {
        // 2.50 in, 10.00 out, 1.25 from a cache, 3.00 into it, per million tokens.
        let prices = TokenPrices {
            cached_read: Some(125 * CENT),
            cache_write: Some(300 * CENT),
            ..prices(250 * CENT, 1000 * CENT)
        };
        let used = PricedTokens { input: 1000, output: 200, cached_read: 400, cache_write: 100 };
        // 500 at 2.50, 400 at 1.25, 100 at 3.00 and 200 at 10.00 are 4050 millionths.
        assert_eq!(always(prices).cost("m", NOW, &used), Some(4_050_000));
        // 1000 at 3.00, the dearest, and 200 at 10.00.
        assert_eq!(always(prices).cost_max("m", NOW, 1000, 200), Some(5_000_000));
    }

    #[test]
    fn it_is_rounded_up_once() {
        let cost = |input, output| {
            always(prices(1, 1)).cost("m", NOW, &PricedTokens { input, output, ..Default::default() })
        };
        assert_eq!(cost(0, 0), Some(0));
        assert_eq!(cost(1, 0), Some(1));
        assert_eq!(cost(400_000, 600_000), Some(1), "the sum is rounded, not its parts");
        assert_eq!(cost(400_000, 600_001), Some(2));
    }

    #[test]
    fn parts_of_caches_are_never_more_than_the_input() {
        let prices =
            TokenPrices { cached_read: Some(CENT), cache_write: Some(2 * CENT), ..prices(4 * CENT, 0) };
        let cost = |cached_read, cache_write| {
            let million = 1_000_000;
            let used = PricedTokens { input: million, output: -5, cached_read, cache_write };
            always(prices).cost("m", NOW, &used).unwrap() / (CENT / 10)
        };
        assert_eq!(cost(i64::MAX, i64::MAX), 10);
        assert_eq!(cost(500_000, i64::MAX), 15, "half at 1 and half at 2");
        assert_eq!(cost(-1, i64::MAX), 20);
        assert_eq!(cost(i64::MIN, i64::MIN), 40);
    }

    #[test]
    fn the_most_specific_pattern_that_has_a_price_decides() {
        let later = UnixMillis(NOW.0 + 1);
        let of = |nanos: i64| prices(nanos * 1_000_000, 0);
        let table = table(vec![
            model("*", vec![(UnixMillis::MIN, of(1))]),
            model("gpt-4o*", vec![(UnixMillis::MIN, of(2)), (later, of(3))]),
            model("gpt-4o-mini", vec![(later, of(4))]),
            model("none*", vec![(later, of(5))]),
        ]);
        let cost = |model, at| table.cost(model, at, &PricedTokens { input: 1, ..Default::default() });
        assert_eq!(cost("llama", NOW), Some(1));
        assert_eq!(cost("GPT-4o", NOW), Some(2));
        assert_eq!(cost("gpt-4o", later), Some(3));
        assert_eq!(cost("gpt-4o-mini", NOW), Some(2), "its own price does not hold yet");
        assert_eq!(cost("gpt-4o-mini", later), Some(4));
        let table = self::table(vec![model("none*", vec![(later, of(5))])]);
        assert_eq!(table.cost("none", NOW, &PricedTokens::default()), None);
        assert_eq!(table.cost("other", later, &PricedTokens::default()), None);
        assert_eq!(table.cost_max("none", NOW, 1, 1), None);
    }

    #[test]
    fn what_does_not_fit_has_no_price() {
        let dear = always(prices(i64::MAX, i64::MAX));
        assert_eq!(dear.cost_max("m", NOW, 1_000_000, 0), Some(i64::MAX));
        assert_eq!(dear.cost_max("m", NOW, 1_000_000, 1), None);
        assert_eq!(dear.cost_max("m", NOW, i64::MAX, i64::MAX), None);
    }

    fn any_prices() -> impl Strategy<Value = TokenPrices> {
        let price = || prop_oneof![0..=i64::MAX, 0..=100 * CENT];
        let optional = || prop::option::of(prop_oneof![0..=i64::MAX, 0..=100 * CENT]);
        (price(), price(), optional(), optional()).prop_map(|(input, output, cached_read, cache_write)| {
            TokenPrices { input, output, cached_read, cache_write }
        })
    }

    fn tokens() -> impl Strategy<Value = i64> {
        prop_oneof![any::<i64>(), -10..1_000_000i64]
    }

    proptest! {
        /// More tokens never cost less; what does not fit is the most of all.
        #[test]
        fn cost_grows_with_tokens(
            prices in any_prices(), input in tokens(), output in tokens(), cached_read in tokens(),
            cache_write in tokens(), more_input in 0..=i64::MAX, more_output in 0..=i64::MAX,
        ) {
            let table = always(prices);
            let used = PricedTokens { input, output, cached_read, cache_write };
            let more = PricedTokens {
                input: input.saturating_add(more_input),
                output: output.saturating_add(more_output),
                ..used
            };
            let cost = |used| table.cost("m", NOW, used).unwrap_or(i64::MAX);
            prop_assert!(cost(&used) <= cost(&more));
            prop_assert!(cost(&used) >= 0);
        }

        /// Whatever part caches have in it.
        #[test]
        fn nothing_costs_more_than_the_most(
            prices in any_prices(), input in tokens(), output in tokens(), cached_read in tokens(),
            cache_write in tokens(),
        ) {
            let table = always(prices);
            let used = PricedTokens { input, output, cached_read, cache_write };
            match table.cost_max("m", NOW, input, output) {
                Some(max) => prop_assert!(table.cost("m", NOW, &used).is_some_and(|cost| cost <= max)),
                None => prop_assert!(input > 0 || output > 0),
            }
        }
    }
}
