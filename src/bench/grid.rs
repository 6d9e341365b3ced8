//! Which cells there are: the full grid, and the quick one of the same kinds.

use super::run::{Cell, Replications, Rule};
use super::scenario::{ABSOLUTE, LAG, Objective, SLOW, Scenario};
use super::theirs::Peer;

/// Traffic of the full grid, requests per second.
pub const RPS: [f64; 7] = [1.0, 5.0, 20.0, 50.0, 200.0, 500.0, 5000.0];
/// Mean sizes of clumps; 1: independent.
pub const CLUMPS: [f64; 3] = [1.0, 5.0, 20.0];
/// Shares of the baseline, in units of an absolute limit.
const BASELINES: [f64; 3] = [0.1, 0.5, 0.8];
/// Shares of a harmful candidate, in units of an absolute limit.
const HARMS: [f64; 6] = [1.2, 1.5, 2.0, 5.0, 20.0, 100.0];
/// The baseline's share when it is broken itself.
const BROKEN: f64 = 0.1;
const OBJECTIVES: [Objective; 3] = [Objective::Absolute, Objective::Relative, Objective::Quantile];

/// How many cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// About sixty: what changes often is checked often.
    Quick,
    /// All of them.
    Full,
}

/// What the user asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// How many cells.
    pub size: Size,
    /// Exactly so many replications of each cell.
    pub replications: Option<u32>,
    /// Other traffic than the grid's.
    pub rps: Vec<f64>,
    /// Other clumps than the grid's.
    pub clumps: Vec<f64>,
    /// How late data are visible, seconds.
    pub lag: f64,
}

impl Wanted {
    /// A grid as it is.
    pub fn new(size: Size) -> Self {
        Self { size, replications: None, rps: vec![], clumps: vec![], lag: LAG }
    }

    /// The cells, each once, in an order that does not depend on anything else.
    pub fn cells(&self) -> Vec<Cell> {
        let mut grid = Grid { wanted: self, cells: vec![] };
        match self.size {
            Size::Quick => grid.quick(),
            Size::Full => grid.full(),
        }
        let mut once: Vec<Cell> = vec![];
        let mut names = std::collections::HashSet::new();
        once.extend(grid.cells.into_iter().filter(|cell| names.insert(cell.name())));
        once
    }
}

/// Replications of a kind of cell: (quick, full at first, full at most).
struct Kind(u32, u32, u32);

/// Rates: a standard error of 0.45 points at 2 %.
const RATES: Kind = Kind(400, 1000, 1000);
/// Rates of clumped errors, the hardest to bound: more runs where the first leave a doubt.
const CLUMPED: Kind = Kind(400, 1000, 10_000);
/// Candidates exactly at their limit, where the guarantee is tight.
const AT_THE_LIMIT: Kind = Kind(1000, 10_000, 10_000);
/// Peers, which are compared by medians.
const PEERS: Kind = Kind(400, 400, 400);

struct Grid<'a> {
    wanted: &'a Wanted,
    cells: Vec<Cell>,
}

/// A scenario of the grid: shares in units of the absolute limit.
fn scenario(objective: Objective, rps: f64, baseline: f64, candidate: f64) -> Scenario {
    // Slow requests are five times as many where the limit is.
    let unit = if objective == Objective::Quantile { SLOW } else { ABSOLUTE };
    Scenario::new(objective, rps, exact(baseline * unit), exact((candidate * unit).min(1.0)))
}

/// A share as it is written in decimal.
fn exact(share: f64) -> f64 {
    (share * 1e9).round() / 1e9
}

fn clumped(scenario: Scenario, clump: f64) -> Scenario {
    Scenario { clump, ..scenario }
}

impl Grid<'_> {
    fn add(&mut self, rule: Rule, scenario: Scenario, kind: &Kind) {
        let replications = match (self.wanted.replications, self.wanted.size) {
            (Some(n), _) => Replications::exactly(n),
            (None, Size::Quick) => Replications::exactly(kind.0),
            (None, Size::Full) => Replications { least: kind.1, most: kind.2 },
        };
        let scenario = Scenario { lag: self.wanted.lag, ..scenario };
        self.cells.push(Cell { rule, scenario, replications });
    }

    fn ours(&mut self, scenario: Scenario) {
        let kind = if scenario.clump > 1.0 { CLUMPED } else { RATES };
        self.add(Rule::Ours, scenario, &kind);
    }

    fn all(&mut self, scenario: Scenario) {
        self.ours(scenario);
        for peer in Peer::ALL {
            self.add(Rule::Theirs(peer), scenario, &PEERS);
        }
    }

    /// The grid's traffic, or what the user wants in its place.
    fn rps(&self, usual: &[f64]) -> Vec<f64> {
        if self.wanted.rps.is_empty() { usual.to_vec() } else { self.wanted.rps.clone() }
    }

    fn clumps(&self, usual: &[f64]) -> Vec<f64> {
        if self.wanted.clumps.is_empty() { usual.to_vec() } else { self.wanted.clumps.clone() }
    }

    fn full(&mut self) {
        for objective in OBJECTIVES {
            for rps in self.rps(&RPS) {
                for clump in self.clumps(&CLUMPS) {
                    self.shares(objective, rps, clump);
                    self.at_the_limit(objective, rps, clump);
                }
            }
        }
        self.changing(&[1.0, 5.0, 20.0, 50.0]);
        self.broken(&[50.0, 500.0]);
        self.compared(&[20.0, 200.0]);
    }

    /// Every baseline with every candidate, without and with an outage. Peers have no relative rule.
    fn shares(&mut self, objective: Objective, rps: f64, clump: f64) {
        for baseline in BASELINES {
            for candidate in std::iter::once(baseline).chain(HARMS) {
                for outage in [false, true] {
                    let scenario = Scenario { clump, outage, ..scenario(objective, rps, baseline, candidate) };
                    let simple = !outage && clump <= 1.0;
                    match objective {
                        Objective::Absolute if simple || !outage => self.all(scenario),
                        Objective::Quantile if simple => self.all(scenario),
                        _ => self.ours(scenario),
                    }
                }
            }
        }
    }

    fn at_the_limit(&mut self, objective: Objective, rps: f64, clump: f64) {
        let baselines = if objective == Objective::Relative { &BASELINES[..] } else { &BASELINES[1..2] };
        for baseline in baselines {
            let same = scenario(objective, rps, *baseline, *baseline);
            let candidate = exact(objective.limit(same.baseline));
            self.add(Rule::Ours, Scenario { candidate, clump, ..same }, &AT_THE_LIMIT);
        }
    }

    /// Late harm of five times the share, and shares that drift.
    fn changing(&mut self, usual: &[f64]) {
        for rps in self.rps(usual) {
            for (objective, baseline, candidate) in [
                (Objective::Absolute, 0.5, 0.5),
                (Objective::Absolute, 0.8, 0.8),
                (Objective::Absolute, 0.9, 0.9),
                (Objective::Relative, 0.5, 0.8),
                (Objective::Quantile, 0.9, 0.9),
            ] {
                let before = scenario(objective, rps, baseline, candidate);
                self.ours(Scenario { late: Some(exact(5.0 * before.candidate)), ..before });
            }
            for (objective, baseline, candidate, drift) in [
                (Objective::Absolute, 0.1, 0.1, 8.0),
                (Objective::Absolute, 0.8, 0.8, 0.125),
                (Objective::Absolute, 1.2, 1.2, 3.0),
                (Objective::Relative, 0.2, 0.2, 10.0),
                (Objective::Relative, 2.0, 2.0, 0.1),
                (Objective::Relative, 0.2, 0.6, 10.0),
                (Objective::Relative, 2.0, 6.0, 0.1),
            ] {
                self.ours(Scenario { drift, ..scenario(objective, rps, baseline, candidate) });
            }
        }
    }

    /// The baseline is broken itself.
    fn broken(&mut self, usual: &[f64]) {
        for rps in self.rps(usual) {
            for (objective, candidate) in
                [(Objective::Absolute, 1.0), (Objective::Absolute, BROKEN), (Objective::Relative, 1.0)]
            {
                self.ours(Scenario::new(objective, rps, BROKEN, candidate));
            }
        }
    }

    /// Beside Kayenta, which compares versions.
    fn compared(&mut self, usual: &[f64]) {
        for rps in self.rps(usual) {
            for candidate in [0.5, 1.0, 1.5, 2.5, 20.0] {
                let scenario = scenario(Objective::Relative, rps, 0.5, candidate);
                self.ours(scenario);
                self.add(Rule::Theirs(Peer::Kayenta), scenario, &PEERS);
            }
        }
    }

    fn quick(&mut self) {
        use Objective::{Absolute, Quantile, Relative};
        for rps in self.rps(&[50.0]) {
            for candidate in [0.5, 1.5, 2.0, 5.0] {
                self.all(scenario(Absolute, rps, 0.5, candidate));
            }
        }
        for rps in self.rps(&[5.0, 50.0, 500.0]) {
            for (baseline, candidate) in [(0.1, 0.1), (0.5, 5.0), (0.5, 100.0)] {
                self.ours(scenario(Absolute, rps, baseline, candidate));
            }
        }
        for rps in self.rps(&[50.0]) {
            for clump in self.clumps(&CLUMPS) {
                for objective in OBJECTIVES {
                    self.at_the_limit(objective, rps, clump);
                }
                self.ours(clumped(scenario(Absolute, rps, 0.5, 0.5), clump));
            }
            self.ours(scenario(Absolute, rps, 0.8, 0.8));
            for objective in [Relative, Quantile] {
                self.ours(scenario(objective, rps, 0.1, 0.1));
                self.ours(scenario(objective, rps, 0.5, 5.0));
            }
            for objective in OBJECTIVES {
                self.ours(Scenario { outage: true, ..scenario(objective, rps, 0.1, 0.1) });
            }
            self.ours(Scenario::new(Absolute, rps, BROKEN, 1.0));
            self.ours(Scenario { drift: 10.0, ..scenario(Relative, rps, 0.2, 0.2) });
            self.ours(Scenario { late: Some(0.045), ..scenario(Absolute, rps, 0.9, 0.9) });
        }
        for rps in self.rps(&[1.0]) {
            self.ours(scenario(Absolute, rps, 0.1, 0.1));
            self.ours(scenario(Absolute, rps, 0.5, 5.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Truth;
    use super::*;

    #[test]
    fn the_full_grid_has_every_cell_once() {
        let cells = Wanted::new(Size::Full).cells();
        let ours = |objective| {
            let of = |cell: &&Cell| cell.rule == Rule::Ours && cell.scenario.objective == objective;
            let plain = |cell: &&Cell| cell.scenario.late.is_none() && (cell.scenario.drift - 1.0).abs() < 1e-9;
            cells.iter().filter(of).filter(plain).filter(|c| c.scenario.truth() != Truth::AtTheLimit).count()
        };
        // 7 rates x 3 baselines x 7 candidates x 3 clumps x 2, and the broken baselines; slow requests of 20 and 100
        // times the limit are both all of them; Kayenta's scenarios of 1, 1.5, 2.5 % at 20 and 200 rps that are not in it.
        assert_eq!(ours(Objective::Absolute), 882 + 4);
        assert_eq!(ours(Objective::Quantile), 882 - 126);
        assert!(ours(Objective::Relative) >= 882 + 2, "{}", ours(Objective::Relative));
        let limit = cells.iter().filter(|c| c.scenario.truth() == Truth::AtTheLimit).count();
        assert_eq!(limit, 7 * 3 * 5);
    }

    #[test]
    fn the_quick_grid_has_about_sixty() {
        let cells = Wanted::new(Size::Quick).cells();
        assert!((50..80).contains(&cells.len()), "{}", cells.len());
    }

    #[test]
    fn other_traffic_takes_the_place_of_the_grids() {
        let wanted = Wanted { rps: vec![7.0], clumps: vec![3.0], lag: 30.0, ..Wanted::new(Size::Full) };
        let cells = wanted.cells();
        let other = |c: &Cell| (c.scenario.rps - 7.0).abs() < 1e-9 && (c.scenario.lag - 30.0).abs() < 1e-9;
        assert!(!cells.is_empty() && cells.iter().all(other));
        assert!(cells.iter().any(|c| (c.scenario.clump - 3.0).abs() < 1e-9));
    }
}
