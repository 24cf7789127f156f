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
