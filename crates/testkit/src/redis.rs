//! A Redis of one's own.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{BOUND, eventually, free_port};

/// The server's program, and how to get it.
const PROGRAM: &str = "redis-server";
const INSTALL: &str = "apt-get install -y redis-server";
/// In its folder, where it needs one.
const SETTINGS: &str = "redis.conf";

/// A private Redis that persists nothing. Dropping it ends the process.
#[derive(Debug)]
pub struct Redis {
    dir: TempDir,
    port: u16,
    options: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    /// When the program is missing (the message says how to install it) or does not answer.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`Redis::start`], with options of `redis-server`, such as `["--maxmemory", "2mb"]`.
    ///
    /// # Panics
    /// As [`Redis::start`].
    #[must_use]
    pub fn start_with(options: &[&str]) -> Self {
        let mut arguments = vec!["--save", "", "--appendonly", "no"];
        arguments.extend(options);
        let redis = Self::spawn(&arguments, None);
        redis.wait_until_it_answers();
        redis
    }

    /// As [`Redis::start_with`], with nothing set but the port, without waiting, and with a file of settings
    /// that the server may write to.
    pub(crate) fn spawn(options: &[&str], settings: Option<&str>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        if let Some(settings) = settings {
            std::fs::write(dir.path().join(SETTINGS), settings).expect("write the server's settings");
        }
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut redis = Self { dir, port: free_port(), options, child: None };
        redis.launch();
        redis
    }

    /// Where it listens; the same after a restart.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// As clients are given it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}/", self.address())
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Kills the process; what it knew is gone.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("a running Redis");
        child.kill().expect("kill Redis");
        child.wait().expect("the end of Redis");
    }

    /// Starts the process again, empty, on the same port.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn restart(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        self.launch();
        self.wait_until_it_answers();
    }

    /// Stops the process where it is; what is sent to it meanwhile waits.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused process go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends a command, as words, and returns what comes back as text.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> String {
        self.try_command(words).unwrap_or_else(|| panic!("no answer to {words:?}"))
    }

    /// Commands so far, those that scripts give included, as `INFO stats` counts them.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn commands_processed(&self) -> u64 {
        let info = self.command(&["INFO", "stats"]);
        let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
        line.expect("the counter").trim().parse().expect("a number")
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    fn try_command(&self, words: &[&str]) -> Option<String> {
        let mut stream = TcpStream::connect(self.address()).ok()?;
        stream.set_read_timeout(Some(BOUND)).ok()?;
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        // The answer ends with the connection; a Sentinel does not know QUIT.
        request += "*1\r\n$4\r\nQUIT\r\n";
        stream.write_all(request.as_bytes()).ok()?;
        stream.shutdown(Shutdown::Write).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        Some(answer.strip_suffix("+OK\r\n").unwrap_or(&answer).to_owned()).filter(|answer| !answer.is_empty())
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("a running Redis");
        kill_process(Pid::from_child(child), signal).expect("a signal to Redis");
    }

    fn launch(&mut self) {
        let settings = self.dir.path().join(SETTINGS).exists().then_some(SETTINGS);
        let child = Command::new(find())
            .args(settings)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--daemonize", "no", "--loglevel", "warning"])
            .args(&self.options)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("start {PROGRAM}: {error}; install it with: {INSTALL}"));
        self.child = Some(child);
    }

    pub(crate) fn wait_until_it_answers(&self) {
        self.wait_for(&["PING"], "PONG");
    }

    /// Waits until the answer to a command contains `expected`.
    pub(crate) fn wait_for(&self, words: &[&str], expected: &str) {
        let is_there = || self.try_command(words).is_some_and(|answer| answer.contains(expected));
        assert!(eventually(BOUND, is_there), "{PROGRAM} on port {}: no {expected} to {words:?}", self.port);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn find() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(PROGRAM)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{PROGRAM} is missing; install it with: {INSTALL}"))
}
