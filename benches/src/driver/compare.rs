//! The timed comparison: all proxies stay up, rounds are interleaved, one proxy at a time has work.

use std::time::Duration;

use anyhow::Context;

use super::contestant::{Contestant, Kind};
use super::stage::{Running, Stage, ensure_all_200};
use super::table::{self, Spread};
use super::{Options, STOP_MAX};
use crate::load::RedisUse;

/// What a proxy puts off until the load has ended is done by then.
const REST_MAX: Duration = Duration::from_secs(60);

/// Who waits for a Redis at most 25 ms answers 503 when the machine gives either of them no turn for longer: no figure
/// of a gateway. Such a run is said and repeated, so many runs in all; a gateway that is wrong fails every one.
const AGAIN_MAX: u32 = 5;

/// One round of one contestant.
struct Round {
    cpu_us: f64,
    after_us: f64,
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    rss_mib: f64,
    requests: f64,
    redis: Option<RedisUse>,
}

/// Whose CPU time the others' is divided by, where they take part.
const BASES: [(Kind, &str); 4] = [
    (Kind::Yardstick, "/ yardstick"),
    (Kind::Nginx, "/ nginx"),
    (Kind::TollgatePostgres, "/ tollgate-postgres"),
    (Kind::NginxLua, "/ nginx-lua"),
];

pub(super) fn run(stage: &Stage, contestants: &[Contestant], options: &Options) -> anyhow::Result<()> {
    let running = contestants
        .iter()
        .map(|contestant| stage.start(contestant, &[], &[]))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut rounds: Vec<Vec<Round>> = contestants.iter().map(|_| Vec::new()).collect();
    for number in 1..=options.rounds {
        for ((contestant, running), rounds) in contestants.iter().zip(&running).zip(&mut rounds) {
            let round = drive(stage, running, options).with_context(|| contestant.name.clone())?;
            println!("round {number}: {} {:.1} us, {:.0}/s", contestant.name, round.cpu_us, round.per_second);
            rounds.push(round);
        }
    }
    for running in running {
        running.process.stop(STOP_MAX)?;
    }
    print(contestants, &rounds)
}

fn drive(stage: &Stage, running: &Running, options: &Options) -> anyhow::Result<Round> {
    let (warmup, seconds) = (options.warmup.to_string(), options.seconds.to_string());
    let args = ["--warmup", &warmup, "--seconds", &seconds];
    let mut report = stage.load_whatever_answers(running, &args)?;
    for _ in 1..AGAIN_MAX {
        if report.non_200 == 0 || report.redis.is_none() {
            break;
        }
        println!("once more: {} of {} answers were not 200", report.non_200, report.requests_all);
        report = stage.load_whatever_answers(running, &args)?;
    }
    ensure_all_200(&report)?;
    let after = running.process.rest(REST_MAX)?;
    let requests = report.requests as f64;
    Ok(Round {
        cpu_us: report.cpu_us / requests,
        after_us: after.as_secs_f64() * 1e6 / report.requests_all as f64,
        per_second: requests / report.seconds,
        p50_us: report.p50_us,
        p99_us: report.p99_us,
        rss_mib: running.process.rss_kib()? as f64 / 1024.0,
        requests,
        redis: report.redis,
    })
}

fn print(contestants: &[Contestant], rounds: &[Vec<Round>]) -> anyhow::Result<()> {
    let rounds_of = |kind: Kind| {
        let at = contestants.iter().position(|contestant| contestant.kind == kind)?;
        rounds.get(at)
    };
    let bases: Vec<_> = BASES.iter().filter_map(|&(kind, title)| Some((rounds_of(kind)?, title))).collect();
    let mut header = vec!["proxy", "CPU us/request", "after us"];
    header.extend(bases.iter().map(|&(_, title)| title));
    header.extend(["core %", "requests/s", "p50 us", "p99 us", "RSS MiB"]);
    let mut rows = Vec::new();
    for (contestant, rounds) in contestants.iter().zip(rounds) {
        let mut row = vec![
            contestant.name.clone(),
            spread(rounds, |round| round.cpu_us)?.text(1),
            spread(rounds, |round| round.after_us)?.text(1),
        ];
        row.extend(bases.iter().map(|(base, _)| ratio(rounds, base)));
        row.extend([
            spread(rounds, |round| round.cpu_us * round.per_second / 1e4)?.text(0),
            spread(rounds, |round| round.per_second)?.text(0),
            spread(rounds, |round| round.p50_us)?.text(0),
            spread(rounds, |round| round.p99_us)?.text(0),
            spread(rounds, |round| round.rss_mib)?.text(1),
        ]);
        rows.push(row);
    }
    println!("\nmedian (min..max) of {} rounds", rounds.first().map_or(0, Vec::len));
    table::print(&header, &rows);
    print_redis(contestants, rounds);
    Ok(())
}

/// What those that count in Redis ask of it.
fn print_redis(contestants: &[Contestant], rounds: &[Vec<Round>]) {
    let of = |rounds: &[Round], figure: &dyn Fn(&RedisUse) -> f64, decimals| {
        let figures = rounds.iter().map(|round| Some(figure(round.redis.as_ref()?) / round.requests));
        Some(Spread::of(figures.collect::<Option<_>>()?)?.text(decimals))
    };
    let row = |contestant: &Contestant, rounds: &[Round]| {
        Some(vec![
            contestant.name.clone(),
            of(rounds, &|redis| redis.cpu_us, 2)?,
            of(rounds, &|redis| redis.scripts as f64 * 1e3, 1)?,
            of(rounds, &|redis| redis.commands as f64 * 1e3, 1)?,
        ])
    };
    let rows: Vec<_> =
        contestants.iter().zip(rounds).filter_map(|(contestant, rounds)| row(contestant, rounds)).collect();
    if !rows.is_empty() {
        println!();
        let header =
            ["proxy", "Redis CPU us/request", "scripts/1000 requests", "commands/1000, in scripts too"];
        table::print(&header, &rows);
    }
}

/// CPU of each round, what was left for afterwards included, as a multiple of the base's in the same round.
fn ratio(rounds: &[Round], base: &[Round]) -> String {
    let all = |round: &Round| round.cpu_us + round.after_us;
    let pairs = rounds.iter().zip(base);
    let ratios = pairs.map(|(round, base)| all(round) / all(base)).collect();
    Spread::of(ratios).map_or_else(|| "-".to_owned(), |spread| spread.text(2))
}

fn spread(rounds: &[Round], figure: impl Fn(&Round) -> f64) -> anyhow::Result<Spread> {
    Spread::of(rounds.iter().map(figure).collect()).context("no rounds")
}
