//! The commands of the `reiter8` binary.
//!
//! Owns arguments, help and exit codes; each command is a module of its own that does the work.

pub mod crds;
mod demo;
pub mod simulate;
mod start;
mod style;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::controller::run::{RunArgs, run};

/// Progressive delivery for Istio that commits its verdicts to Git.
#[derive(Debug, Parser)]
#[command(name = "reiter8", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong arguments; a command's own codes are in its --help.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(RunArgs),
    Demo(demo::DemoArgs),
    Simulate(simulate::SimulateArgs),
    Start(start::StartArgs),
    /// Print the definitions of Experiment, Metric and Repository
    Crds(crds::Crds),
}

/// Parses the arguments and runs the command; an error is printed with its causes.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Run(args) => on_runtime(run(args)),
        Command::Demo(args) => on_runtime(demo::demo(args)),
        Command::Simulate(args) => on_runtime(simulate::simulate(args)),
        Command::Start(args) => return start::main(&args),
        Command::Crds(args) => args.run().map_err(Into::into),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reiter8: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs an asynchronous command. One TLS provider serves every client in the process.
fn on_runtime<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    // A second installation changes nothing; the first one stays.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command)
}
