//! What the commands share when they speak: formats, times for people, exit codes.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;

use super::style::print;
use crate::api::Span;
use crate::text::one_line;

/// Exit code of something that was asked for and is not so.
pub(super) const DOES_NOT_HOLD: u8 = 3;
/// Exit code of a wait that was too long.
pub(super) const TIMED_OUT: u8 = 4;

/// How a command speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The argument `-o`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Output {
    /// `json` prints a document for programs
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(super) output: Format,
}

impl Output {
    /// Whether a program reads.
    pub(super) fn is_json(self) -> bool {
        self.output == Format::Json
    }
}

/// Prints a document for programs.
pub(super) fn json(document: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string_pretty(document).context("failed to write the document")?)
}

/// Prints a document for programs on a line of its own, because more follow.
pub(super) fn json_line(document: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string(document).context("failed to write the document")?)
}

/// Prints text with an end of line.
pub(super) fn say(text: &str) -> anyhow::Result<()> {
    print(&format!("{text}\n")).context("failed to print")
}

/// Says something beside the work, on standard error. Who closed that does not want it.
pub(super) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Reads a duration such as `10m`, as manifests write them.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    Span::new(text).duration().map_err(|error| error.to_string())
}

/// A length of time for people, to two units: `4 m 12 s`.
pub(super) fn span(seconds: i64) -> String {
    let seconds = seconds.abs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} m {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} m"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// An instant as seen from now: `in 8 s`, `2 m 3 s ago`.
pub(super) fn relative(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.duration_since(now).as_secs();
    if seconds > 0 { format!("in {}", span(seconds)) } else { format!("{} ago", span(seconds)) }
}

/// Foreign text for a terminal: without control characters, which could move the cursor or change colours.
pub(super) fn clean(text: &str) -> String {
    one_line(text, usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        let texts = [(0, "0 s"), (59, "59 s"), (252, "4 m 12 s"), (3_720, "1 h 2 m"), (180_000, "2 d 2 h")];
        for (seconds, text) in texts {
            assert_eq!(span(seconds), text);
        }
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(relative(now + jiff::SignedDuration::from_secs(8), now), "in 8 s");
        assert_eq!(relative(now - jiff::SignedDuration::from_secs(61), now), "1 m 1 s ago");
    }

    #[test]
    fn foreign_text_moves_no_cursor() {
        assert_eq!(clean("a\x1b[2Jb\nc"), "a [2Jb c");
    }
}
