//! How long the race of several candidates will take, and the words for it. Called by [`super::plan`].

use std::fmt::Write as _;

use serde::Serialize;

use super::{percent, time};
use crate::bench::forecast::{Known, final_weight, race};
use crate::cli::check::Planned;
use crate::cli::output::clean;

/// By how much the best candidate is better than the others, in the forecasts of a race.
const BETTER: [f64; 4] = [0.05, 0.1, 0.25, 0.5];

/// The race of several candidates.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Contest {
    metric: String,
    versions: Vec<String>,
    /// None: the race is not forecast.
    pub(super) spread: Option<f64>,
    cases: Vec<Prize>,
}

/// Races in which one candidate is better than all other versions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Prize {
    better_by: f64,
    won_in_time: f64,
    lost: f64,
    seconds_half: Option<f64>,
    seconds90: Option<f64>,
}

/// The forecast of a race, if there is one; without a spread it has no cases.
pub(super) fn contest(spread: Option<f64>, planned: &Planned, known: &Known) -> Option<Contest> {
    let (plan, metric) = (&planned.plan, planned.plan.race.as_ref()?.metric.to_string());
    let weight = final_weight(plan);
    let case = |by: f64| {
        let won = race::won(plan, known, weight, spread?, by)?;
        Some(Prize {
            better_by: won.by,
            won_in_time: won.in_time,
            lost: won.lost,
            seconds_half: won.half,
            seconds90: won.most,
        })
    };
    let versions = plan.versions().map(|v| v.name.clone()).collect();
    Some(Contest { metric, versions, spread, cases: BETTER.iter().filter_map(|by| case(*by)).collect() })
}

/// The forecast of a race for people.
pub(super) fn text(contest: &Contest, out: &mut String) {
    let metric = clean(&contest.metric);
    let Some(spread) = contest.spread else {
        let _ = writeln!(
            out,
            "\n{metric}: the race of {} is not forecast, as it depends on how much the rewards of single requests differ;\n\
             write `--spread N`, their standard deviation in multiples of their mean. The rows above are about each candidate's\n\
             objectives; the outcome waits for the race as well.",
            clean(&contest.versions.join(", "))
        );
        return;
    };
    let _ = writeln!(
        out,
        "\n{metric}: the race of {}, if the rewards of requests have a standard deviation of {spread} times their mean\n\n\
         {:44} {:>9} {:>9} {:>12} {:>12}",
        clean(&contest.versions.join(", ")),
        "the best candidate is better than all by",
        "wins",
        "loses",
        "half by",
        "90 % by"
    );
    for c in &contest.cases {
        let _ = writeln!(
            out,
            "{:44} {:>9} {:>9} {:>12} {:>12}",
            percent(c.better_by),
            percent(c.won_in_time),
            percent(c.lost),
            time(c.seconds_half),
            time(c.seconds90)
        );
    }
    let _ = writeln!(
        out,
        "Counted from the final weight on, until the deadline; there a leader that is better than the baseline is promoted although\n\
         it could not be told apart from other candidates."
    );
}
