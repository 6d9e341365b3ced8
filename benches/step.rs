//! What one step of the engine costs: time, and allocations as a counting allocator sees them.
//!
//! An experiment in Deciding, with 1 and with 5 share criteria, against observations made by hand. Times are beside that
//! of `Progress::clone()` in the same run, so that machines can be compared. Not a test: nothing here fails for being
//! slow.
//!
//! `cargo bench --bench step`

// The allocator's trait is unsafe to implement; this program is no part of the product.
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use reiter8::api::Experiment;
use reiter8::controller::resolve::{Referred, resolve};
use reiter8::engine::judge::{Dispersion, ShareTest, Tally};
use reiter8::engine::{Effect, Observation, Phase, Plan, Progress, Wake, ask, step};
use reiter8_testing::{World, quiet, trial};
use serde_json::json;

/// Simulated experiment-hours in a second of one core.
const HOURS: f64 = 1000.0;
/// Evidence intervals of an hour, at the interval of 10 s.
const INTERVALS: u32 = 360;
/// Repetitions of one measurement, and measurements of which the fastest counts: the others were disturbed.
const REPEATS: u32 = 20_000;
const BEST_OF: u32 = 7;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is passed on to the system's allocator as it comes.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Time that this thread has had on a core: a machine that does other work at the same time changes it little.
fn on_core() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock writes to the time that it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What one call costs.
struct Cost {
    nanoseconds: f64,
    allocations: f64,
}

fn measure<T>(mut call: impl FnMut() -> T) -> Cost {
    let mut best = f64::INFINITY;
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..BEST_OF {
        let began = on_core();
        for _ in 0..REPEATS {
            black_box(call());
        }
        best = best.min(on_core() - began);
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    Cost {
        nanoseconds: best * 1e9 / f64::from(REPEATS),
        allocations: allocations as f64 / f64::from(REPEATS * BEST_OF),
    }
}

fn main() {
    if !std::env::args().any(|a| a == "--bench") {
        return println!("nothing measured; run `cargo bench --bench step`");
    }
    for criteria in [1, 5] {
        let life = Life::deciding(criteria);
        let (all, phase) = (life.plan.criteria.len(), life.progress.phase.as_str());
        println!("{criteria} share criteria, {all} with their companions, phase {phase}");
        let clone = measure(|| life.progress.clone());
        show("Progress::clone()", &clone, &clone);
        let (seen, now) = life.interval();
        let with_evidence = measure(|| step(&life.plan, &life.progress, &seen, now));
        show("step with an interval's evidence", &with_evidence, &clone);
        let after = step(&life.plan, &life.progress, &seen, now).progress;
        let quiet = Observation { reading: None, ..seen.clone() };
        show("step that finds nothing new", &measure(|| step(&life.plan, &after, &quiet, now)), &clone);
        show("ask", &measure(|| ask(&life.plan, &life.progress, now)), &clone);
        hours(&life);
    }
    update();
}

fn show(what: &str, cost: &Cost, clone: &Cost) {
    let Cost { nanoseconds, allocations } = cost;
    let ratio = nanoseconds / clone.nanoseconds;
    println!("  {what:34} {nanoseconds:8.0} ns  {allocations:5.1} allocations  {ratio:6.2} x clone");
}

/// Whole hours of looks: each interval is one step with its evidence, and the turns that the engine asks for after it.
fn hours(life: &Life) {
    let (mut fastest, mut steps) = (f64::INFINITY, 0);
    for _ in 0..5 {
        let mut life = life.clone();
        let began = on_core();
        steps = (0..INTERVALS * 10).map(|_| life.look()).sum::<u32>();
        fastest = fastest.min(on_core() - began);
        assert_eq!(life.progress.phase, Phase::Deciding);
    }
    let rate = 10.0 / fastest;
    let each = f64::from(steps) / f64::from(INTERVALS * 10);
    let kept = if rate >= HOURS { "kept" } else { "MISSED" };
    println!(
        "  {rate:.0} experiment-hours per second and core at an interval of 10 s, {each:.1} steps for each interval; bar {HOURS:.0}: {kept}"
    );
}

/// One criterion's update alone.
fn update() {
    let test = ShareTest { limit: 0.01, dispersion: Dispersion::known(1.5), horizon: 720, aim: 0.1 };
    let mut seen = test.start();
    let tally = Tally { requests: 250.0, bad: 2.0 };
    let cost = measure(|| test.update(&mut seen, tally, true));
    let kept = if cost.allocations == 0.0 { "kept" } else { "MISSED" };
    println!(
        "update of a share criterion: {:.0} ns, {} allocations; bar 0: {kept}",
        cost.nanoseconds, cost.allocations
    );
}

/// An experiment and the world around it.
#[derive(Clone)]
struct Life {
    plan: Plan,
    progress: Progress,
    now: Timestamp,
    world: World,
}

impl Life {
    /// In Deciding, well before a verdict: the candidate is so close to its limits that hours do not decide.
    fn deciding(criteria: usize) -> Self {
        let objectives: Vec<_> =
            (0..criteria).map(|_| json!({"metric": "istio/error-rate", "upperLimit": "1%"})).collect();
        let mut sample: serde_json::Value =
            serde_saphyr::from_str(include_str!("../samples/bookinfo/experiment.yaml")).expect("YAML");
        let spec = sample["spec"].as_object_mut().expect("a spec");
        spec.remove("gitops");
        spec["criteria"]["objectives"] = json!(objectives);
        spec.insert("analysis".into(), json!({"interval": "10s", "deadline": "400h", "hardDeadline": "500h"}));
        let experiment: Experiment = serde_json::from_value(sample).expect("an experiment");
        let plan = resolve(&experiment, &Referred::default()).unwrap_or_else(|e| panic!("{e}")).plan;
        // Several criteria may be about one metric.
        let sources = plan.criteria.iter().map(|c| c.source + 1).max().unwrap_or(0);
        // 0.95 % of the candidate's requests are bad.
        let world = World::ready().free().errors(0.0095).history(sources, &quiet(500.0));
        let mut life = Self { plan, progress: Progress::default(), now: trial::start(), world };
        let mut looks = 0;
        while life.progress.phase != Phase::Deciding || looks < 1000 {
            looks += 1;
            life.look();
            assert!(looks < 100_000, "never deciding: {:?}", life.progress);
        }
        life
    }

    /// What is seen when the next interval is due.
    fn interval(&self) -> (Observation, Timestamp) {
        let mut life = self.clone();
        let now = life.progress.looked.map_or(life.now, |l| l + life.plan.analysis.interval + life.plan.analysis.lag);
        (life.world.see(&ask(&life.plan, &life.progress, now)), now)
    }

    /// Steps until the engine wants to wait; how many.
    fn look(&mut self) -> u32 {
        for steps in 1..50 {
            let seen = self.world.see(&ask(&self.plan, &self.progress, self.now));
            let done = step(&self.plan, &self.progress, &seen, self.now);
            for effect in &done.effects {
                assert!(matches!(effect, Effect::Claim | Effect::Route(_)), "{effect:?}");
                self.world.obey(effect);
            }
            self.progress = done.progress;
            match done.wake {
                Wake::At(time) if time > self.now => {
                    self.now = time;
                    return steps;
                }
                Wake::At(_) => {}
                Wake::OnChange => panic!("it waits for nothing"),
            }
        }
        panic!("it never waits")
    }
}
