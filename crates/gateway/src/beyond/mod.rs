//! What use beyond the limits of a route does, compiled: what it costs, who waits, what is marked.
//!
//! A grant whose limits only refuse has none of this, and its requests pay for one look at an `Option`.

mod marks;

use bytes::BufMut as _;
use http::HeaderName;
use tollgate_core::{Grace, Limit, Max, MeterKind, Over, Queue, Rate, Window};
use tollgate_quota::{Check, Standing};

pub(crate) use self::marks::{mark, marked};
use crate::{
    live::{Grant, RouteCharge},
    ratelimit::FIELD_INTEGER_MAX,
    said::Lines,
};

static GRACE: HeaderName = HeaderName::from_static("x-ratelimit-grace");

/// Of one route and tier, or subject.
#[derive(Debug)]
pub(crate) struct Beyond {
    /// In the order of [`Grant::checks`].
    ways: Vec<Way>,
    /// As [`Grant::checks`], where what slows down refuses: who is refused waits for a turn.
    strict: Option<Vec<Check>>,
    /// Whether requests may have to wait.
    pub(crate) may_wait: bool,
}

/// Of one limit.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) over: Over,
    pub(crate) queue: Option<Queue>,
    /// As events name it: `10000/month`.
    included: Box<str>,
}

/// Why a request that is refused waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// For something that runs to end.
    Slot(Queue),
    /// For its turn.
    Turn(Rate),
}

impl Way {
    pub(crate) fn new(limit: &Limit, (window, max): (Window, i64), charge: &RouteCharge) -> Self {
        let included = match charge.kind {
            MeterKind::Count => format!("{}/{window}", charge.shown(max)),
            MeterKind::Level | MeterKind::Concurrent => charge.shown(max),
        };
        Self { over: limit.over.clone(), queue: limit.queue, included: included.into() }
    }

    fn wait(&self) -> Option<Wait> {
        match (&self.over, self.queue) {
            (Over::Throttle(rate), _) => Some(Wait::Turn(*rate)),
            (Over::Refuse | Over::Charge(_), queue) => queue.map(Wait::Slot),
        }
    }
}

impl Beyond {
    /// None where there is nothing but refusals.
    pub(crate) fn new(ways: Vec<Way>, checks: &[Check]) -> Option<Box<Self>> {
        let is_plain = |(way, check): (&Way, &Check)| {
            way.over == Over::Refuse && way.queue.is_none() && check.grace == Grace::None
        };
        if ways.iter().zip(checks).all(is_plain) {
            return None;
        }
        let slows = |way: &Way| matches!(way.over, Over::Throttle(_));
        let strict = ways.iter().any(slows).then(|| {
            let strict = |(way, check): (&Way, &Check)| Check { hard: check.hard || slows(way), ..*check };
            ways.iter().zip(checks).map(strict).collect()
        });
        let may_wait = ways.iter().any(|way| way.wait().is_some());
        Some(Box::new(Self { ways, strict, may_wait }))
    }

    /// Why a request that limit number `check` refuses waits, if it does.
    pub(crate) fn wait(&self, check: usize) -> Option<Wait> {
        self.ways.get(check)?.wait()
    }

    /// All limits that requests wait at, by their number.
    pub(crate) fn waits(&self) -> impl Iterator<Item = (usize, Wait)> {
        self.ways.iter().enumerate().filter_map(|(check, way)| Some((check, way.wait()?)))
    }
}

impl Grant {
    /// The limits for who has not waited for a turn.
    pub(crate) fn strict_checks(&self) -> &[Check] {
        self.beyond.as_ref().and_then(|beyond| beyond.strict.as_deref()).unwrap_or(&self.checks)
    }

    /// The limits that a request was admitted beyond, by their number, one bit each.
    pub(crate) fn graces(&self, standings: &[Standing]) -> u32 {
        if self.beyond.is_none() {
            return 0;
        }
        let is_beyond = |(check, standing): (&Check, &Standing)| match check.max {
            Max::AtMost(max) => check.hard && check.grace != Grace::None && standing.usage.total() > max,
            Max::Unlimited => false,
        };
        let beyond = self.checks.iter().zip(standings).map(is_beyond).enumerate();
        beyond.filter(|(_, is_beyond)| *is_beyond).fold(0, |bits, (check, _)| bits | 1 << check)
    }

    /// Says in `X-RateLimit-Grace` which limits are passed, and what is left of their grace where that is an amount.
    pub(crate) fn write_graces(&self, lines: &mut impl Lines, standings: &[Standing]) {
        let graces = self.graces(standings);
        if graces == 0 {
            return;
        }
        lines.say(&GRACE, |buffer| {
            let passed = self.checks.iter().zip(standings).zip(&self.limits).enumerate();
            let passed = passed.filter(|(index, _)| graces & 1 << index != 0);
            for (number, (_, ((check, standing), limit))) in passed.enumerate() {
                buffer.put_slice(if number > 0 { b", \"" } else { b"\"" });
                buffer.put_slice(limit.policy.as_bytes());
                buffer.put_u8(b'"');
                if let (Grace::Units(units), Max::AtMost(max)) = (check.grace, check.max) {
                    let left = max.saturating_add(units).saturating_sub(standing.usage.total()).max(0);
                    buffer.put_slice(b";r=");
                    buffer.put_slice(itoa::Buffer::new().format(left.min(FIELD_INTEGER_MAX)).as_bytes());
                }
            }
        });
    }
}
