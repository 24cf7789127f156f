//! What the shared store's thread asks of the process's journal and ledger.

use tollgate_core::{Scope, Span, UnixMillis};

use crate::{Mark, MeterId};

/// Takes an answer, once; none when there is none to be had.
pub type Reply<T> = Box<dyn FnOnce(Option<T>) + Send>;

/// What the ledger has of a subject, all as of one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerSums {
    /// In the order asked for.
    pub sums: Vec<i64>,
    /// Up to where each journal is in them.
    pub watermarks: Vec<(String, Mark)>,
}

/// The process's journal and ledger, and its clock. Nothing here may block.
pub trait Source: Send + Sync {
    /// Names this instance: its journal's id, in letters and digits.
    fn instance(&self) -> String;

    /// This machine's wall clock.
    fn now(&self) -> UnixMillis;

    /// Behind the last settlement in the journal.
    fn tail(&self) -> Mark;

    /// Replies when the ledger has all that is in the journal now.
    fn flush(&self, reply: Reply<()>);

    /// What a subject has used of each meter in each span.
    fn sums(&self, subject: (Scope, &str), sums: Vec<(MeterId, Span)>, reply: Reply<LedgerSums>);

    /// The instances that are alive, as far as the ledger's database knows.
    fn instances(&self, reply: Reply<Vec<String>>);

    /// A meter's name.
    fn meter(&self, id: MeterId) -> Option<Box<str>>;
}
