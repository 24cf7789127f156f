//! Quota decisions: counters in the process or shared through Redis, all-or-nothing admission, holds.
//!
//! A [`Counters`] keeps, for each subject that was seen lately, what is settled and held of each meter
//! in each window that some limit counts. It is a cache of the ledger: whatever is not here is loaded
//! from there ([`LoadTicket`]), so a restart, an eviction, a new limit or a clock that steps back change
//! nothing about what a subject has used.
//!
//! One request goes `admit` → [`Hold`] → [`Hold::settle`]. `admit` looks at every limit of the request
//! under the locks of its subjects and takes from all of them or from none (promises 1, 2 and 5). The
//! locks are held for a few dozen loads and stores, never across I/O or an await. A request that outgrows
//! its hold takes more while it runs, again of all or of none ([`Hold::extend`]).
//!
//! With a shared store ([`Counters::leased`], [`Remote`]) each counter has a lease instead: what of the
//! limit this instance may spend without asking. `admit` then answers [`Admission::NotLeased`] where the
//! lease is too small: ask ([`Parties::begin_ask`]), wait ([`Parties::poll_asked`]), decide again.

mod admission;
mod ask;
mod counter;
mod counters;
mod extension;
mod gate;
mod hold;
mod lease;
mod load;
mod peek;
mod record;
mod remote;
mod room;
mod slots;
mod subject;

pub use admission::{
    Admission, CHECKS_MAX, Check, Mode, Parties, Refusal, Standing, Standings, Terms, Warnings,
};
pub use ask::{Asked, Tracked};
pub use counter::{CounterKey, Mark, MeterId};
pub use counters::{CounterReading, Counters, SubjectKey, TooManySubjects};
pub use extension::Extension;
pub use gate::Gate;
pub(crate) use gate::Member;
pub use hold::{Before, Hold};
pub use load::{LoadFailed, LoadSpan, LoadTicket};
pub use peek::Peek;
pub use remote::{
    ClaimName, ClaimReply, Claimed, Kind, Kinds, LedgerSums, RedisAddress, RedisError, Remote, RemoteOptions,
    RemoteStatus, Replay, Reply, Source, SurveyedCounter, survey,
};
pub use slots::{Freed, UntilFreed};
pub use subject::Subject;
