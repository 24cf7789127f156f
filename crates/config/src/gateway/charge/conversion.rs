//! `scale`, `unit`, `round`, `min` and `max` of a charge: what is measured, in units of the meter.

use tollgate_core::{Conversion, Ratio, RatioError, Rounding};
use toml::de::DeValue;

use super::{
    Measure,
    counted::Counted,
    units::{BYTES, MILLISECONDS, SourceUnit},
};
use crate::{item::Item, money::NANOS, report::Flaw, section::Section, text::quote};

const EXAMPLE: &str = "3, \"0.001\" or \"1/60\"";

const ROUNDINGS: [(&str, Rounding); 3] =
    [("up", Rounding::Up), ("down", Rounding::Down), ("half_even", Rounding::HalfEven)];

/// What is written of a conversion; which of it has a meaning depends on what is measured.
pub(super) struct Written<'a> {
    scale: Option<Item<'a>>,
    unit: Option<Item<'a>>,
    round: Option<Item<'a>>,
    min: Option<Item<'a>>,
    max: Option<Item<'a>>,
}

impl<'a> Written<'a> {
    pub(super) fn of(section: &mut Section<'a>) -> Self {
        let [scale, unit, round, min, max] =
            ["scale", "unit", "round", "min", "max"].map(|key| section.get(key));
        Self { scale, unit, round, min, max }
    }

    /// Whether it says what one of the source is of the meter.
    pub(super) fn has_scale(&self) -> bool {
        self.scale.is_some()
    }

    /// Records that nothing of it has a meaning.
    pub(super) fn refuse(&self, why: &str) {
        let Self { scale, unit, round, min, max } = self;
        for item in [scale, unit, round, min, max].into_iter().flatten() {
            item.wrong_key(Flaw::new(why, "remove it"));
        }
    }

    /// How what `source` measures becomes an amount of the meter.
    pub(super) fn read(&self, source: &Measure, counted: Counted<'_>) -> Conversion {
        if *source == Measure::Upstream {
            self.refuse("the service says how much it is in the meter's own unit");
            return Conversion::NONE;
        }
        let bound = |item: &Option<Item<'_>>| item.as_ref().and_then(|item| item.amount(counted.unit()));
        let (min, max) = (bound(&self.min), bound(&self.max));
        if let (Some(least), Some(most), Some(item)) = (min, max, &self.max)
            && most < least
        {
            item.wrong(Flaw::new("max is less than min", "write min or more"));
        }
        let rounding = self.round.as_ref().and_then(|item| item.one_of(&ROUNDINGS)).unwrap_or_default();
        Conversion { ratio: self.ratio(source, counted).unwrap_or(Ratio::ONE), rounding, min, max }
    }

    /// Scale, units and billionths, all in one; `None` where one of them is a mistake.
    fn ratio(&self, source: &Measure, counted: Counted<'_>) -> Option<Ratio> {
        let scale = match &self.scale {
            None => Ratio::ONE,
            Some(item) => {
                let scale = read_ratio(item)?;
                if scale.is_negative() && !counted.is_level() {
                    let message = format!("{scale} is negative, and only a level can be given back");
                    item.wrong(Flaw::new(message, "write more than 0"));
                }
                scale
            }
        };
        let units = self.units(source, counted)?;
        let counts_billionths =
            counted.currency.is_some() && *source != Measure::Llm(super::LlmMeasure::Cost);
        let billionths = if counts_billionths { Ratio::new(NANOS, 1)? } else { Ratio::ONE };
        let ratio = scale.checked_mul(units).and_then(|ratio| ratio.checked_mul(billionths));
        if ratio.is_none()
            && let Some(item) = &self.scale
        {
            let message = "with the units, it has more than 14 digits, which is not counted with";
            item.wrong(Flaw::new(message, "write a shorter one, or another unit"));
        }
        ratio
    }

    /// What one of the source's units is of the meter's; `None` where one of them is a mistake.
    fn units(&self, source: &Measure, counted: Counted<'_>) -> Option<Ratio> {
        let of_meter = counted.source_unit();
        let implied = match source {
            Measure::Duration => Some(MILLISECONDS),
            Measure::RequestBytes | Measure::ResponseBytes | Measure::MemorySize(_) => Some(BYTES),
            Measure::Llm(_) | Measure::Upstream | Measure::At(_) => None,
        };
        let Some(item) = &self.unit else {
            // Into what is neither time nor size, milliseconds and bytes count as they are.
            let converted = implied.zip(of_meter).and_then(|(unit, of_meter)| unit.in_terms_of(of_meter));
            return Some(converted.unwrap_or(Ratio::ONE));
        };
        let unit = item.one_of(SourceUnit::CHOICES)?;
        match (source, implied) {
            (Measure::At(_), _) => {}
            (_, Some(implied)) => {
                let message = format!("what is measured is in {} already", implied.name());
                item.wrong_key(Flaw::new(message, "remove unit; scale says what one is of the meter"));
                return None;
            }
            (_, None) => {
                item.wrong_key(Flaw::new("what is measured has a unit of its own", "remove unit"));
                return None;
            }
        }
        let Some(counts) = counted.meter_unit() else { return Some(Ratio::ONE) };
        let ratio = of_meter.and_then(|of_meter| unit.in_terms_of(of_meter));
        if ratio.is_none() {
            let message =
                format!("the meter counts {}, into which {} cannot be converted", quote(counts), unit.name());
            item.wrong(Flaw::new(message, "remove unit, and say with scale what one is of the meter"));
        }
        ratio
    }
}

/// A factor: a whole number, or text.
pub(crate) fn read_ratio(item: &Item<'_>) -> Option<Ratio> {
    let parse = |text: &str| {
        text.parse().map_err(|error: RatioError| {
            let suggestion = match error {
                RatioError::Zero => "write another, or remove the charge".to_owned(),
                RatioError::NoNumber | RatioError::TooLong => format!("write it as in {EXAMPLE}"),
            };
            Flaw::new(format!("{} {error}", quote(text)), suggestion)
        })
    };
    match item.value() {
        DeValue::String(text) => item.check(parse(text)),
        DeValue::Integer(integer) if integer.radix() == 10 => {
            item.check(parse(&integer.as_str().replace('_', "")))
        }
        DeValue::Float(float) => {
            let text = float.as_str();
            let suggestion = match parse(text) {
                Ok(_) => format!("write it as text: {}", quote(text)),
                Err(_) => format!("write it as text, as in {EXAMPLE}"),
            };
            item.wrong(Flaw::new(format!("{text} is a float, which is not exact"), suggestion));
            None
        }
        DeValue::Integer(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => item.wrong_type("a factor", EXAMPLE),
    }
}
