//! `only_if = { … }` and `unless = { … }` of a charge: for which requests it is.

use http::Method;
use tollgate_core::{Decimal, Wanted};
use toml::de::DeValue;

use super::{
    super::{
        charge_on::{self, ChargeOn},
        route,
    },
    Place,
};
use crate::{item::Item, nearest::nearest, report::Flaw, text::quote};

const EXAMPLE: &str = "{ status = [\"2xx\"], \"request.header:X-Tier\" = \"free\" }";

/// All are looked at for every request of the route.
const CONDITIONS_MAX: usize = 16;
/// Each is compared with what stands in a request.
const VALUES_MAX: usize = 32;
/// What stands for any value.
const ANY: &str = "*";

/// Conditions that hold together or not at all; none of them is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions(pub Vec<Condition>);

/// What is true of some requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The request has one of these methods.
    Method(Vec<Method>),
    /// The exchange has one of these outcomes.
    Status(ChargeOn),
    /// One of these values stands there; of a list's elements, in any of them.
    Value(Place, Vec<Wanted>),
}

impl Condition {
    /// Whether it can be told before a request is forwarded.
    #[must_use]
    pub const fn is_of_request(&self) -> bool {
        match self {
            Self::Method(_) => true,
            Self::Status(_) => false,
            Self::Value(place, _) => place.is_of_request(),
        }
    }

    /// Where it looks, other than at the method and the status.
    #[must_use]
    pub const fn place(&self) -> Option<&Place> {
        match self {
            Self::Value(place, _) => Some(place),
            Self::Method(_) | Self::Status(_) => None,
        }
    }
}

impl Conditions {
    /// Whether no request fulfils both, as their methods show.
    pub(super) fn excludes(&self, other: &Self) -> bool {
        let methods = |conditions: &'_ Self| {
            conditions.0.iter().find_map(|condition| match condition {
                Condition::Method(methods) => Some(methods.clone()),
                Condition::Status(_) | Condition::Value(..) => None,
            })
        };
        match (methods(self), methods(other)) {
            (Some(own), Some(others)) => !own.iter().any(|method| others.contains(method)),
            (Some(_), None) | (None, _) => false,
        }
    }

    pub(super) fn read(item: &Item<'_>) -> Option<Self> {
        item.table(EXAMPLE, |section| {
            let mut entries = section.entries();
            if entries.is_empty() {
                item.wrong(Flaw::new(
                    "there is no condition",
                    format!("write as in {EXAMPLE}, or remove it"),
                ));
            }
            if entries.len() > CONDITIONS_MAX {
                let message = format!("there are {} conditions", entries.len());
                item.wrong(Flaw::new(message, format!("use at most {CONDITIONS_MAX}")));
                entries.truncate(CONDITIONS_MAX);
            }
            Self(entries.iter().filter_map(|(name, item)| read(name, item)).collect())
        })
    }
}

fn read(name: &str, item: &Item<'_>) -> Option<Condition> {
    match name {
        "method" => read_all(item, "\"POST\"", read_method).map(Condition::Method),
        "status" => {
            let items = one_or_many(item, "[\"2xx\", 409]")?;
            Some(Condition::Status(charge_on::read_outcomes(&items)))
        }
        name => {
            let place = match Place::parse(name) {
                Some(place) => place,
                None => {
                    let meant = nearest(name, ["method", "status"].into_iter());
                    let suggestion = match meant {
                        Some(meant) => format!("did you mean {}?", quote(meant)),
                        None => "write method, status, or a place, as in \"request.json:/tier\"".to_owned(),
                    };
                    Err(Flaw::new(format!("{} is no condition", quote(name)), suggestion))
                }
            };
            let place = place.map_err(|flaw| item.wrong_key(flaw)).ok();
            let wanted = read_all(item, "\"free\"", read_wanted)?;
            Some(Condition::Value(place?, wanted))
        }
    }
}

/// A value, or a list of values; not empty.
fn one_or_many<'a>(item: &Item<'a>, example: &str) -> Option<Vec<Item<'a>>> {
    if item.value().as_array().is_none() {
        return Some(vec![item.clone()]);
    }
    let items = item.list(VALUES_MAX, example)?;
    if items.is_empty() {
        item.wrong(Flaw::new("nothing would fulfil this", format!("write a value, as in {example}")));
    }
    Some(items)
}

fn read_all<T>(item: &Item<'_>, example: &str, read: impl Fn(&Item<'_>) -> Option<T>) -> Option<Vec<T>> {
    Some(one_or_many(item, example)?.iter().filter_map(read).collect())
}

fn read_method(item: &Item<'_>) -> Option<Method> {
    item.parsed("\"POST\"", route::parse_method)
}

fn read_wanted(item: &Item<'_>) -> Option<Wanted> {
    match item.value() {
        DeValue::String(text) if *text == ANY => Some(Wanted::Present),
        DeValue::String(text) if text.len() > Wanted::TEXT_BYTES_MAX => {
            let message = format!("the text is {} bytes long", text.len());
            item.wrong(Flaw::new(message, format!("compare with at most {}", Wanted::TEXT_BYTES_MAX)));
            None
        }
        DeValue::String(text) => Some(Wanted::Text(text.as_ref().into())),
        DeValue::Boolean(truth) => Some(Wanted::Boolean(*truth)),
        DeValue::Integer(integer) if integer.radix() == 10 => {
            number(item, &integer.as_str().replace('_', ""))
        }
        DeValue::Float(float) => number(item, &float.as_str().replace('_', "")),
        DeValue::Integer(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            item.wrong_type("a text, a number, true or false", "\"free\"")
        }
    }
}

/// Exactly what is written, not the nearest double.
fn number(item: &Item<'_>, text: &str) -> Option<Wanted> {
    let number = Decimal::parse(text.strip_prefix('+').unwrap_or(text));
    if number.is_none() {
        let message = format!("{text} is no number that is compared with");
        item.wrong(Flaw::new(message, "write a decimal of at most 24 digits"));
    }
    number.map(Wanted::Number)
}
