//! Settlements that wait for their insertion, in the order of their ids.

use std::ops::Range;

use rusqlite::Result;
use tollgate_core::{Event, RequestKey};

use crate::{
    Position,
    codec::{self, DecodeError, Glance},
};

/// Settlements as the journal has them. The one that is inserted next is then most often behind all that are
/// there: SQLite need not look for its place, and writes each page once.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// By key and position, where in `bytes` each settlement is.
    settlements: Vec<(RequestKey, Position, Range<u32>)>,
    count: usize,
}

impl Lines {
    /// Adds the settlement at `position`. It is not read whole: that costs as much as to insert a tenth of it.
    pub(super) fn push(
        &mut self,
        position: Position,
        payload: &[u8],
    ) -> std::result::Result<(), DecodeError> {
        let Glance { key, charges } = codec::glance(payload)?;
        let start = end(&self.bytes);
        self.bytes.extend_from_slice(payload);
        self.settlements.push((key, position, start..end(&self.bytes)));
        self.count += charges;
        Ok(())
    }

    /// Puts them in the order of their ids. A request may be settled twice after a crash; the first one stays
    /// the first.
    pub(super) fn sort(&mut self) {
        self.settlements.sort_unstable_by_key(|(key, position, _)| (*key, *position));
    }

    /// How many bytes they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many events they have.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Removes all; their memory is kept.
    pub(super) fn clear(&mut self) {
        let Self { bytes, settlements, count } = self;
        bytes.clear();
        settlements.clear();
        *count = 0;
    }

    /// Gives every event to `each`; leaves out what cannot be read.
    pub(super) fn each(&self, mut each: impl FnMut(&Event<'_>) -> Result<()>) -> Result<()> {
        for (_, position, Range { start, end }) in &self.settlements {
            match codec::decode(&self.bytes[*start as usize..*end as usize]) {
                Ok(settlement) => settlement.events().try_for_each(|event| each(&event))?,
                Err(damage) => tracing::error!(
                    position = position.get(),
                    %damage,
                    "a settlement in the journal cannot be read: it is left out of the ledger"
                ),
            }
        }
        Ok(())
    }
}

/// What is piled up is far below the bound.
fn end(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use tollgate_core::{Charge, SettledBy, Settlement, UnixMillis};

    use super::*;
    use crate::codec::Encoded;

    fn payload(key: u128, user_id: &str, meters: &[&'static str]) -> Encoded {
        let charge = |meter: &&'static str| Charge { meter, amount: 1, estimated: false };
        let settlement = Settlement {
            key: RequestKey::from_bits(key << 8),
            at: UnixMillis(0),
            user_id,
            org_id: None,
            tier: "",
            route: "/",
            method: "GET",
            status: 200,
            duration_ms: 1,
            request_id: "",
            resource: None,
            metadata: None,
            settled_by: SettledBy::Exchange,
            charges: meters.iter().map(charge).collect(),
        };
        let mut bytes = Encoded::new();
        codec::encode(&settlement, &mut bytes);
        bytes
    }

    #[test]
    fn lines_come_in_the_order_of_their_ids_and_what_cannot_be_read_is_left_out() {
        let mut lines = Lines::default();
        let mut unreadable = payload(2, "eve", &["calls"]);
        let text = unreadable.windows(3).position(|text| text == b"eve").unwrap();
        unreadable[text] = 0xff;
        assert!(codec::decode(&unreadable).is_err());
        let payloads = [
            payload(3, "first", &["calls", "tokens"]),
            unreadable,
            payload(1, "ada", &["calls"]),
            payload(3, "second", &["calls"]),
        ];
        for (position, payload) in (0..).zip(&payloads) {
            lines.push(Position::new(position), payload).unwrap();
        }
        assert_eq!(lines.count(), 5);
        lines.sort();
        let mut given = Vec::new();
        let each = |event: &Event<'_>| {
            given.push((event.settlement.user_id.to_owned(), event.charge.meter.to_owned()));
            Ok(())
        };
        lines.each(each).unwrap();
        let given: Vec<_> = given.iter().map(|(user, meter)| (user.as_str(), meter.as_str())).collect();
        assert_eq!(given, [("ada", "calls"), ("first", "calls"), ("first", "tokens"), ("second", "calls")]);
        lines.clear();
        assert_eq!((lines.count(), lines.bytes()), (0, 0));
    }
}
