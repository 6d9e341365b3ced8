//! Paths to nodes: `spec.template.spec.containers[name=app].image`, `args[0]`, `metadata.annotations["a.b/c"]`.
//!
//! A step selects exactly one node or none; there are no wildcards.

use std::fmt;
use std::str::FromStr;

use super::EditError;

/// One step of a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// An entry of a mapping.
    Key(String),
    /// An item of a sequence by position, from 0.
    Index(usize),
    /// The item of a sequence whose `key` has this value.
    Named {
        /// The item's identifying key, `name` for containers.
        key: String,
        /// The value that identifies the item.
        value: String,
    },
}

/// A path from a document's root; empty is the root itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Path(Vec<Segment>);

impl Path {
    /// The steps from the root.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// This path and one more step.
    #[must_use]
    pub fn join(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }

    /// This path and one more key.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.join(Segment::Key(key.to_owned()))
    }

    /// Whether this is `ancestor` or below it.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        self.0.starts_with(&ancestor.0)
    }

    /// The parent and the last step; `None` at the root.
    pub(crate) fn split_last(&self) -> Option<(Self, Segment)> {
        self.0.split_last().map(|(last, parents)| (Self(parents.to_vec()), last.clone()))
    }

    /// The rest of this path behind `ancestor`, when it is that path or below it.
    pub(super) fn below(&self, ancestor: &Self) -> Option<Self> {
        self.0.strip_prefix(ancestor.0.as_slice()).map(|rest| Self(rest.to_vec()))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if is_bare(key) => write!(f, "{}{key}", if index == 0 { "" } else { "." })?,
                Segment::Key(key) => write!(f, "[{}]", quoted(key))?,
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Named { key, value } if is_bare(value) => write!(f, "[{key}={value}]")?,
                Segment::Named { key, value } => write!(f, "[{key}={}]", quoted(value))?,
            }
        }
        Ok(())
    }
}

impl FromStr for Path {
    type Err = EditError;

    fn from_str(text: &str) -> Result<Self, EditError> {
        let refuse = || EditError::BadPath { path: text.to_owned() };
        let mut rest = text;
        let mut segments = Vec::new();
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let (segment, after) = bracket(inner).ok_or_else(refuse)?;
                segments.push(segment);
                rest = after;
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (key, after) = rest.split_at(end);
                if !is_bare(key) {
                    return Err(refuse());
                }
                segments.push(Segment::Key(key.to_owned()));
                rest = after;
            }
            if let Some(after) = rest.strip_prefix('.') {
                rest = Some(after).filter(|after| !after.is_empty() && !after.starts_with('[')).ok_or_else(refuse)?;
            } else if !rest.is_empty() && !rest.starts_with('[') {
                return Err(refuse());
            }
        }
        if segments.is_empty() { Err(refuse()) } else { Ok(Self(segments)) }
    }
}

/// The step after an opening bracket, and what follows the closing one.
fn bracket(inner: &str) -> Option<(Segment, &str)> {
    if inner.starts_with('"') {
        let (key, rest) = unquote(inner)?;
        return Some((Segment::Key(key), rest.strip_prefix(']')?));
    }
    let end = inner.find([']', '='])?;
    let (head, rest) = inner.split_at(end);
    if let Some(rest) = rest.strip_prefix(']') {
        let digits = !head.is_empty() && head.bytes().all(|b| b.is_ascii_digit());
        return digits.then(|| head.parse().ok()).flatten().map(|index| (Segment::Index(index), rest));
    }
    let rest = rest.strip_prefix('=')?;
    let (value, rest) = if rest.starts_with('"') {
        unquote(rest)?
    } else {
        let (value, rest) = rest.split_at(rest.find(']')?);
        (Some(value).filter(|value| is_bare(value))?.to_owned(), rest)
    };
    is_bare(head).then_some(())?;
    Some((Segment::Named { key: head.to_owned(), value }, rest.strip_prefix(']')?))
}

fn is_bare(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '/')
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The JSON string at the start of `text`, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some((serde_json::from_str(text.get(..=at)?).ok()?, text.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_reads_back_as_it_is_written() {
        for text in [
            "spec.template.spec.containers[name=app].image",
            "args[0]",
            "metadata.annotations[\"a.b/c\"].x",
            "env[name=\"a]b\"].value",
            "a[0][1]",
        ] {
            assert_eq!(text.parse::<Path>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_path_is_refused() {
        for text in [
            "",
            ".",
            "a.",
            "a..b",
            "a[",
            "a[]",
            "a[x",
            "a[name=]",
            "a[name=\"x]",
            "a.[0]",
            "a[0]b",
            "a b",
            "a[-1]",
            "*",
            "a[+1]",
        ] {
            assert!(text.parse::<Path>().is_err(), "{text:?} was taken for a path");
        }
    }
}
