//! What the experiments themselves say, drawn from their watched resources at each scrape.
//!
//! Nothing is kept between two scrapes, so a series ends with its experiment: at its completion, its deletion, or when
//! another replica leads. A Prometheus keeps every series that it ever saw for its whole retention, and names of
//! experiments are new with every release of a service; so only running experiments have series of their own, the
//! oldest [`MOST_SHOWN`] of them, and how many are left out is a metric too.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::OnceLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet};
use prometheus_client::metrics::MetricType;

use crate::api::experiment::CriterionStatus;
use crate::api::{Experiment, conditions};
use crate::engine::{MOST_CANDIDATES, Phase};

/// Most experiments with series of their own: at most 200 × (1 + 10 criteria × 5) series, which a small Prometheus
/// takes with ease, and more experiments at the same time than one dashboard can show.
pub const MOST_SHOWN: usize = 200;
/// Most criteria of one experiment with series of their own.
pub const MOST_CRITERIA: usize = 10;
/// Most reasons that experiments wait for; there are fewer in this program, but a status can be written by others.
pub const MOST_REASONS: usize = 100;
/// Most characters of a label's value: the longest name of a resource.
const MOST_TEXT: usize = 253;

/// Every phase, so that one without experiments reads 0.
const PHASES: [Phase; 7] = [
    Phase::Queued,
    Phase::Preparing,
    Phase::Shifting,
    Phase::Deciding,
    Phase::Promoting,
    Phase::Discarding,
    Phase::Completed,
];
/// Every stage of the write-back and every state of its request.
const STAGES: [&str; 3] = ["Promote", "CleanUp", "Revert"];
const STATES: [&str; 3] = ["Open", "Merged", "Closed"];

/// Shows every known experiment to a function.
pub trait Source: Fn(&mut dyn FnMut(&Experiment)) + Send + Sync + 'static {}

impl<F: Fn(&mut dyn FnMut(&Experiment)) + Send + Sync + 'static> Source for F {}

/// The experiments, once they are watched.
#[derive(Default)]
pub(super) struct Watched(OnceLock<Box<dyn Source>>);

impl Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct InPhase {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct WaitsFor {
    reason: String,
    stalled: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct AtForge {
    stage: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct Named {
    namespace: String,
    experiment: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct OfCandidate {
    namespace: String,
    experiment: String,
    candidate: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct OfCriterion {
    namespace: String,
    experiment: String,
    candidate: String,
    /// Position in the status, from 1: a metric may stand in two criteria.
    criterion: u64,
    metric: String,
    /// The claim that evidence is for, or the end of the interval.
    of: &'static str,
}

/// A scrape's answer.
struct Drawn {
    phases: BTreeMap<InPhase, i64>,
    waiting: BTreeMap<WaitsFor, i64>,
    requests: BTreeMap<AtForge, i64>,
    running: Vec<Running>,
}

/// What is shown of a running experiment.
struct Running {
    created: jiff::Timestamp,
    name: Named,
    weights: Vec<(OfCandidate, i64)>,
    evidence: Vec<(OfCriterion, f64)>,
    bad: Vec<(OfCriterion, f64)>,
}

impl Watched {
    pub(super) fn set(&self, source: Box<dyn Source>) {
        let _ = self.0.set(source);
    }
}

impl Collector for Watched {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Some(source) = self.0.get() else { return Ok(()) };
        let mut drawn = Drawn::empty();
        source(&mut |experiment| drawn.add(experiment));
        drawn.running.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        let hidden = i64::try_from(drawn.running.len().saturating_sub(MOST_SHOWN)).unwrap_or(i64::MAX);
        drawn.running.truncate(MOST_SHOWN);
        let each = &drawn.running;
        family(&mut encoder, "experiments", "Experiments by phase", &drawn.phases)?;
        family(&mut encoder, "experiments_waiting", "Experiments by what they wait for", &drawn.waiting)?;
        family(&mut encoder, "pull_requests", "Requests of the known experiments", &drawn.requests)?;
        let help = "Running experiments without series of their own: there are too many";
        encoder.encode_descriptor("experiments_hidden", help, None, MetricType::Gauge)?.encode_gauge(&hidden)?;
        let weights = each.iter().flat_map(|r| &r.weights).map(|(labels, weight)| (labels, weight));
        family(&mut encoder, "experiment_candidate_weight_percent", "Weight that a candidate has", weights)?;
        let help = "Evidence for Fail or Pass, logarithmic: 0 is none, 1 decides";
        family(&mut encoder, "criterion_evidence_ratio", help, pairs(each, |r| &r.evidence))?;
        let help = "Share of bad requests of the candidate: estimate, low and high end of its interval";
        family(&mut encoder, "criterion_bad_ratio", help, pairs(each, |r| &r.bad))
    }
}

fn pairs<'a>(
    running: &'a [Running],
    of: impl Fn(&'a Running) -> &'a Vec<(OfCriterion, f64)> + 'a,
) -> impl Iterator<Item = (&'a OfCriterion, &'a f64)> {
    running.iter().flat_map(of).map(|(labels, value)| (labels, value))
}

/// Writes a gauge for each label set; nothing at all if there is none.
fn family<'a, L: EncodeLabelSet + 'a, V: EncodeGaugeValue + 'a>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (&'a L, &'a V)>,
) -> fmt::Result {
    let mut values = values.into_iter().peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        family.encode_family(labels)?.encode_gauge(value)?;
    }
    Ok(())
}

impl Drawn {
    fn empty() -> Self {
        let requests = STAGES.iter().flat_map(|&stage| STATES.map(|state| (AtForge { stage, state }, 0)));
        Self {
            phases: PHASES.iter().map(|p| (InPhase { phase: p.as_str() }, 0)).collect(),
            waiting: BTreeMap::new(),
            requests: requests.collect(),
            running: vec![],
        }
    }

    fn add(&mut self, experiment: &Experiment) {
        let status = experiment.status.as_ref();
        let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or(Phase::Queued.as_str());
        let Some(phase) = PHASES.into_iter().find(|p| p.as_str() == phase) else { return };
        *self.phases.entry(InPhase { phase: phase.as_str() }).or_default() += 1;
        if let Some(waits) = waiting(experiment) {
            let known = self.waiting.len() < MOST_REASONS || self.waiting.contains_key(&waits);
            let waits = if known { waits } else { WaitsFor { reason: "Other".to_owned(), ..waits } };
            *self.waiting.entry(waits).or_default() += 1;
        }
        for request in status.iter().filter_map(|s| s.gitops.as_ref()).flat_map(|g| &g.stages) {
            let Some(pull) = &request.pull_request else { continue };
            let stage = STAGES.into_iter().find(|s| *s == request.stage);
            let state = STATES.into_iter().find(|s| *s == pull.state);
            if let (Some(stage), Some(state)) = (stage, state) {
                *self.requests.entry(AtForge { stage, state }).or_default() += 1;
            }
        }
        match phase {
            Phase::Queued | Phase::Completed => {}
            Phase::Preparing | Phase::Shifting | Phase::Deciding | Phase::Promoting | Phase::Discarding => {
                self.running.push(running(experiment));
            }
        }
    }
}

/// What an experiment waits for: the reason of its condition `Ready`, while it waits or cannot go on.
fn waiting(experiment: &Experiment) -> Option<WaitsFor> {
    let status = experiment.status.as_ref()?;
    let condition = |kind: &str| status.conditions.iter().find(|c| c.type_ == kind);
    let stalled = condition(conditions::STALLED).is_some_and(|c| c.status == "True");
    if status.waiting_for.is_none() && !stalled {
        return None;
    }
    let ready: &Condition = condition(conditions::READY)?;
    let word = ready.reason.len() <= 64 && ready.reason.bytes().all(|b| b.is_ascii_alphanumeric());
    let reason = if word { ready.reason.clone() } else { "Other".to_owned() };
    Some(WaitsFor { reason, stalled: if stalled { "true" } else { "false" } })
}

fn running(experiment: &Experiment) -> Running {
    let metadata = &experiment.metadata;
    let name = Named {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        experiment: metadata.name.clone().unwrap_or_default(),
    };
    let status = experiment.status.clone().unwrap_or_default();
    let candidates = experiment.spec.version_info.candidates.iter().take(MOST_CANDIDATES);
    let shown = |name: &str| name.chars().take(MOST_TEXT).collect::<String>();
    let weight = |candidate: &str| status.weights.iter().find(|w| w.name == candidate).map_or(0, |w| w.value.into());
    let of = |candidate: &str| OfCandidate {
        namespace: name.namespace.clone(),
        experiment: name.experiment.clone(),
        candidate: shown(candidate),
    };
    let weights = candidates.clone().map(|c| (of(&c.name), weight(&c.name))).collect();
    let only = candidates.clone().next().map_or("", |c| c.name.as_str());
    let (mut evidence, mut bad) = (vec![], vec![]);
    for (criterion, number) in status.criteria.iter().take(MOST_CRITERIA).zip(1..) {
        let labels = |of| labels(&name, number, criterion, only, of);
        let proof = |value: Option<f64>, needed: Option<f64>| Some(ratio(value?, needed?));
        let fail = proof(criterion.fail_evidence, criterion.fail_needed).map(|v| (labels("Fail"), v));
        let pass = proof(criterion.pass_evidence, criterion.needed).map(|v| (labels("Pass"), v));
        evidence.extend(fail.into_iter().chain(pass));
        let ends = criterion.interval.as_ref().map(|i| [("low", i.low), ("high", i.high)]);
        let shares = criterion.estimate.map(|v| ("estimate", v)).into_iter().chain(ends.into_iter().flatten());
        bad.extend(shares.map(|(of, v)| (labels(of), v)));
    }
    let created = metadata.creation_timestamp.as_ref().map(|t| t.0).unwrap_or_default();
    Running { created, name, weights, evidence, bad }
}

fn labels(name: &Named, criterion: u64, status: &CriterionStatus, only: &str, of: &'static str) -> OfCriterion {
    OfCriterion {
        namespace: name.namespace.clone(),
        experiment: name.experiment.clone(),
        candidate: status.candidate.as_deref().unwrap_or(only).chars().take(MOST_TEXT).collect(),
        criterion,
        metric: status.metric.chars().take(MOST_TEXT).collect(),
        of,
    }
}

/// How far evidence is on its way to a proof: 1 decides; evidence against the claim is none for it.
fn ratio(evidence: f64, needed: f64) -> f64 {
    if evidence > 1.0 && needed > 1.0 { evidence.ln() / needed.ln() } else { 0.0 }
}
