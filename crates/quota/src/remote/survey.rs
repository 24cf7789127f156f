//! What Redis has of every counter, for audits.

use std::time::Duration;

use deadpool_redis::redis::{FromRedisValue, Pipeline, cmd, pipe};
use tokio::time;
use tollgate_core::{Scope, Span, UnixMillis};

use super::{RECALL_MAX, RedisAddress, RedisError, keys, store::Store};

/// Keys per step: short enough that Redis serves others in between.
const SCAN_KEYS: usize = 500;
/// An audit has more time than a request: what got no answer is asked again so often, and so long after.
const ATTEMPTS_MAX: u32 = 20;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(100);
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
/// When Redis does not answer, or is a Cluster, whose keys cannot be read in one place.
pub fn survey(address: &RedisAddress) -> Result<Vec<SurveyedCounter>, RedisError> {
    if let RedisAddress::Cluster(_) = address {
        return Err(RedisError::Failed("counters in a Redis Cluster cannot be surveyed".to_owned()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| RedisError::Failed(error.to_string()))?;
    runtime.block_on(async {
        let store = Store::new(address.clone())?;
        let epoch: Option<String> = one(&store, cmd("HGET").arg(keys::epoch(0)).arg("id")).await?;
        let Some(epoch) = epoch else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        let mut cursor = 0u64;
        loop {
            let scan = cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg("tollgate:1:{*}:counter:*")
                .arg("COUNT")
                .arg(SCAN_KEYS)
                .to_owned();
            let (next, some): (u64, Vec<String>) = one(&store, &scan).await?;
            names.extend(some);
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        names.sort_unstable();
        names.dedup();
        for name in &names {
            let fields: Vec<String> = one(&store, cmd("HKEYS").arg(name)).await?;
            let holders: Vec<&str> = fields.iter().filter_map(|field| field.strip_prefix("i:")).collect();
            let message = format!("{}\n0\n{name}", holders.join(" "));
            let _: i64 = one(&store, cmd("PUBLISH").arg(keys::RECALL).arg(message)).await?;
        }
        time::sleep(RECALL_MAX.max(Duration::from_millis(200))).await;
        let mut counters = Vec::new();
        for name in &names {
            counters.extend(read(&store, name, &epoch).await?);
        }
        Ok(counters)
    })
}

async fn read(store: &Store, name: &str, epoch: &str) -> Result<Option<SurveyedCounter>, RedisError> {
    let mut commands = pipe();
    commands.cmd("HGETALL").arg(name).cmd("PEXPIRETIME").arg(name);
    let (fields, expires): (Vec<(String, String)>, i64) = patiently(store, &commands).await?;
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
    let (answer,): (T,) = patiently(store, &commands).await?;
    Ok(answer)
}

async fn patiently<T: FromRedisValue>(store: &Store, commands: &Pipeline) -> Result<T, RedisError> {
    for _ in 1..ATTEMPTS_MAX {
        if let Ok(answer) = store.pipeline(commands).await {
            return Ok(answer);
        }
        time::sleep(ATTEMPT_PAUSE).await;
    }
    store.pipeline(commands).await
}
