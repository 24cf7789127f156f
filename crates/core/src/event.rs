//! Settlements and the ledger events they consist of.

use std::{borrow::Cow, fmt};

use arrayvec::ArrayVec;
use uuid::Uuid;

use crate::{UnixMillis, metadata};

/// Most charges that one request can settle, and so most meters that one route can charge.
pub const SETTLEMENT_CHARGES_MAX: usize = 8;

/// Identifies one admitted request; the ids of its events derive from it.
///
/// It is a uuid v7 (RFC 9562, section 5.7) whose lowest byte is zero: that byte numbers the events.
/// The same request therefore has the same event ids however often its settlement is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey(u128);

impl RequestKey {
    /// Made of the time of admission and 66 random bits, the lower 66 of `random`.
    #[must_use]
    pub fn new(at: UnixMillis, random: u128) -> Self {
        const VERSION_7: u128 = 0x7 << 76;
        const VARIANT: u128 = 0b10 << 62;
        let millis = u128::from(at.0.clamp(0, (1 << 48) - 1).unsigned_abs());
        let rand_a = (random & 0xfff) << 64;
        let rand_b = ((random >> 12) & ((1 << 54) - 1)) << 8;
        Self(millis << 80 | VERSION_7 | rand_a | VARIANT | rand_b)
    }

    /// From its bits, as [`RequestKey::to_bits`] gave them.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits & !0xff)
    }

    /// As 128 bits.
    #[must_use]
    pub const fn to_bits(self) -> u128 {
        self.0
    }

    /// The id of the request's event number `index`.
    #[must_use]
    pub const fn event(self, index: u8) -> EventId {
        EventId(self.0 | index as u128)
    }
}

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u128(self.0).hyphenated().fmt(f)
    }
}

/// Identifies one line of the ledger: a uuid v7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(u128);

impl EventId {
    /// As 128 bits.
    #[must_use]
    pub const fn to_bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u128(self.0).hyphenated().fmt(f)
    }
}

/// One meter's part of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge<'a> {
    /// The meter's name.
    pub meter: &'a str,
    /// What was used; negative only for a level that gives back.
    pub amount: i64,
    /// Whether the amount is not what was measured but what is assumed.
    pub estimated: bool,
}

/// The charges of one settlement.
pub type Charges<'a> = ArrayVec<Charge<'a>, SETTLEMENT_CHARGES_MAX>;

/// Who settled a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettledBy {
    /// The exchange that served it.
    Exchange,
    /// The next start, after a crash: the request was admitted, and nobody knows how it ended.
    Recovery,
}

/// The one end of an admitted request: what is charged for it, one event per meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement<'a> {
    /// Which request. Made of `at`: the lines of a span are found by their ids.
    pub key: RequestKey,
    /// When it was admitted, or what it tells of was used; its charges count in the windows of this instant.
    pub at: UnixMillis,
    /// The user.
    pub user_id: &'a str,
    /// The organisation, if the user has one.
    pub org_id: Option<&'a str>,
    /// The tier's name.
    pub tier: &'a str,
    /// The route's name.
    pub route: &'a str,
    /// The request's method.
    pub method: &'a str,
    /// The answer's status; 0 when there was none.
    pub status: u16,
    /// From admission to settlement, in milliseconds of the monotonic clock.
    pub duration_ms: u64,
    /// What the client and the upstream know the request by.
    pub request_id: &'a str,
    /// What the request was about, if the route says so.
    pub resource: Option<&'a str>,
    /// More, as [`metadata`] keeps it; mostly one JSON object.
    pub metadata: Option<&'a str>,
    /// Who settled it.
    pub settled_by: SettledBy,
    /// What is charged.
    pub charges: Charges<'a>,
}

/// One line of the ledger.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Primary key.
    pub id: EventId,
    /// What was used of which meter.
    pub charge: Charge<'a>,
    /// All else, shared by the events of a request.
    pub settlement: &'a Settlement<'a>,
}

impl<'a> Event<'a> {
    /// More about this event, as one JSON object.
    #[must_use]
    pub fn metadata(&self) -> Option<Cow<'a, str>> {
        metadata::of_meter(self.settlement.metadata?, self.charge.meter)
    }
}

impl<'a> Settlement<'a> {
    /// The settlement's events, one per meter.
    pub fn events(&'a self) -> impl Iterator<Item = Event<'a>> {
        (0u8..).zip(&self.charges).map(|(index, charge)| Event {
            id: self.key.event(index),
            charge: *charge,
            settlement: self,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_are_uuid_v7_of_the_admission_time() {
        let key = RequestKey::new(UnixMillis(1_795_000_000_123), u128::MAX);
        for index in [0u8, 1, 255] {
            let id = Uuid::from_u128(key.event(index).to_bits());
            assert_eq!(id.get_version_num(), 7);
            assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
            let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
            assert_eq!((seconds, nanos), (1_795_000_000, 123_000_000));
        }
        assert_ne!(key.event(0), key.event(1));
        assert_eq!(RequestKey::from_bits(key.event(7).to_bits()), key);
    }
}
