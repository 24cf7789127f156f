//! `--override`: limits of a subject's own, typed one by one and put into the row's JSON.

use serde_json::{Map, Value, json};
use tollgate_config::CounterStore;
use tollgate_core::Scope;

use crate::subjects::own;

/// What was typed.
pub(super) struct Edits {
    /// Of each meter its limits, or nothing for the tier's.
    edits: Vec<(String, Option<Value>)>,
}

impl Edits {
    /// None when nothing was typed; mistakes of form are told at once, those of content when the row is known.
    pub(super) fn read(typed: &[String], until: Option<&str>, mistakes: &mut Vec<String>) -> Option<Self> {
        if typed.is_empty() {
            if until.is_some() {
                mistakes.push("--override-until: give --override METER=LIMIT with it".to_owned());
            }
            return None;
        }
        let mut edits: Vec<(String, Option<Value>)> = Vec::new();
        for typed in typed {
            let Some((meter, limits)) = typed.split_once('=') else {
                mistakes
                    .push(format!("--override: {typed:?} has no limit; write it as in llm_tokens=5000/day"));
                continue;
            };
            let (meter, limits) = (meter.trim().to_owned(), limits.trim());
            if edits.iter().any(|(known, _)| *known == meter) {
                mistakes
                    .push(format!("--override: {meter} stands there twice; write {meter}=10/minute,100/day"));
            }
            let limits = (!limits.is_empty()).then(|| {
                let mut limits: Vec<Value> = limits.split(',').map(|limit| json!(limit.trim())).collect();
                let limit = if limits.len() == 1 { limits.remove(0) } else { Value::Array(limits) };
                match until {
                    Some(until) => json!({ "limit": limit, "until": until }),
                    None => limit,
                }
            });
            edits.push((meter, limits));
        }
        Some(Self { edits })
    }

    /// Applies them to what the row has.
    pub(super) fn apply(&self, row: Option<&str>) -> Option<String> {
        let known = row.and_then(|row| serde_json::from_str::<Map<String, Value>>(row).ok());
        let mut object = known.unwrap_or_default();
        for (meter, limits) in &self.edits {
            match limits {
                Some(limits) => object.insert(meter.clone(), limits.clone()),
                None => object.remove(meter),
            };
        }
        (!object.is_empty()).then(|| Value::Object(object).to_string())
    }

    /// Records what makes no sense of what was typed.
    pub(super) fn check(&self, meaning: Meaning<'_>, mistakes: &mut Vec<String>) {
        if let Some(json) = self.apply(None) {
            mistakes
                .extend(meaning.mistakes(&json).into_iter().map(|mistake| format!("--override: {mistake}")));
        }
    }
}

/// What overrides are checked against.
#[derive(Clone, Copy)]
pub(super) struct Meaning<'a> {
    pub(super) config: &'a tollgate_config::Config,
    pub(super) is_org: bool,
}

impl Meaning<'_> {
    /// What makes no sense in a row's JSON.
    pub(super) fn mistakes(self, json: &str) -> Vec<String> {
        let scope = if self.is_org { Scope::Org } else { Scope::User };
        let is_shared = matches!(self.config.gateway.counters.store, CounterStore::Redis(_));
        let (_, mistakes) = own::read(json, scope, &self.config.plans, is_shared);
        // What is read is called overrides already.
        mistakes.into_iter().map(|text| text.trim_start_matches("overrides: ").to_owned()).collect()
    }
}
