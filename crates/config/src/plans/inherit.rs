//! What tiers get from the tiers they inherit from.
//!
//! A child's own limits of a meter replace its parent's as a whole; what a child does not say at all, it
//! has from its parent, along a chain of any length.

use tollgate_core::{OtherMeters, Tier, TierIndex};

use super::{Place, tier::Written};
use crate::{nearest::suggest, report::Flaw, text::quote};

/// Longest cycle that is spelled out whole.
const CYCLE_SHOWN_MAX: usize = 12;

/// Every tier with what it inherits, and where it stands.
pub(super) fn resolve(written: Vec<Written<'_>>) -> (Vec<Tier>, Vec<Place>) {
    let mut parents: Vec<Option<usize>> = written.iter().map(|child| find_parent(child, &written)).collect();
    break_cycles(&written, &mut parents);
    let mut done: Vec<Option<Tier>> = written.iter().map(|_| None).collect();
    for start in 0..written.len() {
        // From the tier up to the first ancestor that is done, and back down.
        let undone = |index: &usize| done.get(*index).is_some_and(Option::is_none);
        let chain: Vec<usize> = ancestry(start, &parents).take_while(undone).collect();
        for index in chain.into_iter().rev() {
            let parent = parents.get(index).copied().flatten().and_then(|parent| done.get(parent)?.as_ref());
            let tier = written.get(index).map(|child| child.with_parent(parent));
            if let Some(place) = done.get_mut(index) {
                *place = tier;
            }
        }
    }
    let places = written.iter().zip(&parents).map(|(child, parent)| Place {
        path: child.item.path.clone(),
        span: child.item.key.clone(),
        parent: parent.map(TierIndex),
    });
    (done.into_iter().flatten().collect(), places.collect())
}

/// A tier, its parent, and so on; endless in a cycle.
fn ancestry(start: usize, parents: &[Option<usize>]) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(start), |index| parents.get(*index).copied().flatten())
}

fn find_parent(child: &Written<'_>, all: &[Written<'_>]) -> Option<usize> {
    let item = child.inherits.as_ref()?;
    let name = item.string("the name of a tier")?;
    let found = all.iter().position(|tier| tier.name == name);
    if found.is_none() {
        let names = all.iter().map(|tier| tier.name).filter(|name| *name != child.name);
        item.wrong(Flaw::new(format!("no tier is called {}", quote(name)), suggest(name, names)));
    }
    found
}

/// Records each cycle once and cuts it at its first tier in the file.
fn break_cycles(written: &[Written<'_>], parents: &mut [Option<usize>]) {
    for start in 0..written.len() {
        let above = ancestry(start, parents).skip(1).take(written.len());
        let mut cycle: Vec<usize> = Vec::new();
        let mut is_cycle = false;
        for index in above {
            cycle.push(index);
            if index == start {
                is_cycle = true;
                break;
            }
        }
        if !is_cycle {
            continue;
        }
        let names = std::iter::once(start).chain(cycle).filter_map(|index| written.get(index));
        let mut names: Vec<&str> = names.map(|tier| tier.name).collect();
        if names.len() > CYCLE_SHOWN_MAX {
            names.splice(CYCLE_SHOWN_MAX - 2..names.len() - 1, ["…"]);
        }
        if let Some(item) = written.get(start).and_then(|tier| tier.inherits.as_ref()) {
            let message = format!("inherits from itself: {}", names.join(" → "));
            item.wrong(Flaw::new(message, "remove one inherits of these tiers"));
        }
        if let Some(parent) = parents.get_mut(start) {
            *parent = None;
        }
    }
}

impl Written<'_> {
    fn with_parent(&self, parent: Option<&Tier>) -> Tier {
        let inherited = parent.map(|parent| parent.limits.as_slice()).unwrap_or_default();
        let own = self.limits.iter().enumerate();
        let limits = own.map(|(meter, own)| own.clone().or_else(|| inherited.get(meter).cloned().flatten()));
        let other_meters = self.other_meters.or(parent.map(|parent| parent.other_meters));
        let warn_at = self.warn_at.clone().or_else(|| parent.map(|parent| parent.warn_at.clone()));
        // What a broken chain would have brought cannot be missed as well.
        let is_broken = self.inherits.is_some() && parent.is_none();
        let unsaid = if is_broken { OtherMeters::Unlimited } else { OtherMeters::Forbidden };
        Tier {
            name: self.name.into(),
            limits: limits.collect(),
            other_meters: other_meters.unwrap_or(unsaid),
            warn_at: warn_at.unwrap_or_default(),
            max_body_bytes: self.max_body_bytes.unwrap_or(parent.and_then(|parent| parent.max_body_bytes)),
        }
    }
}
