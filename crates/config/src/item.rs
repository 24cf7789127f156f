//! One value of a TOML file while it is read: knows its key and place, and turns itself into types.

use std::{net::SocketAddr, ops::Range, ops::RangeInclusive, time::Duration};

use toml::{Spanned, de::DeValue};

use crate::{
    duration,
    nearest::suggest,
    number::{self, Unit},
    report::{Flaw, Report},
    section::Section,
    text::quote,
};

/// One value. Every method that returns `None` has recorded a mistake.
#[derive(Clone, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) report: &'a Report<'a>,
    pub(crate) path: String,
    /// Where its key is; for a list's element, where itself is.
    pub(crate) key: Range<usize>,
    pub(crate) value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Item<'a> {
    pub(crate) fn value(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    /// Records a mistake at the value.
    pub(crate) fn wrong(&self, flaw: Flaw) {
        self.report.mistake(&self.path, self.value.span(), flaw);
    }

    /// Records a mistake at the key.
    pub(crate) fn wrong_key(&self, flaw: Flaw) {
        self.report.mistake(&self.path, self.key.clone(), flaw);
    }

    /// The good value, or `None` after recording the flaw.
    pub(crate) fn check<T>(&self, result: Result<T, Flaw>) -> Option<T> {
        result.map_err(|flaw| self.wrong(flaw)).ok()
    }

    /// Records that the value has the wrong type.
    pub(crate) fn wrong_type<T>(&self, expected: &str, example: &str) -> Option<T> {
        let found = match self.value() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.wrong(Flaw::new(format!("must be {expected}, not {found}"), format!("write {example}")));
        None
    }

    pub(crate) fn string(&self, example: &str) -> Option<&'a str> {
        self.value().as_str().or_else(|| self.wrong_type("a string", example))
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        self.value().as_bool().or_else(|| self.wrong_type("true or false", "true"))
    }

    /// What `parse` makes of a string.
    pub(crate) fn parsed<T>(
        &self,
        example: &str,
        parse: impl FnOnce(&'a str) -> Result<T, Flaw>,
    ) -> Option<T> {
        let text = self.string(example)?;
        self.check(parse(text))
    }

    /// One of a closed set of words.
    pub(crate) fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let words = || choices.iter().map(|(word, _)| *word);
        let example = words().next().map(quote).unwrap_or_default();
        let text = self.string(&example)?;
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            self.wrong(Flaw::new(format!("unknown value {}", quote(text)), suggest(text, words())));
        }
        found
    }

    /// A whole number of things (`1000`, `"1_000"`, `"10k"`) or of bytes (`"25MB"`), or a sum of money
    /// (`"5.00"`), zero or more.
    pub(crate) fn amount(&self, unit: Unit) -> Option<i64> {
        match self.value() {
            DeValue::String(text) => self.check(number::amount(text, unit)),
            DeValue::Integer(integer) => self.check(unit.integer(integer.as_str(), integer.radix())),
            DeValue::Float(float) => self.check(Err(unit.float(float.as_str()))),
            DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                let expected = match unit {
                    Unit::Count | Unit::Bytes => "a whole number",
                    Unit::Money => "a sum of money",
                };
                self.wrong_type(expected, unit.example())
            }
        }
    }

    /// An amount within `range`.
    pub(crate) fn amount_in<T>(&self, unit: Unit, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + TryInto<i64> + PartialOrd,
    {
        let amount = self.amount(unit)?;
        let within = T::try_from(amount).ok().filter(|value| range.contains(value));
        if within.is_none() {
            let (low, high) = range.into_inner();
            let show = |bound: T| unit.show(bound.try_into().unwrap_or(i64::MAX));
            let suggestion = format!("write {} to {}", show(low), show(high));
            self.wrong(Flaw::new(format!("{} is out of bounds", unit.show(amount)), suggestion));
        }
        within
    }

    /// A duration (`"500ms"`, `"30s"`, `"5m"`, `"1h"`) within `range`.
    pub(crate) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let value = match self.value() {
            DeValue::String(text) => self.check(duration::parse(text))?,
            DeValue::Integer(integer) => {
                let text = integer.as_str();
                self.wrong(Flaw::new("has no unit", format!("write \"{text}s\" or \"{text}ms\"")));
                return None;
            }
            DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => return self.wrong_type("a duration", "\"30s\""),
        };
        if range.contains(&value) {
            return Some(value);
        }
        let (low, high) = (duration::show(*range.start()), duration::show(*range.end()));
        self.wrong(Flaw::new(
            format!("{} is out of bounds", duration::show(value)),
            format!("write \"{low}\" to \"{high}\""),
        ));
        None
    }

    /// An address to listen on.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.parsed("\"127.0.0.1:8080\"", |text| {
            text.parse().map_err(|_| {
                let message = format!("{} is not an IP address with a port", quote(text));
                Flaw::new(message, "write it as in \"127.0.0.1:8080\" or \"[::1]:8080\"")
            })
        })
    }

    /// The elements of a list of at most `max`.
    pub(crate) fn list(&self, max: usize, example: &str) -> Option<Vec<Item<'a>>> {
        let Some(array) = self.value().as_array() else { return self.wrong_type("a list", example) };
        if array.len() > max {
            self.wrong(Flaw::new(format!("has {} elements", array.len()), format!("write at most {max}")));
            return None;
        }
        let element = |(index, value): (usize, &'a Spanned<DeValue<'a>>)| Item {
            report: self.report,
            path: format!("{}[{index}]", self.path),
            key: value.span(),
            value,
        };
        Some(array.iter().enumerate().map(element).collect())
    }

    /// What `read` makes of a table.
    pub(crate) fn table<T>(&self, example: &str, read: impl FnOnce(&mut Section<'a>) -> T) -> Option<T> {
        let Some(table) = self.value().as_table() else { return self.wrong_type("a table", example) };
        Some(Section::read_all(self.report, (self.path.clone(), self.key.clone()), Some(table), read))
    }

    /// What `read` makes of a table, or of an empty one after recording that this is none.
    pub(crate) fn table_or_empty<T>(&self, read: impl FnOnce(&mut Section<'a>) -> T) -> T {
        let table = self.value().as_table();
        if table.is_none() {
            self.wrong_type::<()>("a table", &format!("[{}] on a line of its own", self.path));
        }
        Section::read_all(self.report, (self.path.clone(), self.key.clone()), table, read)
    }
}
