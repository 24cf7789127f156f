//! One configuration, compiled for the request path.
//!
//! A request takes one [`Live`] at its start and keeps it to its end, so a reload never shows half of a
//! file to anyone (promise 6).

use std::{net::IpAddr, ops::Deref, sync::Arc};

use http::{HeaderName, HeaderValue, Method};
use tollgate_config::{
    Amount, ChargeOn, ClientGone, Config, CounterStore, Enforcement, Gateway, LlmMeasure, LlmOptions,
    Measure, UsagePointers,
};
use tollgate_core::{Currency, Limit, Max, MeterKind, ModelPattern, Nanos, Plans, Scope, Tier, TierIndex};
use tollgate_quota::{CHECKS_MAX, Check, CounterKey, Kinds, MeterId, Mode, Tracked};
use tollgate_usage::{Pointers, Shape};

use crate::{
    api::Served,
    beyond::{Beyond, Way},
    kinds,
    meters::MeterIds,
    names::{Names, USAGE_PREFIX},
    ratelimit::FIELD_INTEGER_MAX,
    resources::{self, Planned},
    signature::Signer,
    telemetry::{RouteMetrics, TierMetrics},
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
}

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
    pub(crate) charge_on: ChargeOn,
    /// How calls to models are treated, where some charge depends on them.
    pub(crate) llm: Option<LlmOptions>,
    /// Where answers say what was used, if the route says so.
    pub(crate) shape: Option<Shape>,
    /// What is held of each charge's meter, in the order of `charges`, where the request itself does not
    /// say more.
    pub(crate) needs: Vec<i64>,
    /// What its requests do to resources, if any do.
    pub(crate) planned: Option<Planned>,
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
    pub(crate) kind: MeterKind,
    /// Whether organisations own what their users have of it, as some limit is theirs.
    pub(crate) is_shared: bool,
    pub(crate) amount: Amount,
    /// Of which models it counts calls; empty for all.
    pub(crate) models: Vec<ModelPattern>,
    /// Of what money it counts billionths.
    currency: Option<Currency>,
    /// What the upstream reports its use in.
    pub(crate) usage_header: Option<HeaderName>,
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
    /// What use beyond the limits does, where some do more than refuse.
    pub(crate) beyond: Option<Box<Beyond>>,
}

/// What answers say about a limit.
#[derive(Debug)]
pub(crate) struct GrantLimit {
    /// As in `RateLimit-Policy`: `api_calls-minute`; with `-org` for what an organisation shares.
    pub(crate) policy: Box<str>,
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
        Ok(Self { names, routes, upstreams, api, tiers, signer, mode, counted, config })
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
        let charges: Vec<RouteCharge> = route
            .charges
            .iter()
            .map(|charge| {
                let meter = &plans.meters[charge.meter.0];
                RouteCharge {
                    id: ids.of(&meter.name),
                    meter: meter.name.clone(),
                    kind: meter.kind,
                    is_shared: resources::is_shared(plans, charge.meter),
                    amount: charge.amount.clone(),
                    models: meter.models.clone(),
                    currency: meter.currency(),
                    usage_header: HeaderName::try_from(format!("{USAGE_PREFIX}{}", meter.name)).ok(),
                }
            })
            .collect();
        let needs = charges.iter().map(|charge| charge.flat_need()).collect();
        let is_llm = charges.iter().any(|charge| charge.is_of_model() || !charge.models.is_empty());
        let is_charged = |tracked: &&Tracked| charges.iter().any(|charge| charge.id == tracked.meter);
        let tracked = counted.iter().filter(is_charged).cloned().collect();
        let grants = plans
            .tiers
            .iter()
            .map(|tier| {
                let limits_of = |charge: usize| tier.limits_of(route.charges[charge].meter);
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
            charge_on: route.charge_on,
            llm: is_llm.then(|| route.llm.clone()),
            shape: route.llm.usage.as_ref().filter(|_| is_llm).map(shape),
            needs,
            planned: Planned::of(&route.charges, |meter| {
                route.charges.iter().position(|charge| charge.meter == meter)
            }),
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

    /// Whether a model's answer is read to its end for a client who left.
    pub(crate) fn reads_on(&self) -> bool {
        self.llm.as_ref().is_some_and(|options| options.client_gone == ClientGone::Drain)
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

    /// What of `path`, which this route matches, lies below the route's own.
    pub(crate) fn below<'a>(&self, path: &'a str) -> &'a str {
        path.get(self.path.len()..).unwrap_or_default()
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
    /// Where its amount comes from, if it is measured.
    pub(crate) fn measure(&self) -> Option<&Measure> {
        match &self.amount {
            Amount::Constant(_) => None,
            Amount::Measured(measured) => Some(&measured.source),
        }
    }

    /// What of a model's answer it counts.
    pub(crate) fn llm_measure(&self) -> Option<LlmMeasure> {
        match self.measure() {
            Some(Measure::Llm(measure)) => Some(*measure),
            _ => None,
        }
    }

    /// Whether a model's answer says how much is charged.
    pub(crate) fn is_of_model(&self) -> bool {
        self.llm_measure().is_some()
    }

    /// Whether it is a slot for as long as the request runs: then nothing is left to be charged.
    pub(crate) fn is_slot(&self) -> bool {
        self.kind == MeterKind::Concurrent
    }

    /// What is charged where `need` was held and nobody knows how the request ended.
    pub(crate) fn unanswered(&self, need: i64) -> i64 {
        // A slot ends with its request, or with the process.
        if self.is_slot() { 0 } else { need }
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

    /// What is held where the request says nothing about itself.
    fn flat_need(&self) -> i64 {
        match &self.amount {
            Amount::Constant(amount) => *amount,
            Amount::Measured(measured) => measured.hold,
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
                    policy: policy.into(),
                    charge: index,
                    max: HeaderValue::from(units),
                });
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
        Ok(Self { checks, limits, overdraws, policy, beyond })
    }
}
