//! A lease: what of one counter this instance may spend without asking.
//!
//! The store sets units aside for the instance (`granted`). The instance spends them under its own lock,
//! tells the store later what it spent (`pending`), and gives back what it does not need. Whatever the
//! store's answer was worth when it came, `granted` never claims more than is set aside there: quota that
//! is given back is gone from here before the call leaves, and is taken from an answer only.

use arrayvec::ArrayVec;
use tollgate_core::UnixMillis;

use crate::Mark;

/// Names one call to the store; no two of a journal's owner are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallId(pub(crate) u64);

/// Calls without an answer that are remembered: the breaker stops asking after fewer.
const UNANSWERED_MAX: usize = 8;
/// Settlements of requests from before the epoch that are remembered until the ledger's sum is known to
/// have them or not. More than one subject has in flight; beyond, they count as not in the sum.
const CARRY_MAX: usize = 4096;
/// Ahead of need, so many requests' worth is asked for at first.
const EXTRA_FIRST: i64 = 15;
/// What is asked for ahead grows while calls come closer together than this, and shrinks otherwise.
const PACE_MILLIS: i64 = 120_000;
/// Never more than this ahead, in units: what a crash can strand.
const EXTRA_MAX: i64 = 1 << 30;

/// What this instance has of one counter in one window.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    /// The bucket's generation that it was granted in; in any other it is void.
    pub(crate) generation: u32,
    /// The last call that the store is known to have applied.
    pub(crate) after: Option<CallId>,
    /// Set aside for this instance: spent, held and free.
    pub(crate) granted: i64,
    /// Spent and not told yet.
    pub(crate) pending: i64,
    /// The limit that it was granted under.
    pub(crate) limit: Option<i64>,
    /// Whether in all instances together more was set aside and settled than `limit` allows: what becomes
    /// free here is not there to be used. So it is where a limit was lowered, or drawn beyond.
    exceeded: bool,
    /// Others want what is here: nothing stays that is not held.
    recalled: bool,
    /// The newest recall that is known of.
    recall: i64,
    /// Whether a recall waits for an answer.
    unanswered_recall: bool,
    /// Settled since the epoch began by requests admitted before it.
    carry: Vec<Late>,
    /// Up to where the sum that the counter began with has this journal.
    watermark: Option<Mark>,
    /// What requests wait for.
    wants: Option<Wants>,
    /// What requests that run wait for beyond the limit that others are admitted under.
    wants_beyond: Option<Wants>,
    /// Whether what was last asked for was of those.
    asked_beyond: bool,
    /// What the call under way asks for.
    asking: Option<Wants>,
    unanswered: ArrayVec<Sent, UNANSWERED_MAX>,
    pub(crate) denied: Option<Denied>,
    /// Taken since the last call, and how much to ask for ahead.
    pub(crate) taken: i64,
    pace: i64,
    asked_at: Option<UnixMillis>,
}

/// A settlement of a request that was admitted before the epoch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Late {
    at: UnixMillis,
    mark: Mark,
    amount: i64,
}

/// What requests want of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wants {
    units: i64,
    /// What the smallest of them needs.
    least: i64,
    limit: i64,
    /// Whether the limit is one that nobody is admitted under.
    beyond: bool,
}

/// What a call says about one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    id: CallId,
    pending: i64,
    returned: i64,
    carried: usize,
    limit: Option<i64>,
    wants: Option<Wants>,
}

/// The store had less than was needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    /// The number of the subject's call.
    pub(crate) number: u64,
    /// Whoever needs at least this much,
    pub(crate) need: i64,
    /// under a limit of at most this, is refused.
    pub(crate) limit: i64,
}

/// What a call tells the store about a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) after: Option<CallId>,
    pub(crate) fold: i64,
    /// Whether all is told that was settled before the call's place in the journal; otherwise nothing is.
    pub(crate) tells: bool,
    pub(crate) returned: i64,
    pub(crate) least: i64,
    pub(crate) wanted: i64,
    pub(crate) extra: i64,
    pub(crate) limit: Option<i64>,
    /// The recall that is answered by returning all that is not held; 0 for none. One that comes while the
    /// call is on its way is not: what is held when the call is made up may be free by then.
    pub(crate) answers: i64,
}

/// What the store says about a counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) settled: i64,
    pub(crate) others: i64,
    pub(crate) granted: i64,
    pub(crate) call: Option<CallId>,
    pub(crate) mark: Option<Mark>,
    /// How often it was recalled, and the last recall that this instance has answered.
    pub(crate) recall: i64,
    pub(crate) answered: i64,
    /// Whether it was recalled lately.
    pub(crate) recalled: bool,
    pub(crate) watermark: Option<Mark>,
    /// Others that may have something, and have not answered the recall that is waited for.
    pub(crate) holders: Vec<String>,
}

/// What became of a call that was not applied, as far as one counter tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// It is clear what is set aside.
    Known,
    /// An earlier process has left something here: what it spent has to be found in the journal.
    Leftover { from: Option<Mark> },
    /// The store has lost what it knew.
    Lost,
}

impl Lease {
    /// Whether it counts in `generation`.
    pub(crate) fn is_valid(&self, generation: u32) -> bool {
        self.generation == generation
    }

    /// What may be spent without asking.
    pub(crate) fn free(&self, held: i64) -> i64 {
        let carried = self.carry.iter().fold(0i64, |sum, late| sum.saturating_add(late.amount));
        self.granted.saturating_sub(self.pending).saturating_sub(held).saturating_sub(carried)
    }

    /// Whether `need` can be taken without asking.
    pub(crate) fn fits(&self, generation: u32, need: i64, max: i64, held: i64) -> bool {
        let granted_under = self.limit.is_some_and(|limit| limit <= max) && !self.exceeded;
        need <= 0 || (self.is_valid(generation) && granted_under && need <= self.free(held))
    }

    /// Whether a call numbered `asked` or later found that `need` is not there.
    pub(crate) fn is_denied(&self, asked: u64, need: i64, max: i64) -> bool {
        asked > 0 && self.denied.is_some_and(|d| d.number >= asked && need >= d.need && max <= d.limit)
    }

    /// A request waits for `need` units; one that runs may want them `beyond` the limit.
    pub(crate) fn want(&mut self, need: i64, limit: i64, beyond: bool) {
        let wants = if beyond { &mut self.wants_beyond } else { &mut self.wants };
        let wants = wants.get_or_insert(Wants { units: 0, least: need, limit, beyond });
        wants.units = wants.units.saturating_add(need);
        wants.least = wants.least.min(need);
        wants.limit = wants.limit.min(limit);
    }

    /// Spent by a request admitted at `at`; `since` is when the epoch began.
    pub(crate) fn spend(&mut self, at: UnixMillis, since: UnixMillis, mark: Mark, amount: i64) {
        if at < since && self.carry.len() < CARRY_MAX {
            self.carry.push(Late { at, mark, amount });
        } else {
            self.pending = self.pending.saturating_add(amount);
        }
    }

    /// What is wanted now is what the next call asks for.
    pub(crate) fn begin(&mut self) {
        let (within, beyond) = (self.wants.take(), self.wants_beyond.take());
        // A call has one limit. Those who are left out ask again, and then it is their turn: the many that
        // are refused at a limit must not keep those from drawing beyond it that may, nor be kept waiting.
        self.asking = if self.asked_beyond { within.or(beyond) } else { beyond.or(within) };
        self.asked_beyond = self.asking.map_or(self.asked_beyond, |wants| wants.beyond);
    }

    /// As it is kept when its window seems to have ended; none when it has nothing to remember.
    pub(crate) fn set_by(self) -> Option<Self> {
        let known = self.after.is_some() || !self.unanswered.is_empty();
        known.then_some(Self { wants: None, wants_beyond: None, asking: None, denied: None, ..self })
    }

    /// Nothing is asked for any longer.
    pub(crate) fn end(&mut self) {
        self.asking = None;
    }

    /// Whether a call under way asks for something.
    pub(crate) fn asks(&self) -> bool {
        self.asking.is_some()
    }

    /// Who comes first, when there is not room for all in one call; the least does.
    pub(crate) fn urgency(&self, quiet: bool) -> (u8, u64) {
        let kind = match () {
            () if self.asks() => 0,
            () if self.unanswered_recall => 1,
            () if !quiet => 2,
            () => 3,
        };
        (kind, self.after.map_or(0, |call| call.0))
    }

    /// What to tell the store. `all` gives back what is not held; `asks_at` is when more is asked for, of
    /// this counter or of another one of the subject; the epoch began at `since`.
    pub(crate) fn offer(
        &mut self,
        id: CallId,
        held: i64,
        all: bool,
        (asks_at, since): (Option<UnixMillis>, UnixMillis),
    ) -> Offer {
        let wants = self.asking;
        let lowered = wants.is_some_and(|wants| self.limit.is_some_and(|limit| wants.limit < limit));
        let all = all || self.recalled || lowered || (wants.is_some() && self.exceeded);
        let returned = if all { self.free(held).max(0) } else { 0 };
        self.granted = self.granted.saturating_sub(returned);
        // Whether the ledger's sum has what was settled late shows in the first answer. Until then nothing is
        // told: the store notes up to which place in the journal it was told all.
        let tells = self.watermark.is_some() || self.carry.iter().all(|late| late.at >= since);
        let (mut fold, mut late_back) = (self.pending, 0i64);
        for late in &self.carry {
            match self.watermark.filter(|_| late.at < since) {
                Some(watermark) if late.mark < watermark => {
                    late_back = late_back.saturating_add(late.amount);
                }
                Some(_) | None => fold = fold.saturating_add(late.amount),
            }
        }
        let (pending, carried) = if tells { (self.pending, self.carry.len()) } else { (0, 0) };
        let (fold, late_back, untold) =
            if tells { (fold, late_back, held) } else { (0, 0, held.saturating_add(fold)) };
        // What is left when that is told. Who used more than was set aside has nothing left, and owes nothing.
        let kept = self.granted.saturating_sub(fold).saturating_sub(late_back).max(0);
        let missing = |units: i64| units.saturating_add(untold).saturating_sub(kept).max(0);
        // Also when nobody waits: what is held and no longer covered, as others used more than they held.
        let (least, wanted) =
            wants.map_or((0, missing(0)), |wants| (missing(wants.least), missing(wants.units)));
        let limit = wants.map(|wants| wants.limit).or(self.limit);
        // Beyond the limit nothing is set aside ahead of need: nobody could be admitted with it.
        let ahead = limit.is_some() && !self.asked_beyond;
        let extra = asks_at.filter(|_| ahead).map_or(0, |now| self.extra(wants, now));
        let give_back = returned.saturating_add(late_back);
        // What a lost call returned may not be there yet, and then is not held either.
        let sure = self.unanswered.iter().all(|sent| sent.returned == 0);
        let answers = if all && sure { self.recall } else { 0 };
        if self.unanswered.is_full() {
            self.unanswered.remove(0);
        }
        self.unanswered.push(Sent { id, pending, returned, carried, limit, wants });
        Offer { after: self.after, fold, tells, returned: give_back, least, wanted, extra, limit, answers }
    }

    fn extra(&mut self, wants: Option<Wants>, now: UnixMillis) -> i64 {
        let first = wants.map_or(0, |wants| wants.least.saturating_mul(EXTRA_FIRST));
        let often = self.asked_at.is_some_and(|at| now.since(at) < PACE_MILLIS);
        self.pace = if often { self.pace.max(self.taken.saturating_mul(2)) } else { self.taken };
        self.asked_at = Some(now);
        self.taken = 0;
        self.pace.max(first).min(EXTRA_MAX)
    }

    /// The call was applied, and this is what there is now.
    pub(crate) fn applied(&mut self, id: CallId, generation: u32, seen: &Seen) {
        if let Some(sent) = self.unanswered.iter().find(|sent| sent.id == id).copied() {
            self.forget_told(&sent);
            self.grant_under(sent.limit, seen);
        }
        self.take(generation, seen);
        // A sum without a watermark of this journal has nothing of it.
        self.watermark.get_or_insert(Mark(0));
    }

    /// The call was not applied; `seen` is what there is.
    pub(crate) fn not_applied(&mut self, id: CallId, generation: u32, seen: &Seen) -> Resolved {
        self.unanswered.retain(|sent| sent.id != id);
        let attached = self.is_valid(generation);
        if seen.call == self.after {
            let leftover = !attached && self.after.is_none() && seen.watermark.is_some();
            // A call without an answer may still come to be applied, and take back what it returned.
            let returned = self.unanswered.iter().fold(0i64, |sum, s| sum.saturating_add(s.returned));
            self.granted = seen.granted.saturating_sub(returned);
            self.watermark = seen.watermark;
            return if leftover { Resolved::Leftover { from: seen.watermark } } else { Resolved::Known };
        }
        match seen.call.and_then(|call| self.unanswered.iter().find(|sent| sent.id == call).copied()) {
            Some(sent) => {
                self.forget_told(&sent);
                self.grant_under(sent.limit, seen);
                self.take(generation, seen);
                Resolved::Known
            }
            None if !attached && self.after.is_none() => {
                self.take(generation, seen);
                self.limit = None;
                // One that never told anything has told nothing since the sum that the counter began with.
                Resolved::Leftover { from: seen.mark.or(seen.watermark) }
            }
            None => Resolved::Lost,
        }
    }

    /// The call was not looked at.
    pub(crate) fn not_sent(&mut self, id: CallId) {
        let sent = self.unanswered.iter().position(|sent| sent.id == id);
        if let Some(sent) = sent.map(|position| self.unanswered.remove(position)) {
            self.granted = self.granted.saturating_add(sent.returned);
        }
    }

    fn forget_told(&mut self, sent: &Sent) {
        self.pending = self.pending.saturating_sub(sent.pending);
        self.carry.drain(..sent.carried.min(self.carry.len()));
    }

    fn grant_under(&mut self, limit: Option<i64>, seen: &Seen) {
        let used = seen.settled.saturating_add(seen.others).saturating_add(seen.granted);
        self.limit = limit;
        self.exceeded = limit.is_some_and(|limit| used > limit);
    }

    fn take(&mut self, generation: u32, seen: &Seen) {
        self.generation = generation;
        self.after = seen.call;
        self.granted = seen.granted;
        self.recalled = seen.recalled;
        self.recall = self.recall.max(seen.recall);
        self.unanswered_recall = seen.recalled && seen.answered < seen.recall;
        self.watermark = seen.watermark.or(self.watermark);
        self.unanswered.clear();
    }

    /// An earlier process spent `amount` of what it left; none when nobody knows: then all of it.
    pub(crate) fn adopt(&mut self, generation: u32, amount: Option<i64>) {
        self.generation = generation;
        self.pending = self.pending.saturating_add(amount.unwrap_or(self.granted));
    }

    /// There is not enough for what the call asked for.
    pub(crate) fn deny(&mut self, number: u64) {
        if let Some(Wants { least, limit, .. }) = self.asking {
            self.denied = Some(Denied { number, need: least, limit });
        }
    }

    /// The store has begun anew: what is held is brought along, all else has to be asked for again. What
    /// was spent is in the journal, and gets to the store through the ledger; but for what was spent before this
    /// process has joined its `first` epoch: others may have had the ledger's sums before.
    pub(crate) fn carry_over(&mut self, held: i64, first: bool) {
        let (asking, wants, wants_beyond) = (self.asking, self.wants, self.wants_beyond);
        let carry = if first { std::mem::take(&mut self.carry) } else { Vec::new() };
        *self = Self { granted: held, asking, wants, wants_beyond, carry, ..Self::default() };
    }

    /// What it brought along is in the store, by this call.
    pub(crate) fn carried_over(&mut self, id: CallId, generation: u32) {
        self.after = Some(id);
        self.generation = generation;
    }

    /// Whether the store has to be told nothing.
    pub(crate) fn is_settled(&self, held: i64) -> bool {
        let told = self.pending == 0 && self.carry.is_empty() && self.unanswered.is_empty();
        told && self.granted <= held && !self.unanswered_recall
    }

    /// Others want back what is here.
    pub(crate) fn recall(&mut self, number: i64) {
        self.recall = self.recall.max(number);
        self.recalled = true;
        self.unanswered_recall = true;
    }

    /// Whether others wait to be told that nothing is here that is not held.
    pub(crate) fn owes_answer(&self) -> bool {
        self.unanswered_recall
    }

    /// Whether something is here that others wait for, or that they can not know to be there.
    pub(crate) fn owes(&self, held: i64) -> bool {
        self.pending < 0 || (self.recalled && self.free(held) > 0)
    }
}
