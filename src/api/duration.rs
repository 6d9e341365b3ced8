//! Durations as users write them: `10s`, `5m`, `1h30m`, `7d`.
//!
//! Owns the grammar, in the schema (as a rule with a message) and in code; both must accept the same texts.

use std::{borrow::Cow, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The longest text of a duration, in bytes.
const MAX_LENGTH: usize = 32;

/// The longest duration, 366 days: nothing in an experiment waits longer, and sums of a few of them cannot overflow a clock.
const MAX: Duration = Duration::from_hours(366 * 24);

/// Units from large to small, with their milliseconds. `m` is minutes, as in Go and Kubernetes.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The grammar for the API server. Each unit at most once, large before small, at least one.
const PATTERN: &str = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// The text does not follow the grammar.
    #[error(
        "failed to read `{0}` as a duration: write numbers with units, large before small, for example `10s`, `5m`, `1h30m` or `7d`"
    )]
    Malformed(String),
    /// Over 366 days.
    #[error("failed to accept the duration `{0}`: the longest is `366d`")]
    TooLong(String),
}

/// A length of time, kept as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(String);

impl Span {
    /// A span of this text, which is checked on access.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The length of time.
    pub fn duration(&self) -> Result<Duration, DurationError> {
        parse(&self.0)
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_LENGTH,
            "x-kubernetes-validations": [{
                "rule": format!("self.matches('{PATTERN}')"),
                "message": "not a duration: write numbers with units, large before small, for example `10s`, `5m`, `1h30m` or `7d`",
            }],
        })
    }
}

fn parse(text: &str) -> Result<Duration, DurationError> {
    let malformed = || DurationError::Malformed(excerpt(text));
    if text.is_empty() || text.len() > MAX_LENGTH {
        return Err(malformed());
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let (digits, after) = split_while(rest, |c| c.is_ascii_digit());
        let (unit, after) = split_while(after, |c| !c.is_ascii_digit());
        // Consuming the iterator is what makes each unit valid once, and only after the larger ones.
        let (_, milliseconds) = units.find(|(name, _)| *name == unit).ok_or_else(malformed)?;
        if digits.is_empty() {
            return Err(malformed());
        }
        let part = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(*milliseconds));
        total = part
            .and_then(|part| total.checked_add(Duration::from_millis(part)))
            .filter(|sum| *sum <= MAX)
            .ok_or_else(|| DurationError::TooLong(text.to_owned()))?;
        rest = after;
    }
    Ok(total)
}

/// The longest prefix whose characters all satisfy `keep`, and what follows it.
pub(super) fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !keep(c)).unwrap_or(text.len()))
}

/// At most 32 characters of a foreign text, for messages.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(MAX_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn reads_what_the_documentation_shows() {
        for (text, seconds) in [
            ("10s", 10.0),
            ("5m", 300.0),
            ("1h30m", 5_400.0),
            ("7d", 604_800.0),
            ("250ms", 0.25),
            ("1m500ms", 60.5),
            ("0s", 0.0),
        ] {
            assert_eq!(Span::new(text).duration().unwrap(), Duration::from_secs_f64(seconds), "{text}");
        }
    }

    #[test]
    fn refuses_other_texts_and_says_what_to_write() {
        for text in [
            "",
            "10",
            "s",
            "5 m",
            "-5s",
            "1.5h",
            "30m1h",
            "5m5m",
            "1y",
            "5min",
            "٣s",
            "1h\n",
            "999999999999999999999999999999999s",
        ] {
            let error = Span::new(text).duration().unwrap_err();
            assert!(matches!(error, DurationError::Malformed(_)), "{text}: {error}");
            assert!(error.to_string().contains("`1h30m`"), "{error}");
        }
    }

    #[test]
    fn refuses_what_no_experiment_waits_for() {
        for text in ["367d", "366d1ms", "99999999999999999999d", "18446744073709551615d"] {
            assert_eq!(Span::new(text).duration(), Err(DurationError::TooLong(text.to_owned())));
        }
        assert_eq!(Span::new("366d").duration(), Ok(MAX));
    }
}
