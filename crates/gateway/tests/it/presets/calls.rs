//! Who calls a preset, and what is said to it.

use jiff::Timestamp;
use serde_json::{Value, json};
use tollgate_testkit::{BOUND, Response, Wire};

use super::preset::Preset;
use crate::scene::head;

/// Of a service that reports; 24 characters or more.
pub(super) const TOKEN: &str = "presets-service-token-of-a-test";

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who<'a> {
    pub(super) user: &'a str,
    pub(super) org: Option<&'a str>,
    pub(super) tier: Option<&'a str>,
}

impl<'a> Who<'a> {
    /// A user, and the tier that the trusted peer says.
    pub(super) fn on(user: &'a str, tier: &'a str) -> Self {
        Self { user, org: None, tier: Some(tier) }
    }

    /// A user of an organisation, and the tier that the trusted peer says.
    pub(super) fn of(user: &'a str, org: &'a str, tier: &'a str) -> Self {
        Self { user, org: Some(org), tier: Some(tier) }
    }

    fn headers(self) -> Vec<(&'a str, &'a str)> {
        let org = self.org.map(|org| ("X-Org-Id", org));
        let tier = self.tier.map(|tier| ("X-User-Tier", tier));
        [Some(("X-User-Id", self.user)), org, tier].into_iter().flatten().collect()
    }
}

impl Preset {
    /// Sends a request with these headers beside who calls; its answer.
    pub(super) fn send(&self, who: Who<'_>, line: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let (method, target) = line.split_once(' ').expect("a method and a path");
        let headers: Vec<_> = who.headers().into_iter().chain(headers.iter().copied()).collect();
        self.say(method, target, &headers, body)
    }

    /// As [`Self::send`], with JSON and without other headers.
    pub(super) fn call(&self, who: Who<'_>, line: &str, body: &Value) -> Response {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(who, line, &[("Content-Type", "application/json")], &body)
    }

    /// What a service says to the usage API.
    pub(super) fn serve(&self, line: &str, headers: &[(&str, &str)], body: &Value) -> Response {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let token = format!("Bearer {TOKEN}");
        let mut all = vec![("Authorization", &*token), ("Content-Type", "application/json")];
        all.extend(headers);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.say(method, &format!("/api/v1/usage/{path}"), &all, &body)
    }

    /// Reports what `who` has used, now or at some earlier instant.
    pub(super) fn report(&self, who: Who<'_>, meter: &str, amount: i64, at: Option<Timestamp>) {
        let mut event = json!({ "user_id": who.user, "meter": meter, "amount": amount });
        if let Some(org) = who.org {
            event["org_id"] = json!(org);
        }
        if let Some(tier) = who.tier {
            event["tier"] = json!(tier);
        }
        if let Some(at) = at {
            event["at"] = json!(at.to_string());
        }
        let answer = self.serve("POST track", &[], &event);
        assert_eq!(answer.status, 200, "{event}: {answer:?}");
    }

    fn say(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut wire = Wire::connect(self.gateway.address());
        wire.send(head(method, target, headers, Some(body.len())) + body);
        wire.response(method == "HEAD", BOUND * 4).expect("an answer")
    }
}
