//! Calls to models: what is held for them, how their answers are read, and what they used.

mod answer;
mod call;
mod call_used;
mod gone;
mod growth;
mod learned;
mod look;
mod realtime;
mod used;

pub(crate) use answer::{Answer, join};
pub(crate) use call::{Call, READ_HERE_BYTES_MAX};
pub(crate) use call_used::CallUsed;
pub(crate) use gone::{Awaited, Place, Waiting, read_on};
pub(crate) use growth::{Growth, Question, Written, grow};
pub(crate) use learned::Learned;
pub(crate) use look::{LookBounds, Looked, WAITING_BYTES_MAX, look};
pub(crate) use realtime::{Conversation, Owed, Parties, Tapped};
pub(crate) use used::{Extent, Used, metadata};
