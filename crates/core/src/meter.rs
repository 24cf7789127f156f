//! Meters: the things that are counted.

use crate::{Currency, MeterIndex, ModelPattern, Ratio};

/// A thing counted, as `[meters]` of `tier-limits.toml` declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    /// Its name in files, headers and the ledger.
    pub name: Box<str>,
    /// What one of it is called ("tokens", "bytes"). With a currency ("USD"), amounts are billionths of it.
    pub unit: Box<str>,
    /// How it adds up.
    pub kind: MeterKind,
    /// Of which models it counts requests; empty for all.
    pub models: Vec<ModelPattern>,
    /// The meters that it is made of: whatever charges one of them charges it, too. They are made of none themselves.
    pub parts: Vec<MeterPart>,
}

/// A meter that another one is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterPart {
    /// Which meter.
    pub meter: MeterIndex,
    /// What one of it is of the other. Each part is rounded up by itself.
    pub ratio: Ratio,
}

/// How a meter's amounts add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MeterKind {
    /// Adds up within a window and starts again at zero.
    Count,
    /// What exists now: never resets, and negative amounts give back.
    Level,
    /// What runs now: taken at the start, given back at the end.
    Concurrent,
}

impl Meter {
    /// The currency whose billionths it counts, where it counts money.
    #[must_use]
    pub fn currency(&self) -> Option<Currency> {
        Currency::parse(&self.unit)
    }

    /// Whether it counts requests for `model`. One whose model is not known counts, so that it is never free.
    #[must_use]
    pub fn counts_model(&self, model: Option<&str>) -> bool {
        let is_meant = |model: &str| self.models.iter().any(|pattern| pattern.matches(model));
        self.models.is_empty() || model.is_none_or(is_meant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(unit: &str, models: &[&str]) -> Meter {
        let models = models.iter().map(|text| text.parse().unwrap()).collect();
        Meter { name: "m".into(), unit: unit.into(), kind: MeterKind::Count, models, parts: Vec::new() }
    }

    #[test]
    fn a_request_whose_model_is_not_known_counts() {
        let narrow = meter("tokens", &["gpt-4*", "o3"]);
        assert!(narrow.counts_model(Some("gpt-4o")) && narrow.counts_model(Some("O3")));
        assert!(!narrow.counts_model(Some("o3-mini")));
        assert!(narrow.counts_model(None));
        let wide = meter("tokens", &[]);
        assert!(wide.counts_model(Some("anything")) && wide.counts_model(None));
    }

    #[test]
    fn three_capitals_are_a_currency() {
        assert_eq!(meter("USD", &[]).currency(), Currency::parse("USD"));
        for unit in ["usd", "US", "USDT", "calls", "U$D"] {
            assert_eq!(meter(unit, &[]).currency(), None, "{unit}");
        }
    }
}
