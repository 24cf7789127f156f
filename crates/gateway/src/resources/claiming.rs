//! From a request to the claim of its resource.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use http::HeaderValue;
use tokio::time::{sleep, timeout};

use super::{Kept, Owners, ResourceMeter, Unclaimed};
use crate::{amounts::Stated, identity::text, live::Route, shared::Shared};

/// Longest time that an answer's last byte waits for the resource that the answer names.
const LATE_CLAIM_MAX: Duration = Duration::from_secs(5);
/// When it is asked for again meanwhile, where it could not be told who has it.
const RETRY: Duration = Duration::from_millis(50);

/// Who a request's resource may belong to, for as long as is waited for it.
#[derive(Clone)]
pub(crate) struct Claimant {
    pub(crate) shared: Arc<Shared>,
    pub(crate) route: Arc<Route>,
    pub(crate) user: HeaderValue,
    pub(crate) org: Option<HeaderValue>,
}

/// The claim of a resource that only the answer names; none if it is not to be had in time.
pub(crate) type Claiming = Pin<Box<dyn Future<Output = Option<Kept>>>>;

impl Claimant {
    /// Claims the resource that the request changes, if it says which one. Cancel-safe: dropping the future gives it up.
    pub(crate) async fn claim(&self, stated: &Stated) -> Result<Option<Kept>, Unclaimed> {
        let mut ids = self.route.charges.iter().filter_map(|charge| stated.changed(charge));
        match ids.next() {
            Some(id) => self.keep(id).await.map(Some),
            None => Ok(None),
        }
    }

    /// Claims the resource that the answer names.
    pub(crate) fn claim_late(self, id: &str) -> Claiming {
        let id: Box<str> = id.into();
        let keeping = async move {
            loop {
                match self.keep(&id).await {
                    Ok(kept) => return kept,
                    Err(_) => sleep(RETRY).await,
                }
            }
        };
        Box::pin(async move { timeout(LATE_CLAIM_MAX, keeping).await.ok() })
    }

    /// Claims it if that needs no waiting: nobody waits any more.
    pub(crate) fn claim_now(&self, id: &str) -> Option<Kept> {
        Kept::claim_now(&self.shared, self.owners(), id, &self.meters())
    }

    async fn keep(&self, id: &str) -> Result<Kept, Unclaimed> {
        Kept::claim(&self.shared, self.owners(), id, &self.meters()).await
    }

    fn owners(&self) -> Owners<'_> {
        Owners { user: text(&self.user), org: self.org.as_ref().map(text) }
    }

    /// All meters of the route that something has by an id.
    fn meters(&self) -> Vec<ResourceMeter<'_>> {
        let charges = self.route.charges.iter().enumerate().filter(|(_, charge)| charge.has_resource());
        let meter = charges.map(|(position, charge)| ResourceMeter {
            position,
            id: charge.id,
            name: &charge.meter,
            is_shared: charge.is_shared,
        });
        meter.collect()
    }
}
