//! Numbers with units as users write them: `1%`, `0.01`, `300ms`, `0.3s`, `10m` (Kubernetes: 0.01).
//!
//! Owns the grammar and the conversion to the unit of a metric. A bare number is in the metric's own unit.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::duration::{excerpt, split_while};

/// The longest text of a quantity, in bytes.
const MAX_LENGTH: usize = 32;

/// The grammar for the API server, which therefore shows it to the user: a number and one of the known suffixes.
const PATTERN: &str =
    "^[+-]?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?(%|ns|us|ms|s|min|h|n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$";

/// What a quantity measures, and with it the unit of the number that comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A proportion between 0 and 1.
    Share,
    /// A time in seconds.
    Seconds,
    /// A time in milliseconds.
    Milliseconds,
    /// A count or factor without a unit.
    Plain,
}

impl Unit {
    /// How to write a value of this unit, for messages.
    fn example(self) -> &'static str {
        match self {
            Self::Share => "a share between 0 and 1, for example `1%` or `0.01`",
            Self::Seconds | Self::Milliseconds => "a time, for example `300ms`, `0.3s` or `2min`",
            Self::Plain => "a number, for example `1.5`",
        }
    }
}

/// Why a text is not a quantity of the unit that its field needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// No number, an unknown suffix, or too large for a number.
    #[error("failed to read `{value}` as a quantity: write {}", .unit.example())]
    Malformed {
        /// The text, cut to 32 characters.
        value: String,
        /// The unit that the field needs.
        unit: Unit,
    },
    /// A suffix of another unit, or a share outside 0..=1.
    #[error("failed to accept `{value}` here: write {}", .unit.example())]
    WrongUnit {
        /// The text.
        value: String,
        /// The unit that the field needs.
        unit: Unit,
    },
    /// A number outside the range that the field allows.
    #[error("failed to accept `{value}`: write {expected}")]
    OutOfRange {
        /// The value as it was written.
        value: String,
        /// What the field allows.
        expected: &'static str,
    },
    /// A bare `m` on a time: milliseconds for some, minutes for others, thousandths for Kubernetes.
    #[error(
        "failed to accept the time `{value}`, because `m` may mean several things: write `{number}ms` or `{number}min`"
    )]
    AmbiguousTime {
        /// The text.
        value: String,
        /// Its number.
        number: String,
    },
}

/// A number as it was written: a YAML number, or a text with a suffix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Quantity {
    /// A bare number.
    Number(f64),
    /// A number in quotes or with a suffix.
    Text(String),
}

impl Quantity {
    /// The value in `unit`.
    ///
    /// Shares and plain numbers accept `%` and the Kubernetes suffixes (`10m` is 0.01), times accept `ns`, `us`, `ms`, `s`, `min` and
    /// `h`. A number without a suffix is in `unit` already.
    pub fn value(&self, unit: Unit) -> Result<f64, QuantityError> {
        let value = match self {
            Self::Number(number) => *number,
            Self::Text(text) => parse(text, unit)?,
        };
        if !value.is_finite() {
            return Err(QuantityError::Malformed { value: excerpt(&self.to_string()), unit });
        }
        if unit == Unit::Share && !(0.0..=1.0).contains(&value) {
            return Err(QuantityError::WrongUnit { value: self.to_string(), unit });
        }
        Ok(value)
    }
}

impl From<f64> for Quantity {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Quantity {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    /// Untyped, because a structural schema has no "number or string" (its int-or-string refuses `0.01`). What is said of texts binds
    /// texts only; lists and objects are kept out by sizes that contradict each other.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-preserve-unknown-fields": true,
            "minLength": 1,
            "maxLength": MAX_LENGTH,
            "pattern": PATTERN,
            "minItems": 1,
            "maxItems": 0,
            "minProperties": 1,
            "maxProperties": 0,
            "not": {"enum": [true, false]},
        })
    }
}

fn parse(text: &str, unit: Unit) -> Result<f64, QuantityError> {
    let malformed = || QuantityError::Malformed { value: excerpt(text), unit };
    let (number, suffix) = split_number(text).filter(|_| text.len() <= MAX_LENGTH).ok_or_else(malformed)?;
    let value: f64 = number.parse().map_err(|_| malformed())?;
    if suffix.is_empty() {
        return Ok(value);
    }
    let time = seconds_in(suffix);
    let factor = dimensionless(suffix);
    match unit {
        Unit::Seconds | Unit::Milliseconds if suffix == "m" => {
            Err(QuantityError::AmbiguousTime { value: text.to_owned(), number: number.to_owned() })
        }
        Unit::Seconds | Unit::Milliseconds => {
            let (times, per) = time.ok_or_else(|| refusal(text, unit, factor.is_some()))?;
            let thousand = if unit == Unit::Milliseconds { 1e3 } else { 1.0 };
            Ok(value * times * thousand / per)
        }
        Unit::Share | Unit::Plain => {
            let (times, per) = factor.ok_or_else(|| refusal(text, unit, time.is_some()))?;
            Ok(value * times / per)
        }
    }
}

fn refusal(text: &str, unit: Unit, known_elsewhere: bool) -> QuantityError {
    let value = excerpt(text);
    if known_elsewhere { QuantityError::WrongUnit { value, unit } } else { QuantityError::Malformed { value, unit } }
}

/// Splits off a decimal number (`-1`, `0.5`, `1e3`), so that `1E` is exa and `1E3` is a thousand, as in Kubernetes.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let digits = |text: &str| split_while(text, |c| c.is_ascii_digit()).0.len();
    let from = |start: usize| text.get(start..).unwrap_or_default();
    let mut end = usize::from(text.starts_with(['+', '-']));
    let whole = digits(from(end));
    end += whole;
    if let Some(fraction) = from(end).strip_prefix('.') {
        end += Some(digits(fraction)).filter(|count| *count > 0)? + 1;
    }
    if let Some(exponent) = from(end).strip_prefix(['e', 'E']) {
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let count = digits(unsigned);
        if count > 0 {
            end += 1 + (exponent.len() - unsigned.len()) + count;
        }
    }
    (whole > 0).then(|| text.split_at(end))
}

/// A time suffix as (multiply by, divide by) to get seconds. Dividing by a whole number rounds once, so `300ms` is exactly `0.3`.
fn seconds_in(suffix: &str) -> Option<(f64, f64)> {
    Some(match suffix {
        "ns" => (1.0, 1e9),
        "us" => (1.0, 1e6),
        "ms" => (1.0, 1e3),
        "s" => (1.0, 1.0),
        "min" => (60.0, 1.0),
        "h" => (3600.0, 1.0),
        _ => return None,
    })
}

/// Percent and the suffixes of a Kubernetes quantity as (multiply by, divide by).
fn dimensionless(suffix: &str) -> Option<(f64, f64)> {
    Some(match suffix {
        "%" => (1.0, 1e2),
        "n" => (1.0, 1e9),
        "u" => (1.0, 1e6),
        "m" => (1.0, 1e3),
        "k" => (1e3, 1.0),
        "M" => (1e6, 1.0),
        "G" => (1e9, 1.0),
        "T" => (1e12, 1.0),
        "P" => (1e15, 1.0),
        "E" => (1e18, 1.0),
        "Ki" => (1024.0, 1.0),
        "Mi" => (1024.0 * 1024.0, 1.0),
        "Gi" => (1024.0 * 1024.0 * 1024.0, 1.0),
        "Ti" => (1024.0_f64.powi(4), 1.0),
        "Pi" => (1024.0_f64.powi(5), 1.0),
        "Ei" => (1024.0_f64.powi(6), 1.0),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn value(text: &str, unit: Unit) -> Result<f64, QuantityError> {
        Quantity::from(text).value(unit)
    }

    /// Exact on purpose: a limit must be the number that the user sees, not its neighbour.
    fn assert_same(left: f64, right: f64, what: &str) {
        assert_eq!(left.to_bits(), right.to_bits(), "{what}: {left} is not {right}");
    }

    #[test]
    fn shares_in_all_their_forms_are_the_same_number() {
        for text in ["1%", "0.01", "10m", "1e-2", "+0.01", "10000u"] {
            assert_same(value(text, Unit::Share).unwrap(), 0.01, text);
        }
        assert_same(Quantity::from(0.01).value(Unit::Share).unwrap(), 0.01, "number");
    }

    #[test]
    fn times_are_converted_to_the_unit_of_the_metric() {
        for text in ["300ms", "0.3s", "300000us"] {
            assert_same(value(text, Unit::Seconds).unwrap(), 0.3, text);
            assert_same(value(text, Unit::Milliseconds).unwrap(), 300.0, text);
        }
        assert_same(value("2min", Unit::Seconds).unwrap(), 120.0, "2min");
        assert_same(value("300", Unit::Milliseconds).unwrap(), 300.0, "bare numbers have the metric's unit");
    }

    #[test]
    fn a_bare_m_on_a_time_is_refused_with_both_readings() {
        let message = value("300m", Unit::Milliseconds).unwrap_err().to_string();
        assert!(message.contains("`300ms` or `300min`"), "{message}");
    }

    #[test]
    fn kubernetes_suffixes_and_exponents() {
        for (text, number) in [("1k", 1e3), ("1E", 1e18), ("1E3", 1e3), ("2Ki", 2048.0), ("150%", 1.5), ("-2", -2.0)] {
            assert_same(value(text, Unit::Plain).unwrap(), number, text);
        }
    }

    #[test]
    fn other_units_are_named_as_such() {
        for (text, unit) in [
            ("300ms", Unit::Share),
            ("1%", Unit::Seconds),
            ("1Ki", Unit::Milliseconds),
            ("2h", Unit::Plain),
            ("101%", Unit::Share),
            ("-1%", Unit::Share),
        ] {
            assert!(matches!(value(text, unit), Err(QuantityError::WrongUnit { .. })), "{text}");
        }
        assert!(matches!(Quantity::from(5.0).value(Unit::Share), Err(QuantityError::WrongUnit { .. })));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "%",
            "ms",
            ".5",
            "5.",
            "1 %",
            "inf",
            "nan",
            "NaN",
            "0x10",
            "1e999",
            "1e",
            "--1",
            "1%%",
            "１%",
            &"1".repeat(33),
        ] {
            assert!(matches!(value(text, Unit::Plain), Err(QuantityError::Malformed { .. })), "{text}");
        }
        assert!(Quantity::from(f64::NAN).value(Unit::Plain).is_err());
    }
}
