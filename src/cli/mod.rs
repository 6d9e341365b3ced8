//! The commands of the `reiter8` binary.
//!
//! Owns arguments, help and exit codes; each command is a module of its own that does the work.

pub mod assert;
mod bench;
mod check;
mod client;
mod completions;
pub mod crds;
mod demo;
mod describe;
mod output;
mod plan;
pub mod simulate;
mod start;
mod style;
mod verbs;
mod watch;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::controller::run::{RunArgs, run};
use crate::http;

/// Progressive delivery for Istio that commits its verdicts to Git.
#[derive(Debug, Parser)]
#[command(name = "reiter8", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong arguments; a command's own codes are in its --help.\n\n\
    As a kubectl plugin: put the binary, or a link to it, on the PATH as `kubectl-reiter8`; then `kubectl reiter8 describe NAME`\n\
    is `reiter8 describe NAME`.\n\n\
    Examples:\n  reiter8 demo\n  reiter8 check apps/productpage\n  reiter8 watch productpage-x7k2p -n bookinfo\n  \
    ln -s \"$(command -v reiter8)\" ~/.local/bin/kubectl-reiter8 && kubectl reiter8 --help")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(RunArgs),
    Demo(demo::DemoArgs),
    Simulate(simulate::SimulateArgs),
    Start(Box<start::StartArgs>),
    Plan(plan::PlanArgs),
    Check(check::CheckArgs),
    Describe(describe::DescribeArgs),
    Watch(watch::WatchArgs),
    Assert(assert::AssertArgs),
    Pause(verbs::PauseArgs),
    Resume(verbs::ResumeArgs),
    Abort(verbs::AbortArgs),
    Promote(verbs::PromoteArgs),
    Retry(verbs::RetryArgs),
    /// Print the definitions of Experiment, Metric and Repository
    Crds(crds::Crds),
    Completions(completions::Completions),
    Bench(bench::BenchArgs),
}

/// Name of the binary as a kubectl plugin.
const PLUGIN: &str = "kubectl-reiter8";

/// Parses the arguments and runs the command; an error is printed with its causes.
pub fn main() -> ExitCode {
    let cli = parse();
    let success = |()| ExitCode::SUCCESS;
    let done = match cli.command {
        Command::Start(args) => return start::main(&args),
        Command::Run(args) => on_runtime(run(args)).map(success),
        Command::Demo(args) => on_runtime(demo::demo(args)).map(success),
        Command::Simulate(args) => on_runtime(simulate::simulate(args)).map(success),
        Command::Plan(args) => on_runtime(plan::plan(args)),
        Command::Check(args) => on_runtime(check::check(args)),
        Command::Describe(args) => on_runtime(describe::describe(args)).map(success),
        Command::Watch(args) => on_runtime(watch::watch(args)),
        Command::Assert(args) => on_runtime(assert::assert(args)),
        Command::Pause(args) => on_runtime(verbs::pause(args)),
        Command::Resume(args) => on_runtime(verbs::resume(args)),
        Command::Abort(args) => on_runtime(verbs::abort(args)),
        Command::Promote(args) => on_runtime(verbs::promote(args)),
        Command::Retry(args) => on_runtime(verbs::retry(args)),
        Command::Bench(args) => on_runtime(bench::bench(args)),
        Command::Crds(args) => args.run().map_err(Into::into).map(success),
        Command::Completions(args) => args.run(Cli::command()).map(success),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            output::complain(&format!("reiter8: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Parses the arguments; help speaks of `kubectl reiter8` when kubectl is the caller.
fn parse() -> Cli {
    let called = std::env::args_os().next().unwrap_or_default();
    let mut command = Cli::command();
    if Path::new(&called).file_stem().is_some_and(|name| name == PLUGIN) {
        command = command.bin_name("kubectl reiter8");
    }
    Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

/// Runs an asynchronous command.
fn on_runtime<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    http::install_provider();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command)
}
