//! What the requests of a route do to resources, as its charges say.

use std::borrow::Cow;

use tollgate_config::{Amount, Conditions, IdPlace, Job, Place, RouteCharge};
use tollgate_core::MeterIndex;

use super::uses::{Act, Use, Uses};

/// The charges of a route that name a resource or a job.
pub(crate) struct Planned(Vec<Entry>);

struct Entry {
    /// Among the route's meters.
    position: usize,
    act: Act,
    id: IdPlace,
    only_if: Conditions,
    unless: Option<Conditions>,
    /// What is true when a job that is asked for has ended.
    ended: Option<Conditions>,
}

/// What is known of a request, or of a request and its answer.
pub(crate) trait Facts {
    /// Whether what can be told of these conditions by now holds.
    fn hold(&self, conditions: &Conditions) -> bool;

    /// Whether these conditions are known to hold, all of them.
    fn fulfil(&self, conditions: &Conditions) -> bool;

    /// The text that stands in a place.
    fn text(&self, place: &Place) -> Option<Cow<'_, str>>;
}

impl Planned {
    /// None where no charge names a resource. `position` is where a meter is among the route's.
    pub(crate) fn of(
        charges: &[RouteCharge],
        position: impl Fn(MeterIndex) -> Option<usize>,
    ) -> Option<Self> {
        let entry = |charge: &RouteCharge| {
            let RouteCharge { meter, amount, only_if, unless, resource, job } = charge;
            let (act, id, ended) = match (resource, job) {
                (Some(id), _) if *amount == Amount::Constant(0) => (Act::Delete, id, None),
                (Some(id), _) => (Act::Set, id, None),
                (None, Some(Job::Start { id, time_limit })) => {
                    (Act::Start { time_limit: *time_limit }, id, None)
                }
                (None, Some(Job::Status { id, ended })) => (Act::Ask, id, Some(ended.clone())),
                (None, None) => return None,
            };
            let (only_if, unless) = (only_if.clone(), unless.clone());
            Some(Entry { position: position(*meter)?, act, id: id.clone(), only_if, unless, ended })
        };
        let entries: Vec<_> = charges.iter().filter_map(entry).collect();
        (!entries.is_empty()).then_some(Self(entries))
    }

    /// What a request does, and to which resource if it says so itself; none where it does nothing. `below` is what of
    /// its path lies below the route's.
    pub(crate) fn uses(&self, facts: &impl Facts, below: &str) -> Option<(Uses, Option<Box<str>>)> {
        let mut uses = Uses::new();
        let mut place: Option<&IdPlace> = None;
        for entry in self.0.iter().filter(|entry| entry.may_apply(facts)) {
            // One settlement has one resource: what names another one is not the request's.
            if place.is_some_and(|place| *place != entry.id) {
                continue;
            }
            place = Some(&entry.id);
            let of = Use { position: entry.position, act: entry.act };
            match uses.iter_mut().find(|known| known.position == of.position) {
                // What several set adds up.
                Some(known) if known.act == Act::Delete => *known = of,
                Some(_) => {}
                None => {
                    let _ = uses.try_push(of);
                }
            }
        }
        let id = match place? {
            IdPlace::Path => Some(segment(below).into()),
            IdPlace::At(place) if place.is_of_request() => facts.text(place).map(Box::from),
            IdPlace::At(_) => None,
        };
        Some((uses, id.filter(|id: &Box<str>| !id.is_empty())))
    }

    /// The id that the answer to a request names, whose uses are `uses`.
    pub(crate) fn late_id<'a>(&self, uses: &Uses, facts: &'a impl Facts) -> Option<Cow<'a, str>> {
        let of_use =
            |entry: &&Entry| uses.iter().any(|of| of.position == entry.position && of.act == entry.act);
        let mut places = self.0.iter().filter(of_use).filter_map(|entry| entry.id.place());
        places
            .find(|place| !place.is_of_request())
            .and_then(|place| facts.text(place))
            .filter(|id| !id.is_empty())
    }

    /// Whether the job of a use has ended, by what the answer says.
    pub(crate) fn has_ended(&self, of: Use, facts: &impl Facts) -> bool {
        let mut entries = self.0.iter().filter(|entry| entry.position == of.position && entry.act == of.act);
        entries.any(|entry| {
            entry.may_apply(facts) && entry.ended.as_ref().is_some_and(|ended| facts.fulfil(ended))
        })
    }
}

impl Entry {
    fn may_apply(&self, facts: &impl Facts) -> bool {
        facts.hold(&self.only_if) && !self.unless.as_ref().is_some_and(|unless| facts.fulfil(unless))
    }
}

/// The first segment of what lies below a route's path, decoded.
fn segment(below: &str) -> Cow<'_, str> {
    let segment = below.trim_start_matches('/').split('/').next().unwrap_or_default();
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(segment.len()), segment.as_bytes());
    while let Some((byte, tail)) = rest.split_first() {
        let escaped = tail.first_chunk().filter(|_| *byte == b'%').and_then(|digits| unhex(*digits));
        bytes.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    // What is no text is known by how it is written.
    String::from_utf8(bytes).map_or(Cow::Borrowed(segment), Cow::Owned)
}

fn unhex(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? * 16 + low?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_what_its_owner_wrote() {
        for (below, id) in [
            ("a", "a"),
            ("a/parts/3", "a"),
            ("/a", "a"),
            ("", ""),
            ("a%20b", "a b"),
            ("%C3%A9%E2%82%AC", "é€"),
            ("%FF", "%FF"),
            ("a%3Bb", "a;b"),
            ("a%4", "a%4"),
        ] {
            assert_eq!(segment(below), id, "{below}");
        }
    }
}
