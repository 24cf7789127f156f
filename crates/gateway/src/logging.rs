//! Logs: text for people on a terminal, JSON for machines. Never a body, never a secret: what clients
//! send is logged only as far as it was validated.

use std::io::{self, IsTerminal as _};

use tollgate_config::{Log, LogFormat, LogLevel};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Begins to log to standard error. A second call in one process changes nothing.
pub(crate) fn start(log: &Log) {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Libraries below log what they are given, headers included; only our own lines are known to be clean.
    let filter = Targets::new().with_default(LevelFilter::OFF).with_targets(
        ["tollgate", "tollgate_ledger", "tollgate_quota", "tollgate_config"].map(|t| (t, level)),
    );
    let json = match log.format {
        LogFormat::Auto => !io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    let _ = if json {
        registry.with(layer.json().flatten_event(true)).try_init()
    } else {
        registry.with(layer.with_ansi(io::stderr().is_terminal())).try_init()
    };
}
