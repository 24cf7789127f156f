//! What all contestants have in common: a directory, the upstream, the cores, the load.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use super::Cores;
use super::configuration::Work;
use super::contestant::Contestant;
use super::proc::{Process, free_address, listens};
use super::servers::Servers;
use crate::load::Report;

/// A proxy starts within this, under valgrind too.
const START_MAX: Duration = Duration::from_secs(60);

/// The bench's surroundings; ends the upstream when dropped.
pub(super) struct Stage {
    cores: Cores,
    dir: TempDir,
    own_program: PathBuf,
    origin: SocketAddr,
    _origin: Option<Process>,
    work: Work,
    /// Whether load and upstream never sleep.
    awake: bool,
    servers: Option<Servers>,
}

/// A contestant that accepts requests.
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) listen: SocketAddr,
    /// The Redis that only it uses.
    redis: Option<SocketAddr>,
}

/// How a contestant is started: made by [`Contestant`] from the addresses it is given.
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(&'static str, &'static str)>,
    /// Answers `GET /readyz` with 200 when ready; otherwise an open port is enough.
    pub(super) readyz: Option<SocketAddr>,
    /// The Redis it counts in.
    pub(super) redis: Option<SocketAddr>,
}

impl Stage {
    /// Starts the upstream, and with `shared` the servers that gateways share.
    pub(super) fn set(cores: Cores, shared: bool, awake: bool) -> anyhow::Result<Self> {
        keep_to(cores.load_core)?;
        let dir = tempfile::Builder::new().prefix("tollgate-bench-").tempdir()?;
        let own_program = std::env::current_exe()?;
        let origin = free_address()?;
        let mut command = pinned(cores.load_core);
        command.arg(&own_program).args(["origin", "--listen", &origin.to_string()]);
        command.args(awake.then_some("--awake"));
        let mut process = Process::start("origin", command, &dir.path().join("origin.log"))?;
        process.wait_until(START_MAX, || listens(origin))?;
        let servers = shared.then(Servers::start);
        let (_origin, work) = (Some(process), Work::Calls);
        Ok(Self { cores, dir, own_program, origin, _origin, work, awake, servers })
    }

    /// A stage for streams, whose upstream this process itself is.
    pub(super) fn for_streams(cores: Cores, origin: SocketAddr) -> anyhow::Result<Self> {
        keep_to(cores.load_core)?;
        let dir = tempfile::Builder::new().prefix("tollgate-bench-").tempdir()?;
        let (own_program, work) = (std::env::current_exe()?, Work::Streams);
        Ok(Self { cores, dir, own_program, origin, _origin: None, work, awake: false, servers: None })
    }

    /// Starts a contestant behind `prefix` (valgrind and its options, or nothing) and waits until it is ready.
    pub(super) fn start(
        &self,
        contestant: &Contestant,
        prefix: &[String],
        env: &[(&str, &str)],
    ) -> anyhow::Result<Running> {
        let listen = free_address()?;
        let dir = tempfile::Builder::new().prefix(&contestant.name).tempdir_in(self.dir.path())?.keep();
        let launch = contestant.launch(&dir, listen, self.origin, self.work, self.servers.as_ref())?;
        let mut command = pinned(self.cores.proxy_core);
        command.args(prefix).arg(&launch.program).args(&launch.args);
        command.envs(launch.env.iter().copied()).envs(env.iter().copied()).current_dir(&dir);
        let mut process = Process::start(&contestant.name, command, &dir.join("log"))?;
        process.wait_until(START_MAX, || match launch.readyz {
            Some(admin) => listens(listen) && answers_ready(admin),
            None => listens(listen),
        })?;
        Ok(Running { process, listen, redis: launch.redis })
    }

    /// Drives a contestant with the load.
    ///
    /// # Errors
    /// When the load fails or any answer is not 200.
    pub(super) fn load(&self, running: &Running, args: &[&str]) -> anyhow::Result<Report> {
        let report = self.load_whatever_answers(running, args)?;
        ensure_all_200(&report)?;
        Ok(report)
    }

    /// As [`Stage::load`]; the report says how many answers were not 200.
    pub(super) fn load_whatever_answers(&self, running: &Running, args: &[&str]) -> anyhow::Result<Report> {
        let mut command = pinned(self.cores.load_core);
        command.arg(&self.own_program).args(["load", "--target", &running.listen.to_string()]);
        command.args(["--watch", &running.process.id().to_string()]).args(args);
        command.args(self.awake.then_some("--awake"));
        if let Some(redis) = running.redis {
            command.args(["--redis", &redis.to_string()]);
        }
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "the load failed; the proxy's log:\n{}", running.process.log_tail());
        serde_json::from_slice(&output.stdout).context("the load's report")
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// # Errors
/// When any answer is not 200.
pub(super) fn ensure_all_200(report: &Report) -> anyhow::Result<()> {
    let first = report.first_non_200.as_deref().unwrap_or_default();
    ensure!(report.non_200 == 0, "{} answers were not 200, the first: {first}", report.non_200);
    Ok(())
}

/// Keeps this thread, and the servers that it starts, away from the proxy's core.
fn keep_to(core: u16) -> anyhow::Result<()> {
    let own = std::process::id().to_string();
    let output = Command::new("taskset").args(["-cp", &core.to_string(), &own]).output()?;
    ensure!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A command that runs on one core and ends with this process, even if this process is killed.
fn pinned(core: u16) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "-c", &core.to_string()]);
    command
}

fn answers_ready(admin: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&admin, Duration::from_millis(200))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut status_line = [0; 12];
        stream.read_exact(&mut status_line)?;
        Ok(status_line.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}
