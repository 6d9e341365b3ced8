//! Logs and metrics of the controller itself.
//!
//! Owns the set-up of structured logs, the registry behind `/metrics`, and what every metric is called. Every label is
//! bounded: phases, reasons, effects and providers are words of this program; namespaces and names of experiments
//! appear for running experiments alone, and for so many of them at most ([`MOST_SHOWN`]). No token, address or text of
//! anybody else becomes a label. Called by the controller and by the adapters that ask others.

mod metrics;
mod requests;
mod watched;

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

pub use metrics::Metrics;
pub use requests::{Provider, TimedKubernetes, Timer, timed};
pub use watched::{MOST_CRITERIA, MOST_REASONS, MOST_SHOWN};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object for each line.
    Json,
}

/// Starts logging to standard error; `RUST_LOG` overrides the default level `info`.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube_lease_manager=warn"));
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(coloured());
    // A second start (tests run several controllers in one process) keeps the first one's settings.
    let _ = match format {
        LogFormat::Text => base.try_init(),
        LogFormat::Json => base.json().flatten_event(true).try_init(),
    };
}

/// Colours are for people at a terminal who did not decline them.
fn coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}
