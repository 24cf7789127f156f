//! `GET health`: what of the gateway works. It names no host and no error: operators have `/readyz`.

use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};
use tollgate_quota::{Remote, RemoteStatus};

use super::{Request, reply::Reply};

/// Each component's state. Always 200: whoever asks was answered.
pub(super) fn health(request: &Request<'_>) -> Reply {
    let shared = &request.worker.shared;
    let journal = shared.journal.status();
    let state = |good: bool, otherwise: &'static str| if good { "ok" } else { otherwise };
    let journal = match (journal.failed, journal.full) {
        (true, _) => "failed",
        (false, true) => "full",
        (false, false) => "ok",
    };
    let ledger = state(shared.ledger.status().last_error.is_none(), "away");
    let counters = match shared.remote.as_ref().map(Remote::status) {
        Some(RemoteStatus { down_seconds: Some(_), .. }) => "away",
        Some(RemoteStatus { rebuilding: true, .. }) => "rebuilding",
        Some(_) | None => "ok",
    };
    let upstreams: Map<String, Value> = request
        .live
        .upstreams
        .iter()
        .map(|upstream| {
            let total = upstream.endpoints.len();
            let available = upstream.endpoints.iter().filter(|endpoint| endpoint.is_available()).count();
            let state = match available {
                0 => "away",
                some if some < total => "degraded",
                _ => "ok",
            };
            (upstream.settings.name.to_string(), Value::from(state))
        })
        .collect();
    let serving = state(shared.ready.load(Ordering::Acquire), "draining");
    let parts = [serving, journal, ledger, counters];
    let all_good = parts.iter().all(|state| *state == "ok") && upstreams.values().all(|state| state == "ok");
    Reply::ok(&json!({
        "status": if journal != "ok" { "failing" } else { state(all_good, "degraded") },
        "components": {
            "gateway": serving,
            "journal": journal,
            "ledger": ledger,
            "counters": counters,
            "upstreams": upstreams,
        },
    }))
}
