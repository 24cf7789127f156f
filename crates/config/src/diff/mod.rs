//! What a change of the tiers file means, tier by tier: who gains, who loses.

mod limits;
mod prices;

use std::fmt;

use tollgate_core::{Meter, MeterPart, ModelPattern, OtherMeters, Plans, Ratio, Tier};

use crate::{money::NANOS, number::show_bytes};

/// One difference between two tiers files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose it is; `None` where it concerns no single tier.
    pub tier: Option<Box<str>>,
    /// What has changed, such as `api_calls per day`.
    pub what: String,
    /// From what to what; `None` where `what` says it all.
    pub values: Option<(String, String)>,
    /// What that means for subjects.
    pub effect: Effect,
}

/// What a change means for the subjects of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// They may use more, or pay less.
    Gains,
    /// They may use less, or pay more.
    Loses,
    /// Neither, or it depends.
    Neutral,
}

/// Such as `free_trial: api_calls per day 100 → 200 (gains)`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tier) = &self.tier {
            write!(f, "{tier}: ")?;
        }
        f.write_str(&self.what)?;
        if let Some((old, new)) = &self.values {
            write!(f, " {old} → {new}")?;
        }
        f.write_str(match self.effect {
            Effect::Gains => " (gains)",
            Effect::Loses => " (loses)",
            Effect::Neutral => "",
        })
    }
}

impl Effect {
    /// That of going from one value to another where more is better.
    fn of_more<T: PartialOrd>(old: &T, new: &T) -> Self {
        if new > old {
            Self::Gains
        } else if new < old {
            Self::Loses
        } else {
            Self::Neutral
        }
    }
}

/// Every difference from `old` to `new`. Meters and tiers are the same when their names are.
#[must_use]
pub fn diff(old: &Plans, new: &Plans) -> Vec<Change> {
    let mut changes = Vec::new();
    let default_of = |plans: &Plans| plans.tiers.get(plans.default_tier.0).map(|tier| tier.name.to_string());
    let mut file = Recorder { tier: None, changes: &mut changes };
    let default_tiers = (default_of(old).unwrap_or_default(), default_of(new).unwrap_or_default());
    file.record("default_tier", default_tiers, Effect::Neutral);
    let url_of = |plans: &Plans| plans.upgrade_url.as_deref().unwrap_or("none").to_owned();
    file.record("upgrade_url", (url_of(old), url_of(new)), Effect::Neutral);
    diff_meters((old, new), &mut file);
    prices::diff((old.prices.as_ref(), new.prices.as_ref()), &mut file);
    for tier in &old.tiers {
        let mut recorder = Recorder { tier: Some(&tier.name), changes: &mut changes };
        match new.tier(&tier.name).and_then(|index| new.tiers.get(index.0)) {
            Some(successor) => diff_tiers((old, tier), (new, successor), &mut recorder),
            None => recorder.say("the tier is removed".to_owned(), Effect::Loses),
        }
    }
    for tier in new.tiers.iter().filter(|tier| old.tier(&tier.name).is_none()) {
        let mut recorder = Recorder { tier: Some(&tier.name), changes: &mut changes };
        recorder.say("the tier is new".to_owned(), Effect::Neutral);
    }
    changes
}

/// Collects the changes of one tier, or of the file as a whole.
struct Recorder<'r> {
    tier: Option<&'r str>,
    changes: &'r mut Vec<Change>,
}

impl Recorder<'_> {
    /// Records a change, unless there is none.
    fn record(&mut self, what: &str, values: (String, String), effect: Effect) {
        if values.0 != values.1 {
            let tier = self.tier.map(Into::into);
            self.changes.push(Change { tier, what: what.to_owned(), values: Some(values), effect });
        }
    }

    fn say(&mut self, what: String, effect: Effect) {
        self.changes.push(Change { tier: self.tier.map(Into::into), what, values: None, effect });
    }
}

fn diff_meters((old, new): (&Plans, &Plans), recorder: &mut Recorder<'_>) {
    for meter in &old.meters {
        let Meter { name, unit, kind, models, parts: _ } = meter;
        let Some(successor) = new.meters.iter().find(|meter| meter.name == *name) else {
            recorder.say(format!("meter {name} is removed"), Effect::Neutral);
            continue;
        };
        let units = (unit.to_string(), successor.unit.to_string());
        recorder.record(&format!("meter {name}: unit"), units, Effect::Neutral);
        let kinds = (format!("{kind:?}").to_lowercase(), format!("{:?}", successor.kind).to_lowercase());
        recorder.record(&format!("meter {name}: kind"), kinds, Effect::Neutral);
        let models = (show_models(models), show_models(&successor.models));
        recorder.record(&format!("meter {name}: models"), models, Effect::Neutral);
        let made_of = (show_parts(meter, old), show_parts(successor, new));
        recorder.record(&format!("meter {name}: of"), made_of, Effect::Neutral);
    }
    for meter in new.meters.iter().filter(|meter| old.meter(&meter.name).is_none()) {
        recorder.say(format!("meter {} is new", meter.name), Effect::Neutral);
    }
}

fn show_models(models: &[ModelPattern]) -> String {
    let names: Vec<&str> = models.iter().map(ModelPattern::as_str).collect();
    if names.is_empty() { "all".to_owned() } else { names.join(", ") }
}

/// As the file says it: money not in billionths.
fn show_parts(whole: &Meter, plans: &Plans) -> String {
    let billionths =
        |meter: &Meter| meter.currency().and_then(|_| Ratio::new(NANOS, 1)).unwrap_or(Ratio::ONE);
    let show = |part: &MeterPart| {
        let meter = plans.meters.get(part.meter.0)?;
        let written = part.ratio.checked_mul(billionths(meter))?.checked_mul(billionths(whole).inverse())?;
        Some(format!("{} × {written}", meter.name))
    };
    let parts: Vec<String> = whole.parts.iter().filter_map(show).collect();
    if parts.is_empty() { "nothing else".to_owned() } else { parts.join(" + ") }
}

fn diff_tiers(old: (&Plans, &Tier), new: (&Plans, &Tier), recorder: &mut Recorder<'_>) {
    let added = new.0.meters.iter().filter(|meter| old.0.meter(&meter.name).is_none());
    for meter in old.0.meters.iter().chain(added) {
        limits::diff(meter, limits::Side::of(old, meter), limits::Side::of(new, meter), recorder);
    }
    let Tier { name: _, limits: _, other_meters, warn_at, max_body_bytes } = old.1;
    let body = |bytes: Option<u64>| match bytes.map(i64::try_from) {
        None => "unlimited".to_owned(),
        Some(bytes) => show_bytes(bytes.unwrap_or(i64::MAX)),
    };
    let bodies = (max_body_bytes.unwrap_or(u64::MAX), new.1.max_body_bytes.unwrap_or(u64::MAX));
    let effect = Effect::of_more(&bodies.0, &bodies.1);
    recorder.record("max_body", (body(*max_body_bytes), body(new.1.max_body_bytes)), effect);
    let percentages = |warn_at: &[u8]| format!("{warn_at:?}");
    recorder.record("warn_at", (percentages(warn_at), percentages(&new.1.warn_at)), Effect::Neutral);
    let others = |other_meters: OtherMeters| match other_meters {
        OtherMeters::Forbidden => (0, "forbidden".to_owned()),
        OtherMeters::Unlimited => (1, "unlimited".to_owned()),
    };
    let ((old_rank, old), (new_rank, new)) = (others(*other_meters), others(new.1.other_meters));
    recorder.record("other_meters", (old, new), Effect::of_more(&old_rank, &new_rank));
}
