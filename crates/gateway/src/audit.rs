//! `tollgate audit`: the stores against each other, and the running gateway's counters against them.

#![allow(clippy::print_stdout, reason = "a command that prints")]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tollgate_config::Config;
use tollgate_core::{Scope, Span, UnixMillis};
use tollgate_ledger::{AuditReport, LedgerOptions, LedgerReader, Position, Subject};
use tollgate_quota::{RedisAddress, SurveyedCounter, survey};
use uuid::Uuid;

use crate::{
    admin::{CounterView, CountersView},
    counting::redis_address,
    serve::{admin_token, ledger_options, ledger_path, load},
    worker::wall_clock,
};

/// A counter that moves while it is audited is looked at again, so often at most.
const ATTEMPTS_MAX: u32 = 20;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(100);
/// Longest answer that is read, in bytes: a million counters.
const COUNTERS_BYTES_MAX: u64 = 256 << 20;
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether everything agrees; prints what does not.
pub(crate) fn audit(config: &Path, data_dir: Option<&Path>) -> anyhow::Result<bool> {
    let (data_dir, ledger, counters) = match data_dir {
        Some(dir) => (dir.to_owned(), LedgerOptions::Sqlite { path: ledger_path(dir) }, CountedIn::Nowhere),
        None => {
            let Config { gateway, plans: _ } = load(config)?;
            let ledger = ledger_options(&gateway)?;
            let counters = match redis_address(&gateway)? {
                Some(redis) => CountedIn::Redis(redis),
                None => CountedIn::Process(gateway.admin.address, admin_token(&gateway)?),
            };
            (gateway.data_dir, ledger, counters)
        }
    };
    let report =
        tollgate_ledger::audit(&data_dir, &ledger).with_context(|| data_dir.display().to_string())?;
    let AuditReport { running, events, settlements, pending, in_flight, rollup_rows, differences } = &report;
    for difference in differences {
        println!("{difference}");
    }
    println!(
        "{}: {events} events, {rollup_rows} rollup rows, {settlements} settlements in the journal of which \
         {pending} are not shipped yet, {} requests in flight",
        data_dir.display(),
        in_flight.len(),
    );
    let mut good = report.is_clean();
    match (*running, counters) {
        (true, CountedIn::Process(address, token)) => {
            good &= audit_counters(&ledger, address, token.as_deref())?;
        }
        (_, CountedIn::Redis(redis)) => good &= audit_redis(&ledger, &redis)?,
        (true, CountedIn::Nowhere) => {
            println!("a gateway is running; give its gateway.toml to audit its counters too");
        }
        (false, CountedIn::Process(..) | CountedIn::Nowhere) => {
            println!("no gateway is running: counters are rebuilt from these at the next start");
        }
    }
    println!("{}", if good { "clean" } else { "NOT CLEAN" });
    Ok(good)
}

/// Where there are counters to compare.
enum CountedIn {
    /// In the gateway's process, behind its admin address and token.
    Process(SocketAddr, Option<String>),
    Redis(RedisAddress),
    Nowhere,
}

/// Compares every counter in Redis with the ledger. What is set aside for requests in flight, and what an
/// instance that is dead has spent of its lease, may be in the ledger before Redis knows of it.
fn audit_redis(ledger: &LedgerOptions, redis: &RedisAddress) -> anyhow::Result<bool> {
    let mut findings = Vec::new();
    for attempt in 0..ATTEMPTS_MAX {
        if attempt > 0 {
            std::thread::sleep(ATTEMPT_PAUSE);
        }
        let counters = survey(redis).context("the counters in Redis")?;
        let reader = LedgerReader::open(ledger)?;
        findings.clear();
        let (mut same, mut set_aside) = (0, 0);
        // What is told of late is counted in windows that are over by the ledger alone.
        let now = wall_clock();
        for counter in counters.iter().filter(|counter| counter.span.end > now) {
            let subject = match counter.scope {
                Scope::Org => Subject::Org(counter.id.clone()),
                Scope::User => Subject::User(counter.id.clone()),
            };
            let sum = reader.sum(&subject, &counter.meter, counter.span)?;
            let most = counter.settled.saturating_add(counter.set_aside);
            if (counter.settled..=most.max(counter.settled)).contains(&sum) {
                same += 1;
                set_aside += usize::from(counter.set_aside > 0);
            } else {
                let SurveyedCounter { scope, id, meter, window, settled, set_aside, span: _ } = counter;
                let scope = if *scope == Scope::Org { "org" } else { "user" };
                findings.push(format!(
                    "counter {scope} {id} {meter} per {window}: {settled} settled and {set_aside} set aside in \
                     Redis, but the ledger has {sum}"
                ));
            }
        }
        if findings.is_empty() {
            println!("{same} counters in Redis agree with the ledger; {set_aside} have something set aside");
            return Ok(true);
        }
    }
    findings.iter().for_each(|finding| println!("{finding}"));
    println!("{} counters in Redis differ", findings.len());
    Ok(false)
}

/// What became of one comparison.
enum Verdict {
    Same,
    Different(String),
    /// The subject was charged since.
    Moving,
}

/// Compares every counter in the gateway's memory with the ledger. A counter that agrees once is good:
/// later settlements are added to both. One that is charged all the time may never be seen at rest.
fn audit_counters(ledger: &LedgerOptions, admin: SocketAddr, token: Option<&str>) -> anyhow::Result<bool> {
    let mut left = Vec::new();
    let mut compared = 0;
    for attempt in 0..ATTEMPTS_MAX {
        if attempt > 0 {
            std::thread::sleep(ATTEMPT_PAUSE);
        }
        let CountersView { journal, counters } =
            fetch(admin, token).with_context(|| format!("the gateway's counters at {admin}"))?;
        let wanted = |counter: &CounterView| left.is_empty() || left.contains(&name(counter));
        let reader = LedgerReader::open(ledger)?;
        let (mut again, mut findings) = (Vec::new(), Vec::new());
        for counter in counters.iter().filter(|counter| attempt == 0 || wanted(counter)) {
            match compare(&reader, journal, counter)? {
                Verdict::Same => compared += 1,
                Verdict::Moving => again.push(name(counter)),
                Verdict::Different(finding) => {
                    again.push(name(counter));
                    findings.push(finding);
                }
            }
        }
        if again.is_empty() {
            println!("{compared} counters in memory agree with the ledger");
            return Ok(true);
        }
        left = again;
        if attempt + 1 == ATTEMPTS_MAX {
            for finding in &findings {
                println!("{finding}");
            }
            let moving = left.len() - findings.len();
            println!("{compared} counters agree, {} differ, {moving} never rested", findings.len());
            return Ok(findings.is_empty());
        }
    }
    Ok(true)
}

fn name(counter: &CounterView) -> String {
    format!("{} {} {} {}", counter.org, counter.subject, counter.meter, counter.window)
}

fn compare(reader: &LedgerReader, journal: Uuid, counter: &CounterView) -> anyhow::Result<Verdict> {
    let subject = match counter.org {
        true => Subject::Org(counter.subject.clone()),
        false => Subject::User(counter.subject.clone()),
    };
    let span = Span { start: UnixMillis(counter.start_ms), end: UnixMillis(counter.end_ms) };
    let (sum, shipped) = (reader.sum(&subject, &counter.meter, span)?, reader.watermark(journal)?);
    if sum == counter.settled {
        return Ok(Verdict::Same);
    }
    if shipped.unwrap_or_default() <= Position::new(counter.last_mark) {
        return Ok(Verdict::Moving);
    }
    Ok(Verdict::Different(format!(
        "counter {} {} {} per {}: {} settled, but the ledger has {sum}",
        if counter.org { "org" } else { "user" },
        counter.subject,
        counter.meter,
        counter.window,
        counter.settled,
    )))
}

fn fetch(admin: SocketAddr, token: Option<&str>) -> anyhow::Result<CountersView> {
    let mut stream = TcpStream::connect_timeout(&admin, ADMIN_TIMEOUT)?;
    stream.set_read_timeout(Some(ADMIN_TIMEOUT))?;
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    // HTTP/1.0: the answer ends with the connection.
    write!(stream, "GET /admin/counters HTTP/1.0\r\n{authorization}\r\n")?;
    let mut answer = String::new();
    stream.take(COUNTERS_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    if !head.starts_with("HTTP/1.0 200") && !head.starts_with("HTTP/1.1 200") {
        bail!("it answers {}", head.lines().next().unwrap_or_default());
    }
    Ok(serde_json::from_str(body)?)
}
