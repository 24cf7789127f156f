//! What a document says at one place.

use tollgate_core::{Decimal, Pointer, Value, Wanted};

use super::Want;

/// Bytes of a value that are kept while it is read: longer ones are no ids, no numbers, and nothing that is compared with.
pub(super) const VALUE_BYTES_MAX: usize = Wanted::TEXT_BYTES_MAX;

/// What is known of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<T> {
    /// It is not there, or `null`.
    Missing,
    /// It is there and makes no sense, or is there twice, or cannot be read.
    Wrong,
    /// It is this.
    Value(T),
}

/// What was found so far.
#[derive(Clone, Debug)]
pub(super) struct Found {
    is_wrong: bool,
    /// Values that are still to be found: of each element of a list one.
    owed: u64,
    /// Whether there is a list, whose sum is zero as long as it is empty.
    has_list: bool,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Sum(Decimal),
    Id(Option<Box<str>>),
    AnyOf(bool),
    Bytes(i64),
}

impl Found {
    pub(super) fn new(want: &Want) -> Self {
        let what = match want {
            Want::Amount => What::Sum(Decimal::ZERO),
            Want::Id => What::Id(None),
            Want::AnyOf(_) => What::AnyOf(false),
            Want::TextBytes | Want::JsonBytes => What::Bytes(0),
        };
        Self { is_wrong: false, owed: 1, has_list: false, what }
    }

    /// Its place is there twice, or is something that it cannot be.
    pub(super) fn set_wrong(&mut self) {
        self.is_wrong = true;
    }

    /// The list that each element of is wanted.
    pub(super) fn list_begins(&mut self) {
        self.has_list = true;
        self.owed = self.owed.saturating_sub(1);
    }

    pub(super) fn element_begins(&mut self) {
        self.owed = self.owed.saturating_add(1);
    }

    /// A value, unless it is too long to be kept; `null` is none.
    pub(super) fn value(&mut self, want: &Want, value: Option<Value<'_>>) {
        self.owed = self.owed.saturating_sub(1);
        match (&mut self.what, want, value) {
            (What::Sum(sum), _, Some(Value::Text(text) | Value::Number(text))) => {
                // What one element takes back of the others would be free.
                let amount = Decimal::parse(text).filter(|amount| !(self.has_list && amount.is_negative()));
                match amount.and_then(|amount| sum.checked_add(amount)) {
                    Some(more) => *sum = more,
                    None => self.is_wrong = true,
                }
            }
            (What::Id(id), _, Some(Value::Text(text) | Value::Number(text))) if !text.is_empty() => {
                *id = Some(text.into());
            }
            (What::AnyOf(is_met), Want::AnyOf(wanted), value) => {
                let value = value.unwrap_or(Value::Other);
                *is_met |= wanted.iter().any(|wanted| wanted.is(value));
            }
            (What::Sum(_) | What::Id(_) | What::AnyOf(_) | What::Bytes(_), _, _) => self.is_wrong = true,
        }
    }

    /// A value whose size is wanted has begun.
    pub(super) fn size_begins(&mut self) {
        self.owed = self.owed.saturating_sub(1);
    }

    pub(super) fn add_bytes(&mut self, bytes: usize) {
        if let What::Bytes(sum) = &mut self.what {
            *sum = sum.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn amount(&self) -> Said<Decimal> {
        self.said(match self.what {
            What::Sum(sum) => Some(sum),
            What::Id(_) | What::AnyOf(_) | What::Bytes(_) => None,
        })
    }

    pub(super) fn bytes(&self) -> Said<i64> {
        self.said(match self.what {
            What::Bytes(bytes) => Some(bytes),
            What::Sum(_) | What::Id(_) | What::AnyOf(_) => None,
        })
    }

    pub(super) fn id(&self) -> Said<&str> {
        self.said(match &self.what {
            What::Id(id) => id.as_deref(),
            What::Sum(_) | What::AnyOf(_) | What::Bytes(_) => None,
        })
    }

    /// Whether a wanted value is there; `None` when it cannot be told.
    pub(super) fn is_met(&self) -> Option<bool> {
        match self.what {
            What::AnyOf(is_met) if !self.is_wrong => Some(is_met),
            What::Sum(_) | What::Id(_) | What::AnyOf(_) | What::Bytes(_) => None,
        }
    }

    fn said<T>(&self, value: Option<T>) -> Said<T> {
        match value {
            _ if self.is_wrong => Said::Wrong,
            _ if self.owed > 0 => {
                if self.has_list {
                    Said::Wrong
                } else {
                    Said::Missing
                }
            }
            Some(value) => Said::Value(value),
            None => Said::Missing,
        }
    }
}

/// Whether `token` is the element `index` of a list, or each of them.
pub(super) fn is_element(token: &str, index: u32) -> bool {
    token == Pointer::EACH || Pointer::index(token) == Some(index)
}
