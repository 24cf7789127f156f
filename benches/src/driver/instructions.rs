//! User-space instructions per request or chunk, which do not depend on the machine's mood.
//!
//! Each proxy runs twice under callgrind with different numbers of requests or streams; the difference of the totals leaves
//! start-up, connecting and shutdown out. The ledger's thread is counted apart: it works in batches of so much time,
//! and so costs the more for each request the slower the proxy is under callgrind.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::STOP_MAX;
use super::contestant::{Contestant, Kind};
use super::proc::find_program;
use super::stage::{Running, Stage};
use super::table;

/// Only the thread that ships to the ledger runs functions of this name; the compiler may inline some of them.
const LEDGER_THREAD: &str = "::shipper::Shipper::";
/// Writing callgrind's file is slower than the proxy's own end.
const STOP_UNDER_VALGRIND_MAX: Duration = STOP_MAX.saturating_mul(2);

/// Drives a contestant with so much work; returns how many units of it there were.
pub(super) type Drive<'a> = dyn Fn(&Contestant, &Running, u64) -> anyhow::Result<u64> + 'a;

/// What a contestant is given to do, few and many times.
pub(super) struct Task<'a> {
    /// Tells callgrind's files apart.
    pub(super) label: &'a str,
    /// What the instructions are divided by.
    pub(super) unit: &'static str,
    pub(super) few: u64,
    pub(super) many: u64,
    pub(super) drive: &'a Drive<'a>,
}

/// Instructions, by the threads that ran them.
#[derive(Clone, Copy, Default)]
struct Counts {
    serving: f64,
    ledger: f64,
}

pub(super) fn run(
    stage: &Stage,
    contestants: &[Contestant],
    task: &Task<'_>,
    keep: Option<&Path>,
) -> anyhow::Result<()> {
    let unit = task.unit;
    ensure!(find_program("valgrind").is_some(), "--instructions needs valgrind: apt-get install valgrind");
    if let Some(dir) = keep {
        fs::create_dir_all(dir)?;
    }
    let dir = keep.unwrap_or(stage.dir()).canonicalize()?;
    let mut counts = Vec::new();
    for contestant in contestants {
        let count = per_unit(stage, contestant, task, &dir).with_context(|| contestant.name.clone())?;
        println!("{}: {:.0} instructions a {unit}", contestant.name, count.serving);
        counts.push(count);
    }

    let count_of = |kind: Kind| {
        let at = contestants.iter().position(|contestant| contestant.kind == kind)?;
        counts.get(at).map(|count: &Counts| count.serving)
    };
    let (yardstick, nginx) = (count_of(Kind::Yardstick), count_of(Kind::Nginx));
    let rows: Vec<_> = contestants
        .iter()
        .zip(&counts)
        .map(|(contestant, Counts { serving: count, ledger })| {
            let beyond = yardstick.map_or_else(|| "-".to_owned(), |base| format!("{:+.0}", count - base));
            let ratio = |base: Option<f64>| {
                base.map_or_else(|| "-".to_owned(), |base| format!("{:.2}", count / base))
            };
            let name = contestant.name.clone();
            vec![name, format!("{count:.0}"), beyond, ratio(yardstick), ratio(nginx), format!("{ledger:.0}")]
        })
        .collect();
    println!();
    let instructions = format!("instructions/{unit}");
    let header = ["proxy", &instructions, "beyond yardstick", "/ yardstick", "/ nginx", "ledger's thread"];
    table::print(&header, &rows);
    if keep.is_some() {
        println!("\ncallgrind's files are in {}; read them with callgrind_annotate", dir.display());
    }
    Ok(())
}

fn per_unit(stage: &Stage, contestant: &Contestant, task: &Task<'_>, dir: &Path) -> anyhow::Result<Counts> {
    let (few, units_few) = total(stage, contestant, task, dir, task.few)?;
    let (many, units_many) = total(stage, contestant, task, dir, task.many)?;
    let units = units_many.saturating_sub(units_few).max(1) as f64;
    let per_unit = |few: f64, many: f64| (many - few).max(0.0) / units;
    Ok(Counts { serving: per_unit(few.serving, many.serving), ledger: per_unit(few.ledger, many.ledger) })
}

/// What `amount` of work took, and how many units of it there were.
fn total(
    stage: &Stage,
    contestant: &Contestant,
    task: &Task<'_>,
    dir: &Path,
    amount: u64,
) -> anyhow::Result<(Counts, u64)> {
    let label = if task.label.is_empty() { String::new() } else { format!("{}.", task.label) };
    let name = format!("callgrind.{}.{label}{amount}", contestant.name);
    let prefix = [
        "valgrind".to_owned(),
        "--tool=callgrind".to_owned(),
        "--separate-threads=yes".to_owned(),
        format!("--callgrind-out-file={}", dir.join(&name).display()),
    ];
    let running = stage.start(contestant, &prefix, &[])?;
    let units = (task.drive)(contestant, &running, amount)?;
    running.process.stop(STOP_UNDER_VALGRIND_MAX)?;
    Ok((sum_of_threads(dir, &name)?, units))
}

/// Adds up the files that callgrind wrote, one for each thread: `NAME-01` and so on.
fn sum_of_threads(dir: &Path, name: &str) -> anyhow::Result<Counts> {
    let mut counts = Counts::default();
    let mut found = false;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let file = path.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
        if file.strip_prefix(name).is_none_or(|number| !number.starts_with('-')) {
            continue;
        }
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        let text = String::from_utf8_lossy(&text);
        let total = summary(&text).with_context(|| format!("no total in {}", path.display()))? as f64;
        if text.contains(LEDGER_THREAD) {
            counts.ledger += total;
        } else {
            counts.serving += total;
        }
        found = true;
    }
    ensure!(found, "callgrind wrote no {name}-01 to {}", dir.display());
    Ok(counts)
}

/// The total is on a line of its own, `totals: N`, or `summary: N` in the head.
fn summary(text: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")))
        .find_map(|total| total.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn the_total_is_found() {
        assert_eq!(summary("events: Ir\nfn=(1) main\n3 4\n\ntotals: 123456\n"), Some(123_456));
        assert_eq!(summary("events: Ir\n"), None);
    }
}
