//! Metrics: every handle is made once, every label has a bounded set of values. No label is ever a
//! user, an organisation, a path as sent, or anything else that a client chooses.

use std::{sync::OnceLock, time::Duration};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use tollgate_quota::RemoteStatus;

use crate::refusal::Code;

/// Upper bounds in seconds of the latency histogram: from what the gateway itself takes to long streams.
const LATENCY_BUCKETS: [f64; 14] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0];

/// Installs the recorder; the handle renders `/metrics`.
pub(crate) fn install() -> Result<PrometheusHandle, BuildError> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &LATENCY_BUCKETS)?
        .install_recorder()?;
    describe();
    Ok(HANDLE.get_or_init(|| handle).clone())
}

fn describe() {
    describe_counter!("tollgate_requests_total", "Requests answered, by route and status class");
    describe_histogram!(
        "tollgate_request_duration_seconds",
        Unit::Seconds,
        "From admission to the last byte, by route and status class"
    );
    describe_counter!(
        "tollgate_refusals_total",
        "Requests that the gateway answered itself, by code and tier"
    );
    describe_counter!(
        "tollgate_unenforced_total",
        "Requests that enforcement = \"enforce\" would have refused, by tier"
    );
    describe_counter!(
        "tollgate_quota_warnings_total",
        "Limits that reached a percentage of warn_at, by tier"
    );
    describe_counter!(
        "tollgate_settlements_total",
        "Settlements, by route and whether an amount was estimated"
    );
    describe_counter!(
        "tollgate_amounts_missing_total",
        "Amounts that a request or an answer should have said and did not, by route and meter"
    );
    describe_counter!(
        "tollgate_upstream_retries_total",
        "Requests sent again on another connection, by upstream"
    );
    describe_gauge!("tollgate_upstream_healthy", "1 when the URL takes requests, by upstream and URL");
    describe_gauge!("tollgate_connections", "Client connections open");
    describe_counter!(
        "tollgate_connections_refused_total",
        "Client connections closed at listen.connections_max"
    );
    describe_counter!(
        "tollgate_overrides_wrong_total",
        "Overrides in the table of subjects that make no sense"
    );
    describe_gauge!("tollgate_subjects", "Subjects whose counters are in memory");
    describe_counter!("tollgate_subject_reads_total", "Rows of the table of subjects read, by result");
    describe_gauge!(
        "tollgate_subjects_age_seconds",
        Unit::Seconds,
        "Since the table of subjects was last looked at for changes; 0 while it can be"
    );
    describe_gauge!(
        "tollgate_journal_pending_bytes",
        Unit::Bytes,
        "Bytes of journal that the ledger does not have yet"
    );
    describe_gauge!(
        "tollgate_journal_lag_seconds",
        Unit::Seconds,
        "Age of the oldest settlement that the ledger does not take; 0 while it takes them"
    );
    describe_gauge!("tollgate_journal_disk_bytes", Unit::Bytes, "Bytes of journal on disk");
    describe_gauge!("tollgate_journal_full", "1 when metered requests are refused for want of journal space");
    describe_gauge!("tollgate_journal_failed", "1 after a failed sync: restart after mending the disk");
    describe_gauge!("tollgate_requests_in_flight", "Metered requests admitted and not settled");
    describe_gauge!("tollgate_llm_drains", "Answers of models that are read for clients who left");
    describe_gauge!("tollgate_requests_waiting", "Requests that wait in line to be admitted");
    describe_counter!("tollgate_jobs_expired_total", "Jobs that did not end within their time limit");
    describe_gauge!("tollgate_ledger_failing", "1 while the ledger does not take events");
    describe_gauge!("tollgate_counters_away", "1 while the Redis that counts does not answer");
    describe_gauge!("tollgate_counters_rebuilding", "1 while counters are rebuilt from the ledger");
    describe_counter!("tollgate_counters_calls_total", "Calls to the Redis that counts, by result");
    describe_counter!("tollgate_counters_recalls_total", "Counters that other gateways wanted back");
    describe_counter!("tollgate_counters_epochs_total", "Times that counters were rebuilt or joined");
    describe_counter!("tollgate_config_reloads_total", "Configuration reloads, by result");
    describe_gauge!("tollgate_config_valid", "1 when the files on disk are what is in force");
}

/// Amounts of a meter that nobody said, on one route.
pub(crate) fn amounts_missing(route: &str, meter: &str) -> Counter {
    counter!("tollgate_amounts_missing_total", "route" => route.to_owned(), "meter" => meter.to_owned())
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Position in [`CLASSES`].
fn class(status: u16) -> usize {
    usize::from(status / 100).clamp(1, 5) - 1
}

/// Handles of one route.
pub(crate) struct RouteMetrics {
    by_class: [Counter; 5],
    latency: [Histogram; 5],
    measured: Counter,
    estimated: Counter,
}

impl RouteMetrics {
    pub(crate) fn new(route: &str) -> Self {
        let requests = |class: &'static str| counter!("tollgate_requests_total", "route" => route.to_owned(), "status" => class);
        let settlements = |estimated: &'static str| counter!("tollgate_settlements_total", "route" => route.to_owned(), "estimated" => estimated);
        Self {
            by_class: CLASSES.map(requests),
            latency: CLASSES.map(|class| {
                let route = route.to_owned();
                histogram!("tollgate_request_duration_seconds", "route" => route, "status" => class)
            }),
            measured: settlements("false"),
            estimated: settlements("true"),
        }
    }

    pub(crate) fn answered(&self, status: u16) {
        self.by_class[class(status)].increment(1);
    }

    pub(crate) fn took(&self, status: u16, duration: Duration) {
        self.latency[class(status)].record(duration);
    }

    pub(crate) fn settled(&self, estimated: bool) {
        if estimated { &self.estimated } else { &self.measured }.increment(1);
    }
}

/// Handles of one tier.
pub(crate) struct TierMetrics {
    refusals: Vec<Counter>,
    pub(crate) unenforced: Counter,
    pub(crate) warnings: Counter,
}

impl TierMetrics {
    pub(crate) fn new(tier: &str) -> Self {
        let tier = tier.to_owned();
        let refusal =
            |code: Code| counter!("tollgate_refusals_total", "code" => code.name(), "tier" => tier.clone());
        Self {
            refusals: Code::ALL.into_iter().map(refusal).collect(),
            unenforced: counter!("tollgate_unenforced_total", "tier" => tier.clone()),
            warnings: counter!("tollgate_quota_warnings_total", "tier" => tier.clone()),
        }
    }

    pub(crate) fn refused(&self, code: Code) {
        self.refusals[code as usize].increment(1);
    }
}

/// Handles of the table of subjects.
pub(crate) struct SubjectMetrics {
    read: Counter,
    failed: Counter,
    wrong: Counter,
}

impl SubjectMetrics {
    pub(crate) fn new() -> Self {
        let reads = |result: &'static str| counter!("tollgate_subject_reads_total", "result" => result);
        let wrong = counter!("tollgate_overrides_wrong_total");
        Self { read: reads("read"), failed: reads("failed"), wrong }
    }

    pub(crate) fn wrong(&self) {
        self.wrong.increment(1);
    }

    pub(crate) fn read(&self, with_success: bool) {
        if with_success { &self.read } else { &self.failed }.increment(1);
    }
}

/// Handles of the counters that several gateways share.
pub(crate) struct RemoteMetrics {
    away: Gauge,
    rebuilding: Gauge,
    answered: Counter,
    failed: Counter,
    recalls: Counter,
    epochs: Counter,
}

impl RemoteMetrics {
    pub(crate) fn new() -> Self {
        let calls = |result: &'static str| counter!("tollgate_counters_calls_total", "result" => result);
        Self {
            away: gauge!("tollgate_counters_away"),
            rebuilding: gauge!("tollgate_counters_rebuilding"),
            answered: calls("answered"),
            failed: calls("failed"),
            recalls: counter!("tollgate_counters_recalls_total"),
            epochs: counter!("tollgate_counters_epochs_total"),
        }
    }

    pub(crate) fn show(&self, status: &RemoteStatus) {
        let flag = |on: bool| if on { 1.0 } else { 0.0 };
        self.away.set(flag(status.down_seconds.is_some()));
        self.rebuilding.set(flag(status.rebuilding));
        self.answered.absolute(status.calls.saturating_sub(status.failures));
        self.failed.absolute(status.failures);
        self.recalls.absolute(status.recalls);
        self.epochs.absolute(status.epochs);
    }
}

/// Handles of the process.
pub(crate) struct ProcessMetrics {
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
    pub(crate) subjects: Gauge,
    pub(crate) subjects_age: Gauge,
    pub(crate) journal_pending: Gauge,
    pub(crate) journal_lag: Gauge,
    pub(crate) journal_disk: Gauge,
    pub(crate) journal_full: Gauge,
    pub(crate) journal_failed: Gauge,
    pub(crate) in_flight: Gauge,
    pub(crate) llm_drains: Gauge,
    pub(crate) waiting: Gauge,
    pub(crate) jobs_expired: Counter,
    pub(crate) ledger_failing: Gauge,
    /// Of counters in Redis.
    pub(crate) remote: Option<RemoteMetrics>,
    pub(crate) reloads_applied: Counter,
    pub(crate) reloads_rejected: Counter,
    pub(crate) config_valid: Gauge,
    /// Refusals before a tier is known.
    pub(crate) no_tier: TierMetrics,
}

impl ProcessMetrics {
    pub(crate) fn new(is_shared: bool) -> Self {
        let reloads = |result: &'static str| counter!("tollgate_config_reloads_total", "result" => result);
        Self {
            connections: gauge!("tollgate_connections"),
            connections_refused: counter!("tollgate_connections_refused_total"),
            subjects: gauge!("tollgate_subjects"),
            subjects_age: gauge!("tollgate_subjects_age_seconds"),
            journal_pending: gauge!("tollgate_journal_pending_bytes"),
            journal_lag: gauge!("tollgate_journal_lag_seconds"),
            journal_disk: gauge!("tollgate_journal_disk_bytes"),
            journal_full: gauge!("tollgate_journal_full"),
            journal_failed: gauge!("tollgate_journal_failed"),
            in_flight: gauge!("tollgate_requests_in_flight"),
            llm_drains: gauge!("tollgate_llm_drains"),
            waiting: gauge!("tollgate_requests_waiting"),
            jobs_expired: counter!("tollgate_jobs_expired_total"),
            ledger_failing: gauge!("tollgate_ledger_failing"),
            remote: is_shared.then(RemoteMetrics::new),
            reloads_applied: reloads("applied"),
            reloads_rejected: reloads("rejected"),
            config_valid: gauge!("tollgate_config_valid"),
            no_tier: TierMetrics::new("none"),
        }
    }
}
