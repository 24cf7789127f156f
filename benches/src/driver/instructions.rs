//! User-space instructions per request, which do not depend on the machine's mood.
//!
//! Each proxy runs twice under callgrind with different numbers of requests; the difference of the totals leaves
//! start-up, connecting and shutdown out.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::STOP_MAX;
use super::contestant::{Contestant, Kind};
use super::proc::find_program;
use super::stage::Stage;
use super::table;

const REQUESTS_FEW: u64 = 2_000;
const REQUESTS_MANY: u64 = 12_000;
/// Writing callgrind's file is slower than the proxy's own end.
const STOP_UNDER_VALGRIND_MAX: Duration = STOP_MAX.saturating_mul(2);

pub(super) fn run(stage: &Stage, contestants: &[Contestant], keep: Option<&Path>) -> anyhow::Result<()> {
    ensure!(find_program("valgrind").is_some(), "--instructions needs valgrind: apt-get install valgrind");
    if let Some(dir) = keep {
        fs::create_dir_all(dir)?;
    }
    let dir = keep.unwrap_or(stage.dir()).canonicalize()?;
    let mut counts = Vec::new();
    for contestant in contestants {
        let count = per_request(stage, contestant, &dir).with_context(|| contestant.name.clone())?;
        println!("{}: {count:.0} instructions a request", contestant.name);
        counts.push(count);
    }

    let count_of = |kind: Kind| {
        let at = contestants.iter().position(|contestant| contestant.kind == kind)?;
        counts.get(at).copied()
    };
    let (yardstick, nginx) = (count_of(Kind::Yardstick), count_of(Kind::Nginx));
    let rows: Vec<_> = contestants
        .iter()
        .zip(&counts)
        .map(|(contestant, count)| {
            let beyond = yardstick.map_or_else(|| "-".to_owned(), |base| format!("{:+.0}", count - base));
            let ratio = |base: Option<f64>| {
                base.map_or_else(|| "-".to_owned(), |base| format!("{:.2}", count / base))
            };
            vec![contestant.name.clone(), format!("{count:.0}"), beyond, ratio(yardstick), ratio(nginx)]
        })
        .collect();
    println!();
    table::print(&["proxy", "instructions/request", "beyond yardstick", "/ yardstick", "/ nginx"], &rows);
    if keep.is_some() {
        println!("\ncallgrind's files are in {}; read them with callgrind_annotate", dir.display());
    }
    Ok(())
}

fn per_request(stage: &Stage, contestant: &Contestant, dir: &Path) -> anyhow::Result<f64> {
    let few = total(stage, contestant, dir, REQUESTS_FEW)?;
    let many = total(stage, contestant, dir, REQUESTS_MANY)?;
    Ok(many.saturating_sub(few) as f64 / (REQUESTS_MANY - REQUESTS_FEW) as f64)
}

fn total(stage: &Stage, contestant: &Contestant, dir: &Path, requests: u64) -> anyhow::Result<u64> {
    let file = dir.join(format!("callgrind.{}.{requests}", contestant.name));
    let prefix = [
        "valgrind".to_owned(),
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={}", file.display()),
    ];
    let running = stage.start(contestant, &prefix, &[])?;
    stage.load(&running, &["--requests", &requests.to_string()])?;
    running.process.stop(STOP_UNDER_VALGRIND_MAX)?;
    let text = fs::read(&file).with_context(|| format!("callgrind wrote no {}", file.display()))?;
    summary(&text).with_context(|| format!("no total in {}", file.display()))
}

/// The total is on a line of its own, `totals: N`, or `summary: N` in the head.
fn summary(text: &[u8]) -> Option<u64> {
    String::from_utf8_lossy(text)
        .lines()
        .filter_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")))
        .find_map(|total| total.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn the_total_is_found() {
        assert_eq!(summary(b"events: Ir\nfn=(1) main\n3 4\n\ntotals: 123456\n"), Some(123_456));
        assert_eq!(summary(b"events: Ir\n"), None);
    }
}
