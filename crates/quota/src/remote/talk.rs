//! One subject's talk with Redis: a call, and what its answer asks for, until the subject has what it
//! wants or knows that it is not there.

use std::sync::Arc;

use deadpool_redis::redis::Value;
use tokio::{
    sync::oneshot,
    time::{self, Duration, Instant},
};
use tollgate_core::{Span, UnixMillis};

use super::{
    RECALL_MAX,
    broker::Broker,
    call::{Answer, Call, CallItem, Caller, LOAD, Status},
    keys, lock,
};
use crate::{
    Subject,
    lease::{Resolved, Seen},
    subject::Book,
};

/// Answers that ask for another call: an earlier call without an answer, a window that turned, a counter
/// to be loaded, an epoch, each once or twice; and looks whether others have given back.
const CALLS_MAX: u32 = 24;
/// From one look to the next while others are asked to give back: at first, and at most.
const RECALL_LOOK_MIN: Duration = Duration::from_millis(1);
const RECALL_LOOK_MAX: Duration = Duration::from_millis(8);
/// Longest time for the ledger to say what was used.
const LOAD_MAX: Duration = Duration::from_secs(2);
/// A subject has a handful of counters; a script should not look at very many. Of more, those come first
/// that are asked for or wanted back, and then those that were not told of for longest.
const ITEMS_MAX: usize = 32;
/// An answer that took longer says little about the time at which it was made.
const CLOCK_TRUSTED_MAX: Duration = Duration::from_millis(10);

/// Others were asked to give back what they have of a counter.
struct Recall {
    name: String,
    number: i64,
    until: Instant,
    pause: Duration,
}

/// What less than is needed means.
enum Full {
    /// Nobody has any that is not in use.
    Everywhere,
    /// Somebody has some, and does not answer.
    Silent,
    /// It was asked for.
    Recalled(Recall),
}

impl Broker {
    /// Whether all that had to be said was said, and all that was asked was answered.
    pub(super) async fn talk(&self, subject: &Arc<Subject>, number: u64, farewell: bool) -> bool {
        let Some(member) = &subject.member else { return true };
        let mut recall: Option<Recall> = None;
        let mut answered = true;
        for _ in 0..CALLS_MAX {
            let epoch = match self.epochs.current(member.bucket) {
                Some(epoch) => epoch,
                None if farewell => return false,
                None => match self.epochs.wait(self, member.bucket).await {
                    Some(epoch) => epoch,
                    None => return false,
                },
            };
            // A call that would not be sent is not made up: it would have to be remembered.
            if self.store.is_open() {
                return false;
            }
            let Some(call) = self.make_up(subject, recall.as_ref()) else { return answered };
            let dead = self.signs.dead(&self.instance);
            let caller = Caller {
                bucket: member.bucket,
                scope: member.scope,
                id: &member.id,
                instance: &self.instance,
                epoch: &epoch,
                calendar: &call.calendar,
                dead: &dead,
            };
            let Ok(permit) = self.talks.acquire().await else { return false };
            let sent = (Instant::now(), self.source.now());
            let script = call.invocation(&caller);
            let result = self.store.call::<Value>(&script).await;
            drop(permit);
            let result = result.and_then(|value| Answer::read(&value, call.items.len()));
            self.note(&result);
            let Ok(answer) = result else {
                self.look.notify_one();
                return false;
            };
            self.set_clock(sent, answer.now, answer.status == Status::Window);
            if member.generation() != call.generation {
                continue;
            }
            match answer.status {
                Status::Ok => {
                    self.applied(subject, &call, &answer.seen);
                    if call.more {
                        continue;
                    }
                    return answered;
                }
                Status::Full => {
                    self.applied(subject, &call, &answer.seen);
                    let verdict = self.full(&call, &answer, recall.take());
                    if let Full::Recalled(waiting) = verdict {
                        time::sleep(waiting.pause).await;
                        recall = Some(waiting);
                        continue;
                    }
                    let denied = matches!(verdict, Full::Everywhere);
                    answered &= denied;
                    // Others wait for other counters, which this one is not to keep from them.
                    if !self.give_up(subject, &call, answer.about, denied.then_some(number)) {
                        return answered;
                    }
                    continue;
                }
                Status::Epoch | Status::Window | Status::Call | Status::Unloaded => {}
            }
            let lost = self.not_applied(subject, &call, &answer.seen);
            match answer.status {
                _ if lost => self.epochs.invalidate(self, member.bucket).await,
                Status::Epoch => self.epochs.gone(member.bucket),
                Status::Unloaded => {
                    if !self.load(subject, &call, &epoch, answer.since).await {
                        return false;
                    }
                }
                Status::Ok | Status::Full | Status::Window | Status::Call => {}
            }
        }
        false
    }

    /// What less than is needed means: nothing left anywhere, or something that others have.
    fn full(&self, call: &Call, answer: &Answer, recall: Option<Recall>) -> Full {
        let (Some(item), Some(seen)) = (call.items.get(answer.about), answer.seen.get(answer.about)) else {
            return Full::Silent;
        };
        if !seen.holders.iter().any(|id| self.signs.is_alive(id)) {
            return Full::Everywhere;
        }
        match recall {
            Some(recall) if recall.name == item.name => {
                let pause = (recall.pause * 2).min(RECALL_LOOK_MAX);
                if Instant::now() + pause > recall.until {
                    return Full::Silent;
                }
                Full::Recalled(Recall { pause, ..recall })
            }
            Some(_) | None => Full::Recalled(Recall {
                name: item.name.clone(),
                number: seen.recall,
                until: recall.map_or_else(|| Instant::now() + RECALL_MAX, |recall| recall.until),
                pause: RECALL_LOOK_MIN,
            }),
        }
    }

    /// What there is to say about the subject; none when that is nothing.
    fn make_up(&self, subject: &Arc<Subject>, recall: Option<&Recall>) -> Option<Call> {
        let member = subject.member.as_ref()?;
        let now = self.now();
        let mut book = subject.lock();
        let id = self.next_call();
        // Under the lock: what is journalled of this subject before the tail is in its counters.
        let mark = self.tail();
        let all = std::mem::take(&mut book.calls.give_back);
        let asks = book.counters.iter().any(|c| c.lease().is_some_and(crate::lease::Lease::asks));
        let kinds = lock(&self.shared.kinds);
        let (mut items, mut tells_all) = (Vec::new(), true);
        let Book { calendar, counters, .. } = &mut *book;
        let mut due = Vec::new();
        for (position, counter) in counters.iter_mut().enumerate() {
            counter.turn_to(now, calendar);
            let held = counter.usage.held;
            let Some(lease) = counter.lease() else { continue };
            let quiet = lease.is_valid(member.generation()) && lease.is_settled(held);
            if lease.asks() || !quiet || asks {
                due.push((lease.urgency(quiet), position));
            }
        }
        let more = due.len() > ITEMS_MAX;
        if more {
            due.sort_unstable();
            due.truncate(ITEMS_MAX);
        }
        for (_, position) in due {
            let counter = &mut counters[position];
            let (turn, key, span, held) = (counter.generation, counter.key, counter.span, counter.usage.held);
            let concurrent = counter.concurrent;
            let Some(lease) = counter.lease_mut() else { continue };
            let Some(meter) = kinds.meter(key.meter) else { continue };
            let meter: Box<str> = meter.into();
            let name = keys::counter(member.bucket, (member.scope, &member.id), &meter, key.window, span);
            let mut offer = lease.offer(id, held, all, (asks.then_some(now), member.since()));
            if self.exact {
                offer.extra = 0;
            }
            tells_all &= offer.tells;
            let waits_for = recall.filter(|recall| recall.name == name).map_or(0, |recall| recall.number);
            items.push(CallItem { position, turn, key, name, meter, span, concurrent, offer, waits_for });
        }
        let calendar = calendar.name();
        book.calls.told_at = Some(now);
        let more = (more || !tells_all) && all;
        book.calls.give_back = more;
        (!items.is_empty()).then(|| Call { id, generation: member.generation(), mark, calendar, items, more })
    }

    fn applied(&self, subject: &Subject, call: &Call, seen: &[Seen]) {
        let Some(member) = &subject.member else { return };
        each(subject, call, seen, |lease, item, seen| {
            let is_first = lease.after.is_none() && !lease.is_valid(call.generation);
            lease.applied(call.id, call.generation, seen);
            // The sum that the counter began with may lack what an earlier process had journalled.
            if let Some(from) = seen.watermark.filter(|_| is_first) {
                let spent = self.replay.sum((member.scope, &member.id), &item.meter, item.span, from, None);
                lease.adopt(call.generation, Some(spent.unwrap_or(0)));
            }
        });
    }

    /// Whether Redis has lost what it knew.
    fn not_applied(&self, subject: &Subject, call: &Call, seen: &[Seen]) -> bool {
        let mut lost = false;
        if seen.is_empty() {
            forget(subject, call);
            return lost;
        }
        let Some(member) = &subject.member else { return lost };
        each(subject, call, seen, |lease, item, seen| {
            match lease.not_applied(call.id, call.generation, seen) {
                Resolved::Known => {}
                Resolved::Lost => lost = true,
                Resolved::Leftover { from } => {
                    let who = (member.scope, &*member.id);
                    let spent = match from {
                        None => None,
                        Some(from) => {
                            let known = seen.watermark.map(|mark| (mark, member.since()));
                            self.replay.sum(who, &item.meter, item.span, from, known)
                        }
                    };
                    lease.adopt(call.generation, spent);
                }
            }
        });
        lost
    }

    /// There is not enough of a counter: certainly, in call `denied`, or as far as can be told. Whether
    /// something else is asked for.
    fn give_up(&self, subject: &Subject, call: &Call, about: usize, denied: Option<u64>) -> bool {
        let Some(item) = call.items.get(about) else { return false };
        let mut book = subject.lock();
        let Some(lease) = book.counters.get_mut(item.position).and_then(|counter| item.lease_of(counter))
        else {
            return false;
        };
        if let Some(number) = denied {
            lease.deny(number);
        }
        lease.end();
        book.counters.iter().any(|counter| counter.lease().is_some_and(crate::lease::Lease::asks))
    }

    /// Has the ledger say what was used before `since`, and tells Redis.
    async fn load(&self, subject: &Subject, call: &Call, epoch: &str, since: UnixMillis) -> bool {
        let Some(member) = &subject.member else { return false };
        if since > member.since() && !self.flush().await {
            return false;
        }
        let unknown = |item: &&CallItem| keys::start(item.span) < since.0;
        let items: Vec<_> = call.items.iter().filter(unknown).collect();
        let until = |span: Span| Span { end: span.end.min(since), ..span };
        let asked = items.iter().map(|item| (item.key.meter, until(item.span))).collect();
        let (reply, answer) = oneshot::channel();
        let reply = Box::new(move |sums| {
            let _ = reply.send(sums);
        });
        self.source.sums((member.scope, &member.id), asked, reply);
        let Ok(Ok(Some(known))) = time::timeout(LOAD_MAX, answer).await else { return false };
        let mut script = LOAD.prepare_invoke();
        script.key(keys::epoch(member.bucket)).arg(epoch).arg(known.watermarks.len());
        for (journal, mark) in &known.watermarks {
            script.arg(journal).arg(mark.0);
        }
        for (item, sum) in items.iter().zip(&known.sums) {
            script.key(&item.name).arg(*sum).arg(keys::end(item.span));
        }
        let result = self.store.call::<Value>(&script).await;
        self.note(&result);
        result.is_ok()
    }

    /// Has the ledger take all that is journalled here; whether it did.
    pub(super) async fn flush(&self) -> bool {
        let (reply, flushed) = oneshot::channel();
        self.source.flush(Box::new(move |done| {
            let _ = reply.send(done);
        }));
        matches!(time::timeout(LOAD_MAX, flushed).await, Ok(Ok(Some(()))))
    }

    /// Keeps Redis's clock; `at_once` when this machine's was found to be wrong.
    pub(super) fn set_clock(&self, (sent, wall): (Instant, UnixMillis), redis: UnixMillis, at_once: bool) {
        let took = sent.elapsed();
        if took <= CLOCK_TRUSTED_MAX || at_once {
            let half = i64::try_from(took.as_millis() / 2).unwrap_or(0);
            self.gate.set_clock_offset(redis.0.saturating_sub(wall.0.saturating_add(half)));
        }
    }
}

/// Calls `f` with each counter of the call whose window has not turned, and shows what is used of it.
fn each(
    subject: &Subject,
    call: &Call,
    seen: &[Seen],
    mut f: impl FnMut(&mut crate::lease::Lease, &CallItem, &Seen),
) {
    let mut book = subject.lock();
    for (item, seen) in call.items.iter().zip(seen) {
        let Some(counter) = book.counters.get_mut(item.position) else { continue };
        let Some(lease) = item.lease_of(counter) else { continue };
        f(lease, item, seen);
        let pending = lease.pending;
        counter.usage.settled = seen.settled.saturating_add(seen.others).saturating_add(pending);
    }
}

/// The call was not looked at.
fn forget(subject: &Subject, call: &Call) {
    let mut book = subject.lock();
    for item in &call.items {
        if let Some(lease) = book.counters.get_mut(item.position).and_then(|counter| item.lease_of(counter)) {
            lease.not_sent(call.id);
        }
    }
}
