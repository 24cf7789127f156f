//! `charge_on = [ … ]` of a route: which outcomes of a request are charged.

use toml::de::DeValue;

use crate::{item::Item, nearest::suggest, report::Flaw, text::quote};

/// Five classes, no answer, and more single statuses than are in use.
const OUTCOMES_MAX: usize = 100;

const EXAMPLE: &str = "[\"2xx\", 404, \"no_answer\"]";

const WORDS: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "no_answer"];

/// A set of outcomes: statuses, and no answer at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChargeOn {
    /// Bit N is status 100 + N.
    statuses: [u64; 8],
    no_answer: bool,
}

impl Default for ChargeOn {
    /// Every answer but 5xx: a failed upstream is not charged.
    fn default() -> Self {
        let mut set = Self::NOTHING;
        (1..=4).for_each(|class| set.insert_class(class));
        set
    }
}

impl ChargeOn {
    const NOTHING: Self = Self { statuses: [0; 8], no_answer: false };

    /// Whether an outcome is charged: the answer's status, or `None` when there was no answer.
    ///
    /// A status beyond 599 is no valid one and counts as 500 (RFC 9110, section 15).
    #[must_use]
    pub fn includes(&self, status: Option<u16>) -> bool {
        let Some(status) = status else { return self.no_answer };
        let status = if status > 599 { 500 } else { status };
        let Some(bit) = status.checked_sub(100).map(usize::from) else { return false };
        self.statuses.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    fn insert(&mut self, status: u16) {
        let Some(bit) = status.checked_sub(100).map(usize::from) else { return };
        if let Some(word) = self.statuses.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }

    fn insert_class(&mut self, class: u16) {
        (class * 100..class * 100 + 100).for_each(|status| self.insert(status));
    }
}

/// The whole list.
pub(super) fn read(item: &Item<'_>) -> Option<ChargeOn> {
    let outcomes = item.list(OUTCOMES_MAX, EXAMPLE)?;
    if outcomes.is_empty() {
        item.wrong(Flaw::new("nothing would ever be charged", "leave out charge instead"));
    }
    Some(read_outcomes(&outcomes))
}

/// The set of `outcomes`.
pub(super) fn read_outcomes(outcomes: &[Item<'_>]) -> ChargeOn {
    let mut set = ChargeOn::NOTHING;
    for outcome in outcomes {
        outcome.check(match outcome.value() {
            DeValue::String(word) => set.insert_word(word),
            DeValue::Integer(status) => set.insert_word(status.as_str()),
            DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                outcome.wrong_type::<()>("an outcome", "\"2xx\", 404 or \"no_answer\"");
                Ok(())
            }
        });
    }
    set
}

impl ChargeOn {
    fn insert_word(&mut self, word: &str) -> Result<(), Flaw> {
        match word {
            "1xx" => self.insert_class(1),
            "2xx" => self.insert_class(2),
            "3xx" => self.insert_class(3),
            "4xx" => self.insert_class(4),
            "5xx" => self.insert_class(5),
            "no_answer" => self.no_answer = true,
            code => {
                let status = code.parse::<u16>().ok().filter(|status| (100..=599).contains(status));
                let flaw = || {
                    let is_number = !code.is_empty() && code.bytes().all(|b| b.is_ascii_digit());
                    let suggestion = if is_number {
                        "write 100 to 599".to_owned()
                    } else {
                        suggest(code, WORDS.into_iter())
                    };
                    Flaw::new(format!("{} is not an outcome", quote(code)), suggestion)
                };
                self.insert(status.ok_or_else(flaw)?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: &[&str]) -> ChargeOn {
        let mut set = ChargeOn::NOTHING;
        words.iter().for_each(|word| set.insert_word(word).unwrap());
        set
    }

    #[test]
    fn by_default_answers_of_the_upstream_are_charged_and_its_failures_not() {
        let default = ChargeOn::default();
        for (status, charged) in [
            (Some(101), true),
            (Some(200), true),
            (Some(302), true),
            (Some(499), true),
            (Some(500), false),
            (Some(599), false),
            (Some(799), false),
            (Some(42), false),
            (None, false),
        ] {
            assert_eq!(default.includes(status), charged, "{status:?}");
        }
        assert_eq!(default, set(&["1xx", "2xx", "3xx", "4xx"]));
    }

    #[test]
    fn sets_hold_what_they_name() {
        for status in 100..600 {
            let one = set(&[&status.to_string()]);
            assert!(one.includes(Some(status)));
            assert!(
                !one.includes(Some(status - 1))
                    && !one.includes(Some(if status < 599 { status + 1 } else { 100 }))
            );
            let class = set(&[&format!("{}xx", status / 100)]);
            assert!(class.includes(Some(status)) && !class.includes(None));
        }
        assert!(set(&["5xx"]).includes(Some(799)));
        assert!(set(&["no_answer"]).includes(None));
    }

    #[test]
    fn other_words_are_explained() {
        for (word, suggestion) in [
            ("2XX", "did you mean \"2xx\"?"),
            ("noanswer", "did you mean \"no_answer\"?"),
            ("99", "write 100 to 599"),
            ("600", "write 100 to 599"),
        ] {
            let flaw = set(&[]).insert_word(word).unwrap_err();
            assert_eq!(flaw.suggestion.as_deref(), Some(suggestion), "{word}");
        }
        assert!(set(&[]).insert_word("-200").is_err());
    }
}
