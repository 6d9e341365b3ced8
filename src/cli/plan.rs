//! `reiter8 plan FILE…`: how long an experiment will take, how sure its verdict is and what both outcomes would change in
//! Git ([`outcomes`]), before it starts.
//!
//! Offline unless `--prometheus-url` is given. Resolves the manifests by the controller's own code and runs the engine in
//! simulated traffic ([`crate::bench::forecast`]); owns the words.

mod outcomes;
mod race;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use self::outcomes::Outcomes;
use self::race::Contest;
use super::check::{self, Planned};
use super::output::{self, Output, clean};
use super::style::coloured;
use crate::api::{Quantity, Unit};
use crate::bench::forecast::{Fate, Forecast, Known, final_weight};
use crate::engine::judge::Tally;
use crate::engine::{Outcome, Window};
use crate::live::{Prometheus, Versions};

/// Say how long an experiment will take, how sure it can be at this traffic, and what each outcome would change
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Runs the experiment's own rules in simulated traffic: a candidate that is like the baseline, and candidates at\n\
    twice and five times each limit and with every request failing. Give the traffic with --rps and --bad, or let the last\n\
    hour of the baseline tell it: --prometheus-url.\n\n\
    Each row says in what share of the experiments such a candidate is promoted or discarded before the deadline, when half\n\
    and when 90 % of the right decisions are made, and how many bad requests it answers meanwhile.\n\n\
    Of several candidates the rows are about each one beside the baseline. How long their race for the reward takes depends on\n\
    how much the rewards of single requests differ: tell it by --spread.\n\n\
    Then comes what each outcome would change in the environment repository, as the diffs of its requests, if the experiment's\n\
    file is in a checkout or --repository-dir names one. Nothing is written. Where that cannot be planned, the line says why\n\
    and what to do, and the exit code stays.\n\n\
    Exit codes: 0 planned, 1 failed, 2 wrong arguments, 3 a healthy candidate has less than an 80 % chance to pass in time.\n\n\
    Examples:\n  reiter8 plan apps/productpage --rps 50 --bad 0.1%\n  \
    reiter8 plan experiment.yaml --rps 20 --bad istio/error-rate=0.2% --bad istio/latency-p95=1%\n  \
    reiter8 plan experiment.yaml --prometheus-url http://prometheus:9090 -o json\n  \
    reiter8 plan apps/productpage --rps 50 --repository-dir ~/environment\n  \
    reiter8 plan apps/productpage --rps 50 -o json | jq -r '.[].outcomes.promote.diff'"
)]
pub(super) struct PlanArgs {
    /// Files and directories with the experiment and what it refers to; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Namespace of objects that name none [default: that of the experiment's target]
    #[arg(short, long)]
    namespace: Option<String>,
    /// Requests per second to both versions together [default: from Prometheus]
    #[arg(long, value_parser = rate)]
    rps: Option<f64>,
    /// The baseline's share of bad requests, of all metrics or of one [default: from Prometheus, else a fifth of the limit]
    #[arg(long, value_name = "[METRIC=]SHARE", value_parser = bad)]
    bad: Vec<Bad>,
    /// Mean number of bad requests that have one cause: restarts, retries
    #[arg(long, default_value_t = 1.0, value_parser = clump)]
    clump: f64,
    /// Standard deviation of a request's reward, in multiples of its mean: lets the race of several candidates be forecast
    #[arg(long, value_name = "N", value_parser = spread)]
    spread: Option<f64>,
    /// Where the baseline's last hour is read
    #[arg(long, value_name = "URL")]
    prometheus_url: Option<String>,
    /// Checkout of the environment repository, for the diffs [default: the git work tree that the experiment's file is in]
    #[arg(long, value_name = "DIR")]
    repository_dir: Option<PathBuf>,
    /// Simulated experiments for each answer
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    replications: u32,
    /// Seed of every chance
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    output: Output,
}

/// What is told of the baseline.
#[derive(Clone, Debug)]
struct Bad {
    metric: Option<String>,
    share: f64,
}

/// The chance of a healthy candidate below which a plan is no good.
const GOOD: f64 = 0.8;
/// Exit code of such a plan.
const POOR: u8 = 3;
/// Part of the limit that is assumed of a baseline that nothing is known about.
const ASSUMED: f64 = 0.2;

/// What is known of one metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Assumption {
    metric: String,
    limit: f64,
    bad: f64,
    from: &'static str,
}

/// One kind of candidate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    candidate: String,
    metric: Option<String>,
    share: Option<f64>,
    promoted_in_time: f64,
    rolled_back_in_time: f64,
    seconds_half: Option<f64>,
    seconds90: Option<f64>,
    bad_requests: f64,
}

/// A metric's smallest harm.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Smallest {
    metric: String,
    share: Option<f64>,
}

/// The plan of one experiment, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    experiment: String,
    requests_per_second: f64,
    clump: f64,
    replications: u32,
    deadline_seconds: f64,
    final_weight: u8,
    baseline: Vec<Assumption>,
    not_planned: Vec<String>,
    cases: Vec<Case>,
    smallest_effect: Vec<Smallest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    race: Option<Contest>,
    good: bool,
    outcomes: Outcomes,
}

/// Runs the command.
pub(super) async fn plan(args: PlanArgs) -> anyhow::Result<ExitCode> {
    if let Some(dir) = &args.repository_dir {
        ensure!(dir.is_dir(), "--repository-dir {} is not a directory", dir.display());
    }
    let experiments = check::planned(&args.files, args.namespace.as_deref()).await?;
    ensure!(!experiments.is_empty(), "no Experiment among the given files; give the file that has one");
    let mut reports = vec![];
    for planned in &experiments {
        let known = known(&args, planned).await.with_context(|| format!("failed to plan {}", planned.name))?;
        reports.push(report(&args, planned, known)?);
    }
    if args.output.is_json() {
        output::json(&reports)?;
    } else {
        for report in &reports {
            output::say(&text(report))?;
            output::say(&outcomes::text(&report.outcomes, coloured()))?;
        }
    }
    Ok(if reports.iter().all(|r| r.good) { ExitCode::SUCCESS } else { ExitCode::from(POOR) })
}

/// What the traffic is, by argument, by Prometheus, or assumed.
async fn known(args: &PlanArgs, planned: &Planned) -> anyhow::Result<(Known, Vec<Assumption>)> {
    let observed = match &args.prometheus_url {
        Some(url) => Some(observed(url, planned).await?),
        None => None,
    };
    let rps = args.rps.or_else(|| observed.as_ref().map(|o| o.0)).filter(|rps| *rps > 0.0);
    let Some(rps) = rps else {
        bail!(
            "the traffic is not known: write `--rps N`, or `--prometheus-url URL` of a server that has the baseline's last hour"
        );
    };
    for metric in args.bad.iter().filter_map(|bad| bad.metric.as_ref()) {
        let there = planned.plan.criteria.iter().any(|c| *c.metric == **metric);
        ensure!(there, "--bad {metric}=…: the experiment has no objective on `{metric}`");
    }
    // The other candidates' are the same.
    let first = || planned.plan.criteria.iter().filter(|c| c.candidate == 0);
    let sources = first().map(|c| c.source + 1).max().unwrap_or(0);
    let (mut shares, mut assumptions) = (vec![0.0; sources], vec![]);
    for criterion in first().filter(|c| c.rule.has_to_pass() && c.rule.is_share()) {
        let (source, metric) = (criterion.source, &*criterion.metric);
        let told = args.bad.iter().rev().find(|b| b.metric.as_ref().is_none_or(|m| m == metric)).map(|b| b.share);
        let seen = observed.as_ref().and_then(|(_, shares)| shares.get(source).copied().flatten());
        let limit = criterion.rule.absolute();
        let (bad, from) = match (told, seen, limit) {
            (Some(bad), ..) => (bad, "given"),
            (None, Some(bad), _) => (bad, "observed"),
            (None, None, Some(limit)) => (limit * ASSUMED, "assumed"),
            (None, None, None) => bail!("the baseline's share of `{metric}` is not known: write `--bad {metric}=0.1%`"),
        };
        if let Some(share) = shares.get_mut(source) {
            // An objective may be two criteria; what is known of its metric is the same.
            if assumptions.iter().any(|a: &Assumption| a.metric == metric) {
                continue;
            }
            *share = bad;
            assumptions.push(Assumption { metric: metric.to_owned(), limit: 0.0, bad, from });
        }
    }
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let known = Known { rps, clump: args.clump, shares, replications: args.replications, seed: args.seed, jobs };
    Ok((known, assumptions))
}

/// A rate of requests.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rps| *rps > 0.0 && *rps <= 1e6);
    rate.ok_or_else(|| "write requests per second, above 0 and at most 1000000".into())
}

/// A mean size of clumps.
fn clump(text: &str) -> Result<f64, String> {
    let mean = text.parse().ok().filter(|mean| (1.0..=1000.0).contains(mean));
    mean.ok_or_else(|| "write a mean size from 1 to 1000".into())
}

/// A share of bad requests, of one metric or of all.
fn bad(text: &str) -> Result<Bad, String> {
    let (metric, share) = text.rsplit_once('=').map_or((None, text), |(m, s)| (Some(m.to_owned()), s));
    let share = Quantity::from(share).value(Unit::Share).map_err(|error| error.to_string())?;
    if share >= 1.0 {
        return Err("a baseline whose every request is bad has nothing to compare with".into());
    }
    Ok(Bad { metric, share })
}

/// A spread of rewards.
fn spread(text: &str) -> Result<f64, String> {
    let spread = text.parse().ok().filter(|spread| (0.0..=100.0).contains(spread));
    spread.ok_or_else(|| "write a number from 0 to 100; rewards of which most are 0 have a spread above 1".into())
}

/// Requests per second and shares of the baseline's last hour, per metric.
async fn observed(url: &str, planned: &Planned) -> anyhow::Result<(f64, Vec<Option<f64>>)> {
    let prometheus = Prometheus::new(url).map_err(|u| anyhow::anyhow!(u.message))?;
    let now = Timestamp::now() - planned.plan.analysis.lag;
    let window = Window { from: now - SignedDuration::from_hours(1), to: now };
    let versions = Versions::of(&planned.binding);
    let Some(Versions { baseline, .. }) = versions.first() else { return Ok((0.0, vec![])) };
    let step = planned.plan.analysis.interval.as_secs_f64();
    let (mut rps, mut shares) = (0.0_f64, vec![]);
    for history in prometheus.history(&planned.binding.metrics, baseline, window, step).await {
        let history = history.map_err(|u| anyhow::anyhow!("{}: {}", u.cause, u.message))?;
        let all = history
            .iter()
            .fold(Tally::default(), |a, t| Tally { requests: a.requests + t.requests, bad: a.bad + t.bad });
        rps = rps.max(all.requests / (step * history.len().max(1) as f64));
        shares.push((all.requests > 0.0).then(|| (all.bad / all.requests).min(0.999)));
    }
    Ok((rps, shares))
}

fn report(args: &PlanArgs, planned: &Planned, (known, baseline): (Known, Vec<Assumption>)) -> anyhow::Result<Report> {
    let mut report = Report {
        experiment: planned.name.clone(),
        requests_per_second: known.rps,
        clump: args.clump,
        replications: args.replications,
        deadline_seconds: planned.plan.analysis.deadline.as_secs_f64(),
        final_weight: final_weight(&planned.plan),
        baseline: vec![],
        not_planned: vec![],
        cases: vec![],
        smallest_effect: vec![],
        race: race::contest(args.spread, planned, &known),
        good: true,
        outcomes: outcomes::outcomes(planned, args.repository_dir.as_deref()),
    };
    match Forecast::new(&planned.plan, known) {
        Some(forecast) => report.tell_objectives(&forecast, baseline),
        None => report.tell_nothing_but_a_race(planned)?,
    }
    Ok(report)
}

impl Report {
    /// What is forecast of the objectives on shares.
    fn tell_objectives(&mut self, forecast: &Forecast, mut baseline: Vec<Assumption>) {
        let metrics = forecast.metrics();
        for a in &mut baseline {
            a.limit = metrics.iter().find(|(_, m, _)| *m == a.metric).map_or(0.0, |(.., limit)| *limit);
        }
        let mut progress = super::style::progress("simulating", 1 + 3 * metrics.len());
        let mut add = |candidate: String, other: Option<(usize, f64)>, metric: Option<&str>, wanted: Outcome| {
            let fate = forecast.fate(other, wanted);
            progress();
            self.cases.push(case(candidate, metric, other.map(|(_, share)| share), &fate));
        };
        add("like the baseline".into(), None, None, Outcome::Promote);
        for (source, metric, limit) in &metrics {
            for times in [2.0, 5.0] {
                let share = times * limit;
                if share < 1.0 {
                    add(format!("{times} times the limit"), Some((*source, share)), Some(metric), Outcome::Discard);
                }
            }
            add("every request bad".into(), Some((*source, 1.0)), Some(metric), Outcome::Discard);
        }
        let smallest = metrics
            .iter()
            .map(|(source, metric, _)| Smallest { metric: metric.clone(), share: forecast.smallest(*source) });
        self.smallest_effect = smallest.collect();
        self.good = self.cases.first().is_some_and(|healthy| healthy.promoted_in_time >= GOOD);
        (self.baseline, self.not_planned) = (baseline, forecast.left_out.clone());
    }

    /// What is left without an objective that can be planned: the race, if it is forecast.
    fn tell_nothing_but_a_race(&mut self, planned: &Planned) -> anyhow::Result<()> {
        if self.race.as_ref().is_none_or(|race| race.spread.is_none()) {
            let race = planned.plan.race.as_ref().map_or("", |_| "; for the race for its reward write `--spread N`");
            bail!(
                "nothing can be planned: every objective of {} is a mean or a gauge, whose spread is not known{race}",
                planned.name
            );
        }
        self.not_planned = planned.plan.criteria.iter().map(|c| c.metric.to_string()).collect();
        self.not_planned.sort();
        self.not_planned.dedup();
        Ok(())
    }
}

fn case(candidate: String, metric: Option<&str>, share: Option<f64>, fate: &Fate) -> Case {
    Case {
        candidate,
        metric: metric.map(ToOwned::to_owned),
        share,
        promoted_in_time: fate.promoted,
        rolled_back_in_time: fate.rolled_back,
        seconds_half: fate.half,
        seconds90: fate.most,
        bad_requests: fate.bad,
    }
}

/// The plan for people.
fn text(report: &Report) -> String {
    let mut out = format!(
        "{}: {} requests per second, deadline {}, verdict at {} %{}\n",
        clean(&report.experiment),
        (report.requests_per_second * 100.0).round() / 100.0,
        time(Some(report.deadline_seconds)),
        report.final_weight,
        report.race.as_ref().map_or("", |_| " for each candidate")
    );
    // Writing to a String cannot fail.
    for a in &report.baseline {
        let _ = writeln!(
            out,
            "  {}: the baseline has {} bad requests ({}), the limit is {}",
            clean(&a.metric),
            percent(a.bad),
            a.from,
            percent(a.limit)
        );
    }
    for metric in &report.not_planned {
        let _ = writeln!(out, "  {}: not planned; how its values spread is not known", clean(metric));
    }
    if !report.cases.is_empty() {
        table(report, &mut out);
    }
    for s in &report.smallest_effect {
        let found = s.share.map_or_else(|| "no harm".into(), |share| format!("harm from {} on", percent(share)));
        let _ = writeln!(out, "{}: {found} can be proven before the deadline", clean(&s.metric));
    }
    if let Some(contest) = &report.race {
        race::text(contest, &mut out);
    }
    let broken = report.baseline.iter().find(|a| a.bad >= a.limit);
    if let Some(a) = broken.filter(|_| !report.good) {
        let _ = writeln!(
            out,
            "\nWARNING: the baseline itself breaks the limit of {}: {} of its requests are bad, the limit is {}; no candidate\n\
             like it can pass: write a higher limit, or correct --bad",
            clean(&a.metric),
            percent(a.bad),
            percent(a.limit)
        );
    } else if let Some(healthy) = report.cases.first().filter(|_| !report.good) {
        let _ = writeln!(
            out,
            "\nWARNING: a candidate like the baseline passes in time in {} of the cases only; write a higher limit, a longer\n\
             `spec.analysis.deadline`, or try it where there is more traffic",
            percent(healthy.promoted_in_time)
        );
    }
    out.trim_end().to_owned()
}

/// What becomes of each kind of candidate.
fn table(report: &Report, out: &mut String) {
    let _ = writeln!(
        out,
        "\n{:44} {:>9} {:>9} {:>10} {:>10} {:>8}",
        "candidate", "promoted", "discarded", "half by", "90 % by", "bad"
    );
    for c in &report.cases {
        let metric = c.metric.as_ref().map_or_else(String::new, |m| format!("{}: ", clean(m)));
        let _ = writeln!(
            out,
            "{:44} {:>9} {:>9} {:>10} {:>10} {:>8.0}",
            format!("{metric}{}", c.candidate),
            percent(c.promoted_in_time),
            percent(c.rolled_back_in_time),
            time(c.seconds_half),
            time(c.seconds90),
            c.bad_requests
        );
    }
    out.push('\n');
}

fn percent(share: f64) -> String {
    let value = share * 100.0;
    let digits = if value >= 10.0 {
        0
    } else if value >= 0.1 {
        2
    } else {
        4
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text };
    format!("{text} %")
}

/// Seconds as a person says them.
fn time(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else { return "never".into() };
    // At most the hard deadline, which is no large number.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = seconds.round().max(0.0) as u64;
    match (whole / 3600, whole % 3600 / 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, 0) => format!("{m} min"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, 0, _) => format!("{h} h"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}
