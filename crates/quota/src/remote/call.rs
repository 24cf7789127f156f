//! One call about one subject: what it says, and what the answer says.

use std::{collections::HashMap, sync::LazyLock};

use deadpool_redis::redis::{Script, Value};
use tollgate_core::{Scope, Span, UnixMillis};

use super::{RedisError, keys};
use crate::{
    CounterKey, Mark,
    counter::Counter,
    lease::{CallId, Lease, Offer, Seen},
};

pub(super) static EXCHANGE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/exchange_v2.lua")));
pub(super) static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/beat_v1.lua")));
pub(super) static EPOCH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/epoch_v1.lua")));
pub(super) static LOAD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/load_v1.lua")));
pub(super) static CARRY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/carry_v1.lua")));
pub(super) static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/claim_v1.lua")));
pub(super) static UNCLAIM: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/unclaim_v1.lua")));

/// A call, as it was made up under the subject's lock.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: CallId,
    /// Of the bucket, when it was made up.
    pub(super) generation: u32,
    /// All settlements of the subject before this are in it.
    pub(super) mark: Mark,
    /// The name of the subject's calendar.
    pub(super) calendar: String,
    pub(super) items: Vec<CallItem>,
    /// Whether more is to be given back than one call has room for.
    pub(super) more: bool,
}

/// What a call says about one counter.
#[derive(Debug)]
pub(super) struct CallItem {
    /// In the subject's book.
    pub(super) position: usize,
    /// Of the counter: another one means that the window has turned.
    pub(super) turn: u32,
    pub(super) key: CounterKey,
    pub(super) name: String,
    pub(super) meter: Box<str>,
    pub(super) span: Span,
    pub(super) concurrent: bool,
    pub(super) offer: Offer,
    /// The recall whose answers are waited for; 0 for none.
    pub(super) waits_for: i64,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    Epoch,
    Window,
    Call,
    Unloaded,
    Full,
}

/// An answer to a call.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: Status,
    /// Redis's clock.
    pub(super) now: UnixMillis,
    /// Which item the status is about.
    pub(super) about: usize,
    /// In the order of the items; empty with [`Status::Epoch`].
    pub(super) seen: Vec<Seen>,
    /// Up to when counters are loaded from the ledger.
    pub(super) since: UnixMillis,
}

/// Whose call it is.
pub(super) struct Caller<'a> {
    pub(super) bucket: usize,
    pub(super) scope: Scope,
    pub(super) id: &'a str,
    pub(super) instance: &'a str,
    pub(super) epoch: &'a str,
    pub(super) calendar: &'a str,
    pub(super) dead: &'a str,
}

impl CallItem {
    /// The lease that it is about; none when the window has turned since.
    pub(super) fn lease_of<'a>(&self, counter: &'a mut Counter) -> Option<&'a mut Lease> {
        let same = counter.generation == self.turn && counter.span == self.span;
        counter.lease_mut().filter(|_| same)
    }
}

impl Call {
    pub(super) fn invocation(&self, caller: &Caller<'_>) -> deadpool_redis::redis::ScriptInvocation<'static> {
        let mut script = EXCHANGE.prepare_invoke();
        script.key(keys::epoch(caller.bucket)).key(keys::calendar(caller.bucket, caller.scope, caller.id));
        script.arg(caller.instance).arg(caller.epoch).arg(self.id.0).arg(self.mark.0);
        script.arg(caller.calendar).arg(caller.dead);
        for item in &self.items {
            let Offer { after, fold, tells, returned, least, wanted, extra, limit, answers } = item.offer;
            script.key(&item.name);
            script.arg(after.map(|id| id.0.to_string()).unwrap_or_default());
            script.arg(fold).arg(returned).arg(least).arg(wanted).arg(extra).arg(limit.unwrap_or(-1));
            script.arg(keys::start(item.span)).arg(keys::end(item.span));
            script.arg(if item.concurrent { "c" } else { "-" }).arg(item.waits_for).arg(answers);
            script.arg(i32::from(tells));
        }
        script
    }
}

impl Answer {
    pub(super) fn read(value: &Value, items: usize) -> Result<Self, RedisError> {
        Self::try_read(value, items).ok_or(RedisError::Nonsense)
    }

    fn try_read(value: &Value, items: usize) -> Option<Self> {
        let Value::Array(parts) = value else { return None };
        let status = match &*text(parts.first()?)? {
            "ok" => Status::Ok,
            "epoch" => Status::Epoch,
            "window" => Status::Window,
            "call" => Status::Call,
            "unloaded" => Status::Unloaded,
            "full" => Status::Full,
            _ => return None,
        };
        let now = UnixMillis(number(parts.get(1)?)?);
        let about = usize::try_from(number(parts.get(2)?)?).ok()?.saturating_sub(1);
        let (seen, since) = if status == Status::Epoch {
            (Vec::new(), UnixMillis::MAX)
        } else {
            let seen = parts.get(3..3 + items)?.iter().map(see).collect::<Option<Vec<_>>>()?;
            (seen, UnixMillis(number(parts.get(3 + items)?)?))
        };
        Some(Self { status, now, about, seen, since })
    }
}

fn see(value: &Value) -> Option<Seen> {
    let Value::Array(parts) = value else { return None };
    let position = |value: &Value| Some(u64::try_from(number(value)?).ok().map(Mark));
    Some(Seen {
        settled: number(parts.first()?)?,
        others: number(parts.get(1)?)?,
        granted: number(parts.get(2)?)?,
        call: match &*text(parts.get(3)?)? {
            "" => None,
            id => Some(CallId(id.parse().ok()?)),
        },
        mark: position(parts.get(4)?)?,
        recall: number(parts.get(5)?)?,
        answered: number(parts.get(6)?)?,
        recalled: number(parts.get(7)?)? != 0,
        watermark: position(parts.get(8)?)?,
        holders: text(parts.get(9)?)?.split_whitespace().map(str::to_owned).collect(),
    })
}

/// What the epoch's script says.
#[derive(Debug)]
pub(super) struct EpochView {
    /// Empty when there is none.
    pub(super) id: String,
    pub(super) active: bool,
    pub(super) since: UnixMillis,
    pub(super) now: UnixMillis,
    pub(super) kinds: String,
    pub(super) missing: String,
}

impl EpochView {
    pub(super) fn read(value: &Value) -> Result<Self, RedisError> {
        let read = || {
            let Value::Array(parts) = value else { return None };
            Some(Self {
                id: text(parts.first()?)?,
                active: text(parts.get(1)?)? == "active",
                since: UnixMillis(number(parts.get(2)?)?),
                now: UnixMillis(number(parts.get(3)?)?),
                kinds: text(parts.get(4)?)?,
                missing: text(parts.get(5)?)?,
            })
        };
        read().ok_or(RedisError::Nonsense)
    }
}

/// How long ago each instance said that it lives, in ms by the store's clock.
pub(super) fn silences(value: &Value) -> Result<(bool, HashMap<String, i64>), RedisError> {
    let read = || {
        let Value::Array(parts) = value else { return None };
        let [now, is_new, rest @ ..] = &parts[..] else { return None };
        let now = number(now)?;
        let silence = |pair: &[Value]| match pair {
            [id, at] => Some((text(id)?, now.saturating_sub(number(at)?))),
            _ => None,
        };
        Some((number(is_new)? != 0, rest.chunks(2).map(silence).collect::<Option<_>>()?))
    };
    read().ok_or(RedisError::Nonsense)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        Value::Okay => Some("OK".to_owned()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        _ => text(value)?.parse().ok(),
    }
}
