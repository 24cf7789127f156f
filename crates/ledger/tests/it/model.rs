//! The journal and the ledger against a model, through any sequence of what can happen.

use std::{collections::BTreeMap, sync::Arc};

use proptest::{prelude::*, test_runner::TestRunner};
use tollgate_core::Settlement;
use tollgate_ledger::{Journal, JournalOptions, OpenRequest, Outcome, Unanswered};

use crate::common::{Data, Store, on_each_store, open, settle, settlement};

on_each_store!(every_admitted_request_is_in_the_ledger_once, recovery_is_marked_and_charges_by_rule,);

#[derive(Clone, Debug)]
enum Step {
    Open {
        held: i64,
    },
    Settle {
        which: prop::sample::Index,
        used: i64,
    },
    End {
        which: prop::sample::Index,
        used: i64,
    },
    Cancel {
        which: prop::sample::Index,
    },
    Drop {
        which: prop::sample::Index,
    },
    /// So many requests, one after the other, big enough to fill segments.
    Many {
        count: u64,
    },
    Ship,
    Restart,
    Crash {
        rule: Rule,
    },
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    Charge,
    Release,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = any::<prop::sample::Index>;
    let step = prop_oneof![
        6 => (0..1000i64).prop_map(|held| Step::Open { held }),
        2 => (which(), 0..1000i64).prop_map(|(which, used)| Step::Settle { which, used }),
        2 => (which(), 0..1000i64).prop_map(|(which, used)| Step::End { which, used }),
        1 => which().prop_map(|which| Step::Cancel { which }),
        1 => which().prop_map(|which| Step::Drop { which }),
        1 => (1..120u64).prop_map(|count| Step::Many { count }),
        1 => Just(Step::Ship),
        1 => Just(Step::Restart),
        2 => prop_oneof![Just(Rule::Charge), Just(Rule::Release)].prop_map(|rule| Step::Crash { rule }),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What the ledger must have of a request: amount, whether estimated.
type Charged = (i64, bool);

struct Run {
    data: Data,
    journal: Arc<Journal>,
    open: Vec<(u64, i64, OpenRequest)>,
    expected: BTreeMap<u64, Charged>,
    next: u64,
}

impl Run {
    fn new(store: &Store) -> Self {
        let data = store.data();
        let (journal, _) = data.journal();
        Self { data, journal, open: Vec::new(), expected: BTreeMap::new(), next: 0 }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Open { held } => {
                let number = self.number();
                let request = open(&self.journal, &settlement(number, &[("tokens", held)]));
                self.open.push((number, held, request));
            }
            Step::Settle { which, used } => {
                if let Some((number, _, request)) = self.take(which) {
                    request.settle(&settlement(number, &[("tokens", used)]));
                    self.expected.insert(number, (used, false));
                }
            }
            Step::End { which, used } => {
                if let Some((number, _, request)) = self.take(which) {
                    let Settlement { status, duration_ms, resource, metadata, charges, .. } =
                        &settlement(number, &[("tokens", used)]);
                    let (status, duration_ms) = (*status, *duration_ms);
                    let (resource, metadata) = (*resource, *metadata);
                    request.end(&Outcome { status, duration_ms, resource, metadata, charges });
                    self.expected.insert(number, (used, false));
                }
            }
            Step::Cancel { which } => {
                if let Some((_, _, request)) = self.take(which) {
                    request.cancel();
                }
            }
            Step::Drop { which } => {
                if let Some((number, held, request)) = self.take(which) {
                    drop(request);
                    self.expected.insert(number, (held, true));
                }
            }
            Step::Many { count } => {
                let more = "x".repeat(900);
                for number in (0..count).map(|_| self.number()).collect::<Vec<_>>() {
                    let settlement = settlement(number, &[("tokens", 1)]);
                    settle(&self.journal, &Settlement { metadata: Some(&more), ..settlement });
                    self.expected.insert(number, (1, false));
                }
            }
            Step::Ship => self.data.ship(&self.journal),
            Step::Restart => self.restart(),
            Step::Crash { rule } => self.crash(rule),
        }
    }

    fn take(&mut self, which: prop::sample::Index) -> Option<(u64, i64, OpenRequest)> {
        (!self.open.is_empty()).then(|| self.open.remove(which.index(self.open.len())))
    }

    fn restart(&mut self) {
        for (number, held, request) in self.open.drain(..) {
            drop(request);
            self.expected.insert(number, (held, true));
        }
        self.reopen(Unanswered::Charge, 0);
    }

    fn crash(&mut self, rule: Rule) {
        let after = self.data.as_after_a_crash();
        let unanswered = self.open.len() as u64;
        for (number, held, request) in self.open.drain(..) {
            let amount = match rule {
                Rule::Charge => held,
                Rule::Release => 0,
            };
            self.expected.insert(number, (amount, true));
            request.cancel();
        }
        self.data = after;
        let rule = match rule {
            Rule::Charge => Unanswered::Charge,
            Rule::Release => Unanswered::Release,
        };
        self.reopen(rule, unanswered);
    }

    fn reopen(&mut self, rule: Unanswered, unanswered: u64) {
        let elsewhere = Data::new();
        let (placeholder, _) = elsewhere.journal();
        self.journal = placeholder;
        let options = JournalOptions { unanswered: rule, ..self.data.options() };
        let (journal, recovered) = Journal::open(options).unwrap();
        assert_eq!((recovered.unanswered, recovered.corrupt), (unanswered, 0));
        self.journal = journal;
    }

    fn finish(mut self) {
        self.restart();
        self.data.ship(&self.journal);
        let events = self.data.events();
        let charged: BTreeMap<_, _> = events.iter().map(|e| (e.id, (e.amount, e.estimated))).collect();
        assert_eq!(events.len(), self.expected.len());
        for (number, expected) in &self.expected {
            let id = uuid::Uuid::from_u128(crate::common::key(*number).event(0).to_bits());
            assert_eq!(charged.get(&id), Some(expected), "request {number}");
        }
        let report = self.data.audit();
        assert!(report.is_clean(), "{:#?}", report.differences);
        assert!(report.in_flight.is_empty());
    }
}

fn every_admitted_request_is_in_the_ledger_once(store: &Store) {
    let cases = store.cases(48);
    TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() })
        .run(&steps(), |steps| {
            let mut run = Run::new(store);
            for step in steps {
                run.step(step);
            }
            run.finish();
            Ok(())
        })
        .unwrap();
}

fn recovery_is_marked_and_charges_by_rule(store: &Store) {
    for (rule, amounts) in [(Unanswered::Charge, [500, 1]), (Unanswered::Release, [0, 0])] {
        let data = store.data();
        let (journal, _) = data.journal();
        let _open = open(&journal, &settlement(1, &[("tokens", 500), ("calls", 1)]));
        let after = data.as_after_a_crash();
        let (journal, recovered) =
            Journal::open(JournalOptions { unanswered: rule, ..after.options() }).unwrap();
        assert_eq!(recovered.unanswered, 1);
        after.ship(&journal);
        let events = after.events();
        assert_eq!(events.iter().map(|event| event.amount).collect::<Vec<_>>(), amounts);
        assert!(events.iter().all(|event| event.estimated && event.status == 0));
    }
}
