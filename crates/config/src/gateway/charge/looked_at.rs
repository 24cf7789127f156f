//! What charges look at in bodies, which is bounded.

use tollgate_core::Pointer;

use super::{Amount, Condition, IdPlace, Job, Measure, Measured, Place, RouteCharge};

/// How many values of a body the charges look at; each once for each use that is made of it.
pub(super) fn count(charges: &[RouteCharge], is_of_request: bool) -> usize {
    let is_meant = |place: &&Place| place.pointer().is_some() && place.is_of_request() == is_of_request;
    let mut amounts: Vec<&Place> = Vec::new();
    let mut ids: Vec<&Place> = Vec::new();
    let mut conditions: Vec<&Condition> = Vec::new();
    let mut sizes: Vec<&Pointer> = Vec::new();
    for charge in charges {
        match &charge.amount {
            Amount::Measured(Measured { source: Measure::At(place), .. }) => amounts.extend([place]),
            Amount::Measured(Measured { source: Measure::MemorySize(size), .. }) if is_of_request => {
                sizes.extend([&size.text, &size.tags, &size.metadata]);
            }
            Amount::Measured(_) | Amount::Constant(_) => {}
        }
        ids.extend(charge.resource.iter().chain(charge.job.as_ref().map(Job::id)).filter_map(IdPlace::place));
        let ended = match &charge.job {
            Some(Job::Status { ended, .. }) => Some(ended),
            Some(Job::Start { .. }) | None => None,
        };
        let all = [Some(&charge.only_if), charge.unless.as_ref(), ended];
        conditions.extend(all.into_iter().flatten().flat_map(|conditions| &conditions.0));
    }
    amounts.retain(is_meant);
    ids.retain(is_meant);
    conditions.retain(|condition| condition.place().is_some_and(|place| is_meant(&place)));
    distinct(&amounts) + distinct(&ids) + distinct(&conditions) + distinct(&sizes)
}

fn distinct<T: PartialEq>(values: &[T]) -> usize {
    values.iter().enumerate().filter(|(index, value)| !values[..*index].contains(value)).count()
}
