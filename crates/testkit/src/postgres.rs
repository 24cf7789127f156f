//! A Postgres server of a test's own.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, getuid, kill_process};
use tempfile::TempDir;

use crate::tls::Identity;
use crate::{BOUND, eventually, free_port};

/// How long a server may take to start.
const START_BOUND: Duration = Duration::from_secs(30);

const USER: &str = "tollgate";
/// Asked for over TCP, not over the socket.
const PASSWORD: &str = "canary-in-a-password";

/// Nothing here has to survive the machine, and little is kept in memory: many servers run at once.
const SETTINGS: &[&str] = &[
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=32MB",
    "max_connections=40",
    "max_wal_size=256MB",
    "log_min_messages=warning",
    "deadlock_timeout=200ms",
];

/// A private Postgres server on loopback. Dropping it ends it at once and removes its files.
#[derive(Debug)]
pub struct Postgres {
    home: TempDir,
    programs: PathBuf,
    account: Option<(u32, u32)>,
    port: u16,
    settings: Vec<String>,
    child: Option<Child>,
}

impl Postgres {
    /// A new server with one empty database.
    ///
    /// # Panics
    /// When Postgres is not installed or does not start; the message says what to do, or has the log's end.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "starting a process is no default")]
    pub fn new() -> Self {
        Self::with_settings(&[])
    }

    /// A new server with settings of postgresql.conf, each as `name=value`.
    ///
    /// # Panics
    /// As [`Postgres::new`].
    #[must_use]
    pub fn with_settings(settings: &[&str]) -> Self {
        Self::with(settings, None)
    }

    /// A new server that offers TLS with this certificate.
    ///
    /// # Panics
    /// As [`Postgres::new`].
    #[must_use]
    pub fn with_tls(identity: &Identity) -> Self {
        Self::with(&["ssl=on", "ssl_cert_file=../server.pem", "ssl_key_file=../server.key"], Some(identity))
    }

    fn with(settings: &[&str], identity: Option<&Identity>) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let programs = programs();
        let account = getuid().is_root().then(account);
        if let Some((uid, gid)) = account {
            chown(home.path(), Some(uid), Some(gid)).expect("give a folder to the server's account");
        }
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut postgres = Self { home, programs, account, port: free_port(), settings, child: None };
        postgres.initialise();
        if let Some(Identity { certificate_pem, key_pem, .. }) = identity {
            postgres.write("server.pem", certificate_pem);
            postgres.write("server.key", key_pem);
        }
        postgres.start();
        postgres
    }

    /// The URL of its first database; the password is in it.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The URL of `database`.
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on loopback; the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The role that owns everything.
    #[must_use]
    pub fn user(&self) -> &'static str {
        USER
    }

    /// Its password, which nothing may show.
    #[must_use]
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// The folder of its socket, where no password is asked.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        self.home.path()
    }

    /// Makes an empty database.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn create_database(&self, name: &str) {
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
    }

    /// What `psql` prints for `sql` in `database`: a line per row, columns separated by `|`.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let output = self
            .client("psql")
            .args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql])
            .output()
            .expect("start psql");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "psql: {errors}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Ends the server as a crash does: nothing is flushed, connections break.
    ///
    /// # Panics
    /// When it does not run.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("a running server");
        quit(&mut child);
    }

    /// Starts a stopped server again, with the same files and port, and waits until it answers.
    ///
    /// # Panics
    /// When it does not start; the message has the end of its log.
    pub fn start(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(self.log()).expect("the server's log");
        let mut command = self.program("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.home.path());
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        for setting in SETTINGS.iter().copied().chain(self.settings.iter().map(String::as_str)) {
            command.args(["-c", setting]);
        }
        let also_log = log.try_clone().expect("the server's log");
        let child = command.stdout(also_log).stderr(log).spawn().expect("start postgres");
        self.child = Some(child);
        let ready = eventually(START_BOUND, || {
            let asked = self.client("pg_isready").arg("-q").status();
            asked.expect("start pg_isready").success()
        });
        assert!(ready, "postgres did not start:\n{}", fs::read_to_string(self.log()).unwrap_or_default());
    }

    /// Stops all its processes where they are: connections stay open and nobody answers.
    pub fn pause(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        self.signal_all(Signal::CONT);
    }

    /// Breaks all connections.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn terminate_connections(&self) {
        self.sql(
            "postgres",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        );
    }

    /// All that it has logged.
    #[must_use]
    pub fn logs(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// A file that the server alone can read.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        fs::write(&path, text).expect("write a file for the server");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("hide a file of the server's");
        if let Some((uid, gid)) = self.account {
            chown(&path, Some(uid), Some(gid)).expect("give a file to the server's account");
        }
        path
    }

    /// Small ones are made quickly. A server that syncs is measured, and so has those of an installed one: each is synced
    /// when it is full.
    fn wal_segment_mib(&self) -> u32 {
        if self.settings.iter().any(|setting| setting == "fsync=on") { 16 } else { 1 }
    }

    fn initialise(&self) {
        let password = self.write("password", PASSWORD);
        let output = self
            .program("initdb")
            .arg("-D")
            .arg(self.data())
            .args(["--no-sync", "--no-instructions", "--locale=C", "--encoding=UTF8"])
            .arg(format!("--wal-segsize={}", self.wal_segment_mib()))
            .args(["--auth-local=trust", "--auth-host=scram-sha-256", "-U", USER])
            .arg(format!("--pwfile={}", password.display()))
            .output()
            .expect("start initdb");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "initdb: {errors}");
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("log")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(self.home.path()).stdin(Stdio::null()).env("LC_ALL", "C");
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// A program that connects through the socket.
    fn client(&self, name: &str) -> Command {
        let mut command = self.program(name);
        command.arg("-h").arg(self.home.path()).args(["-p", &self.port.to_string(), "-U", USER]);
        command
    }

    /// Its processes lead sessions of their own, so they are no group: the parent first, so that it makes no more.
    fn signal_all(&self, signal: Signal) {
        let Some(child) = &self.child else { return };
        let parent = child.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let _ = kill_process(Pid::from_child(child), signal);
        for child in children.unwrap_or_default().split_ascii_whitespace() {
            if let Some(pid) = child.parse().ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, signal);
            }
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.resume();
        if let Some(mut child) = self.child.take() {
            quit(&mut child);
        }
    }
}

/// Ends it without flushing anything, and waits for that.
fn quit(child: &mut Child) {
    let _ = kill_process(Pid::from_child(child), Signal::QUIT);
    if !eventually(BOUND, || !matches!(child.try_wait(), Ok(None))) {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The folder of Postgres's programs: Debian keeps them out of the `PATH`, or puts links to some there.
fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let mut packaged: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    packaged.sort();
    let dirs = std::env::split_paths(&path).chain(packaged.into_iter().rev());
    let program = dirs.filter_map(|dir| dir.join("initdb").canonicalize().ok()).next();
    let dir = program.and_then(|program| Some(program.parent()?.to_owned()));
    dir.expect("no Postgres server is installed: apt-get install -y postgresql")
}

/// Postgres does not run as root: the user and group of an account that it can run as.
fn account() -> (u32, u32) {
    let accounts = fs::read_to_string("/etc/passwd").expect("the list of accounts");
    let of = |name: &str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    of("postgres").or_else(|| of("nobody")).expect("an account that Postgres can run as")
}
