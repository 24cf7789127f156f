//! `tollgate demo`: the gateway in front of three sample services, on this machine, with nothing to
//! install.

#![allow(clippy::print_stdout, reason = "it talks to a newcomer")]

mod samples;

use std::{
    env, fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process,
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

use anyhow::Context as _;
use tollgate_core::Settlement;

use crate::serve::{Addresses, Options, ledger_path, serve};

const GATEWAY: &str = include_str!("../../../../gateway.toml");
const TIERS: &str = include_str!("../../../../tier-limits.toml");
/// Where the example configuration expects the samples and listens itself.
const SAMPLES: [&str; 3] = ["127.0.0.1:9101", "127.0.0.1:9102", "127.0.0.1:9103"];
const LISTEN: &str = "127.0.0.1:8080";
const ADMIN: &str = "127.0.0.1:9090";
/// Between finding an address free and listening on it, somebody else may take it; not so often.
const ATTEMPTS_MAX: usize = 5;
/// Lines that wait to be printed; further ones are dropped rather than delaying requests.
const LINES_MAX: usize = 1024;

/// Runs until interrupted.
pub(crate) fn demo(dir: Option<PathBuf>) -> anyhow::Result<()> {
    let dir = dir.unwrap_or_else(|| env::temp_dir().join(format!("tollgate-demo-{}", process::id())));
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let dir = dir.canonicalize()?;

    let mut gateway = GATEWAY.to_owned();
    let listeners = SAMPLES.iter().map(|expected| bind(expected)).collect::<anyhow::Result<Vec<_>>>()?;
    for (expected, listener) in SAMPLES.iter().zip(&listeners) {
        gateway = gateway.replace(expected, &listener.local_addr()?.to_string());
    }
    start_samples(listeners)?;
    let config = dir.join("gateway.toml");
    fs::write(dir.join("tier-limits.toml"), TIERS)?;
    let lines = print_lines()?;
    for _ in 1..ATTEMPTS_MAX {
        fs::write(&config, with_free_addresses(&gateway)?)?;
        match serve(options(&config, &lines, &dir)) {
            Err(error) if is_taken(&error) => {}
            ended => return ended,
        }
    }
    fs::write(&config, with_free_addresses(&gateway)?)?;
    serve(options(&config, &lines, &dir))
}

/// The configuration with addresses that are free, and freed at once: the gateway takes them a moment
/// later, unless somebody else does.
fn with_free_addresses(gateway: &str) -> anyhow::Result<String> {
    let mut gateway = gateway.to_owned();
    for expected in [LISTEN, ADMIN] {
        let free = bind(expected)?.local_addr()?;
        gateway = gateway.replace(expected, &free.to_string());
    }
    Ok(gateway)
}

fn is_taken(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

fn options(config: &Path, lines: &SyncSender<String>, dir: &Path) -> Options {
    let (charged, lines, dir) = (lines.clone(), lines.clone(), dir.to_owned());
    Options {
        config: config.to_owned(),
        on_settled: Some(Box::new(move |settlement| {
            let _ = charged.try_send(line(settlement));
        })),
        on_ready: Box::new(move |addresses| {
            let _ = lines.send(welcome(addresses, &dir));
        }),
    }
}

/// The expected address, or a free port where something else has it.
fn bind(expected: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(expected).or_else(|_| TcpListener::bind("127.0.0.1:0"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Starts the three services on a thread of their own.
fn start_samples(listeners: Vec<TcpListener>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("samples".into()).spawn(move || {
        runtime.block_on(async {
            let listeners: Vec<_> =
                listeners.into_iter().filter_map(|l| tokio::net::TcpListener::from_std(l).ok()).collect();
            let Ok([chat, memory, documents]) = <[_; 3]>::try_from(listeners) else { return };
            let chat = samples::chat::serve(chat);
            let (memory, documents) = (samples::memory::serve(memory), samples::documents::serve(documents));
            futures_util::future::join3(chat, memory, documents).await;
        });
    })?;
    Ok(())
}

/// Prints on a thread of its own: a terminal that stands still must not hold up requests.
fn print_lines() -> anyhow::Result<SyncSender<String>> {
    let (sender, lines) = sync_channel::<String>(LINES_MAX);
    thread::Builder::new()
        .name("lines".into())
        .spawn(move || lines.iter().for_each(|line| println!("{line}")))?;
    Ok(sender)
}

fn line(settlement: &Settlement<'_>) -> String {
    let charge = |charge: &tollgate_core::Charge<'_>| {
        format!("{} {}{}", charge.meter, charge.amount, if charge.estimated { " (estimated)" } else { "" })
    };
    let charges: Vec<String> = settlement.charges.iter().map(charge).collect();
    format!(
        "charged {:<12} {:<12} {:<6} {:<22} {} {:>5} ms  {}",
        settlement.user_id,
        settlement.tier,
        settlement.method,
        settlement.route,
        settlement.status,
        settlement.duration_ms,
        charges.join(", "),
    )
}

fn welcome(addresses: Addresses, dir: &Path) -> String {
    let Addresses { listen, admin } = addresses;
    let url = |address: SocketAddr| format!("http://{address}");
    let (gateway, admin) = (url(listen), url(admin));
    let (dir, ledger) = (dir.display(), ledger_path(&dir.join("data")));
    let ledger = ledger.display();
    format!(
        r#"
Tollgate is in front of three sample services.
  gateway   {gateway}
  admin     {admin}/metrics  /healthz  /readyz
  files     {dir}/gateway.toml and tier-limits.toml
  ledger    {ledger}

Try, in another terminal:

1. A call that is metered; look at the RateLimit headers
   curl -i {gateway}/api/v1/llm/chat/completions -H 'X-User-Id: alice' -H 'Content-Type: application/json' -d '{{"model":"sample","messages":[{{"role":"user","content":"Hello!"}}]}}'

2. A stream; its tokens are counted as they pass
   curl -N {gateway}/api/v1/llm/chat/completions -H 'X-User-Id: alice' -H 'Content-Type: application/json' -d '{{"model":"sample","stream":true,"stream_options":{{"include_usage":true}},"messages":[{{"role":"user","content":"Count to five"}}]}}'

3. Twelve calls where ten a minute are allowed; the last ones end in 429
   for i in $(seq 12); do curl -s -o /dev/null -w '%{{http_code}} ' {gateway}/api/v1/llm/models -H 'X-User-Id: bob'; done; curl -s {gateway}/api/v1/llm/models -H 'X-User-Id: bob'

4. A call by nobody: 401
   curl -i {gateway}/api/v1/llm/models

5. Give the free tier fifty a minute while it runs: bob is served again, with what he used kept
   sed -i 's|"10/minute"|"50/minute"|' {dir}/tier-limits.toml; sleep 1; curl -i {gateway}/api/v1/llm/models -H 'X-User-Id: bob'

The ledger:  sqlite3 {ledger} 'select user_id, meter, sum(amount) from usage_ledger group by 1, 2'
Ctrl-C drains and stops. Charges:
"#
    )
}
