//! A stream that outgrows what is held for it: more is set aside in slices while it runs.

use tollgate_core::SETTLEMENT_CHARGES_MAX;
use tollgate_quota::{Asked, Extension, Hold, Terms};
use tollgate_usage::Progress;

use super::call::Bound;
use crate::{admission::Needs, admitted::Admission, live::RouteCharge};

/// Tokens that are written while more is set aside; what one chunk of a stream brings, and more.
const AHEAD_TOKENS: i64 = 64;
/// Tokens that more is set aside for at once: large enough to be rare, small enough to leave others their part.
const SLICE_TOKENS: i64 = 512;
/// Questions to a shared store for one slice; more are not chance.
const ROUNDS_MAX: u8 = 4;

/// Whether what is held covers what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// It does.
    Covered,
    /// The shared store was asked, and what was written waits for its answer.
    Asking,
    /// It does not, and nothing is left.
    Full,
}

/// What was asked of a shared store for a slice, and how often.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Question {
    pub(crate) asked: Asked,
    rounds: u8,
}

/// Sets more aside where the stream nears what is held.
pub(crate) fn grow(
    request: &Admission,
    hold: &mut Hold,
    needs: &mut Needs,
    question: &mut Question,
    progress: Progress,
) -> Growth {
    let lacking = |needs: &Needs, ahead: i64| lacking(request, hold.at(), needs, progress, ahead);
    if is_none(&lacking(needs, AHEAD_TOKENS)) {
        return Growth::Covered;
    }
    let grant = request.route.grant(request.tier);
    let warn_at = &request.live.tier(request.tier).warn_at;
    let (slice, ahead, now) =
        (lacking(needs, AHEAD_TOKENS + SLICE_TOKENS), lacking(needs, AHEAD_TOKENS), lacking(needs, 0));
    for wanted in [slice, ahead, now.clone()] {
        let (checks, tracked, mode) = (&grant.checks, &request.route.tracked, request.live.mode);
        let terms = Terms { checks, needs: &wanted, warn_at, mode, tracked };
        match hold.extend(terms, question.asked) {
            Extension::Held => {
                needs.iter_mut().zip(&wanted).for_each(|(need, more)| *need = need.saturating_add(*more));
                *question = Question::default();
                return Growth::Covered;
            }
            Extension::NotLeased if question.rounds < ROUNDS_MAX => {
                question.asked = hold.begin_ask(terms, question.asked);
                question.rounds += 1;
                return if is_none(&now) { Growth::Covered } else { Growth::Asking };
            }
            Extension::Refused { .. }
            | Extension::NotLeased
            | Extension::NotLoaded
            | Extension::Unavailable { .. } => *question = Question::default(),
        }
    }
    // Up to the last token that is held, it goes on.
    if is_none(&now) { Growth::Covered } else { Growth::Full }
}

/// What is missing of each charge when `ahead` tokens more are written.
fn lacking(
    request: &Admission,
    at: tollgate_core::UnixMillis,
    needs: &Needs,
    progress: Progress,
    ahead: i64,
) -> Needs {
    let Some(call) = &request.call else { return Needs::default() };
    let bound = call.bound();
    let input = progress.input.or(bound.map(|bound| bound.input)).unwrap_or(0);
    // Nothing is set aside for what the request does not let the model write, unless it writes it all the same.
    let most = bound.map(|bound| bound.output).filter(|most| progress.output <= *most).unwrap_or(i64::MAX);
    let seen = Bound { input, output: progress.output.saturating_add(ahead).min(most) };
    let priced = (request.live.plans(), call.model(), at);
    let lacks = |(charge, need): (&RouteCharge, &i64)| {
        let measure = charge.measure().filter(|_| charge.counts_model(call.model()));
        let amount = measure.and_then(|measure| seen.amount(measure, priced)).unwrap_or(0);
        amount.saturating_sub(*need).max(0)
    };
    request.route.charges.iter().zip(needs).take(SETTLEMENT_CHARGES_MAX).map(lacks).collect()
}

fn is_none(needs: &Needs) -> bool {
    needs.iter().all(|need| *need == 0)
}
