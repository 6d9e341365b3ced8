//! The results as a picture: wrong decisions of each rule, and how soon each one rolls back.
//!
//! Plain SVG text without a script or a font of its own; it reads on a light and on a dark page.

use super::bars::MOST_WRONG;
use super::run::{Done, Results, Rule};
use super::scenario::{Objective, Scenario, Truth};
use super::theirs::Peer;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 860.0;
/// Left and right ends of both panels.
const LEFT: f64 = 210.0;
const RIGHT: f64 = 930.0;
/// A colour for each rule, ours first; they differ in lightness too.
const COLOURS: [&str; 8] = ["#0b6e4f", "#c0392b", "#e07b39", "#d4a017", "#8e5572", "#2d6a9f", "#6b8ba4", "#7a7a7a"];
/// Rates below this are drawn at it: a logarithm has no zero.
const LEAST_RATE: f64 = 0.0005;

fn rules() -> Vec<Rule> {
    std::iter::once(Rule::Ours).chain(Peer::ALL.into_iter().map(Rule::Theirs)).collect()
}

fn text(x: f64, y: f64, anchor: &str, size: f64, what: &str) -> String {
    let what = what.replace('&', "&amp;").replace('<', "&lt;");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{what}</text>\n")
}

fn rule_line(x1: f64, y1: f64, x2: f64, y2: f64, style: &str) -> String {
    format!("<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>\n")
}

/// Both panels.
pub fn svg(results: &Results) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"system-ui, sans-serif\" fill=\"#222\">\n\
        <title>Wrong decisions and times to rollback, by rule</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    out.push_str(&wrong(results));
    out.push_str(&times(results));
    out.push_str("</svg>\n");
    out
}

/// Where a rate is on the axis, logarithmic from [`LEAST_RATE`] to 1.
fn at_rate(rate: f64) -> f64 {
    let part = (rate.max(LEAST_RATE) / LEAST_RATE).ln() / (1.0 / LEAST_RATE).ln();
    LEFT + (RIGHT - LEFT) * part
}

/// Every cell as a point: the rate of its wrong decisions.
fn wrong(results: &Results) -> String {
    let (top, row) = (96.0, 36.0);
    let rules = rules();
    let bottom = top + row * rules.len() as f64;
    let mut out = text(30.0, 34.0, "start", 20.0, "How often each rule decides wrongly");
    out.push_str(&text(
        30.0,
        58.0,
        "start",
        13.0,
        "One tick per cell with an absolute limit: false rollbacks (above the line) and false promotions (below), % of the runs, logarithmic.",
    ));
    for (rate, label) in [(0.0005, "0"), (0.001, "0.1 %"), (0.01, "1 %"), (0.05, "5 %"), (0.2, "20 %"), (1.0, "100 %")]
    {
        let bar = (rate - MOST_WRONG).abs() < 1e-9;
        let style = if bar { "stroke=\"#c0392b\" stroke-dasharray=\"5 4\"" } else { "stroke=\"#ddd\"" };
        out.push_str(&rule_line(at_rate(rate), top - 8.0, at_rate(rate), bottom, style));
        out.push_str(&text(at_rate(rate), bottom + 18.0, "middle", 12.0, label));
    }
    for ((index, rule), colour) in rules.iter().enumerate().zip(COLOURS) {
        let y = top + row * (index as f64 + 0.5);
        out.push_str(&text(LEFT - 14.0, y + 4.0, "end", 13.0, &rule.name()));
        out.push_str(&rule_line(LEFT, y, RIGHT, y, "stroke=\"#eee\""));
        let of = |done: &&Done| done.cell.rule == *rule && done.cell.scenario.objective == Objective::Absolute;
        let mut drawn = std::collections::BTreeSet::new();
        for done in results.cells.iter().filter(of) {
            let truth = done.cell.scenario.truth();
            if truth != Truth::Beyond {
                drawn.insert(tick(at_rate(done.summary.false_rollback()), y, -10.0, colour));
            }
            if matches!(truth, Truth::Beyond | Truth::AtTheLimit) {
                drawn.insert(tick(at_rate(done.summary.false_promotion()), y, 10.0, colour));
            }
        }
        // Equal rates are one tick.
        out.extend(drawn);
    }
    out
}

fn tick(x: f64, y: f64, length: f64, colour: &str) -> String {
    rule_line(x, y, x, y + length, &format!("stroke=\"{colour}\" stroke-width=\"2\" stroke-opacity=\"0.55\""))
}

/// Shares of the candidate on the axis, in percent.
const HARMS: [f64; 6] = [1.2, 1.5, 2.0, 5.0, 20.0, 100.0];
/// Seconds on the axis.
const SECONDS: (f64, f64) = (15.0, 4000.0);

/// Evenly, in the order of the shares.
fn at_harm(index: usize) -> f64 {
    LEFT + 30.0 + (RIGHT - LEFT - 260.0) * index as f64 / (HARMS.len() - 1) as f64
}

fn at_seconds(seconds: f64, top: f64, bottom: f64) -> f64 {
    let (least, most) = SECONDS;
    bottom - (bottom - top) * (seconds.clamp(least, most) / least).ln() / (most / least).ln()
}

/// Median time to rollback against the candidate's share, at 50 rps and a baseline at half the limit.
fn times(results: &Results) -> String {
    let (top, bottom) = (510.0, 800.0);
    let mut out = text(30.0, 442.0, "start", 20.0, "How soon each rule rolls back");
    for (y, line) in [
        (466.0, "Median seconds from the first bad request; 50 requests per second, baseline 0.5 %, limit 1 %."),
        (484.0, "No point: most runs are not rolled back. Dashed: more than 5 % wrong decisions at 0.5, 1.5 or 2 %."),
    ] {
        out.push_str(&text(30.0, y, "start", 13.0, line));
    }
    for seconds in [30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0] {
        let y = at_seconds(seconds, top, bottom);
        out.push_str(&rule_line(LEFT, y, RIGHT - 200.0, y, "stroke=\"#ddd\""));
        out.push_str(&text(LEFT - 10.0, y + 4.0, "end", 12.0, &format!("{seconds} s")));
    }
    for (index, percent) in HARMS.iter().enumerate() {
        out.push_str(&text(at_harm(index), bottom + 20.0, "middle", 12.0, &format!("{percent} %")));
    }
    let middle = f64::midpoint(LEFT, RIGHT - 200.0);
    out.push_str(&text(middle, bottom + 42.0, "middle", 13.0, "bad requests of the candidate"));
    for ((index, rule), colour) in rules().iter().enumerate().zip(COLOURS) {
        out.push_str(&curve(results, *rule, colour, (top, bottom), index));
    }
    out
}

/// One rule's times and its line in the legend.
fn curve(results: &Results, rule: Rule, colour: &str, (top, bottom): (f64, f64), index: usize) -> String {
    let time = |percent: &f64| plain(results, rule, percent / 100.0).and_then(|done| done.summary.seconds_to_rollback);
    let point = |(at, percent): (usize, &f64)| Some((at_harm(at), at_seconds(time(percent)?, top, bottom)));
    let points: Vec<(f64, f64)> = HARMS.iter().enumerate().filter_map(point).collect();
    let wrong = |share: f64| {
        let rate = |done: &Done| done.summary.false_rollback().max(done.summary.false_promotion());
        plain(results, rule, share).is_some_and(|done| rate(done) > MOST_WRONG)
    };
    let dashes = if [0.005, 0.015, 0.02].into_iter().any(wrong) { " stroke-dasharray=\"4 4\"" } else { "" };
    let width = if rule == Rule::Ours { 3.0 } else { 1.5 };
    let style = format!("stroke=\"{colour}\" stroke-width=\"{width}\"{dashes}");
    let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let mut out = format!("<polyline points=\"{}\" fill=\"none\" {style}/>\n", path.join(" "));
    for (x, y) in &points {
        out.push_str(&format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>\n"));
    }
    let y = top + 8.0 + 22.0 * index as f64;
    out.push_str(&rule_line(RIGHT - 180.0, y, RIGHT - 156.0, y, &style));
    out.push_str(&text(RIGHT - 148.0, y + 4.0, "start", 12.0, &rule.name()));
    out
}

/// The cell at 50 rps beside a baseline at half the limit, with nothing unusual.
fn plain(results: &Results, rule: Rule, candidate: f64) -> Option<&Done> {
    let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
    let at = |done: &&Done| {
        let s = &done.cell.scenario;
        let wanted = Scenario { lag: s.lag, ..Scenario::new(Objective::Absolute, 50.0, 0.005, s.candidate) };
        done.cell.rule == rule && *s == wanted && near(s.candidate, candidate)
    };
    results.cells.iter().find(at)
}
