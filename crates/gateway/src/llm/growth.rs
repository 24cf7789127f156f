//! A stream that outgrows what is held for it: more is set aside in slices while it runs.

use std::task::{Context, Waker};

use tollgate_quota::{Asked, Extension, Hold, Terms};
use tollgate_usage::Progress;

use super::{Call, call::Bound};
use crate::{admission::Needs, admitted::Admission, amounts::per_meter, live::RouteCharge};

/// Tokens that are written while more is set aside; what one chunk of a stream brings, and more.
const AHEAD_TOKENS: i64 = 64;
/// Tokens that more is set aside for at once: large enough to be rare, small enough to leave others their part.
const SLICE_TOKENS: i64 = 512;
/// How far ahead more is wanted: a slice, else a little, else what is written already.
const STEPS: [i64; 3] = [AHEAD_TOKENS + SLICE_TOKENS, AHEAD_TOKENS, 0];
const LAST_STEP: usize = STEPS.len() - 1;
/// Questions to a shared store for one step; more are not chance.
const ROUNDS_MAX: u8 = 4;

/// An estimate may be so many times what the request lets the model write: models keep to that, and their tokens may be
/// longer than the estimate takes them for.
const ESTIMATE_TIMES_MAX: i64 = 2;

/// What a stream has written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) progress: Progress,
    /// Tokens of its output that it said itself.
    pub(crate) said: i64,
}

/// Whether what is held covers what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// It does.
    Covered,
    /// The shared store was asked, and what was written waits for its answer.
    Asking,
    /// It does not, and nothing is left.
    Full,
    /// It does not, and how much is left cannot be told: that is not the client's doing.
    Unknown,
}

/// What was asked of a shared store for more, and how often.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Question {
    pub(crate) asked: Asked,
    rounds: u8,
    /// Position in [`STEPS`]; what was wanted before it is not there. Beyond the last, nothing is wanted any more.
    step: usize,
}

/// Sets more aside where the stream nears what is held.
pub(crate) fn grow(
    request: &Admission,
    hold: &mut Hold,
    needs: &mut Needs,
    question: &mut Question,
    written: Written,
) -> Growth {
    let progress = written.progress;
    let lacking = |needs: &Needs, ahead: i64| lacking(request, hold.at(), needs, progress, ahead);
    if is_none(&lacking(needs, AHEAD_TOKENS)) {
        return Growth::Covered;
    }
    let is_covered = is_none(&lacking(needs, 0));
    let asking = if is_covered { Growth::Covered } else { Growth::Asking };
    if is_asking(hold, question.asked) {
        return asking;
    }
    let wanted = STEPS.map(|ahead| lacking(needs, ahead));
    let grant = request.grant();
    let warn_at = &request.live.tier(request.tier).warn_at;
    // Where nothing is wanted any more, nothing was left.
    let mut refused = true;
    for (step, wanted) in wanted.iter().enumerate().skip(question.step) {
        let (checks, tracked, mode) = (&grant.checks, &request.route.tracked, request.live.mode);
        let terms = Terms { checks, needs: wanted, warn_at, mode, tracked };
        let extension = hold.extend(terms, question.asked);
        refused = matches!(extension, Extension::Refused { .. });
        let may_ask = match extension {
            Extension::Held => {
                needs.iter_mut().zip(wanted).for_each(|(need, more)| *need = need.saturating_add(*more));
                // Once there was not even a little left, no more is wanted than is written.
                let step = if step == LAST_STEP { LAST_STEP } else { 0 };
                *question = Question { step, ..Question::default() };
                return Growth::Covered;
            }
            Extension::NotLeased => true,
            // A store that is slow once ends no stream.
            Extension::Unavailable { .. } => step == LAST_STEP,
            Extension::Refused { .. } | Extension::NotLoaded => false,
        };
        if may_ask && question.rounds < ROUNDS_MAX {
            let asked = hold.begin_ask(terms, question.asked);
            *question = Question { asked, rounds: question.rounds + 1, step };
            return asking;
        }
        *question = Question { step: LAST_STEP.min(step + 1), ..Question::default() };
    }
    // Up to the last token that is held, it goes on.
    if is_covered {
        return Growth::Covered;
    }
    let within = request.call.as_ref().and_then(|call| within_bound(call, written));
    if within.is_some_and(|progress| is_none(&self::lacking(request, hold.at(), needs, progress, 0))) {
        question.step = STEPS.len();
        return Growth::Covered;
    }
    if refused { Growth::Full } else { Growth::Unknown }
}

/// What was written, if it may well be no more than the request lets the model write.
fn within_bound(call: &Call, written: Written) -> Option<Progress> {
    let (most, Progress { input, output }) = (call.bound()?.output, written.progress);
    let is_plausible = written.said <= most && output <= most.saturating_mul(ESTIMATE_TIMES_MAX);
    is_plausible.then_some(Progress { input, output: output.min(most) })
}

/// Whether the shared store has not answered yet.
fn is_asking(hold: &Hold, asked: Asked) -> bool {
    hold.parties().poll_asked(asked, &mut Context::from_waker(Waker::noop())).is_pending()
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
    let charges = &request.route.charges;
    let counts = |charge: &RouteCharge| charge.counts_model(call.model());
    let written = per_meter(charges, counts, |_, (_, part)| match part.of_model() {
        Some((measure, measured)) => {
            seen.amount(measure, priced).map_or(0, |amount| measured.conversion.apply_whole(amount))
        }
        None => part.flat_need().max(0),
    });
    let lacks = |((charge, need), written): ((&RouteCharge, &i64), i64)| {
        if charge.is_of_model { written.saturating_sub(*need).max(0) } else { 0 }
    };
    charges.iter().zip(needs).zip(written).map(lacks).collect()
}

fn is_none(needs: &Needs) -> bool {
    needs.iter().all(|need| *need == 0)
}
