//! The comparison of streams: CPU time per chunk with many at once, time to the first byte with one at a time.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::contestant::{Contestant, Kind};
use super::instructions::{self, Task};
use super::stage::{Running, Stage};
use super::table::{self, Spread};
use super::{Options, STOP_MAX};
use crate::streams::{Order, Report, Shape, Streams, Until};

/// What a proxy puts off until the streams have ended is done by then.
const REST_MAX: Duration = Duration::from_secs(60);
/// Chunks of text of the streams whose first byte is timed: what comes after it only takes time.
const CHUNKS_FIRST: u16 = 4;
const USERS: u16 = 300;
/// Streams that are run under callgrind.
const STREAMS_FEW: u64 = 32;
const STREAMS_MANY: u64 = 160;

/// What to stream.
#[derive(clap::Args)]
pub(super) struct StreamOptions {
    /// Compare streams of a model: CPU per chunk, time to the first byte.
    #[arg(long, conflicts_with = "shared")]
    pub(super) streams: bool,
    /// Kinds of stream; by default all.
    #[arg(long, value_enum, value_delimiter = ',', requires = "streams")]
    shapes: Vec<Shape>,
    /// Chunks of text in each stream.
    #[arg(long, default_value_t = 200, requires = "streams", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    chunks: u16,
    /// Streams at once.
    #[arg(long, default_value_t = 32, requires = "streams", value_parser = clap::value_parser!(u16).range(1..=1024))]
    at_once: u16,
}

/// One round of one contestant and one kind of stream.
struct Round {
    cpu_us: f64,
    after_us: f64,
    per_second: f64,
    reads: f64,
    busy: First,
    alone: First,
    rss_mib: f64,
}

/// Microseconds to the first byte.
#[derive(Clone, Copy)]
struct First {
    p50: f64,
    p99: f64,
}

/// The rounds of one kind of stream.
struct Rounds {
    shape: Shape,
    direct: Vec<First>,
    contestants: Vec<Vec<Round>>,
}

impl StreamOptions {
    fn shapes(&self) -> &[Shape] {
        if self.shapes.is_empty() { &Shape::ALL } else { &self.shapes }
    }

    /// Many streams at once.
    fn busy(&self, running: &Running, shape: Shape, until: Until) -> Order {
        let (chunks, streams, watch) = (self.chunks, self.at_once, Some(running.process.id()));
        Order { target: running.listen, shape, chunks, streams, users: USERS, until, watch }
    }
}

pub(super) fn run(options: &Options, contestants: &[Contestant]) -> anyhow::Result<()> {
    let mut streams = Streams::listen()?;
    let stage = Stage::for_streams(options.cores, streams.address())?;
    let shapes = options.streams.shapes();
    for &shape in shapes {
        let len = |has_usage| Streams::chunk_len(shape, has_usage);
        let with = if shape.lacks_usage() { format!(", {} with usage", len(true)) } else { String::new() };
        println!("{}: chunks of {} bytes{with}", shape.name(), len(shape == Shape::ChatUsage));
    }
    if options.instructions {
        return count(&stage, contestants, streams, options);
    }
    let running = contestants
        .iter()
        .map(|contestant| stage.start(contestant, &[], &[]))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let none = |&shape| Rounds {
        shape,
        direct: Vec::new(),
        contestants: contestants.iter().map(|_| Vec::new()).collect(),
    };
    let mut all: Vec<Rounds> = shapes.iter().map(none).collect();
    for number in 1..=options.rounds {
        for Rounds { shape, direct, contestants: rounds } in &mut all {
            direct.push(First::direct(&mut streams, *shape, options)?);
            for ((contestant, running), rounds) in contestants.iter().zip(&running).zip(rounds) {
                let name = &contestant.name;
                let round = drive(&mut streams, contestant, running, *shape, options);
                let round = round.with_context(|| format!("{name}, {}", shape.name()))?;
                let Round { cpu_us, per_second, .. } = round;
                println!("round {number}: {} {name} {cpu_us:.2} us, {per_second:.0}/s", shape.name());
                rounds.push(round);
            }
        }
    }
    for running in running {
        running.process.stop(STOP_MAX)?;
    }
    all.iter().try_for_each(|rounds| print(contestants, rounds, options.rounds))
}

fn drive(
    streams: &mut Streams,
    contestant: &Contestant,
    running: &Running,
    shape: Shape,
    options: &Options,
) -> anyhow::Result<Round> {
    let until = Until::Time {
        warmup: Duration::try_from_secs_f64(options.warmup)?,
        measured: Duration::try_from_secs_f64(options.seconds)?,
    };
    let report = streams.run(options.streams.busy(running, shape, until))?;
    ensure_read(contestant, shape, &report)?;
    let after = running.process.rest(REST_MAX)?;
    let chunks = report.chunks as f64;
    let alone = First::alone(streams, Order { watch: None, ..options.streams.busy(running, shape, until) })?;
    Ok(Round {
        cpu_us: report.cpu_us / chunks,
        after_us: after.as_secs_f64() * 1e6 / report.chunks_all as f64,
        per_second: chunks / report.seconds,
        reads: report.reads as f64 / chunks,
        busy: First { p50: report.first_p50_us, p99: report.first_p99_us },
        alone,
        rss_mib: running.process.rss_kib()? as f64 / 1024.0,
    })
}

/// A gateway that does not know the streams for a model's would be measured as a cheap one.
fn ensure_read(contestant: &Contestant, shape: Shape, report: &Report) -> anyhow::Result<()> {
    let is_lacking = contestant.kind == Kind::Tollgate && shape.lacks_usage();
    let asked = report.with_usage_all;
    ensure!(
        !is_lacking || asked == report.streams_all,
        "the gateway asked for usage in {asked} of {} streams",
        report.streams_all
    );
    Ok(())
}

impl First {
    /// Of one stream at a time.
    fn alone(streams: &mut Streams, order: Order) -> anyhow::Result<Self> {
        let report = streams.run(Order { chunks: CHUNKS_FIRST, streams: 1, ..order })?;
        Ok(Self { p50: report.first_p50_us, p99: report.first_p99_us })
    }

    /// The same without a proxy.
    fn direct(streams: &mut Streams, shape: Shape, options: &Options) -> anyhow::Result<Self> {
        let seconds = |seconds| Duration::try_from_secs_f64(seconds);
        let until = Until::Time { warmup: seconds(options.warmup)?, measured: seconds(options.seconds)? };
        let target = streams.address();
        let (chunks, users, watch) = (CHUNKS_FIRST, USERS, None);
        Self::alone(streams, Order { target, shape, chunks, streams: 1, users, until, watch })
    }
}

fn print(contestants: &[Contestant], rounds: &Rounds, count: u16) -> anyhow::Result<()> {
    let Rounds { shape, direct, contestants: rounds } = rounds;
    let of = |kind: Kind| {
        let at = contestants.iter().position(|contestant| contestant.kind == kind)?;
        rounds.get(at)
    };
    let bases: Vec<_> = [(Kind::Yardstick, "/ yardstick"), (Kind::Nginx, "/ nginx")]
        .into_iter()
        .filter_map(|(kind, title)| Some((of(kind)?, title)))
        .collect();
    let mut header = vec!["proxy", "CPU us/chunk", "after us"];
    header.extend(bases.iter().map(|&(_, title)| title));
    header.extend(["core %", "chunks/s", "reads/chunk", "RSS MiB"]);
    let all = |round: &Round| round.cpu_us + round.after_us;
    let rows: Vec<_> = contestants
        .iter()
        .zip(rounds)
        .map(|(contestant, rounds)| {
            let figure = |decimals, figure: &dyn Fn(&Round) -> f64| text(rounds.iter().map(figure), decimals);
            let ratio = |base: &Vec<Round>| text(rounds.iter().zip(base).map(|(a, b)| all(a) / all(b)), 2);
            let mut row = vec![
                contestant.name.clone(),
                figure(2, &|round| round.cpu_us),
                figure(2, &|round| round.after_us),
            ];
            row.extend(bases.iter().map(|(base, _)| ratio(base)));
            row.push(figure(0, &|round| round.cpu_us * round.per_second / 1e4));
            row.push(figure(0, &|round| round.per_second));
            row.push(figure(2, &|round| round.reads));
            row.push(figure(1, &|round| round.rss_mib));
            row
        })
        .collect();
    println!("\n{}: median (min..max) of {count} rounds", shape.name());
    table::print(&header, &rows);

    let header =
        ["first byte us", "alone p50", "p99", "added to direct p50", "p99", "many at once p50", "p99"];
    let mut rows = vec![vec![
        "direct".to_owned(),
        text(direct.iter().map(|first| first.p50), 0),
        text(direct.iter().map(|first| first.p99), 0),
    ]];
    rows[0].resize(header.len(), String::new());
    for (contestant, rounds) in contestants.iter().zip(rounds) {
        let pairs = || rounds.iter().zip(direct);
        rows.push(vec![
            contestant.name.clone(),
            text(rounds.iter().map(|round| round.alone.p50), 0),
            text(rounds.iter().map(|round| round.alone.p99), 0),
            text(pairs().map(|(round, direct)| round.alone.p50 - direct.p50), 0),
            text(pairs().map(|(round, direct)| round.alone.p99 - direct.p99), 0),
            text(rounds.iter().map(|round| round.busy.p50), 0),
            text(rounds.iter().map(|round| round.busy.p99), 0),
        ]);
    }
    println!();
    table::print(&header, &rows);
    Ok(())
}

fn text(figures: impl Iterator<Item = f64>, decimals: usize) -> String {
    Spread::of(figures.collect()).map_or_else(|| "-".to_owned(), |spread| spread.text(decimals))
}

/// Instructions per chunk, one kind of stream after the other.
fn count(
    stage: &Stage,
    contestants: &[Contestant],
    streams: Streams,
    options: &Options,
) -> anyhow::Result<()> {
    let streams = RefCell::new(streams);
    for &shape in options.streams.shapes() {
        let drive = |contestant: &Contestant, running: &Running, count: u64| -> anyhow::Result<u64> {
            let order = options.streams.busy(running, shape, Until::Streams(count));
            let report = streams.borrow_mut().run(order)?;
            ensure_read(contestant, shape, &report)?;
            Ok(report.chunks)
        };
        println!("\n{}", shape.name());
        let task =
            Task { label: shape.name(), unit: "chunk", few: STREAMS_FEW, many: STREAMS_MANY, drive: &drive };
        instructions::run(stage, contestants, &task, options.callgrind_out.as_deref())?;
    }
    Ok(())
}
