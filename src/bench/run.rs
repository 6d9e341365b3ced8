//! Runs of cells on all cores, and what they come to.
//!
//! A cell is a rule in a scenario. Its runs depend on its name and the chosen seed alone: neither the other cells nor the
//! number of threads change a number.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::end::{End, Run};
use super::scenario::{HALF_TIME, Scenario, Truth};
use super::statistics::{median, quantile, upper_bound};
use super::theirs::Peer;
use super::{chance, ours, theirs};
use crate::engine::Plan;

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Reiter8.
    Ours,
    /// Another tool's rule.
    Theirs(Peer),
}

impl Rule {
    /// The name in tables.
    pub fn name(self) -> String {
        match self {
            Self::Ours => ours::NAME.to_owned(),
            Self::Theirs(peer) => peer.name(),
        }
    }
}

/// How often a cell is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replications {
    /// At first.
    pub least: u32,
    /// In all, if the bound of a wrong decision after the first ones is above [`CLEAR`].
    pub most: u32,
}

/// The bound of a wrong decision below which more runs of a cell are no news.
pub const CLEAR: f64 = 0.01;

impl Replications {
    /// Exactly so many.
    pub fn exactly(n: u32) -> Self {
        Self { least: n, most: n }
    }
}

/// A rule in a scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Who decides.
    pub rule: Rule,
    /// About what.
    pub scenario: Scenario,
    /// How often.
    pub replications: Replications,
}

impl Cell {
    /// Rule and scenario, which `--only` looks at.
    pub fn name(&self) -> String {
        format!("{} | {}", self.rule.name(), self.scenario)
    }
}

/// What the runs of a cell came to. Rates are of all runs, but for [`Truth::Late`]: there wrong promotions are those of
/// the runs that were undecided at half time.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// How many.
    pub runs: u32,
    /// Runs whose wrong promotions count: all, or those undecided at half time.
    pub open: u32,
    /// Rollbacks that were wrong.
    pub false_rollbacks: u32,
    /// Promotions that were wrong.
    pub false_promotions: u32,
    /// Rollbacks of any kind.
    pub rollbacks: u32,
    /// Promotions of any kind.
    pub promotions: u32,
    /// No verdict.
    pub undecided: u32,
    /// Median seconds from the first bad request (late harm: from half time) to a rollback; no rollback is never.
    pub seconds_to_rollback: Option<f64>,
    /// Median seconds to a rollback from when the first bad request was visible.
    pub seconds_visible: Option<f64>,
    /// What 95 % of the runs need at most from when the first bad request was visible.
    pub most_seconds_visible: Option<f64>,
    /// Median seconds from the start to a promotion; no promotion is never.
    pub seconds_to_promote: Option<f64>,
    /// Mean of the bad requests that the candidate answered.
    pub bad: f64,
}

impl Summary {
    fn of(truth: Truth, runs: &[Run]) -> Self {
        let late = truth == Truth::Late;
        let considered = || runs.iter().filter(move |run| !late || run.seconds > HALF_TIME);
        let count = |end: End| number(runs.iter().filter(|run| run.end == end).count());
        let early = || runs.iter().filter(|run| run.end == End::Rollback && (!late || run.seconds <= HALF_TIME));
        let promoted = || considered().filter(|run| run.end == End::Promote);
        let since = |run: &Run| if late { run.seconds - HALF_TIME } else { run.harmed };
        let back = |run: &Run| if run.end == End::Rollback { since(run) } else { f64::INFINITY };
        let shown = |run: &Run| if run.end == End::Rollback { run.shown } else { f64::INFINITY };
        let on = |run: &Run| if run.end == End::Promote { run.seconds } else { f64::INFINITY };
        let to_rollback: Vec<f64> = considered().map(back).collect();
        let visible: Vec<f64> = considered().map(shown).collect();
        let harmless = matches!(truth, Truth::Within | Truth::AtTheLimit | Truth::Late);
        let harmful = matches!(truth, Truth::Beyond | Truth::AtTheLimit | Truth::Late);
        Self {
            runs: number(runs.len()),
            open: number(considered().count()),
            false_rollbacks: if harmless { number(early().count()) } else { 0 },
            false_promotions: if harmful { number(promoted().count()) } else { 0 },
            rollbacks: count(End::Rollback),
            promotions: count(End::Promote),
            undecided: count(End::Undecided),
            seconds_to_rollback: median(&to_rollback),
            seconds_visible: median(&visible),
            most_seconds_visible: quantile(&visible, 0.95),
            seconds_to_promote: median(&runs.iter().map(on).collect::<Vec<_>>()),
            bad: runs.iter().map(|run| run.bad).sum::<f64>() / runs.len().max(1) as f64,
        }
    }

    /// Share of wrong rollbacks.
    pub fn false_rollback(&self) -> f64 {
        share(self.false_rollbacks, self.runs)
    }

    /// Share of wrong promotions.
    pub fn false_promotion(&self) -> f64 {
        share(self.false_promotions, self.open)
    }

    /// Share of runs without a verdict.
    pub fn undecided(&self) -> f64 {
        share(self.undecided, self.runs)
    }

    /// 95 % upper bound of the larger of both rates of wrong decisions.
    pub fn bound(&self) -> f64 {
        let rollback = upper_bound(self.false_rollbacks, self.runs);
        // Without a run that could be wrong there is no rate.
        let promotion = if self.open == 0 { 0.0 } else { upper_bound(self.false_promotions, self.open) };
        rollback.max(promotion)
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn share(part: u32, whole: u32) -> f64 {
    f64::from(part) / f64::from(whole.max(1))
}

/// A cell with its summary.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The cell.
    pub cell: Cell,
    /// What its runs came to.
    pub summary: Summary,
}

/// Work that our engine did: simulated time of experiments, and time that it took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Speed {
    /// Simulated hours, from the first request to the verdict.
    pub hours: f64,
    /// Seconds of one core.
    pub seconds: f64,
}

/// All that was run.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// Cells in the grid's order; fewer if the user stopped it.
    pub cells: Vec<Done>,
    /// Cells whose objective the engine has no test for.
    pub skipped: Vec<Cell>,
    /// How fast our cells were.
    pub speed: Speed,
    /// Whether all cells are there.
    pub complete: bool,
}

/// Runs in one piece of work: short enough for both cores to end together.
const PIECE: u32 = 250;

/// One cell at work.
struct Work<'a> {
    cell: &'a Cell,
    plan: Option<Plan>,
    seed: u64,
}

impl Work<'_> {
    fn run(&self, replication: u64) -> Option<Run> {
        let seed = chance::seed(&self.cell.name(), self.seed, replication);
        match self.cell.rule {
            Rule::Ours => self.plan.as_ref().map(|plan| ours::run(plan, &self.cell.scenario, seed)),
            Rule::Theirs(peer) => Some(theirs::run(peer, &self.cell.scenario, seed)),
        }
    }

    /// Some replications in order; fewer if stopped.
    fn runs(&self, from: u32, to: u32, stop: &AtomicBool) -> Vec<Run> {
        (from..to).take_while(|_| !stop.load(Ordering::Relaxed)).filter_map(|n| self.run(u64::from(n))).collect()
    }
}

/// What the threads share about one cell.
#[derive(Default)]
struct Bench {
    pieces: Vec<(u32, Vec<Run>)>,
    runs: u32,
    done: Option<Summary>,
}

/// Runs all cells on `jobs` threads until they are done or `stop` is set; `progress` hears of cells that are done.
pub fn run(
    cells: &[Cell],
    seed: u64,
    jobs: usize,
    stop: &AtomicBool,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Results {
    let plan = |cell: &Cell| (cell.rule == Rule::Ours).then(|| ours::plan(&cell.scenario)).flatten();
    let works: Vec<Work<'_>> = cells.iter().map(|cell| Work { cell, plan: plan(cell), seed }).collect();
    let (able, unable): (Vec<_>, Vec<_>) =
        works.iter().partition(|work| work.cell.rule != Rule::Ours || work.plan.is_some());
    let floor = Floor {
        works: &able,
        benches: able.iter().map(|_| Mutex::default()).collect(),
        speed: Mutex::default(),
        done: AtomicUsize::new(0),
        stop,
        progress,
    };
    floor.round(jobs, |work, _| (0, work.cell.replications.least));
    floor.round(jobs, |work, bench| {
        let Replications { least, most } = work.cell.replications;
        let clear = bench.done.as_ref().is_none_or(|summary| summary.bound() <= CLEAR);
        if clear { (least, least) } else { (least, most) }
    });
    let speed = *held(&floor.speed);
    let done = able
        .iter()
        .zip(&floor.benches)
        .filter_map(|(work, bench)| held(bench).done.clone().map(|summary| Done { cell: *work.cell, summary }));
    let cells: Vec<Done> = done.collect();
    let complete = cells.len() == able.len() && !stop.load(Ordering::Relaxed);
    Results { cells, skipped: unable.iter().map(|work| *work.cell).collect(), speed, complete }
}

/// Where the threads work.
struct Floor<'a> {
    works: &'a [&'a Work<'a>],
    benches: Vec<Mutex<Bench>>,
    speed: Mutex<Speed>,
    done: AtomicUsize,
    stop: &'a AtomicBool,
    progress: &'a (dyn Fn(usize, usize) + Sync),
}

pub(super) fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Does each piece of work once, on so many threads, until all are done or `stop` is set.
pub(super) fn on_threads<T: Sync>(pieces: &[T], jobs: usize, stop: &AtomicBool, work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    work(piece);
                }
            });
        }
    });
}

impl Floor<'_> {
    /// Runs, of each cell, the replications that `wanted` says.
    fn round(&self, jobs: usize, wanted: impl Fn(&Work<'_>, &Bench) -> (u32, u32)) {
        let mut pieces: Vec<(usize, u32, u32)> = vec![];
        for (at, (work, bench)) in self.works.iter().zip(&self.benches).enumerate() {
            let mut bench = held(bench);
            let (from, to) = wanted(work, &bench);
            if from < to {
                bench.runs = to;
                let starts = (from..to).step_by(PIECE as usize);
                pieces.extend(starts.map(|start| (at, start, to.min(start.saturating_add(PIECE)))));
            }
        }
        on_threads(&pieces, jobs, self.stop, |(at, from, to)| self.piece(*at, *from, *to));
    }

    fn piece(&self, at: usize, from: u32, to: u32) {
        let (Some(work), Some(bench)) = (self.works.get(at), self.benches.get(at)) else { return };
        let began = (Instant::now(), core_seconds());
        let runs = work.runs(from, to, self.stop);
        if work.cell.rule == Rule::Ours {
            let seconds = core_seconds().zip(began.1).map_or_else(|| began.0.elapsed().as_secs_f64(), |(b, a)| b - a);
            let mut speed = held(&self.speed);
            speed.seconds += seconds;
            speed.hours += runs.iter().map(|run| run.seconds).sum::<f64>() / 3600.0;
        }
        let mut bench = held(bench);
        bench.pieces.push((from, runs));
        let count: usize = bench.pieces.iter().map(|(_, runs)| runs.len()).sum();
        if number(count) >= bench.runs {
            // In the order of the replications, whoever was first: sums of reals depend on it.
            bench.pieces.sort_by_key(|(from, _)| *from);
            let all: Vec<Run> = bench.pieces.iter().flat_map(|(_, runs)| runs).copied().collect();
            let first = bench.done.is_none();
            let summary = Summary::of(work.cell.scenario.truth(), &all);
            if number(count) >= work.cell.replications.most || summary.bound() <= CLEAR {
                bench.pieces = vec![];
            }
            bench.done = Some(summary);
            drop(bench);
            if first {
                (self.progress)(self.done.fetch_add(1, Ordering::Relaxed) + 1, self.works.len());
            }
        }
    }
}

/// Seconds that this thread has had a core, where the system says so: others' load is not our time.
fn core_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}
