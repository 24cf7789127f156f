//! Bodies that are larger than a tier allows.

use tollgate_config::show_bytes;
use tollgate_core::{Tier, TierIndex};

use crate::{
    live::Live,
    refusal::{Code, Refusal},
};

/// Tiers that a refusal names: who wants more wants a little more.
const NAMED_MAX: usize = 3;

/// Says how much the tier allows, and who allows more.
pub(crate) fn refusal(live: &Live, tier: TierIndex, bytes_max: u64) -> Refusal {
    let plans = live.plans();
    let message = format!(
        "the body is larger than the {} that tier {} allows{}",
        show(bytes_max),
        live.tier(tier).name,
        larger(&plans.tiers, bytes_max, plans.upgrade_url.as_deref())
    );
    Refusal::new(Code::BodyTooLarge, message).closing()
}

/// The tiers that allow more, the nearest first.
fn larger(tiers: &[Tier], bytes_max: u64, upgrade_url: Option<&str>) -> String {
    let bound = |tier: &Tier| tier.max_body_bytes.unwrap_or(u64::MAX);
    let mut larger: Vec<&Tier> = tiers.iter().filter(|tier| bound(tier) > bytes_max).collect();
    larger.sort_by_key(|tier| bound(tier));
    let named: Vec<String> = larger
        .iter()
        .take(NAMED_MAX)
        .map(|tier| match tier.max_body_bytes {
            Some(bytes) => format!("{} allows {}", tier.name, show(bytes)),
            None => format!("{} any size", tier.name),
        })
        .collect();
    match (named.is_empty(), upgrade_url) {
        (true, None) => String::new(),
        (true, Some(url)) => format!("; no tier allows more: {url}"),
        (false, None) => format!("; {}", named.join(", ")),
        (false, Some(url)) => format!("; {}: {url}", named.join(", ")),
    }
}

fn show(bytes: u64) -> String {
    show_bytes(i64::try_from(bytes).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use tollgate_core::OtherMeters;

    use super::*;

    fn tier(name: &str, max_body_bytes: Option<u64>) -> Tier {
        Tier {
            name: name.into(),
            limits: Vec::new(),
            other_meters: OtherMeters::Unlimited,
            warn_at: Vec::new(),
            max_body_bytes,
        }
    }

    #[test]
    fn tiers_that_allow_more_are_named() {
        let tiers = [
            tier("all", None),
            tier("free", Some(1000)),
            tier("pro", Some(5_000_000)),
            tier("plus", Some(1 << 20)),
            tier("mini", Some(10)),
        ];
        let url = Some("https://example.com");
        assert_eq!(
            larger(&tiers, 1000, url),
            "; plus allows 1MiB, pro allows 5MB, all any size: https://example.com"
        );
        assert_eq!(larger(&tiers, 5_000_000, None), "; all any size");
        assert_eq!(larger(&tiers[1..3], 5_000_000, url), "; no tier allows more: https://example.com");
        assert_eq!(larger(&tiers[1..3], 5_000_000, None), "");
    }
}
