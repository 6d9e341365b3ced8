//! Setting a value that may not be there yet, with the mappings on the way to it.

use std::collections::BTreeMap;

use super::path::{Path, Segment};
use super::splice::flow;
use super::value::Value;
use super::{EditError, Edited, File, Selector, copy_subtree, set_scalar};

/// Makes the place mean `new`: a leaf is set in place, anything else changes as little as it can, and what is missing is inserted with
/// the mappings that lead to it.
pub fn put(file: &File<'_>, at: &Selector, new: &Value) -> Result<Edited, EditError> {
    let missing = || EditError::PathNotFound { path: at.path.to_string() };
    let document = file.value(&at.document)?;
    if let (Some(Value::Scalar { .. }), Value::Scalar { .. }) = (document.at(&at.path), new) {
        return set_scalar(file, at, new);
    }
    let all = at.path.segments();
    let prefix = |length: usize| all.iter().take(length).fold(Path::default(), |path, step| path.join(step.clone()));
    let there = (0..=all.len()).rev().find(|length| document.at(&prefix(*length)).is_some()).unwrap_or(0);
    let first = (there + 1).min(all.len());
    let value = all.iter().skip(first).rev().try_fold(new.clone(), |value, step| match step {
        Segment::Key(key) => Some(Value::Map(BTreeMap::from([(key.clone(), value)]))),
        Segment::Index(_) | Segment::Named { .. } => None,
    });
    let value = value.ok_or_else(missing)?;
    let copied = |path: Path, value: Value| {
        let text = flow(&skeleton(&path, value))?;
        let (source, target) = (Selector::only(path.clone()), Selector { path, ..at.clone() });
        copy_subtree(&File::parse(text.as_bytes())?, &source, file, &target)
    };
    copied(prefix(first), value.clone()).or_else(|error| {
        // A mapping on one line, or none at all, takes no line of its own: it is written anew.
        let parent = prefix(first.saturating_sub(1));
        let whole = document.at(&parent).cloned().unwrap_or(Value::Map(BTreeMap::new()));
        let (Some(Segment::Key(key)), false) = (all.get(first.saturating_sub(1)), parent.segments().is_empty()) else {
            return Err(error);
        };
        let mut entries = match whole {
            Value::Map(entries) => entries,
            Value::Scalar { text, string: false } if text == "null" => BTreeMap::new(),
            Value::Scalar { .. } | Value::List(_) | Value::Alias(_) => return Err(error),
        };
        entries.insert(key.clone(), value);
        copied(parent, Value::Map(entries)).map_err(|_| error)
    })
}

/// A document in which `path` leads to `value` and nothing else is.
fn skeleton(path: &Path, value: Value) -> Value {
    path.segments().iter().rev().fold(value, |value, step| match step {
        Segment::Key(key) => Value::Map(BTreeMap::from([(key.clone(), value)])),
        Segment::Index(index) => {
            let mut items = vec![Value::plain(""); *index];
            items.push(value);
            Value::List(items)
        }
        Segment::Named { key, value: name } => {
            let mut entries = match value {
                Value::Map(entries) => entries,
                Value::Scalar { .. } | Value::List(_) | Value::Alias(_) => BTreeMap::new(),
            };
            entries.entry(key.clone()).or_insert_with(|| Value::string(name));
            Value::List(vec![Value::Map(entries)])
        }
    })
}
