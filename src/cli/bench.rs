//! `reiter8 bench`: how often the judge decides wrongly, and how soon it decides.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use regex::Regex;

use super::style::print;
use crate::bench::bars::State;
use crate::bench::grid::{Size, Wanted};
use crate::bench::report::{About, Report};
use crate::bench::run::Results;
use crate::bench::scenario::LAG;
use crate::bench::{guard, plot, race, run, traffic};

/// Exit code of a benchmark whose bars were not all met.
const MISSED: u8 = 3;

/// Measure the product against what it promises, and against others
#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Judge(Box<JudgeArgs>),
    Race(RaceArgs),
}

/// How often a race of several candidates loses the best version, and how soon it ends
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the promise was kept in every field, 1 failed, 2 wrong arguments, 3 it was not.\n\n\
    Examples:\n  reiter8 bench race\n  reiter8 bench race --replications 2000 --seed 7 --markdown race.md --json race.json"
)]
pub(super) struct RaceArgs {
    /// Runs of each field
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    replications: u32,
    /// Another seed gives other runs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What is printed
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "md")]
    output: Document,
    /// Also write the JSON document here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write the Markdown document here
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Threads; all cores without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Document {
    Md,
    Json,
}

/// How often each rule decides wrongly, and how soon it decides, in a simulated mesh
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 no bar was missed, 1 failed, 2 wrong arguments, 3 a bar was missed. Ctrl-C ends it with what is done.\n\n\
    Examples:\n  reiter8 bench judge\n  reiter8 bench judge --grid full --json judge.json --svg judge.svg --markdown judge.md\n  \
    reiter8 bench judge --only 'reiter8.*, 50 rps.*candidate 5 %' --replications 1000 --seed 7\n  \
    reiter8 bench judge --rps 3 --rps 30 --clump 1 --clump 10 --lag 30s -o json"
)]
pub(super) struct JudgeArgs {
    /// Which cells: about sixty, or all
    #[arg(long, value_enum, default_value = "quick")]
    grid: Grid,
    /// Runs of each cell; the grid's own numbers without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    replications: Option<u32>,
    /// Another seed gives other runs of the same cells
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only cells whose `rule | scenario` matches this regular expression
    #[arg(long, value_name = "PATTERN")]
    only: Option<Regex>,
    /// Requests per second in place of the grid's; may be repeated
    #[arg(long, value_name = "RPS", value_parser = rate)]
    rps: Vec<f64>,
    /// Mean sizes of clumps of bad requests in place of the grid's, 1 for none; may be repeated
    #[arg(long, value_name = "SIZE", value_parser = clump)]
    clump: Vec<f64>,
    /// How late data are visible; whole ticks of 5 s
    #[arg(long, value_name = "DURATION", value_parser = lag, default_value = "15s")]
    lag: f64,
    /// What is printed
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "md")]
    output: Format,
    /// Also write the JSON document here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write the plot here
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Also write the Markdown document here
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Threads; all cores without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Grid {
    Quick,
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Md,
    Json,
    Svg,
}

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    let fits = (least..=most).contains(&value);
    fits.then_some(value).ok_or_else(|| format!("{value} is not between {least} and {most}"))
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.01, 1e6)
}

fn clump(text: &str) -> Result<f64, String> {
    number(text, 1.0, 1e4)
}

fn lag(text: &str) -> Result<f64, String> {
    let seconds = super::output::duration(text)?.as_secs_f64();
    let whole = (seconds / traffic::TICK).fract() < 1e-9;
    let fits = whole && (0.0..=600.0).contains(&seconds);
    fits.then_some(seconds).ok_or_else(|| format!("`{text}` is not a multiple of 5 s up to 10 minutes"))
}

/// Runs a benchmark.
pub(super) async fn bench(args: BenchArgs) -> anyhow::Result<std::process::ExitCode> {
    let stop = Arc::new(AtomicBool::new(false));
    let (work, halt) = (stop.clone(), stop.clone());
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            halt.store(true, Ordering::Relaxed);
        }
    });
    let done = tokio::task::spawn_blocking(move || match args.what {
        What::Judge(args) => judge(&args, &work),
        What::Race(args) => races(&args, &work),
    });
    done.await.context("the benchmark ended unexpectedly")?
}

fn races(args: &RaceArgs, stop: &AtomicBool) -> anyhow::Result<std::process::ExitCode> {
    let (began, jobs) = (Instant::now(), threads(args.jobs));
    let tell = |done: usize, all: usize| progress(done, all, "runs", began);
    let results = race::results(args.replications, args.seed, jobs, stop, &tell);
    clear();
    let about = About { command: command(), seed: args.seed, lag: LAG, jobs, seconds: began.elapsed().as_secs_f64() };
    let (text, document) = (race::markdown(&about, &results), race::json(&about, &results));
    for (path, content) in [(&args.markdown, &text), (&args.json, &document)] {
        path.as_ref().map_or(Ok(()), |path| save(path, content))?;
    }
    print(if args.output == Document::Json { &document } else { &text }).context("failed to print")?;
    Ok(if race::holds(&results) { std::process::ExitCode::SUCCESS } else { MISSED.into() })
}

fn threads(asked: Option<u16>) -> usize {
    let all = || std::thread::available_parallelism().ok().map(Into::into);
    asked.map(usize::from).or_else(all).unwrap_or(1)
}

/// The command line, as it is written in a document.
fn command() -> String {
    std::env::args().skip(1).fold("reiter8".to_owned(), |all, one| all + " " + &quoted(&one))
}

fn judge(args: &JudgeArgs, stop: &AtomicBool) -> anyhow::Result<std::process::ExitCode> {
    let began = Instant::now();
    let size = if args.grid == Grid::Full { Size::Full } else { Size::Quick };
    let (rps, clumps) = (args.rps.clone(), args.clump.clone());
    let wanted = Wanted { size, replications: args.replications, rps, clumps, lag: args.lag };
    let mut cells = wanted.cells();
    if let Some(only) = &args.only {
        cells.retain(|cell| only.is_match(&cell.name()));
        anyhow::ensure!(!cells.is_empty(), "no cell matches `{only}`; a cell is called `{EXAMPLE}`");
    }
    let jobs = threads(args.jobs);
    let results = run::run(&cells, args.seed, jobs, stop, &|done, all| progress(done, all, "cells", began));
    let watched = if args.only.is_some() { 0 } else { args.replications.unwrap_or(100).min(100) };
    let delays = guard::delays(watched, args.seed, jobs, stop);
    clear();
    let about =
        About { command: command(), seed: args.seed, lag: args.lag, jobs, seconds: began.elapsed().as_secs_f64() };
    let report = Report { about: &about, results: &results, delays: &delays };
    write(args, &report, &results)?;
    let missed = report.bars().iter().any(|bar| bar.state == State::Missed);
    Ok(if missed { MISSED.into() } else { std::process::ExitCode::SUCCESS })
}

/// The name of a cell, for those whose pattern matches none.
const EXAMPLE: &str = "reiter8 | absolute, 50 rps, baseline 0.5 %, candidate 5 %";

fn write(args: &JudgeArgs, report: &Report<'_>, results: &Results) -> anyhow::Result<()> {
    let file = |path: &Option<PathBuf>, text: &dyn Fn() -> String| match path {
        Some(path) => save(path, &text()),
        None => Ok(()),
    };
    file(&args.json, &|| report.json())?;
    file(&args.svg, &|| plot::svg(results))?;
    file(&args.markdown, &|| report.markdown())?;
    let text = match args.output {
        Format::Md => report.markdown(),
        Format::Json => report.json(),
        Format::Svg => plot::svg(results),
    };
    print(&text).context("failed to print")
}

fn save(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

/// An argument as a shell takes it.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:".contains(c);
    if argument.chars().all(plain) { argument.to_owned() } else { format!("'{}'", argument.replace('\'', "'\\''")) }
}

/// A bar on a terminal, over itself.
fn progress(done: usize, all: usize, what: &str, began: Instant) {
    let mut err = std::io::stderr().lock();
    if err.is_terminal() {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at most 100
        let percent = (100.0 * done as f64 / all.max(1) as f64) as u8;
        let left = began.elapsed().as_secs_f64() * (all - done) as f64 / done.max(1) as f64;
        #[allow(clippy::cast_possible_truncation)] // the cast saturates
        let left = super::output::span(left.round() as i64);
        // Progress that cannot be shown is no reason to stop.
        let _ = write!(err, "\r\x1b[K{} {done} of {all} {what}, about {left} left", super::style::bar(percent));
        let _ = err.flush();
    }
}

fn clear() {
    let mut err = std::io::stderr().lock();
    if err.is_terminal() {
        let _ = write!(err, "\r\x1b[K");
        let _ = err.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_checked() {
        assert!(rate("0").is_err() && rate("x").is_err() && rate("50").is_ok());
        assert!(clump("0.5").is_err() && clump("1").is_ok());
        assert!(lag("7s").is_err() && lag("11m").is_err());
        assert_eq!(lag("30s"), Ok(30.0));
        assert_eq!(quoted("a b"), "'a b'");
        assert!((crate::bench::scenario::LAG - 15.0).abs() < 1e-9, "the default of --lag");
    }
}
