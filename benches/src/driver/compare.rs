//! The timed comparison: all proxies stay up, rounds are interleaved, one proxy at a time has work.

use std::time::Duration;

use anyhow::Context;

use super::contestant::{Contestant, Kind};
use super::stage::{Running, Stage};
use super::table::{self, Spread};
use super::{Options, STOP_MAX};

/// What a proxy puts off until the load has ended is done by then.
const REST_MAX: Duration = Duration::from_secs(60);

/// One round of one contestant.
struct Round {
    cpu_us: f64,
    after_us: f64,
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    rss_mib: f64,
}

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
    let report = stage.load(running, &["--warmup", &warmup, "--seconds", &seconds])?;
    let after = running.process.rest(REST_MAX)?;
    let requests = report.requests as f64;
    Ok(Round {
        cpu_us: report.cpu_us / requests,
        after_us: after.as_secs_f64() * 1e6 / report.requests_all as f64,
        per_second: requests / report.seconds,
        p50_us: report.p50_us,
        p99_us: report.p99_us,
        rss_mib: running.process.rss_kib()? as f64 / 1024.0,
    })
}

fn print(contestants: &[Contestant], rounds: &[Vec<Round>]) -> anyhow::Result<()> {
    let rounds_of = |kind: Kind| {
        let at = contestants.iter().position(|contestant| contestant.kind == kind)?;
        rounds.get(at)
    };
    let (yardstick, nginx) = (rounds_of(Kind::Yardstick), rounds_of(Kind::Nginx));
    let rows = contestants
        .iter()
        .zip(rounds)
        .map(|(contestant, rounds)| {
            Ok(vec![
                contestant.name.clone(),
                spread(rounds, |round| round.cpu_us)?.text(1),
                spread(rounds, |round| round.after_us)?.text(1),
                ratio(rounds, yardstick),
                ratio(rounds, nginx),
                spread(rounds, |round| round.per_second)?.text(0),
                spread(rounds, |round| round.p50_us)?.text(0),
                spread(rounds, |round| round.p99_us)?.text(0),
                spread(rounds, |round| round.rss_mib)?.text(1),
            ])
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    println!("\nmedian (min..max) of {} rounds", rounds.first().map_or(0, Vec::len));
    let header = [
        "proxy",
        "CPU us/request",
        "after us",
        "/ yardstick",
        "/ nginx",
        "requests/s",
        "p50 us",
        "p99 us",
        "RSS MiB",
    ];
    table::print(&header, &rows);
    Ok(())
}

/// CPU of each round, what was left for afterwards included, as a multiple of the base's in the same round.
fn ratio(rounds: &[Round], base: Option<&Vec<Round>>) -> String {
    let all = |round: &Round| round.cpu_us + round.after_us;
    let pairs = rounds.iter().zip(base.into_iter().flatten());
    let ratios = pairs.map(|(round, base)| all(round) / all(base)).collect();
    Spread::of(ratios).map_or_else(|| "-".to_owned(), |spread| spread.text(2))
}

fn spread(rounds: &[Round], figure: impl Fn(&Round) -> f64) -> anyhow::Result<Spread> {
    Spread::of(rounds.iter().map(figure).collect()).context("no rounds")
}
