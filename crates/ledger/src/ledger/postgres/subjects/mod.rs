//! The table of subjects in Postgres.

mod heard;
mod link;
mod rows;
mod table;
mod watch;

pub(crate) use self::{table::Table, watch::Watch};
