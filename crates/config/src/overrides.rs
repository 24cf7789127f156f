//! Limits of one subject's own, as the table of subjects has them: JSON with the values of `[tiers.NAME.limits]`.
//!
//! `{"llm_tokens": {"limit": "5000/day", "until": "2026-12-31"}, "api_calls": "unlimited"}`. Where `until` stands, `limit`
//! may also be a list of limits. What has a mistake is left out, and the rest is read.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use tollgate_core::{Limit, MeterIndex, Plans, Scope, UnixMillis};

use crate::{
    Mistake,
    nearest::suggest,
    plans,
    report::{Flaw, Report},
    section::Section,
    text::quote,
};

/// What mistakes call the text.
const NAME: &str = "overrides";
/// Longest text that is read: far more than one for each meter.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting of lists and tables; limits have less.
const DEPTH_MAX: usize = 8;
const DAY_MS: i64 = 86_400_000;

/// The limits of one meter that hold instead of the tier's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Of which meter.
    pub meter: MeterIndex,
    /// The limits, all of the scope of the row; empty when it is unlimited.
    pub limits: Vec<Limit>,
    /// Until when; for good when none.
    pub until: Option<UnixMillis>,
}

/// The overrides that `json` has in the row of a user or of an organisation, which `scope` tells, and the mistakes.
#[must_use]
pub fn overrides(json: &str, scope: Scope, plans: &Plans) -> (Vec<Override>, Vec<Mistake>) {
    let mistake = |message: String| {
        let suggestion = "write one such as {\"api_calls\": \"5000/day\"}".to_owned();
        let (file, key) = (NAME.to_owned(), String::new());
        (Vec::new(), vec![Mistake { file, at: None, key, message, suggestion: Some(suggestion) }])
    };
    if json.len() > TEXT_BYTES_MAX {
        return mistake(format!("longer than {TEXT_BYTES_MAX} bytes"));
    }
    let object: Map<String, Value> = match serde_json::from_str(json) {
        Ok(object) => object,
        Err(error) => return mistake(format!("not a JSON object: {error}")),
    };
    let (mut read, mut mistakes) = (Vec::new(), Vec::new());
    for (name, value) in object {
        match read_one(&name, value, scope, plans) {
            Ok(one) => read.push(one),
            // Where in the text is no help: it is one line.
            Err(found) => mistakes.extend(found.into_iter().map(|found| Mistake { at: None, ..found })),
        }
    }
    (read, mistakes)
}

fn read_one(name: &str, mut value: Value, scope: Scope, plans: &Plans) -> Result<Override, Vec<Mistake>> {
    let wrong = |key: &str, flaw: Flaw| {
        let Flaw { message, suggestion } = flaw;
        let key = format!("{name}{key}");
        vec![Mistake { file: NAME.to_owned(), at: None, key, message, suggestion }]
    };
    let Some((index, meter)) = plans.meter(name).and_then(|index| Some((index, plans.meters.get(index.0)?)))
    else {
        let names = plans.meters.iter().map(|meter| &*meter.name);
        return Err(wrong(
            "",
            Flaw::new(format!("no meter is called {}", quote(name)), suggest(name, names)),
        ));
    };
    let until = match take_until(&mut value) {
        Ok(until) => until,
        Err(flaw) => return Err(wrong(".until", flaw)),
    };
    if let Some(other) = other_scope(&value, scope) {
        return Err(wrong("", other));
    }
    let mut text = format!("{} = ", quoted(name));
    if let Err(flaw) = write_toml(&mut text, &value, 0) {
        return Err(wrong("", flaw));
    }
    let report = Report::new(NAME.as_ref(), &text);
    let limits = report.tree().and_then(|tree| {
        Section::read_all(&report, (String::new(), 0..0), Some(tree.get_ref()), |section| {
            let entries = section.entries();
            let (_, item) = entries.first()?;
            plans::read_limits(item, meter)
        })
    });
    let mistakes = report.into_mistakes();
    match limits {
        Some(mut limits) if mistakes.is_empty() => {
            limits.iter_mut().for_each(|limit| limit.scope = scope);
            Ok(Override { meter: index, limits, until })
        }
        _ => Err(mistakes),
    }
}

/// Takes `until` out of a table; what is left of one that has nothing else but `limit` is that.
fn take_until(value: &mut Value) -> Result<Option<UnixMillis>, Flaw> {
    let Value::Object(table) = value else { return Ok(None) };
    let Some(until) = table.remove("until") else { return Ok(None) };
    let flaw = || {
        let message = format!("{} is not a date", quote(until.as_str().unwrap_or("this")));
        Flaw::new(
            message,
            "write \"2026-12-31\", whose end in UTC is meant, or an instant as \"2026-12-31T15:00:00Z\"",
        )
    };
    let text = until.as_str().ok_or_else(flaw)?;
    let at = UnixMillis::parse(text).ok_or_else(flaw)?;
    let is_date = !text.contains(['T', 't', ' ']);
    if let (1, Some(Value::Array(_) | Value::Object(_))) = (table.len(), table.get("limit")) {
        *value = table.remove("limit").unwrap_or_default();
    }
    Ok(Some(if is_date { UnixMillis(at.0.saturating_add(DAY_MS)) } else { at }))
}

/// Limits of whom the row is not.
fn other_scope(value: &Value, scope: Scope) -> Option<Flaw> {
    let (own, other) = match scope {
        Scope::User => ("user", "organisation"),
        Scope::Org => ("org", "user"),
    };
    let tables: &[Value] = match value {
        Value::Array(list) => list,
        one => std::slice::from_ref(one),
    };
    let says = |table: &Value| table.get("scope").and_then(Value::as_str).is_some_and(|scope| scope != own);
    tables.iter().any(says).then(|| {
        let message =
            format!("this row has the limits of the {}", if own == "org" { "organisation" } else { own });
        Flaw::new(message, format!("remove scope, or set it for the {other}"))
    })
}

/// Writes a JSON value as TOML does.
fn write_toml(text: &mut String, value: &Value, depth: usize) -> Result<(), Flaw> {
    if depth > DEPTH_MAX {
        return Err(Flaw::new("this is nested too deeply for a limit", "write one such as \"5000/day\""));
    }
    match value {
        Value::Null => return Err(Flaw::new("null is not a limit", "write \"unlimited\", or leave it out")),
        Value::Bool(boolean) => {
            let _ = write!(text, "{boolean}");
        }
        Value::Number(number) => {
            let _ = write!(text, "{number}");
        }
        Value::String(string) => text.push_str(&quoted(string)),
        Value::Array(list) => {
            text.push('[');
            for value in list {
                write_toml(text, value, depth + 1)?;
                text.push_str(", ");
            }
            text.push(']');
        }
        Value::Object(table) => {
            text.push('{');
            for (index, (name, value)) in table.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { " " });
                text.push_str(&quoted(name));
                text.push_str(" = ");
                write_toml(text, value, depth + 1)?;
            }
            text.push_str(" }");
        }
    }
    Ok(())
}

/// A string as both JSON and TOML write it.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}
