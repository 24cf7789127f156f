//! One configuration, compiled for the request path.
//!
//! A request takes one [`Live`] at its start and keeps it to its end, so a reload never shows half of a
//! file to anyone (promise 6).

use std::{
    net::IpAddr,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderName, HeaderValue, Method};
use metrics::Counter;
use tollgate_config::{
    ChargeOn, ClientGone, Config, CounterStore, Enforcement, Gateway, LlmOptions, UsagePointers,
    charged_meters,
};
use tollgate_core::{
    Conversion, Currency, Limit, Max, MeterIndex, MeterKind, ModelPattern, Nanos, Plans, Scope, Tier,
    TierIndex,
};
use tollgate_quota::{CHECKS_MAX, Check, CounterKey, Kinds, MeterId, Mode, Tracked};
use tollgate_usage::{Pointers, Shape};

use crate::{
    amounts::{Collector, Part, Plan},
    api::Served,
    beyond::{Beyond, Way},
    kinds,
    meters::MeterIds,
    names::{Names, USAGE_PREFIX},
    ratelimit::{FIELD_INTEGER_MAX, LineTexts},
    resources,
    signature::Signer,
    telemetry::{self, RouteMetrics, TierMetrics},
    upstream::{Upstream, UpstreamError},
};

/// One configuration, compiled.
pub(crate) struct Live {
    config: Config,
    pub(crate) names: Names,
    pub(crate) routes: Vec<Arc<Route>>,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    /// What services report to and ask, if it is served.
    pub(crate) api: Option<Served>,
    /// By [`TierIndex`].
    pub(crate) tiers: Vec<LiveTier>,
    pub(crate) signer: Option<Signer>,
    pub(crate) mode: Mode,
    /// All that is counted of each subject, where counters are shared.
    pub(crate) counted: Vec<Tracked>,
    /// Tells it from all others of this process.
    pub(crate) number: u64,
}

/// Numbers the configurations of this process.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// A configuration as one worker holds it: requests count references on their own thread, not on a
/// cache line that all threads fight for.
pub(crate) struct Snapshot(pub(crate) Arc<Live>);

impl Deref for Snapshot {
    type Target = Live;

    fn deref(&self) -> &Live {
        &self.0
    }
}

/// What a tier's name and refusals need.
pub(crate) struct LiveTier {
    pub(crate) header: HeaderValue,
    pub(crate) metrics: TierMetrics,
}

/// A route, and what it charges on each tier.
pub(crate) struct Route {
    pub(crate) name: Box<str>,
    host: Option<Box<str>>,
    path: Box<str>,
    methods: Option<Vec<Method>>,
    rewrite: Option<Box<str>>,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) charges: Vec<RouteCharge>,
    /// Whether some of it is there when the request is over: a level, or a job.
    pub(crate) has_lasting: bool,
    pub(crate) charge_on: ChargeOn,
    /// How calls to models are treated, where some charge depends on them.
    pub(crate) llm: Option<LlmOptions>,
    /// Where answers say what was used, if the route says so.
    pub(crate) shape: Option<Shape>,
    /// What requests and answers say of its charges; `None` where nothing is looked at.
    pub(crate) plan: Option<Box<Plan>>,
    /// By [`TierIndex`].
    grants: Vec<Grant>,
    /// All that is counted of the meters that it charges, on whatever tier, where counters are shared.
    pub(crate) tracked: Vec<Tracked>,
    pub(crate) metrics: RouteMetrics,
}

/// One meter that a route charges.
pub(crate) struct RouteCharge {
    pub(crate) id: MeterId,
    pub(crate) meter: Box<str>,
    index: MeterIndex,
    pub(crate) kind: MeterKind,
    /// Whether organisations own what their users have of it by an id, as some limit is theirs.
    pub(crate) is_shared: bool,
    /// What it is charged; what they come to is added.
    pub(crate) parts: Vec<Part>,
    /// What its parts come to, where that is the same for every request that is charged.
    pub(crate) constant: Option<i64>,
    /// How many parts the charges before it have.
    pub(crate) first_part: usize,
    /// The charges that it is made of, by position.
    pub(crate) made_of: Vec<(usize, Conversion)>,
    /// Whether a model's answer says how much is charged, or a part of it.
    pub(crate) is_of_model: bool,
    /// Of which models it counts calls; empty for all.
    pub(crate) models: Vec<ModelPattern>,
    /// Of what money it counts billionths.
    currency: Option<Currency>,
    /// What the upstream reports its use in.
    pub(crate) usage_header: Option<HeaderName>,
    /// Amounts that nobody said, where they can be missing.
    missing: Option<Counter>,
}

/// The limits of one tier on one route.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) checks: Vec<Check>,
    /// In the order of `checks`.
    pub(crate) limits: Vec<GrantLimit>,
    /// By position of the route's charges: by how much its limits may be passed by what turns out; `None` when nothing
    /// refuses it.
    pub(crate) overdraws: Vec<Option<i64>>,
    /// `RateLimit-Policy`, the same on every answer.
    pub(crate) policy: Option<HeaderValue>,
    /// What of it is text in every answer.
    pub(crate) lines: LineTexts,
    /// What use beyond the limits does, where some do more than refuse.
    pub(crate) beyond: Option<Box<Beyond>>,
}

/// What answers say about a limit.
#[derive(Debug)]
pub(crate) struct GrantLimit {
    /// As in `RateLimit-Policy`: `api_calls-minute`; with `-org` for what an organisation shares.
    pub(crate) policy: Box<str>,
    /// How it is told of in `RateLimit`, behind another and up to what is left of it: `, "api_calls-minute";r=`.
    pub(crate) item: Box<str>,
    /// Position in [`Route::charges`].
    pub(crate) charge: usize,
    /// How much may be used.
    pub(crate) max: HeaderValue,
}

/// A configuration that is valid and yet cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    #[error(
        "route {route} on tier {tier}: {count} limits would be checked for each request, more than {CHECKS_MAX}; \
         charge fewer meters or drop windows"
    )]
    TooManyLimits { route: Box<str>, tier: Box<str>, count: usize },
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("identity.signature: {0}")]
    Signature(#[from] crate::signature::KeyError),
    #[error("api.service_tokens_env: {0}")]
    ServiceTokens(#[from] crate::api::TokenError),
}

impl Live {
    /// Compiles `config`. Upstreams that `previous` has as well keep their state and connections.
    pub(crate) fn compile(
        config: Config,
        previous: Option<&Self>,
        ids: &MeterIds,
    ) -> Result<Self, CompileError> {
        let Config { gateway, plans } = &config;
        let known = previous.map(|live| &*live.upstreams).unwrap_or_default();
        let upstreams = gateway
            .upstreams
            .iter()
            .map(|upstream| Ok(Arc::new(Upstream::new(upstream, known)?)))
            .collect::<Result<Vec<_>, UpstreamError>>()?;
        let counted = match gateway.counters.store {
            CounterStore::Memory => Vec::new(),
            CounterStore::Redis(_) => kinds::tracked(plans, ids),
        };
        let mut routes = gateway
            .routes
            .iter()
            .map(|route| Ok(Arc::new(Route::compile(route, plans, &upstreams, (ids, &counted))?)))
            .collect::<Result<Vec<_>, CompileError>>()?;
        // Most specific first: the longest path, then what names a host or methods.
        routes.sort_by_key(|route| {
            std::cmp::Reverse((route.path.len(), route.host.is_some(), route.methods.is_some()))
        });
        let api = Served::compile(&config, &upstreams, (ids, &counted))?;
        let tiers = plans.tiers.iter().map(LiveTier::new).collect();
        let signer = gateway.identity.signature.as_ref().map(Signer::new).transpose()?;
        let mode = match gateway.enforcement {
            Enforcement::Enforce => Mode::Enforce,
            Enforcement::Observe => Mode::Observe,
        };
        let names = Names::new(&gateway.identity);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { names, routes, upstreams, api, tiers, signer, mode, counted, number, config })
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        &self.config.gateway
    }

    pub(crate) fn plans(&self) -> &Plans {
        &self.config.plans
    }

    pub(crate) fn tier(&self, index: TierIndex) -> &Tier {
        &self.config.plans.tiers[index.0]
    }

    /// All that is counted of each subject.
    pub(crate) fn kinds(&self, ids: &MeterIds) -> Kinds {
        kinds::kinds(&self.config.plans, ids)
    }

    pub(crate) fn is_trusted(&self, peer: IpAddr) -> bool {
        self.config.gateway.identity.trusted_peers.iter().any(|net| net.contains(&peer))
    }

    /// The route of a request, by its normal path.
    pub(crate) fn route(&self, host: &str, path: &str, method: &Method) -> Option<&Arc<Route>> {
        self.routes.iter().find(|route| route.matches(host, path, method))
    }
}

impl LiveTier {
    fn new(tier: &Tier) -> Self {
        // Tier names are checked to be header-safe when they are read.
        let header = HeaderValue::from_str(&tier.name).unwrap_or(HeaderValue::from_static(""));
        Self { header, metrics: TierMetrics::new(&tier.name) }
    }
}

impl Route {
    pub(crate) fn compile(
        route: &tollgate_config::Route,
        plans: &Plans,
        upstreams: &[Arc<Upstream>],
        (ids, counted): (&MeterIds, &[Tracked]),
    ) -> Result<Self, CompileError> {
        let mut collector = Collector::default();
        let meters = charged_meters(&route.charges, plans);
        let mut charges: Vec<RouteCharge> = Vec::new();
        for index in meters {
            let charge = RouteCharge::compile(route, (index, plans, ids), &mut collector, &charges);
            charges.push(charge);
        }
        let is_llm = charges.iter().any(|charge| charge.is_of_model || !charge.models.is_empty());
        let is_charged = |tracked: &&Tracked| charges.iter().any(|charge| charge.id == tracked.meter);
        let has_lasting =
            charges.iter().any(|charge| charge.kind == MeterKind::Level || charge.has_resource());
        let tracked = counted.iter().filter(is_charged).cloned().collect();
        let grants = plans
            .tiers
            .iter()
            .map(|tier| {
                let limits_of = |charge: usize| tier.limits_of(charges[charge].index);
                Grant::compile((&route.name, &tier.name), &charges, limits_of)
            })
            .collect::<Result<Vec<_>, CompileError>>()?;
        Ok(Self {
            name: route.name.clone(),
            host: route.host.clone(),
            path: route.path.clone(),
            methods: route.methods.clone(),
            rewrite: route.rewrite.clone(),
            upstream: Arc::clone(&upstreams[route.upstream.0]),
            charges,
            has_lasting,
            charge_on: route.charge_on,
            llm: is_llm.then(|| route.llm.clone()),
            shape: route.llm.usage.as_ref().filter(|_| is_llm).map(shape),
            plan: collector.plan(),
            grants,
            tracked,
            metrics: RouteMetrics::new(&route.name),
        })
    }

    pub(crate) fn grant(&self, tier: TierIndex) -> &Grant {
        &self.grants[tier.0]
    }

    pub(crate) fn is_metered(&self) -> bool {
        !self.charges.is_empty()
    }

    /// Whether an answer that says what is charged is read to its end for a client who left.
    pub(crate) fn reads_on(&self) -> bool {
        match (&self.llm, &self.plan) {
            (Some(options), _) => options.client_gone == ClientGone::Drain,
            (None, plan) => plan.as_ref().is_some_and(|plan| plan.reads_answer()),
        }
    }

    /// The first segment of `path` below the route's own.
    pub(crate) fn first_segment<'p>(&self, path: &'p str) -> Option<&'p str> {
        let below = path.strip_prefix(&*self.path)?.trim_start_matches('/');
        below.split('/').next().filter(|segment| !segment.is_empty())
    }

    fn matches(&self, host: &str, path: &str, method: &Method) -> bool {
        let below = path.strip_prefix(&*self.path);
        let path_matches = match below {
            Some(below) => self.path.ends_with('/') || below.is_empty() || below.starts_with('/'),
            None => false,
        };
        path_matches
            && self.host.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(host))
            && self.methods.as_ref().is_none_or(|methods| methods.contains(method))
    }

    /// Whether the upstream is asked for another path than the client asks for.
    pub(crate) fn rewrites(&self) -> bool {
        self.rewrite.is_some()
    }

    /// What the upstream sees of `path`, which this route matches.
    pub(crate) fn rewrite<'a>(&self, path: &'a str) -> (&str, &'a str) {
        match &self.rewrite {
            Some(rewrite) => (rewrite, path.get(self.path.len()..).unwrap_or_default()),
            None => ("", path),
        }
    }
}

/// Where the readers of answers find usage.
fn shape(usage: &UsagePointers) -> Shape {
    let UsagePointers { input, output, total, cached_read, cache_write, reasoning, model } = usage.clone();
    Pointers { input, output, total, cached_read, cache_write, reasoning, model }.shape()
}

impl RouteCharge {
    fn compile(
        route: &tollgate_config::Route,
        (index, plans, ids): (MeterIndex, &Plans, &MeterIds),
        collector: &mut Collector,
        before: &[Self],
    ) -> Self {
        let meter = &plans.meters[index.0];
        let configured = route.charges.iter().filter(|charge| charge.meter == index);
        let parts: Vec<Part> = configured.map(|charge| collector.part(charge)).collect();
        let made_of: Vec<(usize, Conversion)> = meter
            .parts
            .iter()
            .filter_map(|part| {
                let position = before.iter().position(|charge| charge.index == part.meter)?;
                Some((position, Conversion { ratio: part.ratio, ..Conversion::NONE }))
            })
            .collect();
        let is_of_model = parts.iter().any(|part| part.of_model().is_some())
            || made_of.iter().any(|(position, _)| before[*position].is_of_model);
        // What is not done does not change a level.
        let adds_up = meter.kind != MeterKind::Level;
        let add = |sum: i64, part: &Part| Some(sum.saturating_add(part.constant()?));
        Self {
            constant: adds_up.then(|| parts.iter().try_fold(0, add)).flatten(),
            id: ids.of(&meter.name),
            meter: meter.name.clone(),
            index,
            kind: meter.kind,
            is_shared: resources::is_shared(plans, index),
            first_part: before.last().map_or(0, |last| last.first_part + last.parts.len()),
            missing: parts
                .iter()
                .any(|part| part.may_be_missing() || part.has_id())
                .then(|| telemetry::amounts_missing(&route.name, &meter.name)),
            parts,
            made_of,
            is_of_model,
            models: meter.models.clone(),
            currency: meter.currency(),
            usage_header: HeaderName::try_from(format!("{USAGE_PREFIX}{}", meter.name)).ok(),
        }
    }

    /// What comes of the meters that it is made of, where a charge's position says how much that is of each.
    pub(crate) fn made_from(&self, amount: impl Fn(usize) -> i64) -> i64 {
        let made =
            self.made_of.iter().map(|(position, conversion)| conversion.apply_whole(amount(*position)));
        made.fold(0, i64::saturating_add)
    }

    /// Whether a part of its own is said by a model's answer.
    pub(crate) fn has_model_parts(&self) -> bool {
        self.parts.iter().any(|part| part.of_model().is_some())
    }

    /// Counts an amount that should have been said, and was not.
    pub(crate) fn missed(&self) {
        if let Some(missing) = &self.missing {
            missing.increment(1);
        }
    }

    /// Whether something has it by an id: a part of a level, or a job.
    pub(crate) fn has_resource(&self) -> bool {
        self.parts.iter().any(Part::has_id)
    }

    /// Whether it is a slot for as long as the request runs: then nothing is left to be charged.
    pub(crate) fn is_slot(&self) -> bool {
        self.kind == MeterKind::Concurrent
    }

    /// What is charged where `need` was held and nobody knows how the request ended.
    pub(crate) fn unanswered(&self, need: i64) -> i64 {
        // A slot ends with its request, or with the process; of what an id has, nobody could ever give it back.
        if self.is_slot() || self.has_resource() { 0 } else { need }
    }

    /// Whether it counts calls to `model`. One that is not known counts, so that it is never free.
    pub(crate) fn counts_model(&self, model: Option<&str>) -> bool {
        let is_meant = |model: &str| self.models.iter().any(|pattern| pattern.matches(model));
        self.models.is_empty() || model.is_none_or(is_meant)
    }

    /// An amount as people read it.
    pub(crate) fn shown(&self, amount: i64) -> String {
        match self.currency {
            Some(currency) => format!("{} {currency}", Nanos(amount)),
            None => amount.to_string(),
        }
    }
}

impl Grant {
    /// The limits of a route for who is on a tier, or has limits of their own: those of the charge at each position.
    pub(crate) fn compile<'l>(
        (route, tier): (&str, &str),
        charges: &[RouteCharge],
        limits_of: impl Fn(usize) -> &'l [Limit],
    ) -> Result<Self, CompileError> {
        let mut checks = Vec::new();
        let mut limits = Vec::new();
        let mut overdraws = Vec::new();
        let mut ways = Vec::new();
        let mut policies: Vec<String> = Vec::new();
        let mut maxima = Vec::new();
        for (index, charge) in charges.iter().enumerate() {
            let hard = limits_of(index).iter().filter(|limit| limit.is_hard());
            overdraws.push(hard.map(|limit| limit.overdraw).min());
            let parts = |limit: &'l Limit| limit.parts().enumerate().map(move |(part, of)| (limit, part, of));
            for (limit, part, (window, max)) in limits_of(index).iter().flat_map(parts) {
                let Max::AtMost(units) = max else { continue };
                checks.push(Check {
                    counter: CounterKey { meter: charge.id, window },
                    scope: limit.scope,
                    max,
                    hard: limit.is_hard(),
                    concurrent: charge.kind == MeterKind::Concurrent,
                    need: index,
                    on_store_failure: limit.on_store_failure,
                    overdraw: limit.overdraw,
                    grace: limit.grace,
                });
                // A user's and an organisation's limit may be on the same meter and window; so may what a burst leaves
                // of a limit in the next larger window.
                let sustained = if part > 0 { "-sustained" } else { "" };
                let shared = if limit.scope == Scope::Org { "-org" } else { "" };
                let policy = match charge.kind {
                    MeterKind::Count => format!("{}-{}{sustained}{shared}", charge.meter, limit.window),
                    MeterKind::Level | MeterKind::Concurrent => format!("{}{shared}", charge.meter),
                };
                let seconds = window.nominal_seconds().map(|w| format!(";w={w}")).unwrap_or_default();
                let quota = units.min(FIELD_INTEGER_MAX);
                policies.push(format!("\"{policy}\";q={quota}{seconds}"));
                limits.push(GrantLimit {
                    item: format!(", \"{policy}\";r=").into(),
                    policy: policy.into(),
                    charge: index,
                    max: HeaderValue::from(units),
                });
                maxima.push(units);
                ways.push(Way::new(limit, (window, units), charge));
            }
        }
        if checks.len() > CHECKS_MAX {
            let (route, tier, count) = (route.into(), tier.into(), checks.len());
            return Err(CompileError::TooManyLimits { route, tier, count });
        }
        let policy =
            (!policies.is_empty()).then(|| HeaderValue::from_str(&policies.join(", ")).ok()).flatten();
        let beyond = Beyond::new(ways, &checks);
        let lines = LineTexts::new(maxima.into_iter(), policy.as_ref());
        Ok(Self { checks, limits, overdraws, policy, lines, beyond })
    }
}
