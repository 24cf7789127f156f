//! `tollgate check`: every mistake at once, and what a change would mean.

#![allow(clippy::print_stdout, reason = "a command that prints")]

use std::{fs, path::Path};

use anyhow::{Context as _, anyhow};
use tollgate_config::Source;

use crate::{listener::ServerTls, live::Live, meters::MeterIds};

/// Whether the configuration is good; says why not, and what differs from the tiers in `old`.
pub(crate) fn check(config: &Path, old: Option<&Path>) -> anyhow::Result<bool> {
    let sources = match tollgate_config::read_sources(config) {
        Ok(sources) => sources,
        Err(mistakes) => {
            println!("{mistakes}");
            return Ok(false);
        }
    };
    let checked = match tollgate_config::parse(&sources) {
        Ok(checked) => checked,
        Err(mistakes) => {
            println!("{mistakes}");
            println!("{} to mend", counted(mistakes.count(), "mistake"));
            return Ok(false);
        }
    };
    if let Some(old) = old {
        let text = fs::read_to_string(old).with_context(|| old.display().to_string())?;
        let before = tollgate_config::parse_plans(&Source { path: old.to_owned(), text })
            .map_err(|mistakes| anyhow!("the old tiers have mistakes:\n{mistakes}"))?;
        let changes = tollgate_config::diff(&before, &checked.plans);
        for change in &changes {
            println!("{change}");
        }
        println!("{}", counted(changes.len(), "change"));
    }
    let (routes, tiers) = (checked.gateway.routes.len(), checked.plans.tiers.len());
    // Certificates, authorities and signing keys are read only when they are used.
    let tls = checked.gateway.listen.tls.as_ref().map(ServerTls::new).transpose();
    let tls = tls.err().map(|error| error.to_string());
    let live = Live::compile(checked, None, &MeterIds::default()).err().map(|error| error.to_string());
    let unusable: Vec<_> = [tls, live].into_iter().flatten().collect();
    for error in &unusable {
        println!("{}: {error}", config.display());
    }
    if !unusable.is_empty() {
        return Ok(false);
    }
    println!("{} is good: {}, {}", config.display(), counted(routes, "route"), counted(tiers, "tier"));
    Ok(true)
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
