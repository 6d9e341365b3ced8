//! From `spec.analysis` to the engine's clock. Pure; called by [`super::resolve`].
//!
//! Each time alone is checked where it is read; here they are held against each other: an experiment whose deadline comes
//! before it can have learnt anything would only waste it.

use std::time::Duration;

use jiff::SignedDuration;

use super::refusal::Refusal;
use crate::api::experiment as spec;
use crate::engine::{Analysis, OnUndecided};

/// The shortest time between two looks: no scrape is faster.
const LEAST_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

/// How sure and how fast the decision is to be.
pub(super) fn analysis(a: &spec::Analysis) -> Result<Analysis, Refusal> {
    let analysis = Analysis {
        false_rollback: a.false_rollback()?,
        false_promotion: a.false_promotion()?,
        interval: signed(a.interval()?),
        lag: signed(a.lag()?),
        warm_up: signed(a.warm_up()?),
        soak: signed(a.soak()?),
        deadline: signed(a.deadline()?),
        hard_deadline: signed(a.hard_deadline()?),
        on_undecided: match a.on_undecided() {
            spec::OnUndecided::Hold => OnUndecided::Hold,
            spec::OnUndecided::Discard => OnUndecided::Discard,
            spec::OnUndecided::PromoteUnproven => OnUndecided::PromoteUnproven,
        },
    };
    fits(&analysis)?;
    Ok(analysis)
}

/// Whether there is time for a decision before the deadline.
fn fits(a: &Analysis) -> Result<(), Refusal> {
    let deadline = a.deadline;
    let refuse = |field: &'static str, problem: String| Err(Refusal::Invalid { field: field.into(), problem });
    if deadline.is_zero() {
        return refuse("spec.analysis.deadline", "`0s` leaves no time for anything; write for example `1h`".into());
    }
    if a.interval < LEAST_INTERVAL {
        let problem = format!("an interval of {:#} is shorter than any scrape; write at least `1s`", a.interval);
        return refuse("spec.analysis.interval", problem);
    }
    if a.hard_deadline < deadline {
        let problem =
            format!("{:#} is before the deadline of {deadline:#}; write a longer one, or remove it", a.hard_deadline);
        return refuse("spec.analysis.hardDeadline", problem);
    }
    let table = [
        ("spec.analysis.interval", a.interval, "no interval of evidence ends before it"),
        ("spec.analysis.lag", a.lag, "no interval of evidence is read before it"),
        ("spec.analysis.warmUp", a.warm_up, "no evidence for a promotion counts before it"),
        ("spec.analysis.soak", a.soak, "no promotion is due before it"),
    ];
    for (field, time, why) in table {
        if time >= deadline {
            let problem = format!(
                "{time:#} is not shorter than the deadline of {deadline:#}: {why}; write a shorter time, or a longer `spec.analysis.deadline`"
            );
            return refuse(field, problem);
        }
    }
    Ok(())
}

/// When an experiment without a verdict ends, and the field that says so.
pub(super) fn end(a: &Analysis) -> (&'static str, SignedDuration) {
    match a.on_undecided {
        OnUndecided::Hold => ("spec.analysis.hardDeadline", a.hard_deadline),
        OnUndecided::Discard | OnUndecided::PromoteUnproven => ("spec.analysis.deadline", a.deadline),
    }
}

/// A duration of the API for the engine's clock.
pub(super) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
