//! What a ledger is asked of resources: what one has, and which there are.

use std::fmt;

use tollgate_core::UnixMillis;
use uuid::Uuid;

use super::{LedgerEvent, LoadError, Subject};
use crate::{METER_BYTES_MAX, Position, RESOURCE_BYTES_MAX, SUBJECT_BYTES_MAX, codec};

/// Asks what a resource has of some meters.
pub struct ResourceRequest {
    /// Whose it is.
    pub subject: Subject,
    /// Of which meters; how many is for the asker to bound.
    pub meters: Vec<String>,
    /// Its id.
    pub resource: String,
    /// The sums shall cover the journal up to here at least, as [`crate::Journal::tail`] gave it.
    pub reached: Position,
    /// Called exactly once, on the shipping thread or, when the request is turned away, at once. It must
    /// not wait for anything.
    pub reply: ResourceReply,
}

/// Takes the answer to a [`ResourceRequest`]: what it has of each meter, in their order.
pub type ResourceReply = Box<dyn FnOnce(Result<Vec<ResourceSum>, LoadError>) + Send>;

/// What a resource has of a meter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceSum {
    /// The sum of all its lines; beyond 64 bits it stays at the bound.
    pub amount: i64,
    /// Its first line since it last had nothing; none when it has nothing.
    pub first: Option<FirstLine>,
}

/// The line that a resource began with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstLine {
    /// Its id.
    pub id: Uuid,
    /// When the request was admitted.
    pub at: UnixMillis,
    /// The tier that it was charged on.
    pub tier: String,
    /// The route that it was charged on.
    pub route: String,
    /// More, as one JSON object.
    pub metadata: Option<String>,
}

/// Asks which resources have something of a meter, a page of them.
pub struct OpenResourcesRequest {
    /// Of which meter.
    pub meter: String,
    /// Whether organisations own what their users have: then one of them may have ended what another began, and what all
    /// of them together have is open.
    pub is_shared: bool,
    /// Only those whose id begins so; empty for all.
    pub prefix: String,
    /// Only those behind this one: [`OpenResources::next`] of the page before.
    pub after: Option<ResourcePlace>,
    /// They shall be those of the journal up to here at least, as [`crate::Journal::tail`] gave it.
    pub reached: Position,
    /// Called exactly once, on the shipping thread or, when the request is turned away, at once. It must
    /// not wait for anything.
    pub reply: OpenResourcesReply,
}

/// Takes the answer to an [`OpenResourcesRequest`].
pub type OpenResourcesReply = Box<dyn FnOnce(Result<OpenResources, LoadError>) + Send>;

/// A page of resources that have something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenResources {
    /// In the order of their ids, those of users and organisations apart.
    pub resources: Vec<OpenResource>,
    /// Behind which place the next page begins; none after the last one.
    pub next: Option<ResourcePlace>,
}

/// A resource that has something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenResource {
    /// Which.
    pub place: ResourcePlace,
    /// What this user's lines in this organisation have given it; more than zero.
    pub amount: i64,
    /// The first of these lines since it last had nothing.
    pub first: FirstLine,
}

/// A resource of a meter, by who changed it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourcePlace {
    /// Its id.
    pub resource: String,
    /// Whose lines.
    pub user_id: String,
    /// In which organisation; empty for none.
    pub org_id: String,
}

impl ResourceRequest {
    /// With all names as long as the ledger keeps them.
    pub(super) fn into_kept(self) -> Self {
        let kept = |text: String, bytes_max| codec::cut(&text, bytes_max).to_owned();
        let Self { subject, meters, resource, reached, reply } = self;
        let subject = match subject {
            Subject::User(id) => Subject::User(kept(id, SUBJECT_BYTES_MAX)),
            Subject::Org(id) => Subject::Org(kept(id, SUBJECT_BYTES_MAX)),
        };
        let meters = meters.into_iter().map(|meter| kept(meter, METER_BYTES_MAX)).collect();
        Self { subject, meters, resource: kept(resource, RESOURCE_BYTES_MAX), reached, reply }
    }
}

impl FirstLine {
    /// Of a line that was found; one that somebody took away by hand says only what its id says.
    pub(super) fn new(id: Uuid, line: Option<LedgerEvent>) -> Self {
        match line {
            Some(LedgerEvent { at, tier, route, metadata, .. }) => Self { id, at, tier, route, metadata },
            None => {
                let at = UnixMillis(i64::try_from(id.as_u128() >> 80).unwrap_or(i64::MAX));
                Self { id, at, tier: String::new(), route: String::new(), metadata: None }
            }
        }
    }
}

/// Rows that one page looks at: a few milliseconds, which batches and other questions wait for.
pub(super) const PAGE_ROWS: usize = 500;

impl fmt::Debug for ResourceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, meters, resource, reached, reply: _ } = self;
        f.debug_struct("ResourceRequest")
            .field("subject", subject)
            .field("meters", meters)
            .field("resource", resource)
            .field("reached", reached)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OpenResourcesRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { meter, is_shared, prefix, after, reached, reply: _ } = self;
        f.debug_struct("OpenResourcesRequest")
            .field("meter", meter)
            .field("is_shared", is_shared)
            .field("prefix", prefix)
            .field("after", after)
            .field("reached", reached)
            .finish_non_exhaustive()
    }
}
