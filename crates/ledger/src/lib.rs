//! The durable room: the journal on disk, the ledger it ships to (SQLite or Postgres), and the audit of both.
//!
//! A request opens in the journal before it is forwarded and settles there before its answer ends.
//! One thread ships the journal's settlements to the ledger; `audit` proves that the two agree. Beside them
//! lies the table of subjects, which is looked up and edited here.

mod audit;
mod codec;
mod journal;
mod ledger;
mod subjects;

pub use audit::{AuditError, AuditReport, Difference, InFlight, Sum, audit};
pub use codec::{
    METADATA_BYTES_MAX, METER_BYTES_MAX, METHOD_BYTES_MAX, NAME_BYTES_MAX, REQUEST_ID_BYTES_MAX,
    RESOURCE_BYTES_MAX, SUBJECT_BYTES_MAX,
};
pub use journal::{
    Durability, Journal, JournalOpenError, JournalOptions, JournalStatus, OpenError, OpenRequest, Outcome,
    Position, Recovered, Reserved, SyncFailed, Unanswered,
};
pub use ledger::{
    BeginIdempotent, BeginReply, Begun, EventFilter, FinishIdempotent, FinishReply, FirstLine, FlushReply,
    IDEMPOTENCY_KEY_BYTES_MAX, IDEMPOTENT_ANSWER_BYTES_MAX, InstancesReply, Ledger, LedgerError, LedgerEvent,
    LedgerOptions, LedgerReader, LoadError, LoadReply, LoadRequest, Loaded, Migrated, OpenResource,
    OpenResources, OpenResourcesReply, OpenResourcesRequest, PostgresError, PostgresHost, PostgresOptions,
    PostgresTls, ResourcePlace, ResourceReply, ResourceRequest, ResourceSum, Status, Subject, Unshipped,
    migrate,
};
pub use subjects::{
    Directory, Lookup, LookupReply, SubjectChange, SubjectObserver, SubjectRow, SubjectTable,
};
