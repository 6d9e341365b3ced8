//! How soon the guard notices harm that begins after the verdict, while the promote request waits for its review.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::ours::{Driver, plan, waiting};
use super::scenario::{Objective, Scenario};
use super::statistics::{median, quantile};
use super::traffic::Traffic;
use super::{chance, run};
use crate::engine::{Outcome, Phase};

/// Healthy hours between the verdict and the harm.
pub const HOURS: [f64; 3] = [0.0, 2.0, 24.0];
/// Requests per second of both versions.
const RPS: f64 = 50.0;
/// The candidate's share before, and after: five times the limit.
const HEALTHY: f64 = 0.001;
const HARMFUL: f64 = 0.05;
/// Seconds after which harm that was not noticed never will be.
const PATIENCE: f64 = 7200.0;

/// Delays of the guard after some healthy hours.
#[derive(Clone, Debug, PartialEq)]
pub struct Delay {
    /// Healthy hours before the harm.
    pub hours: f64,
    /// Runs whose candidate was promoted, and so watched.
    pub watched: u32,
    /// Trips before the harm: false alarms.
    pub early: u32,
    /// Median seconds from the begin of the harm to the baseline's weight of 100 %; none if never.
    pub median: Option<f64>,
    /// What 95 % of the runs need at most.
    pub most: Option<f64>,
}

/// One watched run: seconds from the harm to the trip, negative for a false alarm; `None` without a promotion.
fn watched(hours: f64, seed: u64) -> Option<f64> {
    let scenario = Scenario::new(Objective::Absolute, RPS, HEALTHY, HEALTHY);
    let plan = waiting(&plan(&scenario)?);
    let mut traffic = Traffic::new(&scenario, seed);
    let mut driver = Driver::new(&plan);
    let mut harm = None;
    loop {
        driver.turns(&mut traffic);
        let progress = driver.progress();
        match (progress.phase, progress.decision.as_ref().map(|d| d.outcome)) {
            (Phase::Promoting, _) => {
                let begins = *harm.get_or_insert_with(|| traffic.now() + hours * 3600.0);
                if traffic.now() >= begins {
                    traffic.set_candidate(HARMFUL);
                }
                if traffic.now() > begins + PATIENCE {
                    return Some(f64::INFINITY);
                }
            }
            (_, Some(Outcome::Discard)) => return harm.map(|begins| traffic.now() - begins),
            (Phase::Completed, _) => return None,
            _ => {}
        }
        traffic.tick(driver.weight(), false);
    }
}

/// Delays after [`HOURS`], `replications` runs each; those that were done if `stop` is set.
pub fn delays(replications: u32, seed: u64, jobs: usize, stop: &AtomicBool) -> Vec<Delay> {
    let all: Vec<u32> = (0..replications).collect();
    let delay = |hours: f64| {
        let found = Mutex::new(vec![]);
        run::on_threads(&all, jobs, stop, |n| {
            let seed = chance::seed(&format!("guard after {hours} h"), seed, u64::from(*n));
            let seconds = watched(hours, seed);
            run::held(&found).extend(seconds);
        });
        let found = run::held(&found).clone();
        let late: Vec<f64> = found.iter().copied().filter(|seconds| *seconds >= 0.0).collect();
        let count = |values: &[f64]| u32::try_from(values.len()).unwrap_or(u32::MAX);
        Delay {
            hours,
            watched: count(&found),
            early: count(&found) - count(&late),
            median: median(&late),
            most: quantile(&late, 0.95),
        }
    };
    HOURS.into_iter().map(delay).collect()
}
