//! What is promised of the judge, held against what the cells measured. A bar that was missed says so.

use super::guard::Delay;
use super::run::{Done, Results, Rule, Summary};
use super::scenario::{Objective, Scenario, Truth};
use super::statistics::upper_bound;
use super::theirs::Peer;

/// Largest rate of wrong decisions.
pub const MOST_WRONG: f64 = 0.05;
/// What is aimed at.
pub const AIM: f64 = 0.025;
/// Largest rate of rollbacks where nothing is wrong with the candidate.
const MOST_HARMLESS: f64 = 0.01;
/// Seconds of an evidence interval.
pub const INTERVAL: f64 = 10.0;
/// Least simulated hours per second and core.
const LEAST_SPEED: f64 = 1000.0;

/// How a bar stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is held.
    Met,
    /// It is not.
    Missed,
    /// The cells that were run say nothing about it.
    Unknown,
    /// Nothing is promised: a number for the reader.
    Printed,
}

impl State {
    /// The word in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "**missed**",
            Self::Unknown => "not measured",
            Self::Printed => "printed",
        }
    }
}

/// A bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// What is measured.
    pub figure: String,
    /// What is promised.
    pub bar: String,
    /// What was measured, and where it was worst.
    pub measured: String,
    /// How it stands.
    pub state: State,
}

fn bar(figure: &str, promised: &str, measured: String, met: Option<bool>) -> Bar {
    let state = match met {
        Some(true) => State::Met,
        Some(false) => State::Missed,
        None => State::Unknown,
    };
    Bar { figure: figure.into(), bar: promised.into(), measured, state }
}

/// Every bar, in the order of the promises.
pub fn bars(results: &Results, delays: &[Delay]) -> Vec<Bar> {
    let all = Cells { cells: &results.cells };
    let mut bars = vec![all.rollbacks(), all.promotions(), all.harmless()];
    bars.extend(all.failing());
    bars.push(all.broken());
    bars.extend(all.harmful());
    bars.extend(all.healthy());
    bars.push(all.outage());
    bars.push(all.late());
    bars.extend(delays.iter().map(guard));
    bars.extend([all.low_traffic(), all.drift()]);
    bars.push(speed(results));
    bars
}

struct Cells<'a> {
    cells: &'a [Done],
}

/// A rate with its bound.
fn rate(hits: u32, n: u32) -> String {
    let percent = 100.0 * f64::from(hits) / f64::from(n.max(1));
    format!("{percent:.2} % ({hits} of {n}; at most {:.2} % at 95 %)", 100.0 * upper_bound(hits, n))
}

/// Seconds for people.
pub(super) fn seconds(median: Option<f64>) -> String {
    median.map_or_else(|| "never".into(), |s| format!("{s:.0} s"))
}

impl<'a> Cells<'a> {
    fn ours(&self, wanted: impl Fn(&Scenario) -> bool + 'a) -> impl Iterator<Item = &'a Done> {
        let ours = self.cells.iter().filter(|done| done.cell.rule == Rule::Ours);
        ours.filter(move |done| wanted(&done.cell.scenario))
    }

    /// The cell with the largest number of hits, by its bound.
    fn worst(cells: impl Iterator<Item = &'a Done>, hits: impl Fn(&Summary) -> (u32, u32)) -> Option<Worst<'a>> {
        let mut worst = Worst { cells: 0, above: 0, above_aim: 0, bound: -1.0, hits: (0, 0), at: None };
        for done in cells {
            let (count, n) = hits(&done.summary);
            if n == 0 {
                continue;
            }
            let bound = upper_bound(count, n);
            worst.cells += 1;
            worst.above += u32::from(bound > MOST_WRONG);
            worst.above_aim += u32::from(bound > AIM);
            if bound > worst.bound {
                (worst.bound, worst.hits, worst.at) = (bound, (count, n), Some(done));
            }
        }
        worst.at.is_some().then_some(worst)
    }

    fn rollbacks(&self) -> Bar {
        let wrong = |truth| matches!(truth, Truth::Within | Truth::AtTheLimit | Truth::Late);
        let worst = Self::worst(self.ours(move |s| wrong(s.truth())), |s| (s.false_rollbacks, s.runs));
        everywhere("false rollback, every cell", worst)
    }

    fn promotions(&self) -> Bar {
        let wrong = |truth| matches!(truth, Truth::Beyond | Truth::AtTheLimit);
        let worst = Self::worst(self.ours(move |s| wrong(s.truth())), |s| (s.false_promotions, s.open));
        everywhere("false promotion, every cell", worst)
    }

    /// A bar on the point estimate of a rate.
    fn at_most(&self, figure: &str, most: f64, wanted: impl Fn(&Scenario) -> bool + 'a) -> Bar {
        let promised = format!("at most {} %", 100.0 * most);
        let Some(worst) = Self::worst(self.ours(wanted), |s| (s.rollbacks, s.runs)) else {
            return bar(figure, &promised, "no such cell".into(), None);
        };
        let (hits, n) = worst.hits;
        let met = f64::from(hits) <= most * f64::from(n);
        let text = format!("at worst {} of {} cells: {}", worst.name(), worst.cells, rate(hits, n));
        bar(figure, &promised, text, Some(met))
    }

    fn harmless(&self) -> Bar {
        let same = |s: &Scenario| {
            let same = (s.candidate - s.baseline).abs() < 1e-12;
            same && s.truth() == Truth::Within && s.times_limit() <= 0.8 + 1e-9
        };
        self.at_most("same share, at most 0.8 of the limit: rollback", MOST_HARMLESS, same)
    }

    fn outage(&self) -> Bar {
        let shared = |s: &Scenario| s.outage && s.truth() == Truth::Within;
        self.at_most("outage of both versions: rollback", MOST_HARMLESS, shared)
    }

    /// Median time from visible data to the rollback in the worst cell, and what 95 % of its runs need.
    fn soon(&self, figure: &str, intervals: f64, wanted: impl Fn(&Scenario) -> bool + 'a) -> Bar {
        let promised = format!("median within {intervals} intervals of visible data");
        let time = |done: &Done| done.summary.seconds_visible.unwrap_or(f64::INFINITY);
        let cells: Vec<&Done> = self.ours(wanted).collect();
        let Some(worst) = cells.iter().max_by(|a, b| time(a).total_cmp(&time(b))) else {
            return bar(figure, &promised, "no such cell".into(), None);
        };
        let late = cells.iter().filter(|done| time(done) > intervals * INTERVAL + 1e-9).count();
        let text = format!(
            "median {}, 95 % of the runs within {}, in the worst of {} cells ({late} are slower than {} s): {}",
            seconds(worst.summary.seconds_visible),
            seconds(worst.summary.most_seconds_visible),
            cells.len(),
            intervals * INTERVAL,
            worst.cell.scenario
        );
        bar(figure, &promised, text, Some(late == 0))
    }

    fn failing(&self) -> Vec<Bar> {
        let all = |s: &Scenario| s.candidate >= 1.0 && s.baseline < 0.09;
        let mut bars = vec![self.soon("every request failing: rollback", 3.0, all)];
        for (rps, most) in [(50.0, 50.0), (500.0, 200.0)] {
            let figure = format!("every request failing, {rps} rps: bad requests served");
            let promised = format!("at most {most} (mean)");
            let cells = self.ours(move |s| all(s) && (s.rps - rps).abs() < 1e-9);
            let worst = cells.max_by(|a, b| a.summary.bad.total_cmp(&b.summary.bad));
            bars.push(worst.map_or_else(
                || bar(&figure, &promised, "no such cell".into(), None),
                |worst| {
                    let text = format!("{:.1} at worst: {}", worst.summary.bad, worst.cell.scenario);
                    bar(&figure, &promised, text, Some(worst.summary.bad <= most))
                },
            ));
        }
        bars
    }

    fn broken(&self) -> Bar {
        let broken = |s: &Scenario| s.candidate >= 1.0 && s.baseline >= 0.09;
        self.soon("the same while the baseline is at 10 %: rollback", 5.0, broken)
    }

    /// A plain scenario at 50 requests per second whose candidate's share is so many limits.
    fn plain(&self, rule: Rule, objective: Objective, baseline: f64, times: f64) -> Option<&'a Done> {
        let at = |done: &&Done| {
            let s = &done.cell.scenario;
            let plain = Scenario { lag: s.lag, ..Scenario::new(objective, 50.0, s.baseline, s.candidate) };
            let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
            done.cell.rule == rule
                && *s == plain
                && near(s.baseline, baseline)
                && near(s.candidate, (times * objective.limit(baseline)).min(1.0))
        };
        self.cells.iter().find(at)
    }

    fn harmful(&self) -> Vec<Bar> {
        let mut bars = vec![];
        for objective in [Objective::Absolute, Objective::Quantile] {
            let baseline = 0.5 * objective.limit(0.0);
            let figure = format!("5x the limit, 50 rps, {}: median to rollback", objective.as_str());
            let Some(ours) = self.plain(Rule::Ours, objective, baseline, 5.0) else {
                bars.push(bar(&figure, "at most 90 s", "no such cell".into(), None));
                continue;
            };
            let time = ours.summary.seconds_to_rollback.unwrap_or(f64::INFINITY);
            let text = format!(
                "{} ({:.2} % undecided, {:.1} bad requests)",
                seconds(ours.summary.seconds_to_rollback),
                100.0 * ours.summary.undecided(),
                ours.summary.bad
            );
            bars.push(bar(&figure, "at most 90 s", text, Some(time <= 90.0 && ours.summary.undecided() <= MOST_WRONG)));
            bars.push(self.against_peers(objective, baseline, time));
        }
        bars
    }

    /// The fastest peer whose wrong decisions are rare enough.
    fn against_peers(&self, objective: Objective, baseline: f64, ours: f64) -> Bar {
        let figure =
            format!("the same, {}: against the fastest peer with at most 5 % wrong decisions", objective.as_str());
        let sound = |peer: Peer| {
            let at = |times: f64| self.plain(Rule::Theirs(peer), objective, baseline, times);
            let same = at(0.5)?.summary.false_rollback();
            let wrong = [same, at(1.5)?.summary.false_promotion(), at(2.0)?.summary.false_promotion()];
            let sound = wrong.iter().all(|rate| *rate <= MOST_WRONG);
            let time = at(5.0)?.summary.seconds_to_rollback?;
            sound.then_some((peer, time))
        };
        let peers = Peer::ALL.into_iter().filter_map(sound);
        let fastest = peers.min_by(|a, b| a.1.total_cmp(&b.1));
        fastest.map_or_else(
            || bar(&figure, "at least 2x faster", "no such peer".into(), None),
            |(peer, time)| {
                let text = format!("{:.2}x ({} needs {time:.0} s)", time / ours, peer.name());
                bar(&figure, "at least 2x faster", text, Some(time >= 2.0 * ours))
            },
        )
    }

    fn healthy(&self) -> Vec<Bar> {
        let mut bars = vec![];
        for objective in [Objective::Absolute, Objective::Quantile, Objective::Relative] {
            let figure = format!("at most half the limit, 50 rps or more, {}: median to promote", objective.as_str());
            let plain = move |s: &Scenario| {
                let changes = s.outage || s.late.is_some() || (s.drift - 1.0).abs() > 0.0 || s.clump > 1.0;
                s.objective == objective && !changes && s.rps >= 50.0 && s.times_limit() <= 0.5 + 1e-9
            };
            let time = |done: &Done| done.summary.seconds_to_promote.unwrap_or(f64::INFINITY);
            let cells: Vec<&Done> = self.ours(plain).collect();
            let Some(worst) = cells.iter().max_by(|a, b| time(a).total_cmp(&time(b))) else {
                bars.push(bar(&figure, "at most 180 s, below Flagger's", "no such cell".into(), None));
                continue;
            };
            let undecided = cells.iter().map(|done| done.summary.undecided()).fold(0.0, f64::max);
            let theirs = |done: &Done| {
                let rule = Rule::Theirs(Peer::DOCUMENTED);
                let same = |other: &&Done| other.cell.rule == rule && other.cell.scenario == done.cell.scenario;
                self.cells.iter().find(same).map(|other| (time(done), time(other)))
            };
            let pairs: Vec<(f64, f64)> = cells.iter().filter_map(|done| theirs(done)).collect();
            let below = pairs.iter().all(|(ours, theirs)| ours < theirs);
            let documented = pairs.iter().map(|(_, theirs)| *theirs).fold(f64::INFINITY, f64::min);
            let text = format!(
                "{} in the worst of {} cells ({}); Flagger as documented {}; {:.2} % undecided at most",
                seconds(worst.summary.seconds_to_promote),
                cells.len(),
                worst.cell.scenario,
                if pairs.is_empty() { "has no such rule".into() } else { format!("{documented:.0} s or more") },
                100.0 * undecided
            );
            let met = time(worst) <= 180.0 && below && undecided <= MOST_WRONG;
            bars.push(bar(&figure, "at most 180 s, below Flagger's", text, Some(met)));
        }
        bars
    }

    fn late(&self) -> Bar {
        let figure = "late onset (5x at half time): promoted, of the runs undecided at the onset";
        let cells: Vec<&Done> = self.ours(|s| s.late.is_some()).collect();
        let promoted: u32 = cells.iter().map(|done| done.summary.false_promotions).sum();
        let open: u32 = cells.iter().map(|done| done.summary.open).sum();
        if open == 0 {
            return bar(figure, "at most 5 %", "no run was undecided at the onset".into(), None);
        }
        // A cell with few such runs says little by itself.
        let telling = cells.iter().copied().filter(|done| done.summary.open >= 100);
        let worst = Self::worst(telling, |s| (s.false_promotions, s.open));
        let delay =
            |done: &&Done| format!("{} rps: {}", done.cell.scenario.rps, seconds(done.summary.seconds_to_rollback));
        let delays: Vec<String> = cells.iter().filter(|done| done.summary.open >= 20).map(delay).collect();
        let text = format!(
            "{} in all; at worst {}; median delay of the rollback: {}",
            rate(promoted, open),
            worst.as_ref().map_or_else(
                || "no cell with 100 such runs".into(),
                |w| format!("{}: {}", w.name(), rate(w.hits.0, w.hits.1))
            ),
            delays.join(", ")
        );
        let whole = f64::from(promoted) <= MOST_WRONG * f64::from(open);
        let each = worst.is_none_or(|w| f64::from(w.hits.0) <= MOST_WRONG * f64::from(w.hits.1));
        bar(figure, "at most 5 %", text, Some(whole && each))
    }

    fn no_wrong(&self, figure: &str, wanted: impl Fn(&Scenario) -> bool + 'a) -> Bar {
        let cells: Vec<&Done> = self.ours(wanted).collect();
        let wrong = |done: &Done| {
            let late = done.cell.scenario.late.is_some();
            let promotion = if late { 0.0 } else { done.summary.false_promotion() };
            done.summary.false_rollback().max(promotion)
        };
        let Some(worst) = cells.iter().max_by(|a, b| wrong(a).total_cmp(&wrong(b))) else {
            return bar(figure, "no rate above 5 %", "no such cell".into(), None);
        };
        let above = cells.iter().filter(|done| wrong(done) > MOST_WRONG).count();
        let text = format!(
            "{:.2} % in the worst of {} cells, {above} above 5 %: {}; times in the tables",
            100.0 * wrong(worst),
            cells.len(),
            worst.cell.scenario
        );
        bar(figure, "no rate above 5 %", text, Some(above == 0))
    }

    fn low_traffic(&self) -> Bar {
        self.no_wrong("low traffic (up to 5 rps): wrong decisions", |s| s.rps <= 5.0)
    }

    fn drift(&self) -> Bar {
        self.no_wrong("slow drift of both shares: wrong decisions", |s| (s.drift - 1.0).abs() > 0.0)
    }
}

/// The cell that is worst, and how many are bad.
struct Worst<'a> {
    cells: u32,
    above: u32,
    above_aim: u32,
    bound: f64,
    hits: (u32, u32),
    at: Option<&'a Done>,
}

impl Worst<'_> {
    fn name(&self) -> String {
        self.at.map_or_else(String::new, |done| done.cell.scenario.to_string())
    }
}

fn everywhere(figure: &str, worst: Option<Worst<'_>>) -> Bar {
    let promised = "95 % upper bound at most 5 %, aim 2.5 %";
    let Some(worst) = worst else { return bar(figure, promised, "no such cell".into(), None) };
    let (hits, n) = worst.hits;
    let text = format!(
        "worst of {} cells: {}: {}; {} above 5 %, {} above 2.5 %",
        worst.cells,
        worst.name(),
        rate(hits, n),
        worst.above,
        worst.above_aim
    );
    // Even a cell without a hit has a bound above the bar if there are too few runs.
    let telling = upper_bound(0, n) <= MOST_WRONG || hits > 0;
    bar(figure, promised, text, telling.then_some(worst.above == 0))
}

fn guard(delay: &Delay) -> Bar {
    let measured = format!(
        "{} (95 % within {}; {} runs, {} false alarms)",
        seconds(delay.median),
        seconds(delay.most),
        delay.watched,
        delay.early
    );
    Bar {
        figure: format!("guard after {} healthy hours, 50 rps, 5x the limit: median delay", delay.hours),
        bar: "printed".into(),
        measured,
        state: if delay.watched == 0 { State::Unknown } else { State::Printed },
    }
}

fn speed(results: &Results) -> Bar {
    let figure = "simulated hours of experiments per second and core";
    let promised = format!("at least {LEAST_SPEED}");
    if results.speed.seconds <= 0.0 {
        return bar(figure, &promised, "no cell of ours".into(), None);
    }
    let speed = results.speed.hours / results.speed.seconds;
    let text = format!("{speed:.0} ({:.0} hours in {:.1} s)", results.speed.hours, results.speed.seconds);
    bar(figure, &promised, text, Some(speed >= LEAST_SPEED))
}
