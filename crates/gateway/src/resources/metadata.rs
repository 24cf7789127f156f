//! What lines say of jobs.

use jiff::Timestamp;
use serde::Deserialize;
use tollgate_core::UnixMillis;

/// What a request did to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobLine {
    /// It began, and ends by itself then.
    Started { expires_at: UnixMillis },
    /// Its state was asked for, and it had ended.
    Finished,
}

impl JobLine {
    /// `base`, one JSON object if there is one, with what is said of the job.
    pub(crate) fn added_to(self, base: Option<&str>) -> String {
        let own = self.metadata();
        match base.and_then(|base| base.trim_end().strip_suffix('}')) {
            Some(base) if !base.trim_end().ends_with('{') => {
                format!("{base},{}", own.trim_start_matches('{'))
            }
            Some(_) | None => own,
        }
    }

    /// As one JSON object.
    fn metadata(self) -> String {
        match self {
            Self::Started { expires_at } => match Timestamp::from_millisecond(expires_at.0) {
                Ok(at) => format!(r#"{{"job":"started","expires_at":"{at}"}}"#),
                // Beyond the year 9999: never.
                Err(_) => r#"{"job":"started"}"#.to_owned(),
            },
            Self::Finished => r#"{"job":"finished"}"#.to_owned(),
        }
    }
}

#[derive(Deserialize)]
struct Expiring {
    expires_at: String,
}

/// When what the line with this metadata began ends by itself, if it does.
pub(super) fn expires_at(metadata: &str) -> Option<UnixMillis> {
    let Expiring { expires_at } = serde_json::from_str(metadata).ok()?;
    let expires_at: Timestamp = expires_at.parse().ok()?;
    Some(UnixMillis(expires_at.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_job_is_added() {
        let line = |base| JobLine::Finished.added_to(base);
        for (base, expected) in [
            (None, r#"{"job":"finished"}"#),
            (Some("{}"), r#"{"job":"finished"}"#),
            (Some(r#"{"end":"upstream_cut"}"#), r#"{"end":"upstream_cut","job":"finished"}"#),
            (Some(r#"{"a":{"b":1}}"#), r#"{"a":{"b":1},"job":"finished"}"#),
        ] {
            assert_eq!(line(base), expected);
        }
    }

    #[test]
    fn the_end_is_read_back() {
        for millis in [0, 1_795_000_000_123, 1_795_000_000_000, -1] {
            let line = JobLine::Started { expires_at: UnixMillis(millis) }.metadata();
            assert_eq!(expires_at(&line), Some(UnixMillis(millis)), "{line}");
        }
        let beyond = JobLine::Started { expires_at: UnixMillis::MAX }.metadata();
        for never in [&*beyond, &JobLine::Finished.metadata(), "", "{", r#"{"expires_at":3}"#, "[]"] {
            assert_eq!(expires_at(never), None, "{never}");
        }
    }
}
