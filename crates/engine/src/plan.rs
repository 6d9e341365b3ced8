//! What an experiment is, resolved and validated: the engine's only view of the resource.
//!
//! Owns the types; `controller::resolve` builds them from an `Experiment`, the scenario reader of `simulate` from a
//! file. Holds no addresses: which VirtualService, query or repository is meant is the business of the `World` that
//! was bound to the same experiment.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::fact::Unavailable;
use crate::rule::Criterion;

/// A resolved experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Which experiment this is.
    pub identity: Identity,
    /// Set while the resource is being deleted: since when.
    pub deleting: Option<Timestamp>,
    /// Set while the resource cannot be carried out as it is written now: why. Everything else in the plan is then what
    /// it said before, or [nothing](Self::unresolved) if it never could be carried out.
    pub refused: Option<Unavailable>,
    /// The version that serves users today.
    pub baseline: Version,
    /// The versions on trial: one, or several that are in a race; never empty.
    pub candidates: Vec<Version>,
    /// How the weight of each candidate grows; all have the same.
    pub ramp: Ramp,
    /// The most that one candidate may carry, percent.
    pub cap: u8,
    /// What one ready replica of a candidate carries, percent; without it, what one of the baseline's carries at the
    /// start.
    pub capacity: Option<u8>,
    /// What people ask for, by annotation.
    pub wishes: Vec<Wish>,
    /// The tests that the candidates have to stand, those of one candidate side by side, in the candidates' order; never
    /// empty.
    pub criteria: Vec<Criterion>,
    /// What several candidates compete for; none with a single one.
    pub race: Option<Race>,
    /// Iter8's iterations, of which the last one decides; given if, and only if, every criterion is a
    /// [`crate::Rule::Threshold`].
    pub iterations: Option<u32>,
    /// Error budgets and times.
    pub analysis: Analysis,
    /// The write-back; `None` leaves the outcome in the status.
    pub gitops: Option<Gitops>,
}

impl Plan {
    /// The plan of an experiment that cannot be carried out and has no traffic: its names and its requests, nothing to do.
    ///
    /// It has no criteria and no write-back: the engine only heeds people, and claims nothing.
    pub fn unresolved(
        identity: Identity,
        (baseline, candidates): (Version, Vec<Version>),
        wishes: Vec<Wish>,
        refusal: Unavailable,
    ) -> Self {
        Self {
            identity,
            deleting: None,
            refused: Some(refusal),
            baseline,
            candidates,
            ramp: Ramp::Fixed,
            cap: 0,
            capacity: None,
            wishes,
            criteria: vec![],
            race: None,
            iterations: None,
            analysis: Analysis::unresolved(),
            gitops: None,
        }
    }

    /// Whether it never could be carried out.
    pub fn is_unresolved(&self) -> bool {
        self.refused.is_some() && self.criteria.is_empty()
    }

    /// All versions: the baseline, then the candidates.
    pub fn versions(&self) -> impl Iterator<Item = &Version> {
        std::iter::once(&self.baseline).chain(&self.candidates)
    }

    /// The metric that a source reads, as the user wrote it.
    pub fn metric(&self, source: usize) -> &str {
        let criterion = self.criteria.iter().find(|c| c.source == source).map(|c| &c.metric);
        let reward = || self.race.as_ref().filter(|race| race.sources.contains(&source)).map(|race| &race.metric);
        criterion.or_else(reward).map_or("a metric", |metric| metric)
    }
}

/// Names of an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
    /// UID of the resource: two experiments of one name are two experiments.
    pub uid: String,
    /// What at most one experiment at a time may touch.
    pub target: String,
}

/// A version under comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its name in the resource.
    pub name: String,
    /// Its workload's name.
    pub workload: String,
}

/// Something that a person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A request with its time, which tells it from the last one of its kind.
    Asked {
        /// What is asked for.
        verb: Verb,
        /// When it was asked for.
        at: Timestamp,
        /// Why, in the person's words; may be empty.
        why: String,
    },
    /// An annotation that cannot be read: its name and value, shortened.
    Unreadable(String),
}

/// What a person may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    /// Hold the weights; deadlines wait.
    Pause,
    /// Go on after a pause, an approval or a person's edit of the weights.
    Resume,
    /// End it: the candidate is discarded, or its merged promotion reverted.
    Abort,
    /// Promote the candidate without a proof.
    Promote,
    /// Try the write-back again.
    Retry,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 5] = [Self::Pause, Self::Resume, Self::Abort, Self::Promote, Self::Retry];

    /// The word in annotations, status and commands.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Promote => "promote",
            Self::Retry => "retry",
        }
    }
}

/// How the candidate's weight grows; it never shrinks but by a decision, or with the candidate's replicas.
#[derive(Clone, Debug, PartialEq)]
pub enum Ramp {
    /// As fast as the evidence allows: at most `budget` excess bad requests within one reaction time.
    Gated {
        /// Tolerated excess bad requests.
        budget: f64,
    },
    /// Fixed steps in rising order; the last one's weight is the final weight.
    Steps(Vec<Rung>),
    /// Not at all: the split that the routes have at the start.
    Fixed,
}

/// One explicit step of a ramp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Percent for the candidate.
    pub weight: u8,
    /// How long the weight is held before the next step.
    pub hold: SignedDuration,
    /// Whether a person has to agree before the next step.
    pub approval: bool,
}

/// The reward for which several candidates and the baseline compete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Race {
    /// The metric, as the user wrote it.
    pub metric: Arc<str>,
    /// Where each candidate's values are: positions in [`super::Reading::answers`], in the candidates' order.
    pub sources: Vec<usize>,
    /// Whether a larger mean is better.
    pub higher_is_better: bool,
}

/// Error budgets and times of one experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// Bound on the probability that a candidate within its limits is discarded.
    pub false_rollback: f64,
    /// Bound on the probability that a candidate beyond a limit is promoted.
    pub false_promotion: f64,
    /// Length of one evidence interval.
    pub interval: SignedDuration,
    /// How far behind the present an interval ends, so that its samples have arrived.
    pub lag: SignedDuration,
    /// From the first traffic on, data of this time give no Pass evidence (cold start).
    pub warm_up: SignedDuration,
    /// Least time at the final weight before a promotion.
    pub soak: SignedDuration,
    /// From the first traffic on: when an undecided experiment is handled by `on_undecided`.
    pub deadline: SignedDuration,
    /// From the first traffic on: when an undecided experiment is discarded in any case.
    pub hard_deadline: SignedDuration,
    /// What happens at the deadline.
    pub on_undecided: OnUndecided,
}

impl Analysis {
    /// No clock runs in an experiment that cannot be carried out.
    fn unresolved() -> Self {
        Self {
            false_rollback: 0.0,
            false_promotion: 0.0,
            interval: SignedDuration::ZERO,
            lag: SignedDuration::ZERO,
            warm_up: SignedDuration::ZERO,
            soak: SignedDuration::ZERO,
            deadline: SignedDuration::ZERO,
            hard_deadline: SignedDuration::ZERO,
            on_undecided: OnUndecided::Hold,
        }
    }

    /// Bounds of a false rollback and a false promotion: what evidence is held against.
    pub fn budgets(&self) -> [f64; 2] {
        [self.false_rollback, self.false_promotion]
    }

    /// The horizon of the start-time mixture: evidence intervals until the hard deadline.
    pub fn horizon(&self) -> u32 {
        let intervals = self.hard_deadline.as_secs_f64() / self.interval.as_secs_f64().max(0.001);
        // A horizon beyond any real experiment would only thin the mixture; two is the least it is defined for.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = intervals.ceil().clamp(2.0, 1e7) as u32;
        whole
    }

    /// Time from a bad request to a changed weight: until its interval ends, is visible, and is acted on.
    pub fn reaction(&self) -> f64 {
        self.lag.as_secs_f64() + 2.5 * self.interval.as_secs_f64()
    }
}

/// What happens to an experiment that is undecided at its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUndecided {
    /// Keep testing until the hard deadline.
    Hold,
    /// Discard at the deadline.
    Discard,
    /// Promote if every criterion has data and none speaks against it; reported as unproven, never as Pass.
    PromoteUnproven,
}

/// The write-back, as far as it concerns choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gitops {
    /// The branch that the GitOps tool syncs.
    pub base_branch: String,
    /// How long a request may wait for its review before the experiment gives up.
    pub stale_after: SignedDuration,
    /// How long traffic needs to leave a version after its weight became 0.
    pub drain: SignedDuration,
    /// Where traffic is while the promote request waits.
    pub waiting: WhileWaiting,
    /// In how many requests the outcome is written.
    pub handover: Handover,
    /// Which requests are merged without a person.
    pub auto_merge: AutoMerge,
}

/// Which requests are merged without a person, as soon as the forge lets them be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AutoMerge {
    /// The one that promotes.
    pub promote: bool,
    /// The one that only removes the experiment.
    pub cleanup: bool,
}

/// In how many requests the outcome is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Handover {
    /// One changes the baseline; when it runs and has the traffic, another removes the experiment.
    #[default]
    TwoPullRequests,
    /// One does both, with all traffic at the baseline before it is opened.
    SinglePullRequest,
    /// None: commits on the base branch, in the same two steps.
    CommitToBase,
}

/// Where traffic is between the verdict for the candidate and the merge of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhileWaiting {
    /// At the split that was proven.
    #[default]
    Hold,
    /// At the candidate.
    Candidate,
    /// At the baseline.
    Baseline,
}
