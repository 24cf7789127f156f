//! Settlements as bytes: a fixed head, the texts, the charges. Little-endian, versioned.
//!
//! ```text
//! version u8 · flags u8 · status u16 · user u16 · org u16 · resource u16 · metadata u16 (lengths)
//! tier u8 · route u8 · method u8 · request_id u8 (lengths) · charges u8 · zero u8
//! key u128 · at i64 · duration_ms u64
//! user · org · tier · route · method · request_id · resource · metadata (texts, without ends)
//! per charge: amount i64 · estimated u8 · length u8 · meter
//! ```
//! A text that is too long is cut rather than refused, because a settlement can not fail. Metadata is
//! dropped instead: half a JSON object is none.

use arrayvec::ArrayVec;
use tollgate_core::{Charge, Charges, RequestKey, SettledBy, Settlement, UnixMillis};

use crate::journal::{Outcome, PAYLOAD_BYTES_MAX};

/// Longest user or organisation id that is kept, in bytes; a longer one is cut.
pub const SUBJECT_BYTES_MAX: usize = 256;
/// Longest tier or route name that is kept, in bytes; a longer one is cut.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest meter name that is kept, in bytes; a longer one is cut.
pub const METER_BYTES_MAX: usize = 64;
/// Longest request method that is kept, in bytes; a longer one is cut.
pub const METHOD_BYTES_MAX: usize = 24;
/// Longest request id that is kept, in bytes; a longer one is cut.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Longest resource that is kept, in bytes; a longer one is cut.
pub const RESOURCE_BYTES_MAX: usize = 256;
/// Longest metadata that is kept, in bytes; longer metadata is dropped.
pub const METADATA_BYTES_MAX: usize = 1024;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 50;
const CHARGE_HEAD_BYTES: usize = 10;

const HAS_ORG: u8 = 1;
const HAS_RESOURCE: u8 = 2;
const HAS_METADATA: u8 = 4;
const BY_RECOVERY: u8 = 8;

/// Most bytes that a settlement without metadata takes.
pub(crate) const OPENING_BYTES_MAX: usize = HEAD_BYTES
    + 2 * SUBJECT_BYTES_MAX
    + 2 * NAME_BYTES_MAX
    + METHOD_BYTES_MAX
    + REQUEST_ID_BYTES_MAX
    + RESOURCE_BYTES_MAX
    + tollgate_core::SETTLEMENT_CHARGES_MAX * (CHARGE_HEAD_BYTES + METER_BYTES_MAX);

const _: () = assert!(OPENING_BYTES_MAX + METADATA_BYTES_MAX <= PAYLOAD_BYTES_MAX);

/// A settlement's bytes.
pub(crate) type Encoded = ArrayVec<u8, PAYLOAD_BYTES_MAX>;

/// Why bytes are not a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("it ends too early")]
    Short,
    #[error("it goes on after its end")]
    Long,
    #[error("its version is {0}, and this program knows {VERSION}")]
    Version(u8),
    #[error("it is not UTF-8")]
    Utf8,
    #[error("it has {0} charges")]
    Charges(u8),
    #[error("a flag is neither set nor unset")]
    Flag,
}

/// Appends `settlement`'s bytes to `out`, which must be empty.
pub(crate) fn encode(settlement: &Settlement<'_>, out: &mut Encoded) {
    let Settlement {
        key,
        at,
        user_id,
        org_id,
        tier,
        route,
        method,
        status,
        duration_ms,
        request_id,
        resource,
        metadata,
        settled_by,
        charges,
    } = settlement;
    let metadata = metadata.filter(is_kept);
    let user_id = cut(user_id, SUBJECT_BYTES_MAX);
    let org = cut(org_id.unwrap_or_default(), SUBJECT_BYTES_MAX);
    let tier = cut(tier, NAME_BYTES_MAX);
    let route = cut(route, NAME_BYTES_MAX);
    let method = cut(method, METHOD_BYTES_MAX);
    let request_id = cut(request_id, REQUEST_ID_BYTES_MAX);
    let about = cut(resource.unwrap_or_default(), RESOURCE_BYTES_MAX);
    let more = metadata.unwrap_or_default();
    let flags = flag(org_id.is_some(), HAS_ORG)
        | flag(resource.is_some(), HAS_RESOURCE)
        | flag(metadata.is_some(), HAS_METADATA)
        | flag(*settled_by == SettledBy::Recovery, BY_RECOVERY);

    let mut head = [0; HEAD_BYTES];
    head[0] = VERSION;
    head[1] = flags;
    head[2..4].copy_from_slice(&status.to_le_bytes());
    head[4..6].copy_from_slice(&length16(user_id));
    head[6..8].copy_from_slice(&length16(org));
    head[8..10].copy_from_slice(&length16(about));
    head[10..12].copy_from_slice(&length16(more));
    head[12] = length8(tier);
    head[13] = length8(route);
    head[14] = length8(method);
    head[15] = length8(request_id);
    head[16] = u8::try_from(charges.len()).unwrap_or(u8::MAX);
    head[18..34].copy_from_slice(&key.to_bits().to_le_bytes());
    head[34..42].copy_from_slice(&at.0.to_le_bytes());
    head[42..50].copy_from_slice(&(*duration_ms).min(DURATION_MS_MAX).to_le_bytes());

    push(out, &head);
    push(out, user_id.as_bytes());
    push(out, org.as_bytes());
    push(out, tier.as_bytes());
    push(out, route.as_bytes());
    push(out, method.as_bytes());
    push(out, request_id.as_bytes());
    push(out, about.as_bytes());
    push(out, more.as_bytes());
    push_charges(out, charges);
}

/// Appends `opening`'s bytes to `out`, which must be empty: all but its metadata, at most
/// [`OPENING_BYTES_MAX`].
pub(crate) fn encode_opening(opening: &Settlement<'_>, out: &mut Encoded) {
    if opening.metadata.is_none() {
        encode(opening, out);
    } else {
        encode(&Settlement { metadata: None, ..opening.clone() }, out);
    }
}

/// Appends to `out`, which must be empty, the bytes of the settlement that was opened as `opening` and ended so: what
/// [`encode`] makes of it whole, without looking at its texts again.
pub(crate) fn encode_ended(opening: &[u8], outcome: &Outcome<'_>, out: &mut Encoded) {
    let Outcome { status, duration_ms, resource, metadata, charges } = outcome;
    let Some((head, rest)) = opening.split_first_chunk::<HEAD_BYTES>() else { return };
    let mut head = *head;
    let length16 = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let short: usize = head[12..16].iter().map(|length| usize::from(*length)).sum();
    let Some(texts) = rest.get(..length16(4) + length16(6) + short) else { return };
    let metadata = metadata.filter(is_kept);
    let about = cut(resource.unwrap_or_default(), RESOURCE_BYTES_MAX);
    let more = metadata.unwrap_or_default();
    head[1] = (head[1] & (HAS_ORG | BY_RECOVERY))
        | flag(resource.is_some(), HAS_RESOURCE)
        | flag(metadata.is_some(), HAS_METADATA);
    head[2..4].copy_from_slice(&status.to_le_bytes());
    head[8..10].copy_from_slice(&self::length16(about));
    head[10..12].copy_from_slice(&self::length16(more));
    head[16] = u8::try_from(charges.len()).unwrap_or(u8::MAX);
    head[42..50].copy_from_slice(&(*duration_ms).min(DURATION_MS_MAX).to_le_bytes());

    push(out, &head);
    push(out, texts);
    push(out, about.as_bytes());
    push(out, more.as_bytes());
    push_charges(out, charges);
}

/// Half a JSON object is none.
fn is_kept(metadata: &&str) -> bool {
    metadata.len() <= METADATA_BYTES_MAX
}

fn push_charges(out: &mut Encoded, charges: &[Charge<'_>]) {
    for Charge { meter, amount, estimated } in charges {
        let meter = cut(meter, METER_BYTES_MAX);
        let mut head = [0; CHARGE_HEAD_BYTES];
        head[..8].copy_from_slice(&amount.to_le_bytes());
        head[8] = u8::from(*estimated);
        head[9] = length8(meter);
        push(out, &head);
        push(out, meter.as_bytes());
    }
}

/// The ledgers count durations in an `i64`.
const DURATION_MS_MAX: u64 = i64::MAX.unsigned_abs();

const fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

/// Never more than its room: the bounds of all parts together are asserted above.
#[inline]
fn push(out: &mut Encoded, bytes: &[u8]) {
    if !bytes.is_empty() {
        let written = out.try_extend_from_slice(bytes);
        debug_assert!(written.is_ok());
    }
}

fn length8(text: &str) -> u8 {
    u8::try_from(text.len()).unwrap_or(u8::MAX)
}

fn length16(text: &str) -> [u8; 2] {
    u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes()
}

/// `text`, at most `bytes_max` long, cut between characters.
#[inline]
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max { text } else { cut_long(text, bytes_max) }
}

#[cold]
fn cut_long(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}

/// Reads a settlement; its texts borrow from `bytes`.
pub(crate) fn decode(bytes: &[u8]) -> Result<Settlement<'_>, DecodeError> {
    let mut rest = Rest(bytes);
    let [version, flags] = rest.array()?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    if flags & !(HAS_ORG | HAS_RESOURCE | HAS_METADATA | BY_RECOVERY) != 0 {
        return Err(DecodeError::Flag);
    }
    let status = rest.u16()?;
    let [user, org, about, more] = [rest.u16()?, rest.u16()?, rest.u16()?, rest.u16()?].map(usize::from);
    let [tier, route, method, request_id, charges, zero] = rest.array()?;
    if zero != 0 {
        return Err(DecodeError::Flag);
    }
    let key = RequestKey::from_bits(u128::from_le_bytes(rest.array()?));
    let at = UnixMillis(i64::from_le_bytes(rest.array()?));
    let duration_ms = u64::from_le_bytes(rest.array()?).min(DURATION_MS_MAX);
    let [tier, route, method, request_id] = [tier, route, method, request_id].map(usize::from);
    // Checked as one text, and then cut between characters.
    let texts = rest.text(user + org + tier + route + method + request_id + about + more)?;
    let mut texts = Texts(texts);
    let settlement = Settlement {
        key,
        at,
        user_id: texts.take(user)?,
        org_id: texts.optional(flags & HAS_ORG != 0, org)?,
        tier: texts.take(tier)?,
        route: texts.take(route)?,
        method: texts.take(method)?,
        status,
        duration_ms,
        request_id: texts.take(request_id)?,
        resource: texts.optional(flags & HAS_RESOURCE != 0, about)?,
        metadata: texts.optional(flags & HAS_METADATA != 0, more)?,
        settled_by: if flags & BY_RECOVERY == 0 { SettledBy::Exchange } else { SettledBy::Recovery },
        charges: rest.charges(charges)?,
    };
    if rest.0.is_empty() { Ok(settlement) } else { Err(DecodeError::Long) }
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], DecodeError> {
        let (front, rest) = self.0.split_at_checked(bytes).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (front, rest) = self.0.split_first_chunk().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*front)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    fn text(&mut self, bytes: usize) -> Result<&'a str, DecodeError> {
        str::from_utf8(self.take(bytes)?).map_err(|_| DecodeError::Utf8)
    }

    fn charges(&mut self, count: u8) -> Result<Charges<'a>, DecodeError> {
        let mut charges = Charges::new();
        for _ in 0..count {
            let amount = i64::from_le_bytes(self.array()?);
            let [estimated, length] = self.array()?;
            let meter = self.text(length.into())?;
            let estimated = match estimated {
                0 => false,
                1 => true,
                _ => return Err(DecodeError::Flag),
            };
            charges.try_push(Charge { meter, amount, estimated }).map_err(|_| DecodeError::Charges(count))?;
        }
        Ok(charges)
    }
}

/// The texts without ends that are still to be cut off.
struct Texts<'a>(&'a str);

impl<'a> Texts<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a str, DecodeError> {
        let (front, rest) = self.0.split_at_checked(bytes).ok_or(DecodeError::Utf8)?;
        self.0 = rest;
        Ok(front)
    }

    fn optional(&mut self, present: bool, bytes: usize) -> Result<Option<&'a str>, DecodeError> {
        match (present, bytes) {
            (true, _) => self.take(bytes).map(Some),
            (false, 0) => Ok(None),
            (false, _) => Err(DecodeError::Flag),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    struct Texts {
        user: String,
        org: Option<String>,
        tier: String,
        route: String,
        method: String,
        request_id: String,
        resource: Option<String>,
        metadata: Option<String>,
        charges: Vec<(String, i64, bool)>,
    }

    fn texts(scale: usize) -> impl Strategy<Value = Texts> {
        let text = move |max: usize| {
            proptest::collection::vec(any::<char>(), 0..=max * scale / 4).prop_map(String::from_iter)
        };
        let charges = proptest::collection::vec((text(METER_BYTES_MAX), any::<i64>(), any::<bool>()), 0..=8);
        (
            text(SUBJECT_BYTES_MAX),
            proptest::option::of(text(SUBJECT_BYTES_MAX)),
            text(NAME_BYTES_MAX),
            text(NAME_BYTES_MAX),
            text(METHOD_BYTES_MAX),
            text(REQUEST_ID_BYTES_MAX),
            proptest::option::of(text(RESOURCE_BYTES_MAX)),
            proptest::option::of(text(METADATA_BYTES_MAX)),
            charges,
        )
            .prop_map(|(user, org, tier, route, method, request_id, resource, metadata, charges)| {
                Texts { user, org, tier, route, method, request_id, resource, metadata, charges }
            })
    }

    fn settlement<'a>(texts: &'a Texts, numbers: (u128, i64, u16, u64, bool)) -> Settlement<'a> {
        let (key, at, status, duration_ms, recovered) = numbers;
        let charge = |(meter, amount, estimated): &'a (String, i64, bool)| Charge {
            meter,
            amount: *amount,
            estimated: *estimated,
        };
        Settlement {
            key: RequestKey::from_bits(key),
            at: UnixMillis(at),
            user_id: &texts.user,
            org_id: texts.org.as_deref(),
            tier: &texts.tier,
            route: &texts.route,
            method: &texts.method,
            status,
            duration_ms: duration_ms.min(DURATION_MS_MAX),
            request_id: &texts.request_id,
            resource: texts.resource.as_deref(),
            metadata: texts.metadata.as_deref(),
            settled_by: if recovered { SettledBy::Recovery } else { SettledBy::Exchange },
            charges: texts.charges.iter().map(charge).collect(),
        }
    }

    proptest! {
        #[test]
        fn what_fits_comes_back_as_it_was(texts in texts(1), numbers in any::<(u128, i64, u16, u64, bool)>()) {
            let settlement = settlement(&texts, numbers);
            let mut bytes = Encoded::new();
            encode(&settlement, &mut bytes);
            prop_assert_eq!(decode(&bytes), Ok(settlement));
        }

        #[test]
        fn what_ends_as_it_says_is_what_is_whole(
            texts in prop_oneof![texts(1), texts(8)],
            numbers in any::<(u128, i64, u16, u64, bool)>(),
            opened in any::<(u16, u64, i64)>(),
        ) {
            let whole = settlement(&texts, numbers);
            let (status, duration_ms, amount) = opened;
            let mut opening = Settlement { status, duration_ms, resource: None, ..whole.clone() };
            for charge in &mut opening.charges {
                charge.amount = amount;
            }
            let (mut bytes, mut ended, mut expected) = (Encoded::new(), Encoded::new(), Encoded::new());
            encode_opening(&opening, &mut bytes);
            let Settlement { status, duration_ms, resource, metadata, charges, .. } = &whole;
            let (status, duration_ms, resource, metadata) = (*status, *duration_ms, *resource, *metadata);
            let outcome = Outcome { status, duration_ms, resource, metadata, charges };
            encode_ended(&bytes, &outcome, &mut ended);
            encode(&whole, &mut expected);
            prop_assert_eq!(ended, expected);
        }

        #[test]
        fn what_is_too_long_is_cut_to_a_prefix(texts in texts(8), numbers in any::<(u128, i64, u16, u64, bool)>()) {
            let long = settlement(&texts, numbers);
            let mut bytes = Encoded::new();
            encode(&long, &mut bytes);
            let cut = decode(&bytes).unwrap();
            prop_assert!(long.user_id.starts_with(cut.user_id));
            prop_assert!(cut.user_id.len() + 4 > long.user_id.len().min(SUBJECT_BYTES_MAX));
            prop_assert!(cut.metadata.is_none() || cut.metadata == long.metadata);
            prop_assert_eq!(cut.charges.len(), long.charges.len());
            for (cut, long) in cut.charges.iter().zip(&long.charges) {
                prop_assert!(long.meter.starts_with(cut.meter));
                prop_assert_eq!(cut.amount, long.amount);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = decode(&bytes);
            let outcome = Outcome { status: 0, duration_ms: 0, resource: None, metadata: None, charges: &[] };
            encode_ended(&bytes, &outcome, &mut Encoded::new());
        }

        #[test]
        fn a_changed_byte_never_panics(
            texts in texts(1),
            numbers in any::<(u128, i64, u16, u64, bool)>(),
            place in any::<prop::sample::Index>(),
            value: u8,
        ) {
            let mut bytes = Encoded::new();
            encode(&settlement(&texts, numbers), &mut bytes);
            let place = place.index(bytes.len());
            bytes[place] = value;
            if let Ok(changed) = decode(&bytes) {
                let mut again = Encoded::new();
                encode(&changed, &mut again);
            }
        }
    }
}
