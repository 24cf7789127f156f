//! Processes: started with a guard that ends them, read through `/proc`.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

const POLL_PAUSE: Duration = Duration::from_millis(20);
/// A process that used no tick of CPU for so long has done what the load left behind; longer than any batch waits.
const QUIET: Duration = Duration::from_secs(1);
/// Bytes of a process's log that are shown when it fails.
const LOG_SHOWN_MAX: usize = 4000;

/// A child process that does not outlive its owner.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output in `log`.
    pub(super) fn start(name: &str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = fs::File::create(log)?;
        command.stdin(std::process::Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("start {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` says so.
    ///
    /// # Errors
    /// When the process ends first or the time is up.
    pub(super) fn wait_until(&mut self, limit: Duration, ready: impl Fn() -> bool) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} before it was ready:\n{}", self.name, self.log_tail());
            }
            if begun.elapsed() > limit {
                bail!("{} is not ready after {} s:\n{}", self.name, limit.as_secs(), self.log_tail());
            }
            sleep(POLL_PAUSE);
        }
        Ok(())
    }

    /// CPU time the process spends from now until it rests.
    ///
    /// # Errors
    /// When it does not rest within `limit`.
    pub(super) fn rest(&self, limit: Duration) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let first = CpuTime::of(self.id())?.total();
        let (mut last, mut last_change) = (first, begun);
        while last_change.elapsed() < QUIET {
            if begun.elapsed() > limit {
                bail!("{} is still busy {} s after the load ended", self.name, limit.as_secs());
            }
            sleep(POLL_PAUSE);
            let now = CpuTime::of(self.id())?.total();
            if now != last {
                (last, last_change) = (now, Instant::now());
            }
        }
        Ok(last - first)
    }

    /// Asks the process to end and waits for it.
    ///
    /// # Errors
    /// When it has to be killed after `limit`.
    pub(super) fn stop(mut self, limit: Duration) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begun.elapsed() > limit {
                bail!("{} does not end on SIGTERM:\n{}", self.name, self.log_tail());
            }
            sleep(POLL_PAUSE);
        }
        Ok(())
    }

    pub(super) fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let skipped = text.len().saturating_sub(LOG_SHOWN_MAX);
        text.get(skipped..).unwrap_or(&text).trim_end().to_owned()
    }

    /// Resident memory in KiB.
    pub(super) fn rss_kib(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        line.trim().trim_end_matches(" kB").parse().context("VmRSS")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a child that has already been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of a process, all its threads together.
pub(crate) struct CpuTime {
    user: Duration,
    system: Duration,
}

impl CpuTime {
    /// Reads `/proc/PID/stat`.
    ///
    /// # Errors
    /// When there is no such process.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let stat =
            fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
        Self::parse(&stat, rustix::param::clock_ticks_per_second())
            .context("unexpected form of /proc/PID/stat")
    }

    pub(crate) fn total(&self) -> Duration {
        self.user + self.system
    }

    fn parse(stat: &str, ticks_per_second: u64) -> Option<Self> {
        // The name in parentheses may hold spaces; `utime` is the twelfth field after it.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut times = fields.split_ascii_whitespace().skip(11).map(|field| {
            let ticks: u64 = field.parse().ok()?;
            Some(Duration::from_micros(ticks * 1_000_000 / ticks_per_second))
        });
        Some(Self { user: times.next()??, system: times.next()?? })
    }
}

/// A port nobody uses at this moment.
pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// Whether something listens there.
pub(super) fn listens(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

/// Where `program` is found on the `PATH`.
pub(super) fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_past_a_name_with_spaces() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 120 0 0 0 250 50 9 9 20 0 1 0 5 1 1";
        let cpu = CpuTime::parse(stat, 100).unwrap();
        assert_eq!((cpu.user, cpu.system), (Duration::from_millis(2500), Duration::from_millis(500)));
    }

    #[test]
    fn own_cpu_time_is_readable() {
        CpuTime::of(std::process::id()).unwrap();
    }
}
