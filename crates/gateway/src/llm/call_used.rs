//! What a call to a model used, when it is settled.

use tollgate_config::LlmMeasure;
use tollgate_core::{Plans, UnixMillis};

use super::{Answer, Call, Extent, Used, call, learned::Learned, used};
use crate::end::End;

/// What a call to a model used, as far as its answer was read.
pub(crate) struct CallUsed<'a> {
    used: Used,
    /// The model that the request names.
    pub(crate) asked: Option<&'a str>,
    /// The model that answered, or else that was asked for.
    pub(crate) model: Option<&'a str>,
    /// Whether the answer says that the upstream failed.
    pub(crate) has_failed: bool,
    /// Tokens that were seen to be written.
    written: i64,
    /// By which prices.
    priced: (&'a Plans, UnixMillis),
}

impl<'a> CallUsed<'a> {
    pub(crate) fn of(
        call: &'a Call,
        answer: Option<&'a Answer>,
        end: End,
        priced: (&'a Plans, UnixMillis),
    ) -> Self {
        let extent = match end {
            _ if (400..600).contains(&end.answered_with()) => Extent::Refused,
            End::Answered { .. } | End::ReadOn { .. } => Extent::Whole,
            End::Cut { .. } | End::Limited { .. } | End::Untold { .. } | End::ClientGone { .. } => {
                Extent::Cut
            }
            End::NoAnswer { .. } => Extent::None,
        };
        let named = answer.and_then(Answer::model);
        Self {
            used: Used::of(call, answer, extent),
            asked: call.model(),
            model: named.or(call.model()),
            has_failed: answer.is_some_and(Answer::has_failed),
            written: answer.map_or(0, Answer::written),
            priced,
        }
    }

    /// How much of `measure`; `None` where nothing says it.
    pub(crate) fn amount(&self, measure: LlmMeasure) -> Option<i64> {
        self.used.amount(measure, self.model, self.priced)
    }

    /// How much of `measure` was seen to be written.
    pub(crate) fn written(&self, measure: LlmMeasure) -> i64 {
        let (plans, at) = self.priced;
        call::written(self.written, measure, (plans, self.asked, at))
    }

    pub(crate) fn is_estimated(&self) -> bool {
        self.used.is_estimated()
    }

    /// What the event says of it, as a JSON object.
    pub(crate) fn metadata(&self, provider: &str, end: End) -> String {
        used::metadata(&self.used, self.model, provider, end.name(), self.has_failed)
    }

    /// Notes how much the model wrote, for what is held for the next calls.
    pub(crate) fn teach(&self, learned: &Learned) {
        if let (Some(model), Some(output)) = (self.asked.or(self.model), self.used.output_said()) {
            learned.note(model, output);
        }
    }
}
