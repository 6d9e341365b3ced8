//! The rehearsal of both outcomes: what would keep an experiment from ending is found before it begins.
//!
//! Pure: plans every outcome on a snapshot and writes nothing. One rehearsal for all who need one: the controller's preflight,
//! `reiter8 check`, `reiter8 plan` and `reiter8 start`. A [`Flaw`] carries its field, problem and remedy apart; who shows it
//! puts them together.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::layout::Layout;
use super::plan::{Change, Missing, PlanError, Spec, plan_cleanup, plan_discard, plan_promote, templates};
use super::remedy::{self, Field, Remedy};
use super::tree::{BlobId, Files, Overlay};
use crate::engine::{Cause, Unavailable};

/// Where further files of an experiment are listed.
pub const REMOVE: Field = Field::Experiment("spec.gitops.remove");

/// All that the outcomes of an experiment change.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsal {
    /// The promotion of each candidate, in the order of the experiment.
    pub promotions: Vec<Promotion>,
    /// The change when the baseline stays.
    pub discard: Change,
}

/// What a promotion changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Promotion {
    /// The change that promotes the candidate.
    pub promote: Change,
    /// The change that removes the experiment afterwards.
    pub cleanup: Change,
}

/// Why an experiment would not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The position of the candidate whose promotion it is about; none if it is about the experiment, or its only candidate.
    pub candidate: Option<usize>,
    /// Why.
    pub cause: Cause,
    /// The field to look at.
    pub field: Field,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: Cow<'static, str>,
}

/// Plans every outcome of an experiment on a snapshot.
pub fn rehearse(files: &dyn Files, spec: &Spec) -> Result<Rehearsal, Flaw> {
    let mut promotions = Vec::new();
    for candidate in 0..=spec.rivals.len() {
        let whose = (!spec.rivals.is_empty()).then_some(candidate);
        let promotion = promotion(files, &spec.promoting(candidate));
        promotions.push(promotion.map_err(|flaw| Flaw { candidate: whose, ..flaw })?);
    }
    // What the cluster is compared with has to be known as well.
    templates(files, spec)?;
    let discard = plan_discard(files, spec)?;
    match discard.missing.first() {
        Some(missing) => Err(absent(missing, spec)),
        None => Ok(Rehearsal { promotions, discard }),
    }
}

fn promotion(files: &dyn Files, spec: &Spec) -> Result<Promotion, Flaw> {
    let promote = plan_promote(files, spec)?;
    if let Some(path) = promote.unpromoted.first() {
        return Err(left_behind(path));
    }
    if let Some(missing) = promote.missing.first() {
        return Err(absent(missing, spec));
    }
    let cleanup = plan_cleanup(&Overlay::new(files, &promote), spec)?;
    Ok(Promotion { promote, cleanup })
}

impl Rehearsal {
    /// The contents that the outcomes rely on, as [`Change::recorded`].
    pub fn recorded(self) -> BTreeMap<String, BlobId> {
        let promotions = self.promotions.into_iter().map(|promotion| promotion.promote);
        promotions.chain([self.discard]).flat_map(|change| change.recorded).collect()
    }
}

impl Flaw {
    /// Problem and remedy in one line. `candidate`: the name of the candidate that it is about.
    pub fn text(&self, candidate: Option<&str>) -> String {
        let whose = candidate.map(|name| format!("a promotion of `{name}`: ")).unwrap_or_default();
        format!("{whose}{}; {}", self.problem, self.remedy)
    }

    /// The refusal of an experiment that has this flaw. What is to be mended in the Repository,
    /// [`remedy::remedied`] says with the value that stands there.
    pub(super) fn refusal(&self, spec: &Spec) -> Unavailable {
        let candidate = self.candidate.map(|at| spec.promoting(at).candidate.name);
        let message = match self.field {
            Field::Experiment(field) => format!("{field}: {}", self.text(candidate.as_deref())),
            Field::Url | Field::Branch | Field::Secret => self.problem.clone(),
        };
        Unavailable::new(self.cause, message)
    }
}

impl From<PlanError> for Flaw {
    fn from(error: PlanError) -> Self {
        let (cause, problem) = (error.cause(), error.to_string());
        let known = remedy::of(cause, false).unwrap_or(ANY_FILE);
        let (field, remedy) = match error.remedy() {
            Some(own) => (error.field(), own),
            None => (known.field, known.fix.into()),
        };
        Self { candidate: None, cause, field, problem, remedy }
    }
}

/// What helps against every file that cannot be edited.
const ANY_FILE: Remedy =
    Remedy { field: Field::GITOPS, fix: "correct the file, or name each edit in `spec.gitops.edits`" };

/// A difference that a promotion would not bring to the baseline: what would be promoted is not what was tried.
fn left_behind(path: &str) -> Flaw {
    Flaw {
        candidate: None,
        cause: Cause::UnpromotedDifference,
        field: Field::Experiment("spec.gitops.promote.fields"),
        problem: format!("the candidate differs from the baseline at `{path}`, which would be left behind"),
        remedy: "write `Template`, or remove the difference".into(),
    }
}

/// Something to remove that is not there, or not there yet.
fn absent(missing: &Missing, spec: &Spec) -> Flaw {
    let (field, problem, remedy) = match missing {
        Missing::Experiment(_) => (
            Field::Experiment("spec.gitops.path"),
            format!("no file in `{}` holds {missing}", spec.path),
            "commit its manifest there first",
        ),
        Missing::Place(_) => (
            if matches!(spec.layout, Layout::Edits(_)) { Field::Experiment("spec.gitops.edits") } else { REMOVE },
            format!("{missing} is to be removed and is not there"),
            "correct the name, or commit what it names",
        ),
    };
    Flaw { candidate: None, cause: Cause::WaitingForSync, field, problem, remedy: remedy.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plan_cannot_do_is_told_with_field_problem_and_remedy() {
        let path = || "apps/a/b.yaml".to_owned();
        let table = [
            (PlanError::FileMissing { path: path() }, "spec.gitops", "correct the name in `spec.gitops`"),
            (PlanError::UnsupportedLayout { path: path() }, "spec.gitops.layout", "write `layout: Kustomize`"),
            (PlanError::NoBuild { image: "a/b".into() }, "spec.gitops", "write the tag or digest"),
            (PlanError::CandidateChanged { path: path() }, "spec.gitops", "correct the file"),
        ];
        for (error, field, remedy) in table {
            let (cause, problem) = (error.cause(), error.to_string());
            let flaw = Flaw::from(error);
            assert_eq!((flaw.cause, flaw.field.of_experiment(), &flaw.problem), (cause, field, &problem));
            assert!(flaw.remedy.starts_with(remedy), "{flaw:?}");
            assert!(!problem.contains(&*flaw.remedy), "{flaw:?}");
        }
        let flaw = left_behind("spec.template");
        assert!(flaw.text(Some("red")).starts_with("a promotion of `red`: the candidate differs from "), "{flaw:?}");
    }
}
