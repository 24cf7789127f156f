//! What the API serves, compiled with the rest of the configuration.

use std::{sync::Arc, time::Duration};

use tollgate_config::{
    Amount, ChargeOn, Conditions, Config, LlmOptions, RouteCharge, UpstreamIndex, Writers,
};
use tollgate_core::{MeterIndex, MeterKind};
use tollgate_quota::{MeterId, Tracked};

use super::tokens::Tokens;
use crate::{
    live::{CompileError, Route},
    meters::MeterIds,
    upstream::Upstream,
};

/// The name of the API where others have that of a route: in the ledger and in metrics.
pub(super) const ROUTE: &str = "usage_api";

/// The API of one configuration.
pub(crate) struct Served {
    /// Normal path with a final `/`.
    pub(crate) path: Box<str>,
    pub(super) late_max: Duration,
    pub(super) holds_max: Duration,
    pub(super) writers: Writers,
    pub(super) tokens: Tokens,
    /// By [`MeterIndex`].
    pub(super) meters: Vec<ServedMeter>,
}

/// A meter that is reported and asked about.
pub(super) struct ServedMeter {
    pub(super) index: MeterIndex,
    /// Charges this meter and nothing else; serves nothing.
    pub(super) route: Arc<Route>,
}

impl Served {
    /// None if it is not to be served.
    pub(crate) fn compile(
        config: &Config,
        upstreams: &[Arc<Upstream>],
        counted: (&MeterIds, &[Tracked]),
    ) -> Result<Option<Self>, CompileError> {
        let api = &config.gateway.api;
        if !api.enabled {
            return Ok(None);
        }
        let meter = |index| {
            let route = tollgate_config::Route {
                name: ROUTE.into(),
                host: None,
                path: api.path.clone(),
                methods: None,
                rewrite: None,
                upstream: UpstreamIndex(0),
                charges: vec![charge(MeterIndex(index))],
                charge_on: ChargeOn::default(),
                llm: LlmOptions::default(),
            };
            let route = Arc::new(Route::compile(&route, &config.plans, upstreams, counted)?);
            Ok(ServedMeter { index: MeterIndex(index), route })
        };
        let meters = (0..config.plans.meters.len()).map(meter).collect::<Result<_, CompileError>>()?;
        Ok(Some(Self {
            path: api.path.clone(),
            late_max: api.late_max,
            holds_max: api.holds_max,
            writers: api.writers,
            tokens: Tokens::read(&api.service_tokens_env)?,
            meters,
        }))
    }

    pub(super) fn meter(&self, index: MeterIndex) -> Option<&ServedMeter> {
        self.meters.get(index.0)
    }
}

fn charge(meter: MeterIndex) -> RouteCharge {
    let (only_if, unless) = (Conditions::default(), None);
    RouteCharge { meter, amount: Amount::Constant(1), only_if, unless, resource: None, job: None }
}

impl ServedMeter {
    pub(super) fn id(&self) -> Option<MeterId> {
        self.route.charges.first().map(|charge| charge.id)
    }

    pub(super) fn name(&self) -> &str {
        self.route.charges.first().map_or("", |charge| &charge.meter)
    }

    pub(super) fn is_concurrent(&self) -> bool {
        self.route.charges.first().is_some_and(|charge| charge.kind == MeterKind::Concurrent)
    }

    /// All that is counted of it, where counters are shared.
    pub(super) fn tracked(&self) -> impl Iterator<Item = &Tracked> {
        self.route.tracked.iter().filter(|tracked| Some(tracked.meter) == self.id())
    }
}
