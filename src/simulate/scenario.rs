//! What happens to an experiment in the embedded world: traffic, faults and people, read from YAML.
//!
//! ```yaml
//! seed: 7                     # default 1; the only source of chance
//! rps: 50                     # requests per second, default 50
//! sample: reviews             # the directory of `samples` that is tried: bookinfo (default), or reviews with two candidates
//! baseline:  {errors: 0.1%, reward: 2}   # share of bad requests, default 0.1 %; mean value of a request, default 1
//! candidate: {errors: 0.1%, from: [{at: 10m, errors: 5%}]}   # `from`: other values from then on
//! candidates: {red: {reward: 3}}         # of several candidates, those that are not like `candidate`, by their names
//! outages:   [{from: 2m, to: 4m}]        # the metrics source does not answer
//! notReady:  [{from: 3m, to: 4m, candidate: red}]   # it has no ready replica; default the first one
//! edits:     [{at: 90s, candidate: 30, by: argocd-controller}]  # somebody changes the first one's weight, default kubectl
//! people:    [{at: 2m, ask: pause, why: lunch}]      # pause | resume | abort | promote | retry
//! scale:     [{at: 3m, baseline: 3}]     # replicas, default as in the manifests; or candidate, the first one
//! changes:   [{at: 3m, candidate: red}]  # its Deployment is edited; default the first one
//! remoteOutages: [{from: 2m, to: 4m}]    # neither Git nor its forge answers
//! mergeDenied: true           # the credential may not merge requests; reviewers may
//! refused: [{from: 2m, to: 4m}]          # the experiment is edited into something that cannot be carried out
//! rollout: 2m                 # how long a changed Deployment takes to roll out, default 12s
//! rolloutFails: true          # the promoted content never becomes ready
//! reviewer:  {promote: merge, cleanUp: merge, after: 30s}    # merge | squash | rebase | edit | push | close | deleteBranch | ignore
//! base:      [{at: 3m, do: rename}]      # what happens to the base branch: rename | restore | revert | rewrite
//! experiment: {analysis: {deadline: 20m}}   # laid over the sample's spec
//! until: 4h                   # the simulation ends then, default 6h
//! ```
//!
//! Times count from the commit that starts the experiment. Metrics that are shares are all the share of bad requests;
//! those that are means, rewards among them, are all the mean value of a request.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::api::{Quantity, Span, Unit};
use crate::engine::{Verb, Version};

use super::environment;

/// A scenario, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Scenario {
    /// Seed of every chance.
    pub seed: u64,
    /// Requests per second.
    pub rps: f64,
    /// Which application is tried.
    pub sample: Sample,
    /// The baseline's behaviour.
    pub baseline: Behaviour,
    /// The candidate's behaviour; of several, that of each one that has none of its own.
    pub candidate: Behaviour,
    /// Behaviour of candidates among several, by their names.
    pub candidates: BTreeMap<String, Behaviour>,
    /// When the metrics source does not answer.
    pub outages: Vec<Between>,
    /// When a candidate has no ready replica.
    pub not_ready: Vec<Absence>,
    /// When somebody else changes the weights.
    pub edits: Vec<Edit>,
    /// What people ask of the experiment.
    pub people: Vec<Ask>,
    /// When a workload is scaled.
    pub scale: Vec<Scale>,
    /// When a candidate's Deployment is edited.
    pub changes: Vec<Change>,
    /// When neither Git nor its forge answers.
    pub remote_outages: Vec<Between>,
    /// Whether the credential may not merge requests, where they are to be merged without a person.
    pub merge_denied: bool,
    /// When the experiment cannot be carried out as it is written.
    pub refused: Vec<Between>,
    /// How long a changed Deployment takes to roll out.
    pub rollout: Span,
    /// Whether the promoted content never becomes ready.
    pub rollout_fails: bool,
    /// What people do to the base branch.
    pub base: Vec<Rework>,
    /// What reviewers do.
    pub reviewer: Reviewer,
    /// Laid over the sample's `spec`.
    pub experiment: serde_json::Value,
    /// When the simulation ends at the latest.
    pub until: Span,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            seed: 1,
            rps: 50.0,
            sample: Sample::default(),
            baseline: Behaviour::default(),
            candidate: Behaviour::default(),
            candidates: BTreeMap::new(),
            outages: vec![],
            not_ready: vec![],
            edits: vec![],
            people: vec![],
            scale: vec![],
            changes: vec![],
            remote_outages: vec![],
            merge_denied: false,
            refused: vec![],
            rollout: Span::new("12s"),
            rollout_fails: false,
            base: vec![],
            reviewer: Reviewer::default(),
            experiment: serde_json::Value::Null,
            until: Span::new("6h"),
        }
    }
}

/// The application that is tried: a directory of `samples`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sample {
    /// The product page, with one candidate.
    #[default]
    Bookinfo,
    /// The reviews, with two candidates in a race.
    Reviews,
}

impl Sample {
    /// What the repository has of it.
    pub(super) fn files(self) -> &'static environment::Sample {
        match self {
            Self::Bookinfo => &environment::BOOKINFO,
            Self::Reviews => &environment::REVIEWS,
        }
    }
}

/// How a version answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Behaviour {
    /// Share of bad requests.
    pub errors: Quantity,
    /// Mean value of a request.
    pub reward: f64,
    /// Others, from later on.
    pub from: Vec<Later>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { errors: Quantity::from("0.1%"), reward: 1.0, from: vec![] }
    }
}

/// Another share of bad requests, another mean value, or both from a time on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Later {
    /// From when.
    pub at: Span,
    /// The share.
    pub errors: Option<Quantity>,
    /// The mean value.
    pub reward: Option<f64>,
}

/// A span of time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Between {
    /// Its start.
    pub from: Span,
    /// Its end.
    pub to: Span,
}

/// A span of time without a ready replica.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absence {
    /// Its start.
    pub from: Span,
    /// Its end.
    pub to: Span,
    /// Whose, by its name; the first one's without.
    pub candidate: Option<String>,
}

/// Somebody sets the first candidate's weight.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// When.
    pub at: Span,
    /// To what, percent.
    pub candidate: u8,
    /// The field manager that writes it.
    #[serde(default = "kubectl")]
    pub by: String,
}

fn kubectl() -> String {
    "kubectl-edit".into()
}

/// Somebody asks something of the experiment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// When.
    pub at: Span,
    /// What.
    #[serde(rename = "ask")]
    pub verb: Verb,
    /// Why.
    #[serde(default)]
    pub why: String,
}

/// Somebody scales the workloads.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// When.
    pub at: Span,
    /// Replicas of the baseline from then on.
    pub baseline: Option<u32>,
    /// Replicas of the first candidate from then on.
    pub candidate: Option<u32>,
}

/// Somebody edits a candidate's Deployment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// When.
    pub at: Span,
    /// Whose, by its name; the first one's without.
    pub candidate: Option<String>,
}

/// Somebody does something to the base branch.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rework {
    /// When.
    pub at: Span,
    /// What.
    #[serde(rename = "do")]
    pub what: BaseAct,
}

/// What people do to the base branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BaseAct {
    /// It has another name from now on.
    Rename,
    /// It has its name back.
    Restore,
    /// A commit restores the files of the experiment's start.
    Revert,
    /// A forced push: its head is the experiment's start again.
    Rewrite,
}

/// What reviewers do with requests.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Reviewer {
    /// With the promote request.
    pub promote: Review,
    /// With the clean-up request.
    pub clean_up: Review,
    /// With a request that takes a promotion back.
    pub revert: Review,
    /// How long after it was opened.
    pub after: Span,
}

impl Default for Reviewer {
    fn default() -> Self {
        Self { promote: Review::Merge, clean_up: Review::Merge, revert: Review::Merge, after: Span::new("30s") }
    }
}

/// What a reviewer does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Review {
    /// Merges it.
    Merge,
    /// Merges it as one new commit.
    Squash,
    /// Merges its commit onto the base branch.
    Rebase,
    /// Edits the baseline's manifest in it, and merges it after the same time again.
    Edit,
    /// Pushes another file onto its branch, and merges it after the same time again.
    Push,
    /// Closes it unmerged.
    Close,
    /// Deletes its branch, which closes it.
    DeleteBranch,
    /// Leaves it.
    Ignore,
}

/// Why a scenario cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It is not YAML of the expected shape; the parser tells its causes itself, so that they are no chain.
    #[error("failed to read the scenario: {0}")]
    Unreadable(String),
    /// A value is not what its field takes.
    #[error("failed to read `{field}`: {problem}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl Scenario {
    /// Reads a scenario and checks every value.
    pub fn read(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self =
            serde_saphyr::from_str(text).map_err(|e| ScenarioError::Unreadable(e.without_snippet().to_string()))?;
        scenario.timeline()?;
        if !(scenario.rps > 0.0 && scenario.rps <= 10_000.0) {
            let problem = format!("{} is not between 0 and 10000 requests per second", scenario.rps);
            return Err(ScenarioError::Invalid { field: "rps", problem });
        }
        Ok(scenario)
    }

    /// The scenario in seconds and shares.
    pub fn timeline(&self) -> Result<Timeline, ScenarioError> {
        let spans = |spans: &[Between], field| {
            spans.iter().map(|s| between((&s.from, &s.to), field)).collect::<Result<Vec<_>, _>>()
        };
        let mut edits = self.edits.iter().map(edit).collect::<Result<Vec<_>, _>>()?;
        edits.sort_by_key(|(at, _)| *at);
        let asks = self.people.iter().map(|p| Ok((seconds(&p.at, "people[].at")?, p.verb, p.why.clone())));
        let mut people = asks.collect::<Result<Vec<_>, _>>()?;
        people.sort_by_key(|(at, ..)| *at);
        let scales = self.scale.iter().map(|s| Ok((seconds(&s.at, "scale[].at")?, s.baseline, s.candidate)));
        let mut scale = scales.collect::<Result<Vec<_>, _>>()?;
        scale.sort_by_key(|(at, ..)| *at);
        Ok(Timeline {
            people,
            scale,
            changes: self
                .changes
                .iter()
                .map(|c| Ok((seconds(&c.at, "changes[].at")?, c.candidate.clone())))
                .collect::<Result<_, _>>()?,
            remote_outages: spans(&self.remote_outages, "remoteOutages")?,
            refused: spans(&self.refused, "refused")?,
            baseline: Answers::of(&self.baseline, ["baseline.errors", "baseline.reward"])?,
            candidate: Answers::of(&self.candidate, ["candidate.errors", "candidate.reward"])?,
            candidates: self
                .candidates
                .iter()
                .map(|(name, b)| Ok((name.clone(), Answers::of(b, ["candidates.*.errors", "candidates.*.reward"])?)))
                .collect::<Result<_, _>>()?,
            outages: spans(&self.outages, "outages")?,
            not_ready: self
                .not_ready
                .iter()
                .map(|a| Ok((between((&a.from, &a.to), "notReady")?, a.candidate.clone())))
                .collect::<Result<_, _>>()?,
            edits,
            base: self.base.iter().map(|b| Ok((seconds(&b.at, "base[].at")?, b.what))).collect::<Result<_, _>>()?,
            rollout_fails: self.rollout_fails,
            rollout: seconds(&self.rollout, "rollout")?,
            review_after: seconds(&self.reviewer.after, "reviewer.after")?,
            until: seconds(&self.until, "until")?,
        })
    }

    /// Refuses the name of a candidate that the experiment does not have.
    pub(super) fn fits(&self, candidates: &[Version]) -> Result<(), ScenarioError> {
        let named = self.candidates.keys().map(|name| ("candidates", name));
        let named =
            named.chain(self.not_ready.iter().filter_map(|a| Some(("notReady[].candidate", a.candidate.as_ref()?))));
        let mut named =
            named.chain(self.changes.iter().filter_map(|c| Some(("changes[].candidate", c.candidate.as_ref()?))));
        let Some((field, name)) = named.find(|(_, name)| !candidates.iter().any(|c| c.name == **name)) else {
            return Ok(());
        };
        let there: Vec<String> = candidates.iter().map(|c| format!("`{}`", c.name)).collect();
        let problem = format!("no candidate is named `{name}`; the experiment has {}", there.join(", "));
        Err(ScenarioError::Invalid { field, problem })
    }
}

/// A scenario in numbers; times are seconds after the start.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// How the baseline answers.
    pub baseline: Answers,
    /// How a candidate answers that has no own answers.
    pub candidate: Answers,
    /// Answers of candidates among several, by their names.
    pub candidates: BTreeMap<String, Answers>,
    /// When the metrics source does not answer.
    pub outages: Vec<(i64, i64)>,
    /// When a candidate has no ready replica, and which one, if not the first.
    pub not_ready: Vec<((i64, i64), Option<String>)>,
    /// Foreign weights and who writes them.
    pub edits: Vec<(i64, (u8, String))>,
    /// What people ask, and why.
    pub people: Vec<(i64, Verb, String)>,
    /// Replicas of the baseline and the candidate from a time on.
    pub scale: Vec<(i64, Option<u32>, Option<u32>)>,
    /// When a candidate's Deployment is edited, and which one's, if not the first's.
    pub changes: Vec<(i64, Option<String>)>,
    /// When neither Git nor its forge answers.
    pub remote_outages: Vec<(i64, i64)>,
    /// When the experiment cannot be carried out as it is written.
    pub refused: Vec<(i64, i64)>,
    /// What people do to the base branch.
    pub base: Vec<(i64, BaseAct)>,
    /// Whether the promoted content never becomes ready.
    pub rollout_fails: bool,
    /// How long a changed Deployment takes to roll out.
    pub rollout: i64,
    /// How long a request waits for its reviewer.
    pub review_after: i64,
    /// The end.
    pub until: i64,
}

/// How a version answers, in numbers; each holds from a time on.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Shares of bad requests.
    pub errors: Vec<(i64, f64)>,
    /// Mean values of a request.
    pub rewards: Vec<(i64, f64)>,
}

impl Answers {
    fn of(behaviour: &Behaviour, [errors, reward]: [&'static str; 2]) -> Result<Self, ScenarioError> {
        let invalid = |field, problem| ScenarioError::Invalid { field, problem };
        let share = |q: &Quantity| q.value(Unit::Share).map_err(|e| invalid(errors, e.to_string()));
        let mean = |mean: f64| match mean {
            mean if (0.0..=1e9).contains(&mean) => Ok(mean),
            _ => Err(invalid(reward, format!("{mean} is no mean value; write a number from 0 to 1000000000"))),
        };
        let mut answers = Self {
            errors: vec![(i64::MIN, share(&behaviour.errors)?)],
            rewards: vec![(i64::MIN, mean(behaviour.reward)?)],
        };
        for later in &behaviour.from {
            let at = seconds(&later.at, errors)?;
            if later.errors.is_none() && later.reward.is_none() {
                return Err(invalid(errors, format!("nothing changes at {at} s; write `errors` or `reward`")));
            }
            if let Some(other) = &later.errors {
                answers.errors.push((at, share(other)?));
            }
            if let Some(other) = later.reward {
                answers.rewards.push((at, mean(other)?));
            }
        }
        answers.errors.sort_by_key(|(at, _)| *at);
        answers.rewards.sort_by_key(|(at, _)| *at);
        Ok(answers)
    }

    /// What holds at a second.
    pub(super) fn at(values: &[(i64, f64)], second: i64) -> f64 {
        values.iter().rev().find(|(from, _)| *from <= second).map_or(0.0, |(_, value)| *value)
    }
}

fn between((from, to): (&Span, &Span), field: &'static str) -> Result<(i64, i64), ScenarioError> {
    let (from, to) = (seconds(from, field)?, seconds(to, field)?);
    if from >= to {
        let problem = format!("it ends at {to} s, which is not after its start at {from} s");
        return Err(ScenarioError::Invalid { field, problem });
    }
    Ok((from, to))
}

impl Timeline {
    /// How each version answers: the baseline, then the candidates.
    pub(super) fn answers(&self, candidates: &[Version]) -> Vec<Answers> {
        let own = candidates.iter().map(|c| self.candidates.get(&c.name).unwrap_or(&self.candidate));
        std::iter::once(&self.baseline).chain(own).cloned().collect()
    }

    /// When somebody acts next, after a second; a turn follows, as a watch brings it about in a cluster.
    pub fn next(&self, second: i64) -> Option<i64> {
        let edits = self.edits.iter().map(|(at, _)| *at);
        let people = self.people.iter().map(|(at, ..)| *at);
        let scale = self.scale.iter().map(|(at, ..)| *at);
        let refused = self.refused.iter().flat_map(|(from, to)| [*from, *to]);
        let base = self.base.iter().map(|(at, _)| *at);
        let all =
            edits.chain(people).chain(scale).chain(base).chain(self.changes.iter().map(|(at, _)| *at)).chain(refused);
        all.filter(|at| *at > second).min()
    }

    /// Whether a second is in one of the spans.
    pub fn within(spans: &[(i64, i64)], second: i64) -> bool {
        spans.iter().any(|(from, to)| (*from..*to).contains(&second))
    }
}

fn edit(edit: &Edit) -> Result<(i64, (u8, String)), ScenarioError> {
    if edit.candidate > 100 {
        let problem = format!("{} is not a weight; write a whole number from 0 to 100", edit.candidate);
        return Err(ScenarioError::Invalid { field: "edits[].candidate", problem });
    }
    Ok((seconds(&edit.at, "edits[].at")?, (edit.candidate, edit.by.clone())))
}

fn seconds(span: &Span, field: &'static str) -> Result<i64, ScenarioError> {
    let duration: Duration = span.duration().map_err(|e| ScenarioError::Invalid { field, problem: e.to_string() })?;
    Ok(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
}
