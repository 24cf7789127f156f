//! A table of a TOML file while it is read: remembers which keys exist, so that the others are mistakes.

use std::ops::Range;

use toml::de::DeTable;

use crate::{
    item::Item,
    nearest::{nearest, suggest},
    report::{Flaw, Report},
};

/// A table, or its absence, which reads as a table without keys.
///
/// Every key that is asked for becomes a known key. `Section::read_all` reports the others, so a reader
/// asks for all its keys, whatever it finds.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    pub(crate) report: &'a Report<'a>,
    pub(crate) path: String,
    pub(crate) span: Range<usize>,
    table: Option<&'a DeTable<'a>>,
    known: Vec<&'static str>,
    /// Keys that must be there and are not, with an example of each.
    missing: Vec<(&'static str, String)>,
}

impl<'a> Section<'a> {
    /// Lets `read` read a table and then reports the keys it did not ask for.
    pub(crate) fn read_all<T>(
        report: &'a Report<'a>,
        (path, span): (String, Range<usize>),
        table: Option<&'a DeTable<'a>>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let mut section = Self { report, path, span, table, known: Vec::new(), missing: Vec::new() };
        let value = read(&mut section);
        section.report_keys();
        value
    }

    /// The value of `key`, if it is there.
    pub(crate) fn get(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.known.push(key);
        let (name, value) = self.table?.get_key_value(key)?;
        Some(Item { report: self.report, path: self.path_of(key), key: name.span(), value })
    }

    /// The value of `key`; a mistake if it is not there.
    pub(crate) fn need(&mut self, key: &'static str, example: &str) -> Option<Item<'a>> {
        let item = self.get(key);
        if item.is_none() && self.table.is_some() {
            self.missing.push((key, example.to_owned()));
        }
        item
    }

    /// What `read` makes of the value of `key`, or `default`.
    pub(crate) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Item<'a>) -> Option<T>,
    ) -> T {
        self.get(key).and_then(|item| read(&item)).unwrap_or(default)
    }

    /// What `read` makes of the value of `key`, if it is there.
    pub(crate) fn maybe<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Item<'a>) -> Option<T>,
    ) -> Option<T> {
        self.get(key).and_then(|item| read(&item))
    }

    /// What `read` makes of the table `key`, which may be missing.
    pub(crate) fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Self) -> T) -> T {
        match self.get(key) {
            Some(item) => item.table_or_empty(read),
            None => Self::read_all(self.report, (self.path_of(key), self.span.clone()), None, read),
        }
    }

    /// Every key and value, in the file's order: for tables whose keys are names.
    pub(crate) fn entries(&mut self) -> Vec<(&'a str, Item<'a>)> {
        let Some(table) = self.table.take() else { return Vec::new() };
        let mut entries: Vec<_> = table
            .iter()
            .map(|(name, value)| {
                let path = self.path_of(name.get_ref());
                let name_text: &'a str = name.get_ref();
                (name_text, Item { report: self.report, path, key: name.span(), value })
            })
            .collect();
        entries.sort_by_key(|(_, item)| item.key.start);
        entries
    }

    /// Whether the table has no key at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_none_or(DeTable::is_empty)
    }

    /// Records a mistake about the table as a whole.
    pub(crate) fn wrong(&self, flaw: Flaw) {
        self.report.mistake(&self.path, self.span.clone(), flaw);
    }

    /// Records unknown keys, and missing ones unless an unknown one is a misspelling of it.
    fn report_keys(mut self) {
        let known = || self.known.iter().copied();
        let entries = self.table.into_iter().flat_map(DeTable::iter);
        for (name, _) in entries.filter(|(name, _)| known().all(|known| known != name.get_ref())) {
            let flaw = Flaw::new("unknown key", suggest(name.get_ref(), known()));
            self.report.mistake(&self.path_of(name.get_ref()), name.span(), flaw);
            let meant = nearest(name.get_ref(), known());
            self.missing.retain(|(missing, _)| Some(*missing) != meant);
        }
        for (key, example) in &self.missing {
            let flaw = Flaw::new("missing", format!("add {example}"));
            self.report.mistake(&self.path_of(key), self.span.clone(), flaw);
        }
    }

    fn path_of(&self, key: &str) -> String {
        let bare =
            !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let key = if bare { key.to_owned() } else { crate::text::quote(key) };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }
}
