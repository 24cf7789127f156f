//! One cell of a table of limits: the last that is admitted, the first that is refused.

use jiff::Timestamp;
use serde_json::{Value, json};
use tollgate_testkit::Response;

use super::{calls::Who, preset::Preset};
use crate::scene::{assert_refusal, number};

/// One limit of a table, whose last unit is used and nothing after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit<'a> {
    pub(super) meter: &'a str,
    pub(super) window: &'a str,
    pub(super) limit: i64,
}

impl Preset {
    /// Fails unless the next request of `who` is the last that `limit` admits and the one after is refused with all that
    /// a refusal says; the refusal.
    pub(super) fn last_and_first(
        &self,
        who: Who<'_>,
        limit: Limit<'_>,
        mut send: impl FnMut() -> Response,
    ) -> Value {
        let last = send();
        assert!((200..300).contains(&last.status), "the last that {limit:?} admits: {last:?}");
        self.refused(who, limit, send())
    }

    /// Fails unless `answer` is the refusal of a limit that is used up; the refusal.
    pub(super) fn refused(&self, who: Who<'_>, limit: Limit<'_>, answer: Response) -> Value {
        let Limit { meter, window, limit } = limit;
        let code = match window {
            "minute" | "hour" => "rate_limited",
            _ => "quota_exceeded",
        };
        let refusal = assert_refusal(&answer, 429, code);
        let tier = who.tier.unwrap_or("");
        assert_eq!(refusal["meter"], json!(meter), "{refusal}");
        assert!(tier.is_empty() || refusal["tier"] == json!(tier), "{refusal}");
        assert_eq!(refusal["window"], json!(window), "{refusal}");
        assert_eq!(refusal["used"], json!(limit), "{refusal}");
        assert_eq!(refusal["limit"], json!(limit), "{refusal}");
        assert_eq!(refusal["remaining"], json!(0), "{refusal}");
        assert!(refusal["upgrade_url"].as_str().is_some_and(|url| url.starts_with("https://")), "{refusal}");
        if window == "lifetime" {
            assert_eq!((&refusal["reset_at"], &refusal["retry_after"]), (&Value::Null, &Value::Null));
        } else {
            let reset: Timestamp = refusal["reset_at"].as_str().unwrap().parse().unwrap();
            assert!(reset > Timestamp::now(), "{refusal}");
            assert!(refusal["retry_after"].as_u64().is_some_and(|seconds| seconds > 0), "{refusal}");
            assert_eq!(number(&answer, "x-ratelimit-reset"), reset.as_second(), "{answer:?}");
        }
        assert_eq!(number(&answer, "x-ratelimit-limit"), limit, "{answer:?}");
        assert_eq!(number(&answer, "x-ratelimit-remaining"), 0, "{answer:?}");
        refusal
    }
}
