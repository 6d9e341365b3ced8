//! The results as a document for people (Markdown) and for programs (JSON).

use serde::Serialize;
use serde_json::{Value, json};

use super::bars::{self, Bar, INTERVAL, State};
use super::guard::Delay;
use super::ours::CAP;
use super::run::{CLEAR, Done, Results, Rule};
use super::scenario::{LAG, OUTAGE, OUTAGE_BEGINS, OUTAGE_SHARE, Objective, RATIO, SLACK, SLOW, Truth};
use super::theirs::Peer;
use super::traffic::{PROXIES, SCRAPE, TICK};

/// What was run, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// The command line.
    pub command: String,
    /// The seed.
    pub seed: u64,
    /// How late data are visible, seconds.
    pub lag: f64,
    /// Threads.
    pub jobs: usize,
    /// Wall time, seconds.
    pub seconds: f64,
}

/// A document of one benchmark.
pub struct Report<'a> {
    /// What was run.
    pub about: &'a About,
    /// What came of it.
    pub results: &'a Results,
    /// The guard's delays.
    pub delays: &'a [Delay],
}

/// A cell for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    rule: String,
    scenario: String,
    false_rollback: f64,
    false_promotion: f64,
    undecided: f64,
    median_seconds_to_rollback: Option<f64>,
    median_seconds_to_promote: Option<f64>,
    bad_requests: f64,
    rollback: f64,
    promote: f64,
    truth: &'a str,
    replications: u32,
}

/// Four digits after the point are more than the runs can tell.
fn rounded(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}

fn row(done: &Done) -> Row<'static> {
    let s = &done.summary;
    let of = |count: u32| rounded(f64::from(count) / f64::from(s.runs.max(1)));
    Row {
        rule: done.cell.rule.name(),
        scenario: done.cell.scenario.to_string(),
        false_rollback: rounded(s.false_rollback()),
        false_promotion: rounded(s.false_promotion()),
        undecided: rounded(s.undecided()),
        median_seconds_to_rollback: s.seconds_to_rollback,
        median_seconds_to_promote: s.seconds_to_promote,
        bad_requests: rounded(s.bad),
        rollback: of(s.rollbacks),
        promote: of(s.promotions),
        truth: done.cell.scenario.truth().as_str(),
        replications: s.runs,
    }
}

impl Report<'_> {
    /// The bars.
    pub fn bars(&self) -> Vec<Bar> {
        bars::bars(self.results, self.delays)
    }

    /// The document for programs: one cell a line, so that two of them can be compared.
    pub fn json(&self) -> String {
        let About { command, seed, lag, jobs, seconds } = self.about;
        let bar = |b: Bar| {
            let state = b.state.as_str().trim_matches('*');
            json!({"figure": b.figure, "bar": b.bar, "measured": b.measured, "state": state}).to_string()
        };
        let cell = |done: &Done| serde_json::to_value(row(done)).map_or_else(|_| String::new(), |row| row.to_string());
        let head: Vec<(&str, Value)> = vec![
            ("command", json!(command)),
            ("seed", json!(seed)),
            ("lagSeconds", json!(lag)),
            ("scrapeSeconds", json!(SCRAPE)),
            ("jobs", json!(jobs)),
            ("wallSeconds", json!(seconds.round())),
            ("complete", json!(self.results.complete)),
            ("skipped", json!(self.results.skipped.len())),
        ];
        let mut text = "{\n".to_owned();
        for (name, value) in head {
            text.push_str(&format!("\"{name}\": {value},\n"));
        }
        let lines = |items: Vec<String>| items.join(",\n");
        text.push_str(&format!("\"bars\": [\n{}\n],\n", lines(self.bars().into_iter().map(bar).collect())));
        text.push_str(&format!("\"cells\": [\n{}\n]\n}}\n", lines(self.results.cells.iter().map(cell).collect())));
        text
    }

    /// The document for people.
    pub fn markdown(&self) -> String {
        let mut text = format!("# The judge, measured\n\n{}\n{}", self.head(), self.table_of_bars());
        text.push_str(&self.peers());
        text.push_str(&self.cells());
        text
    }

    fn head(&self) -> String {
        let About { command, seed, lag, jobs, seconds } = self.about;
        let (from, to) = OUTAGE_BEGINS;
        let results = self.results;
        let runs: u64 = results.cells.iter().map(|done| u64::from(done.summary.runs)).sum();
        let mut text = format!(
            "`{command}`: seed {seed}, {} cells, {runs} runs, {seconds:.0} s on {jobs} threads.\n\n\
            * Every query looks {lag} s back (usually {LAG} s), at {PROXIES} proxies that are scraped every {SCRAPE} s, in turn; traffic \
            is Poisson in ticks of {TICK} s and follows the rule's own weights.\n\
            * Reiter8 runs with its defaults: intervals of {INTERVAL} s, final weight {CAP} %, first weight as the ramp chooses \
            (2 % at 50 rps, 1 % from 125 rps on, {CAP} % up to 2.5 rps), error budgets 5 %, deadline 1 h, hard deadline 2 h, an hour \
            of the baseline's history.\n\
            * Objectives: *absolute*, at most 1 % bad requests; *relative*, at most {RATIO} times the baseline's share and {} \
            percentage points; *p95*, at most {} % slower than the bound. Peers judge the share alone.\n\
            * Times to a rollback count from the candidate's first bad request (late harm: from its onset), to a promotion from the \
            start. Medians are over all runs; a run without that verdict counts as infinite (`never`).\n\
            * Clumps are geometric with this mean. An outage adds {} points to both versions for {OUTAGE} s, beginning between {from} \
            and {to} s.\n\
            * A cell of Reiter8 with more than its first replications had a bound above {} % after those.\n",
            results.cells.len(),
            100.0 * SLACK,
            100.0 * SLOW,
            100.0 * OUTAGE_SHARE,
            100.0 * CLEAR,
        );
        if !results.complete {
            text.push_str("* **Stopped before its end**: cells are missing.\n");
        }
        if !results.skipped.is_empty() {
            let kinds: std::collections::BTreeSet<_> =
                results.skipped.iter().map(|cell| cell.scenario.objective.as_str()).collect();
            let kinds = kinds.into_iter().collect::<Vec<_>>().join(", ");
            text.push_str(&format!(
                "* **Not run**: {} cells, whose objective ({kinds}) the engine has no test for.\n",
                results.skipped.len()
            ));
        }
        text
    }

    fn table_of_bars(&self) -> String {
        let bars = self.bars();
        let missed = bars.iter().filter(|bar| bar.state == State::Missed).count();
        let mut text = format!("\n## Bars\n\n{missed} missed.\n\n| figure | bar | measured | |\n|---|---|---|---|\n");
        for Bar { figure, bar, measured, state } in bars {
            text.push_str(&format!("| {figure} | {bar} | {measured} | {} |\n", state.as_str()));
        }
        text.push_str(
            "| `step` with five criteria: time and allocations | printed, 0 allocations per update | `cargo bench --bench step` | printed |\n",
        );
        text
    }

    /// Every rule at 50 rps beside a baseline at half the limit.
    fn peers(&self) -> String {
        let plain = |done: &&Done| {
            let s = &done.cell.scenario;
            s.objective == Objective::Absolute
                && (s.rps - 50.0).abs() < 1e-9
                && (s.baseline - 0.005).abs() < 1e-9
                && s.clump <= 1.0
                && !s.outage
                && s.late.is_none()
                && s.truth() != Truth::AtTheLimit
        };
        let cells: Vec<&Done> = self.results.cells.iter().filter(plain).collect();
        let rules = std::iter::once(Rule::Ours).chain(Peer::ALL.into_iter().map(Rule::Theirs));
        let mut text = "\n## All rules at 50 rps, baseline 0.5 %, absolute\n".to_owned();
        for rule in rules {
            let of = cells.iter().filter(|done| done.cell.rule == rule);
            let lines: String = of
                .map(|done| {
                    line(done, &format!("candidate {} %", super::scenario::percent(done.cell.scenario.candidate)))
                })
                .collect();
            if !lines.is_empty() {
                text.push_str(&format!("\n### {}\n\n{HEAD}{lines}", rule.name()));
            }
        }
        text
    }

    /// Cells of ours, and of the peers those that are nowhere else.
    fn cells(&self) -> String {
        let many = self.results.cells.len() > MANY;
        let mut text = "\n## Cells\n\nEvery cell of every rule is in the JSON document.".to_owned();
        if many {
            text.push_str(" Here are those of Reiter8 without clumps and outage, at the limit, and with change.");
        }
        text.push('\n');
        for objective in [Objective::Absolute, Objective::Relative, Objective::Quantile] {
            let of = |done: &&Done| {
                let shown = matches!(done.cell.rule, Rule::Ours | Rule::Theirs(Peer::Kayenta));
                let s = &done.cell.scenario;
                let plain = s.clump <= 1.0 && !s.outage || s.truth() == Truth::AtTheLimit;
                shown && s.objective == objective && (plain || !many)
            };
            let name = |done: &Done| match done.cell.rule {
                Rule::Ours => done.cell.scenario.to_string(),
                Rule::Theirs(_) => done.cell.name(),
            };
            let lines: String = self.results.cells.iter().filter(of).map(|done| line(done, &name(done))).collect();
            if !lines.is_empty() {
                text.push_str(&format!("\n### {}\n\n{HEAD}{lines}", objective.as_str()));
            }
        }
        text
    }
}

/// Cells beyond which a table of all is none that is read.
const MANY: usize = 300;
const HEAD: &str = "| scenario | truth | rollback % | promote % | undecided % | wrong, at most % | s to rollback | s to promote | bad requests | runs |\n\
    |---|---|---|---|---|---|---|---|---|---|\n";

fn line(done: &Done, name: &str) -> String {
    let s = &done.summary;
    let percent = |count: u32| 100.0 * f64::from(count) / f64::from(s.runs.max(1));
    let time = |median: Option<f64>| median.map_or_else(|| "never".into(), |s| format!("{s:.0}"));
    format!(
        "| {name} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {} | {:.1} | {} |\n",
        done.cell.scenario.truth().as_str(),
        percent(s.rollbacks),
        percent(s.promotions),
        percent(s.undecided),
        100.0 * s.bound(),
        time(s.seconds_to_rollback),
        time(s.seconds_to_promote),
        s.bad,
        s.runs
    )
}
