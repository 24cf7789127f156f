//! The table `subjects`: the tier, organisation, time zone and billing anchor of users and organisations.
//!
//! A [`Directory`] answers what is in a row and tells of rows that change, whoever changes them; a
//! [`SubjectTable`] edits them.
//!
//! Contract of a directory
//! - A [`Lookup`] is answered exactly once, with the row as it was at some moment after it was asked, or
//!   with an error at once while the store is away.
//! - Every change is told after it can be read: a lookup that is asked after the observer was told has it.
//! - A change that may have been missed is told as [`SubjectChange::Any`].

mod directory;
mod queue;
mod table;

use tollgate_core::UnixMillis;

pub(crate) use self::queue::Queue;
pub use self::{
    directory::Directory,
    queue::{Lookup, LookupReply},
    table::SubjectTable,
};
use crate::Subject;

/// One row, as it is written: nothing of it is checked against tiers or time zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectRow {
    /// Name of the tier.
    pub tier: Option<String>,
    /// A user's organisation.
    pub org_id: Option<String>,
    /// Name in the IANA time zone database.
    pub time_zone: Option<String>,
    /// Billing months and `Ndays` are counted from the date it falls on.
    pub billing_anchor: Option<UnixMillis>,
    /// A JSON object.
    pub overrides: Option<String>,
    /// When it was written.
    pub updated_at: UnixMillis,
}

/// What a directory tells of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectChange {
    /// This row was written or removed.
    Row(Subject),
    /// Any row may have been.
    Any,
    /// The table was looked at just now. Comes after the changes that were seen then.
    Seen {
        /// Whether it has no row at all.
        empty: bool,
    },
}

/// Is told of changes, on the directory's thread; must not wait for anything.
pub type SubjectObserver = Box<dyn FnMut(SubjectChange) + Send>;

impl SubjectRow {
    /// A row that says nothing.
    #[must_use]
    pub fn empty(updated_at: UnixMillis) -> Self {
        let (tier, org_id, time_zone) = (None, None, None);
        Self { tier, org_id, time_zone, billing_anchor: None, overrides: None, updated_at }
    }
}

impl Subject {
    /// The columns `scope` and `id`.
    pub(crate) fn columns(&self) -> (&'static str, &str) {
        match self {
            Self::User(id) => ("user", id),
            Self::Org(id) => ("org", id),
        }
    }

    /// Of the columns `scope` and `id`; none for a scope that does not exist.
    pub(crate) fn from_columns(scope: &str, id: String) -> Option<Self> {
        match scope {
            "user" => Some(Self::User(id)),
            "org" => Some(Self::Org(id)),
            _ => None,
        }
    }
}
