//! How much models usually write: where limits may be passed by what turns out, that is held instead of what is
//! possible.

use std::{collections::HashMap, sync::Mutex};

/// Models that are remembered; further ones are held for in full.
const MODELS_MAX: usize = 1024;
/// Fewer answers say nothing about the next.
const ANSWERS_MIN: u32 = 64;
/// At so many answers the older half of their weight is forgotten.
const ANSWERS_MAX: u32 = 4096;
/// Of a hundred answers, so many are not longer than what is held.
const PERCENT: u64 = 99;
/// Four buckets for each doubling: what is held is at most a quarter more than what was seen.
const BUCKETS_PER_DOUBLING: u32 = 4;
const BUCKETS: usize = 64 * BUCKETS_PER_DOUBLING as usize;

/// Tokens that answers had, by model.
#[derive(Default)]
pub(crate) struct Learned {
    models: Mutex<HashMap<Box<str>, Answers, foldhash::fast::RandomState>>,
}

/// Lengths of a model's answers, on a logarithmic scale.
struct Answers {
    counts: Box<[u16; BUCKETS]>,
    total: u32,
}

impl Learned {
    /// Notes an answer of `tokens`. Never waits: while another thread is here, it is not noted.
    pub(crate) fn note(&self, model: &str, tokens: i64) {
        let (Ok(mut models), Ok(tokens)) = (self.models.try_lock(), u64::try_from(tokens)) else { return };
        if let Some(answers) = models.get_mut(model) {
            answers.note(tokens);
        } else if models.len() < MODELS_MAX {
            models.entry(model.into()).or_insert_with(Answers::new).note(tokens);
        }
    }

    /// Tokens that all but one in a hundred answers of `model` do not pass; `None` while that is not known.
    pub(crate) fn usual(&self, model: &str) -> Option<i64> {
        self.models.try_lock().ok()?.get(model)?.usual()
    }
}

impl Answers {
    fn new() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0 }
    }

    fn note(&mut self, tokens: u64) {
        if self.total >= ANSWERS_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().map(|count| u32::from(*count)).sum();
        }
        if let Some(count) = self.counts.get_mut(bucket(tokens)) {
            *count = count.saturating_add(1);
            self.total += 1;
        }
    }

    fn usual(&self) -> Option<i64> {
        if self.total < ANSWERS_MIN {
            return None;
        }
        let wanted = (u64::from(self.total) * PERCENT).div_ceil(100);
        let mut seen = 0;
        let reached = |count: &u16| {
            seen += u64::from(*count);
            seen >= wanted
        };
        let bucket = self.counts.iter().position(reached)?;
        Some(i64::try_from(largest(bucket)).unwrap_or(i64::MAX))
    }
}

/// By the highest bits: the leading one says the doubling, the two below it the quarter.
fn bucket(tokens: u64) -> usize {
    let doubling = tokens.checked_ilog2().unwrap_or(0);
    let quarter = if doubling >= 2 { (tokens >> (doubling - 2)) & 3 } else { 0 };
    (doubling * BUCKETS_PER_DOUBLING) as usize + usize::try_from(quarter).unwrap_or(0)
}

/// The largest number in a bucket.
fn largest(bucket: usize) -> u64 {
    let (doubling, quarter) = (bucket / BUCKETS_PER_DOUBLING as usize, bucket as u64 % 4);
    match doubling {
        0 => 1,
        1 => 3,
        _ => {
            let step = 1_u64 << (doubling - 2);
            (4 + quarter).saturating_mul(step).saturating_add(step - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_usual_is_known_after_enough_answers() {
        let learned = Learned::default();
        for _ in 0..ANSWERS_MIN - 1 {
            learned.note("m", 100);
        }
        assert_eq!(learned.usual("m"), None);
        learned.note("m", 100);
        assert_eq!((learned.usual("m"), learned.usual("n")), (Some(111), None));
    }

    #[test]
    fn one_answer_in_a_hundred_may_be_longer() {
        let learned = Learned::default();
        for number in 0..1000 {
            learned.note("m", if number % 200 == 0 { 100_000 } else { 50 });
        }
        assert_eq!(learned.usual("m"), Some(55));
    }

    #[test]
    fn what_was_usual_once_is_forgotten() {
        let learned = Learned::default();
        for _ in 0..2 * ANSWERS_MAX {
            learned.note("m", 5000);
        }
        for _ in 0..16 * ANSWERS_MAX {
            learned.note("m", 20);
        }
        assert_eq!(learned.usual("m"), Some(23));
    }

    proptest! {
        #[test]
        fn a_bucket_is_at_most_a_quarter_wide(tokens in prop_oneof![0_u64..100, any::<u64>()]) {
            let most = largest(bucket(tokens));
            prop_assert!(most >= tokens);
            prop_assert!(most - tokens <= tokens / 4 + 1, "{tokens} in a bucket up to {most}");
        }
    }
}
