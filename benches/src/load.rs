//! The load: a closed loop of keep-alive connections on one thread, each with one small POST in flight.
//!
//! It reads the proxy's CPU time itself, at the first and the last moment of what it measures, so that neither its
//! own start nor its end is charged to the proxy.

mod client;
mod histogram;
mod redis;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use crate::driver::proc::CpuTime;
use client::Client;
pub(crate) use histogram::Histogram;
use redis::Redis;
pub(crate) use redis::RedisUse;

/// Requests in flight may take this long before the proxy counts as stuck.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(30);

/// What to send, and for how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Address of the proxy.
    #[arg(long)]
    target: SocketAddr,
    /// Keep-alive connections, each with one request in flight.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Different users that the requests come from.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    users: u16,
    /// Seconds to run before measuring.
    #[arg(long, default_value_t = 0.0)]
    warmup: f64,
    /// Seconds to measure.
    #[arg(long, default_value_t = 3.0, conflicts_with = "requests")]
    seconds: f64,
    /// Send and measure exactly so many requests instead.
    #[arg(long)]
    requests: Option<u64>,
    /// Process whose CPU time to read.
    #[arg(long)]
    watch: Option<u32>,
    /// Never sleep, so that no proxy has to wake it.
    #[arg(long)]
    awake: bool,
    /// Redis that is asked what it did meanwhile.
    #[arg(long)]
    redis: Option<SocketAddr>,
}

/// What one run of the load saw.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    /// Requests answered while measuring.
    pub(crate) requests: u64,
    /// Requests answered in all, warm-up and the last ones in flight included.
    pub(crate) requests_all: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// CPU time the watched process used while measuring.
    pub(crate) cpu_us: f64,
    /// What the watched Redis did while measuring.
    pub(crate) redis: Option<RedisUse>,
    /// Answers other than 200.
    pub(crate) non_200: u64,
    /// The first of them.
    pub(crate) first_non_200: Option<String>,
}

/// Runs the load and prints its report.
///
/// # Errors
/// When a connection fails or stalls, or the watched process is gone.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut client = Client::connect(options, &request_texts(options))?;
    let report = match options.requests {
        Some(requests) => run_requests(&mut client, options, requests),
        None => run_timed(&mut client, options),
    }?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

fn run_requests(client: &mut Client, options: &Options, requests: u64) -> anyhow::Result<Report> {
    let mut watched = Watched::start(options)?;
    client.start(requests)?;
    while client.in_flight() > 0 {
        client.turn()?;
    }
    let used = watched.elapsed()?;
    Ok(report(client, used, client.latencies()))
}

fn run_timed(client: &mut Client, options: &Options) -> anyhow::Result<Report> {
    let warmup = Duration::try_from_secs_f64(options.warmup)?;
    let measured = Duration::try_from_secs_f64(options.seconds)?;
    ensure!(warmup + measured < Duration::from_secs(3600), "a load runs for less than an hour");

    client.start(u64::MAX)?;
    let begun = Instant::now();
    while begun.elapsed() < warmup {
        client.turn()?;
    }
    client.clear();
    let mut watched = Watched::start(options)?;
    while watched.since.elapsed() < measured {
        client.turn()?;
    }
    let used = watched.elapsed()?;
    let mut report = report(client, used, client.latencies());

    client.issue_no_more();
    while client.in_flight() > 0 {
        client.turn()?;
    }
    report.requests_all = client.answered();
    Ok(report)
}

fn report(client: &Client, Used { seconds, cpu, redis }: Used, latencies: &Histogram) -> Report {
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
    Report {
        requests: latencies.total(),
        requests_all: client.answered(),
        seconds: seconds.as_secs_f64(),
        p50_us: micros(latencies.quantile(500)),
        p99_us: micros(latencies.quantile(990)),
        cpu_us: micros(cpu),
        redis,
        non_200: client.non_200(),
        first_non_200: client.first_non_200().map(str::to_owned),
    }
}

/// The clock and what is watched at the first moment that counts.
struct Watched {
    pid: Option<u32>,
    since: Instant,
    cpu: Duration,
    redis: Option<(Redis, RedisUse)>,
}

/// What the time between the first and the last moment cost.
struct Used {
    seconds: Duration,
    cpu: Duration,
    redis: Option<RedisUse>,
}

impl Watched {
    fn start(options: &Options) -> anyhow::Result<Self> {
        let mut redis = options.redis.map(Redis::connect).transpose()?;
        let so_far = redis.as_mut().map(Redis::so_far).transpose()?;
        let cpu = cpu_of(options.watch)?;
        Ok(Self { pid: options.watch, since: Instant::now(), cpu, redis: redis.zip(so_far) })
    }

    fn elapsed(&mut self) -> anyhow::Result<Used> {
        let (seconds, cpu) = (self.since.elapsed(), cpu_of(self.pid)?.saturating_sub(self.cpu));
        let redis =
            self.redis.as_mut().map(|(redis, first)| Ok::<_, anyhow::Error>(redis.so_far()?.since(first)));
        Ok(Used { seconds, cpu, redis: redis.transpose()? })
    }
}

fn cpu_of(pid: Option<u32>) -> anyhow::Result<Duration> {
    Ok(pid.map(CpuTime::of).transpose()?.map_or(Duration::ZERO, |cpu| cpu.total()))
}

fn request_texts(options: &Options) -> Vec<Vec<u8>> {
    const BODY: &str = r#"{"model":"bench-1","messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"What is the capital of France? Answer in one sentence."}],"max_tokens":64,"temperature":0.2}"#;
    let text = |user: u16| {
        format!(
            "POST /api/v1/llm/chat/completions HTTP/1.1\r\nHost: {}\r\nUser-Agent: tollgate-bench\r\n\
             Accept: application/json\r\nContent-Type: application/json\r\nX-User-Id: user-{user}\r\n\
             X-User-Tier: bench\r\nContent-Length: {}\r\n\r\n{BODY}",
            options.target,
            BODY.len()
        )
    };
    (0..options.users).map(|user| text(user).into_bytes()).collect()
}
