//! `resource` and `job` of a charge: what a level or a slot is for, by its id.

use std::{fmt, ops::RangeInclusive, time::Duration};

use super::{Condition, Conditions, Place};
use crate::{item::Item, report::Flaw};

const EXAMPLE: &str = "\"response.json:/id\" or \"path\"";
const JOB_EXAMPLE: &str = "{ id = \"response.json:/job_id\", time_limit = \"2h\" }";

/// Shorter ones end before their answers; longer ones than a month are not forgotten, but kept.
const TIME_LIMIT_BOUNDS: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(31 * 24 * 3600);

/// Where the id of a resource stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdPlace {
    /// `"path"`: the first segment below the route's path.
    Path,
    /// In a header or a body.
    At(Place),
}

/// A job, which goes on when its request has been answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// The request starts it: it keeps its slot until it ends, or for at most so long.
    Start {
        /// Where its id stands.
        id: IdPlace,
        /// After which it is ended.
        time_limit: Duration,
    },
    /// The request asks for its state, and takes no slot.
    Status {
        /// Where its id stands.
        id: IdPlace,
        /// What is true when it has ended.
        ended: Conditions,
    },
}

impl IdPlace {
    pub(super) fn read(item: &Item<'_>) -> Option<Self> {
        item.parsed(EXAMPLE, |text| match text {
            "path" => Ok(Self::Path),
            text => Place::need(text).and_then(Place::single).map(Self::At),
        })
    }

    /// Where it stands, unless in the path.
    #[must_use]
    pub const fn place(&self) -> Option<&Place> {
        match self {
            Self::At(place) => Some(place),
            Self::Path => None,
        }
    }
}

/// As it is written in a file.
impl fmt::Display for IdPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => f.write_str("\"path\""),
            Self::At(place) => write!(f, "\"{place}\""),
        }
    }
}

impl Job {
    /// Where its id stands.
    #[must_use]
    pub const fn id(&self) -> &IdPlace {
        match self {
            Self::Start { id, .. } | Self::Status { id, .. } => id,
        }
    }

    pub(super) fn read(item: &Item<'_>) -> Option<Self> {
        let job = item.table(JOB_EXAMPLE, |section| {
            let id = section.need("id", "id = \"response.json:/job_id\"").and_then(|item| IdPlace::read(&item));
            let (limit, ended) = (section.get("time_limit"), section.get("ended"));
            match (limit, ended) {
                (Some(limit), None) => {
                    let time_limit = limit.duration(TIME_LIMIT_BOUNDS);
                    Some(Self::Start { id: id?, time_limit: time_limit? })
                }
                (None, Some(ended)) => {
                    let item = ended;
                    let ended = Conditions::read(&item);
                    let is_of_request = |ended: &Conditions| ended.0.iter().any(Condition::is_of_request);
                    if ended.as_ref().is_some_and(is_of_request) {
                        let message = "whether a job has ended is said by an answer";
                        item.wrong(Flaw::new(message, "write status, or a place of the answer"));
                    }
                    Some(Self::Status { id: id?, ended: ended? })
                }
                (Some(_), Some(ended)) => {
                    let message = "a request starts a job, or asks for its state";
                    ended.wrong_key(Flaw::new(message, "leave time_limit where it starts, and ended where it is asked for"));
                    None
                }
                (None, None) => {
                    let message = "neither how long the job may last, nor when it has ended";
                    let suggestion = "add time_limit = \"2h\" where it starts, or ended = { \"response.json:/status\" = [\"done\"] } where its state is asked for";
                    item.wrong(Flaw::new(message, suggestion));
                    None
                }
            }
        });
        job.flatten()
    }
}
