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
    if let Some(text) = lines.text() {
        put_lines(text, (grant, standings), closest, now);
    } else {
        say_limits(lines, (grant, standings), closest, now);
    }
    grant.write_graces(lines, standings);
}

fn say_limits(
    lines: &mut impl Lines,
    (grant, standings): (&Grant, &[Standing]),
    closest: usize,
    now: UnixMillis,
) {
    let (check, standing) = (&grant.checks[closest], &standings[closest]);
    lines.say(&LIMIT, |buffer| buffer.put_slice(grant.limits[closest].max.as_bytes()));
    lines.say(&REMAINING, |buffer| put_integer(buffer, remaining(check, standing)));
    lines.say(&RESET, |buffer| put_reset(buffer, standing));
    if let Some(policy) = &grant.policy {
        lines.say(&POLICY, |buffer| buffer.put_slice(policy.as_bytes()));
    }
    lines.say(&RATELIMIT, |buffer| put_limits(buffer, grant, standings, now));
}

/// What is the same in the text of all answers that tell where the limits of a grant stand.
#[derive(Debug, Default)]
pub(crate) struct LineTexts {
    /// From the first line to what is left of the closest limit, by the limit that it is.
    limits: Vec<Box<[u8]>>,
    /// From behind that to when it starts again.
    reset: Box<[u8]>,
    /// From behind that to where all limits stand.
    policy: Box<[u8]>,
}

impl LineTexts {
    pub(crate) fn new(maxima: impl Iterator<Item = i64>, policy: Option<&HeaderValue>) -> Self {
        let policy = policy.map_or(Vec::new(), |policy| {
            [b"\r\n", POLICY.as_str().as_bytes(), b": ", policy.as_bytes()].concat()
        });
        let limit = |max: i64| format!("{LIMIT}: {max}\r\n{REMAINING}: ").into_bytes().into();
        Self {
            limits: maxima.map(limit).collect(),
            reset: format!("\r\n{RESET}: ").into_bytes().into(),
            policy: [&*policy, format!("\r\n{RATELIMIT}: ").as_bytes()].concat().into(),
        }
    }
}

/// As [`say_limits`]: most of it is the same in every answer, and each piece that is put costs more than its bytes.
fn put_lines(
    text: &mut BytesMut,
    (grant, standings): (&Grant, &[Standing]),
    closest: usize,
    now: UnixMillis,
) {
    let (check, standing) = (&grant.checks[closest], &standings[closest]);
    text.put_slice(&grant.lines.limits[closest]);
    put_integer(text, remaining(check, standing));
    text.put_slice(&grant.lines.reset);
    put_reset(text, standing);
    text.put_slice(&grant.lines.policy);
    put_limits(text, grant, standings, now);
    text.put_slice(b"\r\n");
}

fn put_reset(buffer: &mut BytesMut, standing: &Standing) {
    match standing.span.end {
        UnixMillis::MAX => buffer.put_slice(UNLIMITED),
        end => put_integer(buffer, end.ceil_seconds()),
    }
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
        // Put together here, as pieces that are put cost more.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tollgate_core::{Grace, OnStoreFailure, Scope, Span, Usage, Window};
    use tollgate_quota::{CounterKey, MeterId};

    use super::*;
    use crate::{live::GrantLimit, said::InText};

    fn grant(maxima: &[i64]) -> Grant {
        let check = |max: &i64| Check {
            counter: CounterKey { meter: MeterId(0), window: Window::Day },
            scope: Scope::User,
            max: Max::AtMost(*max),
            hard: true,
            concurrent: false,
            need: 0,
            on_store_failure: OnStoreFailure::Lease,
            overdraw: 0,
            grace: Grace::None,
        };
        let limit = |(number, max): (usize, &i64)| GrantLimit {
            policy: format!("limit-{number}").into(),
            item: format!(", \"limit-{number}\";r=").into(),
            charge: 0,
            max: HeaderValue::from(*max),
        };
        let policy = Some(HeaderValue::from_static("\"limit-0\";q=1"));
        Grant {
            checks: maxima.iter().map(check).collect(),
            limits: maxima.iter().enumerate().map(limit).collect(),
            overdraws: Vec::new(),
            lines: LineTexts::new(maxima.iter().copied(), policy.as_ref()),
            policy,
            beyond: None,
        }
    }

    proptest! {
        #[test]
        fn the_text_of_all_lines_is_what_they_say_one_by_one(
            limits in prop::collection::vec((0..=i64::MAX, any::<i64>(), 0..=i64::MAX, any::<Option<u32>>()), 1..6),
            now in any::<u32>(),
        ) {
            let maxima: Vec<i64> = limits.iter().map(|(max, ..)| *max).collect();
            let grant = grant(&maxima);
            let end = |seconds: &u32| UnixMillis(i64::from(*seconds) * 1000 + 1);
            let standing = |(_, settled, held, end_at): &(i64, i64, i64, Option<u32>)| Standing {
                usage: Usage { settled: *settled, held: *held },
                span: Span { start: UnixMillis(0), end: end_at.as_ref().map_or(UnixMillis::MAX, end) },
            };
            let standings: Vec<Standing> = limits.iter().map(standing).collect();
            let now = UnixMillis(i64::from(now) * 1000);
            let closest = closest(&grant.checks, &standings).unwrap();
            let (mut text, mut lines) = (BytesMut::new(), BytesMut::new());
            put_lines(&mut text, (&grant, &standings), closest, now);
            say_limits(&mut InText(&mut lines), (&grant, &standings), closest, now);
            prop_assert_eq!(text, lines);
        }
    }
}
