//! What a YAML document means, apart from how it is written: the common ground of the two parsers.
//!
//! Both the spanned tree ([`super::node`]) and the re-check ([`super::verify`]) are reduced to [`Value`] and compared here.
//! This module never looks at source text.

use std::collections::BTreeMap;

use super::EditError;
use super::path::{Path, Segment};

/// A YAML node without its presentation. Mappings are unordered, sequences ordered, as Kubernetes reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A leaf; `text` is the value after escapes, `string` tells `"1"` (true) from `1` (false). Null is always `null`, not a string.
    Scalar {
        /// The value after escape processing.
        text: String,
        /// Whether the value is a string, by quotes or because nothing else matches its text.
        string: bool,
    },
    /// A mapping; duplicate keys never get this far.
    Map(BTreeMap<String, Self>),
    /// A sequence.
    List(Vec<Self>),
    /// A reference to the anchor with this number within its document.
    Alias(usize),
}

impl Value {
    /// A string leaf.
    pub fn string(text: &str) -> Self {
        Self::Scalar { text: text.to_owned(), string: true }
    }

    /// A leaf written without quotes: its type follows from its text.
    pub(super) fn plain(text: &str) -> Self {
        if is_null(text) {
            return Self::Scalar { text: "null".to_owned(), string: false };
        }
        Self::Scalar { text: text.to_owned(), string: !is_bool(text) && !is_number(text) }
    }

    /// What a JSON value means.
    pub fn from_json(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::String(text) => Self::string(text),
            Json::Null => Self::plain(""),
            Json::Bool(_) | Json::Number(_) => Self::Scalar { text: json.to_string(), string: false },
            Json::Array(items) => Self::List(items.iter().map(Self::from_json).collect()),
            Json::Object(entries) => {
                Self::Map(entries.iter().map(|(key, value)| (key.clone(), Self::from_json(value))).collect())
            }
        }
    }

    /// The text of a leaf.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Scalar { text, .. } => Some(text),
            Self::Map(_) | Self::List(_) | Self::Alias(_) => None,
        }
    }

    /// The entry of a mapping.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries.get(key),
            Self::Scalar { .. } | Self::List(_) | Self::Alias(_) => None,
        }
    }

    /// The node that `path` selects, or `None` when a step finds nothing.
    pub fn at(&self, path: &Path) -> Option<&Self> {
        path.segments().iter().try_fold(self, |node, segment| node.child(segment))
    }

    fn child(&self, segment: &Segment) -> Option<&Self> {
        match (self, segment) {
            (Self::Map(entries), Segment::Key(key)) => entries.get(key),
            (Self::List(items), Segment::Index(index)) => items.get(*index),
            (Self::List(items), Segment::Named { key, value }) => items.iter().find(|item| item.is_named(key, value)),
            _ => None,
        }
    }

    fn is_named(&self, key: &str, value: &str) -> bool {
        self.get(key).and_then(Self::text) == Some(value)
    }

    /// Puts `new` where `path` points, or removes what is there when `new` is `None`. The parent must exist.
    pub(crate) fn put(&mut self, path: &Path, new: Option<Self>) -> Result<(), EditError> {
        let missing = || EditError::PathNotFound { path: path.to_string() };
        let (last, parents) = path.segments().split_last().ok_or_else(missing)?;
        let mut node = self;
        for segment in parents {
            node = node.child_mut(segment).ok_or_else(missing)?;
        }
        match (node, last, new) {
            (Self::Map(entries), Segment::Key(key), Some(new)) => {
                entries.insert(key.clone(), new);
            }
            (Self::Map(entries), Segment::Key(key), None) => {
                entries.remove(key).ok_or_else(missing)?;
            }
            (Self::List(items), segment, new) => {
                let index = match segment {
                    Segment::Index(index) => Some(*index).filter(|index| *index < items.len()),
                    Segment::Named { key, value } => items.iter().position(|item| item.is_named(key, value)),
                    Segment::Key(_) => None,
                };
                match (index, new) {
                    (Some(index), Some(new)) => {
                        items.splice(index..=index, [new]);
                    }
                    (Some(index), None) => {
                        items.remove(index);
                    }
                    (None, _) => return Err(missing()),
                }
            }
            _ => return Err(missing()),
        }
        Ok(())
    }

    fn child_mut(&mut self, segment: &Segment) -> Option<&mut Self> {
        match (self, segment) {
            (Self::Map(entries), Segment::Key(key)) => entries.get_mut(key),
            (Self::List(items), Segment::Index(index)) => items.get_mut(*index),
            (Self::List(items), Segment::Named { key, value }) => {
                items.iter_mut().find(|item| item.is_named(key, value))
            }
            _ => None,
        }
    }

    /// The node as Kubernetes would read it. Aliases become null: callers refuse them first.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Scalar { text, string: true } => Json::String(text.clone()),
            Self::Scalar { text, string: false } => typed(text),
            Self::Map(entries) => {
                Json::Object(entries.iter().map(|(key, value)| (key.clone(), value.to_json())).collect())
            }
            Self::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Alias(_) => Json::Null,
        }
    }
}

/// The JSON value of a plain scalar that is not a string.
fn typed(text: &str) -> serde_json::Value {
    use serde_json::Value as Json;
    if is_null(text) {
        return Json::Null;
    }
    if is_bool(text) {
        return Json::Bool(matches!(text.to_ascii_lowercase().as_str(), "true" | "yes" | "on" | "y"));
    }
    let number = integer(text)
        .map(Json::from)
        .or_else(|| text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Json::Number));
    number.unwrap_or_else(|| Json::String(text.to_owned()))
}

/// Integers in the notations of YAML 1.1, which Kubernetes still reads: decimal, `0x`, `0o`, `0b` and the leading zero of octal.
fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x', ..] => (digits.get(2..)?, 16),
        [b'0', b'o', ..] => (digits.get(2..)?, 8),
        [b'0', b'b', ..] => (digits.get(2..)?, 2),
        [b'0', b'0'..=b'7', ..] => (digits, 8),
        _ => (digits, 10),
    };
    i64::from_str_radix(&digits.replace('_', ""), radix).ok().map(|value| sign * value)
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// The booleans of YAML 1.1, a superset of those of 1.2: what any reader may take for a boolean is one.
fn is_bool(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n")
}

fn is_number(text: &str) -> bool {
    let body = text.trim_start_matches(['-', '+']);
    if matches!(body.to_ascii_lowercase().as_str(), ".inf" | ".nan") {
        return true;
    }
    body.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && (integer(text).is_some() || text.replace('_', "").parse::<f64>().is_ok())
}

/// Whether a string may be written without quotes wherever it stands, whichever YAML version reads it.
pub(super) fn may_be_plain(text: &str) -> bool {
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    (word || is_quantity(text))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@+=".contains(c))
        && !text.ends_with(':')
        && matches!(Value::plain(text), Value::Scalar { string: true, .. })
}

/// `100m`, `1.5Gi`, `30s`: digits and a short unit, which no YAML version takes for a number.
fn is_quantity(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    (1..=3).contains(&unit.len())
        && unit.bytes().all(|byte| byte.is_ascii_alphabetic())
        && text.starts_with(|c: char| c.is_ascii_digit())
}
