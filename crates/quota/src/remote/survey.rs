//! What Redis has of every counter, for audits.

use std::{collections::BTreeMap, time::Duration};

use deadpool_redis::redis::{FromRedisValue, Value, cmd, pipe};
use tokio::time;
use tollgate_core::{Scope, Span, UnixMillis};

use super::{RECALL_MAX, RedisAddress, RedisError, keys, store::Store};

/// Keys per step: short enough that Redis serves others in between.
const SCAN_KEYS: usize = 500;
/// An answer may be late once in a while, as calls wait no longer than a request may.
const ATTEMPTS_MAX: u32 = 5;
/// How long the scripts keep a counter after its window.
const KEEP_MILLIS: i64 = 86_400_000;

/// One counter as Redis has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurveyedCounter {
    /// User or organisation.
    pub scope: Scope,
    /// Its id.
    pub id: String,
    /// What is counted.
    pub meter: String,
    /// In which window, as written in files.
    pub window: String,
    /// When.
    pub span: Span,
    /// Settled by all instances, as far as they have told.
    pub settled: i64,
    /// Set aside for instances: for requests in flight, or spent by one that is dead.
    pub set_aside: i64,
}

/// Asks all instances to give back what they do not hold, and then reads every counter. Blocks; changes
/// nothing that anybody may use.
///
/// # Errors
///
/// When Redis, or a node of the Cluster, does not answer.
pub fn survey(address: &RedisAddress) -> Result<Vec<SurveyedCounter>, RedisError> {
    let mut result = survey_once(address);
    for _ in 1..ATTEMPTS_MAX {
        if result.is_ok() {
            break;
        }
        result = survey_once(address);
    }
    result
}

fn survey_once(address: &RedisAddress) -> Result<Vec<SurveyedCounter>, RedisError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| RedisError::Failed(error.to_string()))?;
    runtime.block_on(async {
        let store = Store::new(address.clone())?;
        let mut epochs = Vec::new();
        for bucket in 0..address.buckets() {
            epochs.push(one(&store, cmd("HGET").arg(keys::epoch(bucket)).arg("id")).await?);
        }
        let mut names = Vec::new();
        for slot in nodes(&store, address).await? {
            names.extend(scan(&store, slot).await?);
        }
        names.sort_unstable();
        names.dedup();
        for name in &names {
            let fields: Vec<String> = one(&store, cmd("HKEYS").arg(name)).await?;
            let holders: Vec<&str> = fields.iter().filter_map(|field| field.strip_prefix("i:")).collect();
            let message = format!("{}\n{name}", holders.join(" "));
            let _: i64 = store.command_at(0, cmd("PUBLISH").arg(keys::RECALL).arg(message)).await?;
        }
        time::sleep(RECALL_MAX.max(Duration::from_millis(200))).await;
        let mut counters = Vec::new();
        for name in &names {
            let bucket = keys::bucket(name);
            let epoch: Option<&Option<String>> = bucket.and_then(|bucket| epochs.get(bucket));
            if let Some(Some(epoch)) = epoch {
                counters.extend(read(&store, name, epoch).await?);
            }
        }
        Ok(counters)
    })
}

/// A slot of each server that has keys.
async fn nodes(store: &Store, address: &RedisAddress) -> Result<Vec<u16>, RedisError> {
    let RedisAddress::Cluster(_) = address else { return Ok(vec![0]) };
    let value: Value = store.command_at(0, cmd("CLUSTER").arg("SLOTS")).await?;
    let Value::Array(ranges) = value else { return Err(RedisError::Nonsense) };
    let mut firsts = BTreeMap::new();
    for range in ranges {
        let Value::Array(range) = range else { return Err(RedisError::Nonsense) };
        let (Some(Value::Int(first)), Some(Value::Array(master))) = (range.first(), range.get(2)) else {
            return Err(RedisError::Nonsense);
        };
        let first = u16::try_from(*first).map_err(|_| RedisError::Nonsense)?;
        // Host and port, then what versions differ in.
        firsts.entry(format!("{:?}", master.get(..2))).or_insert(first);
    }
    Ok(firsts.into_values().collect())
}

/// The counters on the server that has `slot`.
async fn scan(store: &Store, slot: u16) -> Result<Vec<String>, RedisError> {
    let mut names = Vec::new();
    let mut cursor = 0u64;
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg("tollgate:1:{*}:counter:*").arg("COUNT").arg(SCAN_KEYS);
        let (next, some): (u64, Vec<String>) = store.command_at(slot, &scan).await?;
        names.extend(some);
        cursor = next;
        if cursor == 0 {
            return Ok(names);
        }
    }
}

async fn read(store: &Store, name: &str, epoch: &str) -> Result<Option<SurveyedCounter>, RedisError> {
    let mut commands = pipe();
    commands.cmd("HGETALL").arg(name).cmd("PEXPIRETIME").arg(name);
    let (fields, expires): (Vec<(String, String)>, i64) = store.pipeline(&commands).await?;
    let Some(parsed) = keys::parse(name) else { return Ok(None) };
    let is_now = fields.iter().any(|(field, value)| field == "e" && value == epoch);
    let settled = fields.iter().find(|(field, _)| field == "s").and_then(|(_, value)| value.parse().ok());
    let (true, Some(settled)) = (is_now, settled) else { return Ok(None) };
    let granted = |(field, value): &(String, String)| {
        field.strip_prefix("i:").and_then(|_| value.split(' ').next()?.parse::<i64>().ok())
    };
    let end = if expires < 0 { UnixMillis::MAX } else { UnixMillis(expires.saturating_sub(KEEP_MILLIS)) };
    let start = if end == UnixMillis::MAX { UnixMillis::MIN } else { UnixMillis(parsed.start) };
    Ok(Some(SurveyedCounter {
        scope: parsed.scope,
        id: parsed.id.to_owned(),
        meter: parsed.meter.to_owned(),
        window: parsed.window.to_owned(),
        span: Span { start, end },
        settled,
        set_aside: fields.iter().filter_map(granted).fold(0, i64::saturating_add),
    }))
}

async fn one<T: FromRedisValue>(
    store: &Store,
    command: &deadpool_redis::redis::Cmd,
) -> Result<T, RedisError> {
    let mut commands = pipe();
    commands.add_command(command.clone());
    let (answer,): (T,) = store.pipeline(&commands).await?;
    Ok(answer)
}
