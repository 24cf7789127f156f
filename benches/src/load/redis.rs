//! What a Redis says of itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::STALL_MAX;

/// `INFO all` is a few kilobytes.
const INFO_BYTES_MAX: usize = 1 << 20;
/// Commands that run a script; what the script calls is counted as commands, too.
const SCRIPT_COMMANDS: [&str; 5] = ["eval", "evalsha", "eval_ro", "evalsha_ro", "fcall"];

/// A connection that only asks.
pub(super) struct Redis(BufReader<TcpStream>);

/// What a Redis has done.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RedisUse {
    /// CPU time, all threads.
    pub(crate) cpu_us: f64,
    /// Commands, those that scripts call and the asking itself included.
    pub(crate) commands: u64,
    /// Scripts run.
    pub(crate) scripts: u64,
}

impl Redis {
    pub(super) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).context("Redis")?;
        stream.set_read_timeout(Some(STALL_MAX))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// What it has done since its start.
    pub(super) fn so_far(&mut self) -> anyhow::Result<RedisUse> {
        self.0.get_mut().write_all(b"*2\r\n$4\r\nINFO\r\n$3\r\nall\r\n")?;
        let mut head = String::new();
        self.0.read_line(&mut head)?;
        let length = head.trim_end().strip_prefix('$').and_then(|length| length.parse::<usize>().ok());
        let length = length.with_context(|| format!("Redis answers {head:?}"))?;
        ensure!(length < INFO_BYTES_MAX, "Redis answers with {length} bytes");
        let mut text = vec![0; length + 2];
        self.0.read_exact(&mut text)?;
        RedisUse::parse(&String::from_utf8_lossy(&text)).context("unexpected form of Redis's INFO")
    }
}

impl RedisUse {
    pub(super) fn since(&self, first: &Self) -> Self {
        Self {
            cpu_us: self.cpu_us - first.cpu_us,
            commands: self.commands.saturating_sub(first.commands),
            scripts: self.scripts.saturating_sub(first.scripts),
        }
    }

    fn parse(info: &str) -> Option<Self> {
        let seconds = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.parse::<f64>().ok()
        };
        let mut used = Self {
            cpu_us: (seconds("used_cpu_user")? + seconds("used_cpu_sys")?) * 1e6,
            commands: 0,
            scripts: 0,
        };
        for line in info.lines().filter_map(|line| line.strip_prefix("cmdstat_")) {
            let (name, figures) = line.split_once(':')?;
            let calls: u64 = figures.strip_prefix("calls=")?.split(',').next()?.parse().ok()?;
            used.commands += calls;
            if SCRIPT_COMMANDS.contains(&name) {
                used.scripts += calls;
            }
        }
        Some(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_added_up_and_scripts_told_apart() {
        let info = "# CPU\r\nused_cpu_sys:0.250000\r\nused_cpu_user:0.500000\r\nused_cpu_sys_children:9.0\r\n\
                    # Commandstats\r\ncmdstat_evalsha:calls=3,usec=70,usec_per_call=23.3\r\n\
                    cmdstat_config|get:calls=2,usec=1\r\ncmdstat_hset:calls=40,usec=12\r\n";
        let used = RedisUse { cpu_us: 750_000.0, commands: 45, scripts: 3 };
        assert_eq!(RedisUse::parse(info), Some(used));
        assert_eq!(RedisUse::parse("# CPU"), None);
    }
}
