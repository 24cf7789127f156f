//! Changes that the server has told of and that were not passed on yet.

use std::{mem, sync::Mutex};

use tokio::sync::Notify;

use crate::{Subject, SubjectChange, journal::lock};

/// Most changes that wait, while a query is answered: an edit of more rows has everything read anew.
const CHANGES_MAX: usize = 10_000;

#[derive(Default)]
pub(super) struct Heard {
    changes: Mutex<Vec<SubjectChange>>,
    any: Notify,
}

impl Heard {
    /// A payload of the channel.
    pub(super) fn notified(&self, payload: &str) {
        let subject =
            payload.split_once(':').and_then(|(scope, id)| Subject::from_columns(scope, id.to_owned()));
        let change = subject.map_or(SubjectChange::Any, SubjectChange::Row);
        let mut changes = lock(&self.changes);
        if changes.len() < CHANGES_MAX {
            changes.push(change);
        } else {
            *changes = vec![SubjectChange::Any];
        }
        drop(changes);
        self.any.notify_one();
    }

    /// Waits for changes. Cancel-safe.
    pub(super) async fn wait(&self) {
        self.any.notified().await;
    }

    pub(super) fn take(&self) -> Vec<SubjectChange> {
        mem::take(&mut lock(&self.changes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_can_wait_is_any() {
        let heard = Heard::default();
        heard.notified("user:a:b");
        heard.notified("org:acme");
        heard.notified("");
        let a = SubjectChange::Row(Subject::User("a:b".to_owned()));
        let acme = SubjectChange::Row(Subject::Org("acme".to_owned()));
        assert_eq!(heard.take(), [a, acme, SubjectChange::Any]);
        for number in 0..CHANGES_MAX + 7 {
            heard.notified(&format!("user:{number}"));
        }
        let changes = heard.take();
        assert!(changes.len() < CHANGES_MAX && changes.contains(&SubjectChange::Any));
        assert_eq!(heard.take(), []);
    }
}
