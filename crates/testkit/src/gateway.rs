//! A gateway as a process of its own, with its own folder and ports.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{BOUND, Response, Wire, eventually, eventually_async, free_port};

/// How long a gateway may take until it is ready, replaying its journal included.
const READY_BOUND: Duration = Duration::from_secs(20);

/// Bytes of the log that a failure shows.
const LOG_SHOWN_BYTES: usize = 8 * 1024;

/// What a gateway is started with.
#[derive(Clone, Debug)]
pub struct GatewayBuilder {
    binary: PathBuf,
    config: String,
    tiers: String,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl GatewayBuilder {
    /// The text of gateway.toml. `@LISTEN@` and `@ADMIN@` become addresses, `@DATA@` the data folder and `@HOME@` the
    /// folder of the files; the tiers are beside it in `tier-limits.toml`.
    #[must_use]
    pub fn config(mut self, text: impl Into<String>) -> Self {
        self.config = text.into();
        self
    }

    /// The text of tier-limits.toml.
    #[must_use]
    pub fn tiers(mut self, text: impl Into<String>) -> Self {
        self.tiers = text.into();
        self
    }

    /// A variable of the process's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// An argument after `serve <gateway.toml>`.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts the gateway and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready; the message has the end of its log.
    #[must_use]
    pub fn start(self) -> Gateway {
        let mut gateway = self.spawn();
        gateway.wait_ready();
        gateway
    }

    /// Starts the gateway without waiting.
    ///
    /// # Panics
    /// When its files cannot be written or the binary cannot be started.
    #[must_use]
    pub fn spawn(self) -> Gateway {
        let home = tempfile::tempdir().expect("a temporary folder");
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (address, admin) = (loopback(free_port()), loopback(free_port()));
        let mut gateway = Gateway { builder: self, home, address, admin, child: None };
        gateway.write_config(&gateway.builder.config.clone());
        gateway.write_tiers(&gateway.builder.tiers.clone());
        gateway.launch();
        gateway
    }
}

/// A running gateway. Dropping it kills the process and removes its folder.
#[derive(Debug)]
pub struct Gateway {
    builder: GatewayBuilder,
    home: TempDir,
    address: SocketAddr,
    admin: SocketAddr,
    child: Option<Child>,
}

impl Gateway {
    /// A gateway that will run `binary` (in integration tests of its crate: `env!("CARGO_BIN_EXE_tollgate")`).
    #[must_use]
    pub fn builder(binary: impl AsRef<Path>) -> GatewayBuilder {
        GatewayBuilder {
            binary: binary.as_ref().to_owned(),
            config: String::new(),
            tiers: String::new(),
            environment: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// Where it listens; the same after a restart.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its admin surface is; the same after a restart.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The folder with its files.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The folder that `@DATA@` names.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.home().join("data")
    }

    /// Its gateway.toml.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.home().join("gateway.toml")
    }

    /// Its tier-limits.toml.
    #[must_use]
    pub fn tiers_path(&self) -> PathBuf {
        self.home().join("tier-limits.toml")
    }

    /// The id of its process.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running gateway").id()
    }

    /// Replaces gateway.toml in one step, placeholders filled in.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write_config(&self, text: &str) {
        let text = text
            .replace("@LISTEN@", &self.address.to_string())
            .replace("@ADMIN@", &self.admin.to_string())
            .replace("@DATA@", &self.data_dir().display().to_string())
            .replace("@HOME@", &self.home().display().to_string());
        replace(&self.config_path(), &text);
    }

    /// Replaces tier-limits.toml in one step, as editors do: written beside it, then renamed.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write_tiers(&self, text: &str) {
        replace(&self.tiers_path(), text);
    }

    /// Kills the process as `kill -9` does, and waits for its end.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_9(&mut self) {
        let mut child = self.child.take().expect("a running gateway");
        child.kill().expect("kill the gateway");
        child.wait().expect("the killed gateway's end");
    }

    /// Asks the process to end (SIGTERM).
    ///
    /// # Panics
    /// When it does not run.
    pub fn terminate(&self) {
        let child = self.child.as_ref().expect("a running gateway");
        kill_process(Pid::from_child(child), Signal::TERM).expect("a signal to the gateway");
    }

    /// Asks the process to look at its configuration at once (SIGHUP).
    ///
    /// # Panics
    /// When it does not run.
    pub fn hang_up(&self) {
        let child = self.child.as_ref().expect("a running gateway");
        kill_process(Pid::from_child(child), Signal::HUP).expect("a signal to the gateway");
    }

    /// Stops the process where it is (SIGSTOP), so that what is sent to it meanwhile arrives all at once.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pause(&self) {
        let child = self.child.as_ref().expect("a running gateway");
        kill_process(Pid::from_child(child), Signal::STOP).expect("a signal to the gateway");
    }

    /// Lets a paused process go on (SIGCONT).
    ///
    /// # Panics
    /// When it does not run.
    pub fn resume(&self) {
        let child = self.child.as_ref().expect("a running gateway");
        kill_process(Pid::from_child(child), Signal::CONT).expect("a signal to the gateway");
    }

    /// How the process ended; `None` when it still runs after `bound`. Blocks the thread, and with it clients in a
    /// current-thread runtime: a gateway that drains waits for them.
    ///
    /// # Panics
    /// When it was already waited for.
    pub fn wait_exit(&mut self, bound: Duration) -> Option<ExitStatus> {
        let mut status = None;
        let _ = eventually(bound, || {
            status = self.try_exit();
            status.is_some()
        });
        if status.is_some() {
            self.child = None;
        }
        status
    }

    /// As [`Self::wait_exit`], while other tasks of this runtime go on. Cancelling it ends the wait.
    ///
    /// # Panics
    /// When it was already waited for.
    pub async fn wait_exit_async(&mut self, bound: Duration) -> Option<ExitStatus> {
        let mut status = None;
        let _ = eventually_async(bound, || {
            status = self.try_exit();
            status.is_some()
        })
        .await;
        if status.is_some() {
            self.child = None;
        }
        status
    }

    /// Starts the process again with the same files and ports, killed before if it still runs, and waits until it
    /// is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn restart(&mut self) {
        if self.child.is_some() {
            self.kill_9();
        }
        self.launch();
        self.wait_ready();
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Panics
    /// When it does not; the message has the end of its log.
    pub fn wait_ready(&mut self) {
        let mut exit = None;
        let ready = eventually(READY_BOUND, || {
            exit = self.try_exit();
            exit.is_some() || self.is_ready()
        });
        if let Some(exit) = exit {
            panic!("the gateway ended ({exit}) before it was ready:\n{}", self.log_end());
        }
        assert!(ready, "the gateway was not ready after {READY_BOUND:?}:\n{}", self.log_end());
    }

    /// Whether `/readyz` answers 200 now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.try_admin_get("/readyz").is_some_and(|ready| ready.status == 200)
    }

    /// What the admin surface answers to a GET.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn admin_get(&self, path: &str) -> Response {
        self.try_admin_get(path).unwrap_or_else(|| panic!("no answer to GET {path}:\n{}", self.log_end()))
    }

    /// The text of `/metrics`.
    ///
    /// # Panics
    /// When the admin surface does not answer.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.admin_get("/metrics").text()
    }

    /// The value of one series of `/metrics`, written as there: `name` or `name{label="value"}`.
    ///
    /// # Panics
    /// When the admin surface does not answer.
    #[must_use]
    pub fn metric(&self, series: &str) -> Option<f64> {
        let metrics = self.metrics();
        metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.trim().parse().ok())
    }

    /// All that it has written to its standard output and error, over all its starts.
    #[must_use]
    pub fn logs(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_end(&self) -> String {
        let logs = self.logs();
        let from = logs.ceil_char_boundary(logs.len().saturating_sub(LOG_SHOWN_BYTES));
        logs[from..].to_owned()
    }

    fn log_path(&self) -> PathBuf {
        self.home().join("gateway.log")
    }

    fn try_admin_get(&self, path: &str) -> Option<Response> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        let mut wire = Wire::try_connect(self.admin).ok()?;
        wire.send(request);
        wire.response(false, BOUND)
    }

    fn try_exit(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut().expect("a gateway that was started");
        child.try_wait().expect("the state of the gateway")
    }

    fn launch(&mut self) {
        let log =
            OpenOptions::new().create(true).append(true).open(self.log_path()).expect("the gateway's log");
        let also_log: File = log.try_clone().expect("the gateway's log");
        let GatewayBuilder { binary, config: _, tiers: _, environment, arguments } = &self.builder;
        let child = Command::new(binary)
            .arg("serve")
            .arg(self.config_path())
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.home())
            .stdin(Stdio::null())
            .stdout(also_log)
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", binary.display()));
        self.child = Some(child);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), self.log_end().as_bytes());
        }
    }
}

fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).expect("write a file beside the old one");
    std::fs::rename(&beside, path).expect("replace the old file");
}
