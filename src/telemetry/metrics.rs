//! The registry: what is counted as it happens.
//!
//! What can be read from the experiments themselves is not kept here but drawn at each scrape, by [`super::watched`].

use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::requests;
use super::watched::{Source, Watched};
use crate::engine::{Cause, Outcome, Reason};

/// From a reconcile that only reads to one whose turns wait for a slow forge, seconds.
const BUCKETS: [f64; 8] = [0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decided {
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Because {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Done {
    effect: &'static str,
}

/// What the controller counts.
pub struct Metrics {
    registry: Registry,
    outcomes: Family<Decided, Counter>,
    effects: Family<Done, Counter>,
    events: Family<Because, Counter>,
    errors: Family<Because, Counter>,
    repairs: Counter,
    reconciles: Histogram,
    leader: Gauge,
    watched: Arc<Watched>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("reiter8");
        let (outcomes, effects) = (Family::default(), Family::default());
        let (events, errors) = (Family::default(), Family::default());
        let (repairs, leader) = (Counter::default(), Gauge::default());
        let reconciles = Histogram::new(BUCKETS);
        let watched = Arc::new(Watched::default());
        registry.register(
            "build",
            "The program that answers",
            Info::new(vec![("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
        );
        registry.register("leader", "1 if this replica leads, 0 if it stands by", leader.clone());
        registry.register("outcomes", "Verdicts", outcomes.clone());
        registry.register("repairs", "Weights that others wrote and that were put right", repairs.clone());
        registry.register("events", "What experiments were told about, as their Events name it", events.clone());
        registry.register("effects", "Effects performed", effects.clone());
        registry.register("reconcile_seconds", "Time of one reconcile, all its turns", reconciles.clone());
        registry.register("reconcile_errors", "Reconciles that could not be finished", errors.clone());
        requests::register(&mut registry);
        registry.register_collector(Box::new(Arc::clone(&watched)));
        Self { registry, outcomes, effects, events, errors, repairs, reconciles, leader, watched }
    }
}

impl Metrics {
    /// The registry in the text format that Prometheus scrapes.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }

    /// Draws the experiments' own metrics from this source at every scrape. The first source stays.
    pub fn watch(&self, source: impl Source) {
        self.watched.set(Box::new(source));
    }

    /// This replica leads.
    pub fn lead(&self) {
        self.leader.set(1);
    }

    /// Counts a verdict.
    pub fn outcome(&self, outcome: Outcome, reason: Reason) {
        self.outcomes.get_or_create(&Decided { outcome: outcome.as_str(), reason: reason.as_str() }).inc();
    }

    /// Counts weights that others wrote and that were put right.
    pub fn repaired(&self, count: u32) {
        self.repairs.inc_by(u64::from(count));
    }

    /// Counts something that people were told about; the reason is one of this program's words.
    pub fn event(&self, reason: &str) {
        self.events.get_or_create(&because(reason)).inc();
    }

    /// Counts an effect; its name is one of [`crate::engine::Effect::as_str`].
    pub fn effect(&self, effect: &'static str) {
        self.effects.get_or_create(&Done { effect }).inc();
    }

    /// Counts a reconcile that could not be finished.
    pub fn error(&self, cause: Cause) {
        self.errors.get_or_create(&because(cause.word())).inc();
    }

    /// Notes how long a reconcile took.
    pub fn reconciled(&self, seconds: f64) {
        self.reconciles.observe(seconds);
    }
}

fn because(reason: &str) -> Because {
    Because { reason: reason.to_owned() }
}
