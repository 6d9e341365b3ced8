//! The peers in the benchmark: their rules in the same traffic.

use super::end::{End, Run};
use super::peers::argo::Argo;
use super::peers::flagger::{Flagger, Setup};
use super::peers::iter8::Iter8;
use super::peers::kayenta::Kayenta;
use super::peers::{Rule, Verdict};
use super::scenario::Scenario;
use super::traffic::Traffic;

/// A peer's rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Flagger's ticks of 60 s with this threshold; 1 is the default, 5 the documentation's.
    Flagger(u32),
    /// The Argo Rollouts documentation's analysis in the background.
    ArgoBackground,
    /// Its analysis as a step, five measurements of which none may fail.
    ArgoInline,
    /// Iter8 v2 with its defaults.
    Iter8,
    /// Kayenta, which compares with a copy of the baseline.
    Kayenta,
}

impl Peer {
    /// Those with a largest share, which the benchmark compares with.
    pub const ALL: [Self; 7] = [
        Self::Flagger(1),
        Self::Flagger(2),
        Self::Flagger(3),
        Self::Flagger(5),
        Self::ArgoBackground,
        Self::ArgoInline,
        Self::Iter8,
    ];
    /// Flagger as its documentation sets it up.
    pub const DOCUMENTED: Self = Self::Flagger(5);

    /// The rule at its beginning.
    fn start(self, limit: f64) -> Box<dyn Rule> {
        match self {
            Self::Flagger(threshold) => Box::new(Flagger::new(Setup { threshold, ..Setup::default() }, limit)),
            Self::ArgoBackground => Box::new(Argo::background(limit)),
            Self::ArgoInline => Box::new(Argo::inline(limit)),
            Self::Iter8 => Box::new(Iter8::new(limit)),
            Self::Kayenta => Box::new(Kayenta::default()),
        }
    }

    /// The name in tables.
    pub fn name(self) -> String {
        self.start(1.0).name().to_owned()
    }
}

/// One run of a peer until its verdict.
pub(super) fn run(peer: Peer, scenario: &Scenario, seed: u64) -> Run {
    let mut traffic = Traffic::new(scenario, seed);
    let mut rule = peer.start(scenario.objective.limit(scenario.baseline));
    let (mut due, mut weight) = (0.0, 0);
    loop {
        if traffic.now() >= due {
            let turn = rule.turn(traffic.now(), &traffic);
            (due, weight) = (due + turn.wait, turn.weight);
            let end = turn.verdict.map(|verdict| match verdict {
                Verdict::Promote => End::Promote,
                Verdict::Rollback => End::Rollback,
                Verdict::Paused => End::Undecided,
            });
            if let Some(end) = end {
                return Run::ended(end, &traffic);
            }
        }
        traffic.tick(weight, peer == Peer::Kayenta);
    }
}
