//! `reiter8 watch NAME`: follows an experiment to its end; redrawn in place for people, a line for each change otherwise.

use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::Value;
use tokio::time::Instant;

use super::assert::{Expected, Standing, brief, ended, full_name, next, verdict};
use super::client::{self, Place};
use super::describe::summary;
use super::output::{self, Output, clean};
use super::style::{coloured, for_people, print};
use crate::api::Experiment;

/// How often the times on the screen are renewed.
const TICK: Duration = Duration::from_secs(1);

/// Follow an experiment until it is completed or deleted
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "On a terminal the view is redrawn in place; elsewhere each change is a line, with `-o json` a document.\n\n\
    Exit codes, as of `assert`: 0 it ended as expected (without --outcome, --phase or --reason: it was promoted),\n\
    1 failed (not found, no cluster), 2 wrong arguments, 3 it ended otherwise, 4 the time is up.\n\n\
    Examples:\n  reiter8 watch productpage-x7k2p -n bookinfo\n  \
    reiter8 watch productpage-x7k2p --outcome Promote,Discard --timeout 2h\n  \
    reiter8 watch productpage-x7k2p -o json | jq -r .message"
)]
pub(super) struct WatchArgs {
    /// The experiment
    #[arg(value_parser = client::name)]
    name: String,
    #[command(flatten)]
    expected: Expected,
    /// How long to follow it, such as `90s`, `10m` or `2h` [default: to its end]
    #[arg(long, value_parser = output::duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

/// Runs the command.
pub(super) async fn watch(args: WatchArgs) -> anyhow::Result<ExitCode> {
    let expected = args.expected.clone().or_promotion();
    let cluster = args.place.connect().await?;
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut last = cluster.get(&args.name).await?;
    let mut changes = Box::pin(cluster.follow(&args.name));
    let mut screen = Screen::new(args.output);
    let (mut gone, mut late) = (false, false);
    screen.show(&last)?;
    while !(ended(&last) || gone || late) {
        // The tick renews the times; without a person nobody reads them.
        let tick = screen.live().then(|| Instant::now() + TICK);
        let until = [tick, deadline].into_iter().flatten().min();
        match next(&mut changes, until).await {
            Some(Some(experiment)) => last = experiment,
            Some(None) => gone = true,
            None => late = deadline.is_some_and(|d| Instant::now() >= d),
        }
        screen.show(&last)?;
    }
    let standing = match expected.standing(&last) {
        _ if gone => expected.after_the_end(&last),
        // An outcome is no end: a promotion may still be closed, or taken back by its guard.
        Standing::Holds if !ended(&last) => Standing::Open("as expected so far, but it has not ended".to_owned()),
        standing => standing,
    };
    end(&args, &last, &standing, gone)
}

fn end(args: &WatchArgs, last: &Experiment, standing: &Standing, gone: bool) -> anyhow::Result<ExitCode> {
    let text = match standing {
        Standing::Holds if gone => "the experiment was deleted after it came to its outcome".to_owned(),
        Standing::Holds => "as expected".to_owned(),
        Standing::Lost(why) => why.clone(),
        Standing::Open(why) => format!("the time is up; {why}"),
    };
    if !args.output.is_json() {
        output::say(&clean(&format!("{}: {text} ({})", full_name(last), brief(last))))?;
    }
    Ok(ExitCode::from(standing.exit_code()))
}

/// Where an experiment is shown.
struct Screen {
    output: Output,
    /// Lines that the last view took, on a terminal.
    drawn: Option<usize>,
    /// What was told last, elsewhere.
    told: Value,
}

impl Screen {
    fn new(output: Output) -> Self {
        let live = for_people() && !output.is_json();
        Self { output, drawn: live.then_some(0), told: Value::Null }
    }

    fn live(&self) -> bool {
        self.drawn.is_some()
    }

    fn show(&mut self, experiment: &Experiment) -> anyhow::Result<()> {
        if let Some(lines) = self.drawn {
            let view = summary(experiment, Timestamp::now(), coloured());
            self.drawn = Some(view.len());
            return Ok(print(&redraw(&view, lines))?);
        }
        let document = verdict(&experiment.name_any(), Some(experiment), "Seen", "");
        if document == self.told {
            return Ok(());
        }
        self.told = document.clone();
        if self.output.is_json() {
            return output::json_line(&change(document));
        }
        let message = experiment.status.as_ref().and_then(|s| s.message.clone()).unwrap_or_default();
        let now = Timestamp::now().strftime("%H:%M:%SZ");
        output::say(&clean(&format!("{now}  {}  {message}", brief(experiment))))
    }
}

/// The document of one change: what was seen, and when.
fn change(mut document: Value) -> Value {
    if let Some(fields) = document.as_object_mut() {
        fields.retain(|name, _| name != "result" && name != "why");
        fields.insert("at".to_owned(), Value::from(format!("{:.3}", Timestamp::now())));
    }
    document
}

/// Draws over the lines of the last view. Lines that are too long are cut by the terminal, so that each stays one line.
fn redraw(view: &[String], before: usize) -> String {
    let up = if before > 0 { format!("\x1b[{before}A") } else { String::new() };
    format!("\x1b[?7l{up}\r\x1b[J{}\n\x1b[?7h", view.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_replaces_the_one_before() {
        let view = ["a".to_owned(), "b".to_owned()];
        assert_eq!(redraw(&view, 0), "\x1b[?7l\r\x1b[Ja\nb\n\x1b[?7h");
        assert_eq!(redraw(&view, 2), "\x1b[?7l\x1b[2A\r\x1b[Ja\nb\n\x1b[?7h");
    }
}
