//! What an audit can find.

use std::path::PathBuf;

use tollgate_core::{EventId, RequestKey};

/// Something that does not agree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// A place in the journal that is no record, or none that this program can read.
    #[error("{} is damaged at offset {offset}: {reason}", path.display())]
    Damage {
        /// The segment.
        path: PathBuf,
        /// Where, in bytes from its start.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A slot of the in-flight table that cannot be read.
    #[error("a slot of the in-flight table is damaged: {reason}")]
    Slot {
        /// What is wrong.
        reason: String,
    },
    /// A settlement before the watermark that the ledger does not have.
    #[error("event {id} was shipped, but the ledger does not have it (journal position {position})")]
    Missing {
        /// The event.
        id: EventId,
        /// Where the journal has it.
        position: u64,
    },
    /// A line of the ledger that is not what was settled.
    #[error("event {id}: {column} is {ledger} in the ledger, {journal} in the journal (position {position})")]
    Column {
        /// The event.
        id: EventId,
        /// The column.
        column: &'static str,
        /// What the ledger has.
        ledger: String,
        /// What the journal has.
        journal: String,
        /// Where the journal has it.
        position: u64,
    },
    /// A request that the journal settles twice, in two ways.
    #[error("request {key} is settled twice in the journal, differently: at positions {first} and {second}")]
    Twice {
        /// The request.
        key: RequestKey,
        /// Where.
        first: u64,
        /// And where.
        second: u64,
    },
    /// A sum that is not the sum of its lines.
    #[error(
        "{table}: user {user_id:?}, meter {meter:?}, start {start}, organisation {org_id:?}, route {route:?}: \
         {rollup}, but the lines are {lines}"
    )]
    Rollup {
        /// The table.
        table: &'static str,
        /// Key.
        user_id: String,
        /// Key.
        meter: String,
        /// Key, in milliseconds since the epoch.
        start: i64,
        /// Key; empty for none.
        org_id: String,
        /// Key.
        route: String,
        /// What the table says.
        rollup: Sum,
        /// What the lines say.
        lines: Sum,
    },
    /// What a resource has is not the sum of its lines.
    #[error(
        "usage_resources: meter {meter:?}, resource {resource:?}, user {user_id:?}, organisation {org_id:?}: \
         {kept}, but the lines are {lines}"
    )]
    Resource {
        /// Key.
        meter: String,
        /// Key.
        resource: String,
        /// Key.
        user_id: String,
        /// Key; empty for none.
        org_id: String,
        /// What the table says; 0 when it says nothing.
        kept: i64,
        /// What the lines say.
        lines: i64,
    },
    /// A watermark that can not be.
    #[error("the ledger's watermark of this journal is {watermark}, {reason}")]
    Watermark {
        /// In bytes.
        watermark: u64,
        /// Why not.
        reason: String,
    },
}

/// What a number of lines sum up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Of their amounts.
    pub amount: i64,
    /// How many lines; 0 stands for no row as well.
    pub events: i64,
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { amount, events } = self;
        write!(f, "{amount} in {events} events")
    }
}
