//! What answers say about limits: `X-RateLimit-*`, and `RateLimit-Policy` / `RateLimit` of
//! draft-ietf-httpapi-ratelimit-headers.

use arrayvec::ArrayVec;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderName, HeaderValue};
use tollgate_core::{Max, UnixMillis};
use tollgate_quota::{Check, Standing};

use crate::{live::Grant, said::Lines};

static LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// How many waited in the line when the request joined it, itself included.
static QUEUE_POSITION: HeaderName = HeaderName::from_static("x-queue-position");
const UNLIMITED: &[u8] = b"unlimited";

/// Largest Integer of a structured field (RFC 9651, section 3.3.1); a parser rejects the whole field
/// for a larger one.
pub(crate) const FIELD_INTEGER_MAX: i64 = 999_999_999_999_999;

/// Between the limits in `RateLimit`; [`GrantLimit::item`](crate::live::GrantLimit::item) begins with it.
const ITEM_SEPARATOR: &[u8] = b", ";
/// Longest remaining and longest time until a limit starts again, and what is between them.
const ITEM_BYTES_MAX: usize = i64::MAX.ilog10() as usize + 1 + 3 + u64::MAX.ilog10() as usize + 1;

/// Room taken from the allocator at a time for header texts.
const SCRATCH_BYTES: usize = 4096;

/// Makes header values out of one growing buffer instead of one allocation each.
#[derive(Default)]
pub(crate) struct Scratch {
    buffer: BytesMut,
}

impl Scratch {
    /// The value that `write` writes; visible ASCII only.
    pub(crate) fn value(&mut self, write: impl FnOnce(&mut BytesMut)) -> HeaderValue {
        HeaderValue::from_maybe_shared(self.text(write)).unwrap_or(HeaderValue::from_static(""))
    }

    /// The text that `write` writes.
    pub(crate) fn text(&mut self, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        if self.buffer.capacity() < SCRATCH_BYTES / 8 {
            self.buffer.reserve(SCRATCH_BYTES);
        }
        write(&mut self.buffer);
        self.buffer.split().freeze()
    }
}

/// Tells where the limits of `grant` stand.
pub(crate) fn write(lines: &mut impl Lines, grant: &Grant, standings: &[Standing], now: UnixMillis) {
    let Some(closest) = closest(&grant.checks, standings) else {
        for name in [&LIMIT, &REMAINING, &RESET] {
            lines.say(name, |buffer| buffer.put_slice(UNLIMITED));
        }
        return;
    };
    let (check, standing) = (&grant.checks[closest], &standings[closest]);
    lines.say(&LIMIT, |buffer| buffer.put_slice(grant.limits[closest].max.as_bytes()));
    lines.say(&REMAINING, |buffer| put_integer(buffer, remaining(check, standing)));
    lines.say(&RESET, |buffer| match standing.span.end {
        UnixMillis::MAX => buffer.put_slice(UNLIMITED),
        end => put_integer(buffer, end.ceil_seconds()),
    });
    if let Some(policy) = &grant.policy {
        lines.say(&POLICY, |buffer| buffer.put_slice(policy.as_bytes()));
    }
    lines.say(&RATELIMIT, |buffer| put_limits(buffer, grant, standings, now));
    grant.write_graces(lines, standings);
}

/// Says how many waited in the line when the request joined it, itself included.
pub(crate) fn write_position(lines: &mut impl Lines, position: usize) {
    lines.say(&QUEUE_POSITION, |buffer| put_integer(buffer, i64::try_from(position).unwrap_or(i64::MAX)));
}

fn put_limits(buffer: &mut BytesMut, grant: &Grant, standings: &[Standing], now: UnixMillis) {
    for (index, (limit, (check, standing))) in
        grant.limits.iter().zip(grant.checks.iter().zip(standings)).enumerate()
    {
        let item = limit.item.as_bytes();
        buffer.put_slice(if index > 0 { item } else { item.strip_prefix(ITEM_SEPARATOR).unwrap_or(item) });
        let mut digits = itoa::Buffer::new();
        let left = digits.format(remaining(check, standing).min(FIELD_INTEGER_MAX)).as_bytes();
        let Some(seconds) = seconds_left(standing, now) else {
            buffer.put_slice(left);
            continue;
        };
        // Put together here, as each piece that is put costs more than its bytes.
        let mut item: ArrayVec<u8, ITEM_BYTES_MAX> = ArrayVec::new();
        let mut digits = itoa::Buffer::new();
        let pieces = [left, b";t=", digits.format(seconds).as_bytes()];
        let fits = pieces.iter().all(|piece| item.try_extend_from_slice(piece).is_ok());
        debug_assert!(fits);
        buffer.put_slice(&item);
    }
}

/// Seconds until the limit starts again, at least 1; `None` for one that never does.
pub(crate) fn seconds_left(standing: &Standing, now: UnixMillis) -> Option<u64> {
    let left_ms = match standing.span.end {
        UnixMillis::MAX => return None,
        end => end.since(now),
    };
    Some(u64::try_from(left_ms).unwrap_or(0).div_ceil(1000).max(1))
}

/// The limit of which the smallest part is left.
fn closest(checks: &[Check], standings: &[Standing]) -> Option<usize> {
    let mut best: Option<(usize, (i64, i64))> = None;
    for (index, (check, standing)) in checks.iter().zip(standings).enumerate() {
        let (left, max) = match check.max {
            Max::AtMost(max) => (remaining(check, standing), max.max(1)),
            Max::Unlimited => (1, 1),
        };
        let is_closer = |(_, (best_left, best_max)): (usize, (i64, i64))| {
            exactly(left, best_max) < exactly(best_left, max)
        };
        if best.is_none_or(is_closer) {
            best = Some((index, (left, max)));
        }
    }
    best.map(|(index, _)| index)
}

fn exactly(a: i64, b: i64) -> i128 {
    i128::from(a) * i128::from(b)
}

pub(crate) fn remaining(check: &Check, standing: &Standing) -> i64 {
    standing.usage.remaining(check.max).unwrap_or(i64::MAX)
}

fn put_integer(buffer: &mut BytesMut, value: i64) {
    buffer.put_slice(itoa::Buffer::new().format(value).as_bytes());
}
