//! Logs and metrics of the controller itself.
//!
//! Owns the set-up of structured logs and the registry behind `/metrics`. Labels are bounded: phases, reasons and
//! effect names, never the names of objects.

use std::io::IsTerminal as _;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object for each line.
    Json,
}

/// Starts logging to standard error; `RUST_LOG` overrides the default level `info`.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube_lease_manager=warn"));
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(coloured());
    // A second start (tests run several controllers in one process) keeps the first one's settings.
    let _ = match format {
        LogFormat::Text => base.try_init(),
        LogFormat::Json => base.json().flatten_event(true).try_init(),
    };
}

/// Colours are for people at a terminal who did not decline them.
fn coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// One bounded label: a phase, a reason or an effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

/// What the controller counts.
pub struct Metrics {
    registry: Registry,
    experiments: Family<Kind, Gauge>,
    outcomes: Family<Kind, Counter>,
    effects: Family<Kind, Counter>,
    errors: Family<Kind, Counter>,
    turns: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("reiter8");
        let (experiments, outcomes) = (Family::<Kind, Gauge>::default(), Family::<Kind, Counter>::default());
        let (effects, errors) = (Family::<Kind, Counter>::default(), Family::<Kind, Counter>::default());
        // From a turn that only reads its caches to one that waits for a slow forge.
        let turns = Histogram::new([0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0]);
        registry.register("experiments", "Experiments by phase", experiments.clone());
        registry.register("outcomes", "Verdicts by reason", outcomes.clone());
        registry.register("effects", "Effects performed, by kind", effects.clone());
        registry.register("errors", "Turns that could not be finished, by reason", errors.clone());
        registry.register("turn_seconds", "Time of one turn", turns.clone());
        Self { registry, experiments, outcomes, effects, errors, turns }
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

    /// Notes how many experiments are in a phase.
    pub fn experiments(&self, phase: &str, count: usize) {
        self.experiments.get_or_create(&kind(phase)).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts a verdict.
    pub fn outcome(&self, reason: &str) {
        self.outcomes.get_or_create(&kind(reason)).inc();
    }

    /// Counts an effect.
    pub fn effect(&self, name: &str) {
        self.effects.get_or_create(&kind(name)).inc();
    }

    /// Counts a turn that could not be finished.
    pub fn error(&self, reason: &str) {
        self.errors.get_or_create(&kind(reason)).inc();
    }

    /// Notes how long a turn took.
    pub fn turn(&self, seconds: f64) {
        self.turns.observe(seconds);
    }
}

fn kind(kind: &str) -> Kind {
    Kind { kind: kind.to_owned() }
}
