//! Labels that stay the target's: what a promotion never copies.

use std::collections::{BTreeMap, BTreeSet};

use super::EditError;
use super::path::{Path, Segment};
use super::value::Value;

/// Entries of one mapping that keep the target's value, whatever the source says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    pub(crate) at: Path,
    pub(crate) keys: BTreeSet<String>,
}

impl Kept {
    /// Whether `path` is a kept entry or inside of one.
    pub(crate) fn covers(&self, path: &Path) -> bool {
        path.below(&self.at)
            .is_some_and(|rest| matches!(rest.segments().first(), Some(Segment::Key(key)) if self.keys.contains(key)))
    }

    pub(super) fn holds(&self, path: &Path) -> bool {
        matches!(path.segments().split_last(), Some((Segment::Key(key), parent)) if parent == self.at.segments() && self.keys.contains(key))
    }

    /// What the node at `path` shall be: `from`, with the kept entries of `to`.
    pub(crate) fn wanted(&self, path: &Path, to: &Value, from: &Value) -> Result<Value, EditError> {
        let mut wanted = from.clone();
        let Some(relative) = self.at.below(path) else { return Ok(wanted) };
        let entries = |value: &Value| match value.at(&relative) {
            Some(Value::Map(entries)) => entries.clone(),
            _ => BTreeMap::new(),
        };
        let kept: BTreeMap<_, _> = entries(to).into_iter().filter(|(key, _)| self.keys.contains(key)).collect();
        let mut merged: BTreeMap<_, _> =
            entries(from).into_iter().filter(|(key, _)| !self.keys.contains(key)).collect();
        if !matches!(wanted.at(&relative), Some(Value::Map(_))) {
            return if kept.is_empty() {
                Ok(wanted)
            } else {
                Err(EditError::IdentityLost { path: self.at.to_string() })
            };
        }
        merged.extend(kept);
        if relative.segments().is_empty() {
            wanted = Value::Map(merged);
        } else {
            wanted.put(&relative, Some(Value::Map(merged)))?;
        }
        Ok(wanted)
    }
}
