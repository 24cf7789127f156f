//! Several meters that are asked about at once, by the code that admits requests.

use std::ops::Range;

use tollgate_core::UnixMillis;
use tollgate_quota::{Asked, Check, Parties, Peek, Refusal as QuotaRefusal, Standings, Terms, Tracked};

use super::{Request, rights::Rights, served::ServedMeter};
use crate::{
    admission::{self, ATTEMPTS_MAX, store_unavailable},
    identity::Caller,
    refusal::Refusal,
};

/// The shared store is asked so often where limits stand: one call may be lost, more often it is away.
const LOOKS_MAX: u32 = 2;

/// So much of a meter; each meter is there once.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) meter: &'a ServedMeter,
    pub(super) need: i64,
}

/// Where the limits of a meter stand, and whether there is room for what is wanted.
pub(super) struct Seen<'a> {
    pub(super) wanted: Wanted<'a>,
    pub(super) rights: Rights<'a>,
    /// In the order of the meter's checks.
    pub(super) standings: Standings,
    /// What refuses it, or would if limits were enforced.
    pub(super) refusal: Option<QuotaRefusal>,
    pub(super) is_refused: bool,
    pub(super) at: UnixMillis,
}

/// Looks at all limits of what is wanted, each meter at one instant, and takes nothing. Waits for the ledger
/// and the shared store as requests do. Cancel-safe.
pub(super) async fn peek<'a>(
    request: &Request<'_>,
    caller: &Caller,
    wanted: &[Wanted<'a>],
) -> Result<Vec<Seen<'a>>, Refusal> {
    let worker = request.worker;
    let (user, org) = admission::subjects(worker, caller)?;
    let parties = Parties { user: &user, org: org.as_ref() };
    let Asks { checks, ranges, rights, needs, tracked } = asks(wanted, request, caller, Rights::checks);
    let terms =
        Terms { checks: &checks, needs: &needs, warn_at: &[], mode: request.live.mode, tracked: &tracked };
    // What other gateways used since is known to the shared store alone.
    let mut asked = Asked::default();
    for _ in 0..LOOKS_MAX {
        asked = parties.begin_look(terms, worker.now());
        Box::pin(admission::answered(parties, asked)).await?;
        if parties.is_answered(asked) {
            break;
        }
    }
    if !parties.is_answered(asked) && needs.iter().all(|need| *need == 0) {
        return Err(store_unavailable("what is used cannot be told at the moment; try again soon"));
    }
    for _ in 0..ATTEMPTS_MAX {
        let now = worker.now();
        match look(parties, terms, (&ranges, &rights, wanted), (now, asked)) {
            Ok(seen) => return Ok(seen),
            Err(Lacks::Loaded) => Box::pin(admission::load(worker, parties, terms, caller)).await?,
            Err(Lacks::Leased) => {
                asked = parties.begin_ask(terms, now);
                Box::pin(admission::answered(parties, asked)).await?;
            }
            Err(Lacks::Store) => {
                return Err(store_unavailable(
                    "how much is left cannot be told at the moment; try again soon",
                ));
            }
        }
    }
    Err(store_unavailable("what was used before is not known yet; try again soon"))
}

/// What is asked, all meters together.
pub(super) struct Asks<'a> {
    pub(super) checks: Vec<Check>,
    /// Those of each meter.
    pub(super) ranges: Vec<Range<usize>>,
    /// In the order of the meters.
    pub(super) rights: Vec<Rights<'a>>,
    pub(super) needs: Vec<i64>,
    pub(super) tracked: Vec<Tracked>,
}

/// The limits of all that is wanted, as they hold for the caller; which of each meter's, `limits` says.
pub(super) fn asks<'a>(
    wanted: &[Wanted<'a>],
    request: &Request<'_>,
    caller: &Caller,
    limits: impl for<'r> Fn(&'r Rights<'a>) -> &'r [Check],
) -> Asks<'a> {
    let (mut checks, mut ranges, mut tracked, mut all) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (need, Wanted { meter, .. }) in wanted.iter().enumerate() {
        let (start, rights) = (checks.len(), Rights::of(request, caller, meter));
        checks.extend(limits(&rights).iter().map(|check| Check { need, ..*check }));
        ranges.push(start..checks.len());
        tracked.extend(meter.tracked().cloned());
        all.push(rights);
    }
    Asks { checks, ranges, rights: all, needs: wanted.iter().map(|wanted| wanted.need).collect(), tracked }
}

/// What has to be had before it can be told.
enum Lacks {
    Loaded,
    Leased,
    Store,
}

fn look<'a>(
    parties: Parties<'_>,
    terms: Terms<'_>,
    (ranges, rights, wanted): (&[Range<usize>], &[Rights<'a>], &[Wanted<'a>]),
    (at, asked): (UnixMillis, Asked),
) -> Result<Vec<Seen<'a>>, Lacks> {
    let one = |((range, rights), wanted): ((&Range<usize>, &Rights<'a>), &Wanted<'a>)| {
        let terms = Terms { checks: terms.checks.get(range.clone()).unwrap_or_default(), ..terms };
        let (standings, refusal, is_refused) = match parties.peek(terms, at, asked) {
            Peek::Fits { standings, unenforced } => (standings, unenforced, false),
            Peek::Refused { refusal, standings } => (standings, Some(refusal), true),
            Peek::NotLoaded => return Err(Lacks::Loaded),
            Peek::NotLeased => return Err(Lacks::Leased),
            Peek::Unavailable { .. } => return Err(Lacks::Store),
        };
        let rights = rights.clone();
        Ok(Seen { wanted: *wanted, rights, standings, refusal, is_refused, at })
    };
    ranges.iter().zip(rights).zip(wanted).map(one).collect()
}

impl Seen<'_> {
    /// Shows where this meter's limits stand in the answer's headers.
    pub(super) fn show(&self, caller: &Caller, context: &mut crate::exchange::Context) {
        context.tier = Some(caller.tier);
        context.route = Some(std::sync::Arc::clone(&self.wanted.meter.route));
        context.own = self.rights.own().cloned();
        context.standings = Some(self.standings.clone());
    }
}
