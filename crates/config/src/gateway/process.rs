//! `[shutdown]` and `[log]`: how the process ends and what it says.

use std::{ops::RangeInclusive, time::Duration};

use crate::section::Section;

/// Zero suits a single machine; behind a load balancer it is one interval of its checks.
const DELAY_DEFAULT: Duration = Duration::ZERO;
/// What Kubernetes gives a pod to end.
const GRACE_DEFAULT: Duration = Duration::from_secs(30);
/// A process that takes longer than an hour to end is stuck.
const BOUNDS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);

/// How the process ends after SIGTERM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long readiness is off before connections are drained, so that load balancers notice.
    pub delay: Duration,
    /// How long requests in flight may take to end after that.
    pub grace: Duration,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important level that is logged.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
    /// Whether each request is a line.
    pub requests: bool,
}

/// How important a log line is, most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed and needs someone.
    Error,
    /// Something is wrong and was coped with.
    Warn,
    /// Something happened that an operator wants to know of.
    Info,
    /// What the program decides.
    Debug,
    /// Everything.
    Trace,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Shutdown {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            delay: section.or("delay", DELAY_DEFAULT, |item| item.duration(BOUNDS)),
            grace: section.or("grace", GRACE_DEFAULT, |item| item.duration(BOUNDS)),
        }
    }
}

impl Log {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let levels = [
            ("info", LogLevel::Info),
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("debug", LogLevel::Debug),
            ("trace", LogLevel::Trace),
        ];
        let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
        Self {
            level: section.or("level", LogLevel::Info, |item| item.one_of(&levels)),
            format: section.or("format", LogFormat::Auto, |item| item.one_of(&formats)),
            requests: section.or("requests", false, |item| item.boolean()),
        }
    }
}
