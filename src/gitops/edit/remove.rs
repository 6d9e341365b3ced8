//! Taking an entry of a mapping or an item of a sequence away, in block and in flow style.

use std::ops::Range;

use super::kept::Kept;
use super::merge::Merge;
use super::node::{Holder, Kind, Node, Site};
use super::path::Segment;
use super::splice::{Splice, dash, line_start, lines_end};
use super::{EditError, Edited, FieldChange, File, Selector};

/// Removes an entry or an item with its own lines and what follows it on them; a comment above it stays. The last one leaves `{}` or
/// `[]`.
pub fn remove(file: &File<'_>, at: &Selector) -> Result<Edited, EditError> {
    let path = at.path.to_string();
    let missing = || EditError::PathNotFound { path: path.clone() };
    let (index, node) = file.site(at)?;
    let node = node.ok_or_else(missing)?.node;
    let (parent, last) = at.path.split_last().ok_or_else(missing)?;
    let (_, holder) = file.site(&Selector { path: parent, ..at.clone() })?;
    let holder = holder.ok_or_else(missing)?;
    if node.is_shared() {
        return Err(EditError::AliasInvolved { path });
    }
    let splices = match &holder.node.kind {
        Kind::Map { entries, flow } => {
            let own =
                entries.iter().position(|entry| std::ptr::eq(&raw const entry.value, node)).ok_or_else(missing)?;
            if *flow {
                let spans = entries.iter().map(|entry| entry.start..entry.value.range.end).collect::<Vec<_>>();
                in_flow(file.text, &holder.node.range, &spans, own, &path)?
            } else if let [entry] = entries.as_slice() {
                let lines = line_start(file.text, entry.start)..lines_end(file.text, node.range.end);
                emptied(holder, lines, "{}", &path)?
            } else {
                let Segment::Key(_) = &last else { return Err(missing()) };
                let kept = Kept::default();
                let mut merge =
                    Merge { to: file.text, from: file.text, kept: &kept, splices: Vec::new(), changes: Vec::new() };
                merge.child(&at.path, holder, &last, holder, &last, false)?;
                merge.splices
            }
        }
        Kind::List { items, flow } => {
            let own = items.iter().position(|item| std::ptr::eq(item, node)).ok_or_else(missing)?;
            if *flow {
                let spans = items.iter().map(|item| item.range.clone()).collect::<Vec<_>>();
                in_flow(file.text, &holder.node.range, &spans, own, &path)?
            } else {
                let lines = item_lines(file.text, node).ok_or_else(|| EditError::SharedLine { path: path.clone() })?;
                if items.len() == 1 {
                    emptied(holder, lines, "[]", &path)?
                } else {
                    vec![Splice { range: lines, text: String::new() }]
                }
            }
        }
        Kind::Scalar { .. } | Kind::Alias(_) => return Err(missing()),
    };
    let before = node.value().to_json();
    let text = file.finish(splices, index, file.with(index, &at.path, None)?)?;
    Ok(Edited { text, changes: vec![FieldChange { path, before: Some(before), after: None }] })
}

/// The lines of an item of a block sequence.
fn item_lines(text: &str, item: &Node) -> Option<Range<usize>> {
    let dash = dash(text, item.range.start)?;
    Some(line_start(text, dash)..lines_end(text, item.range.end))
}

/// The removal of the only child of a block collection, which becomes an empty one behind its key.
fn emptied(holder: Site<'_>, lines: Range<usize>, empty: &str, path: &str) -> Result<Vec<Splice>, EditError> {
    match holder.holder {
        Holder::Entry(entry) if entry.colon <= lines.start => Ok(vec![
            Splice { range: lines, text: String::new() },
            Splice { range: entry.colon..entry.colon, text: format!(" {empty}") },
        ]),
        Holder::Entry(_) | Holder::Root | Holder::Item | Holder::Flow => {
            Err(EditError::LastEntry { path: path.to_owned() })
        }
    }
}

/// The removal of a child of a flow collection with one of the commas around it.
fn in_flow(
    text: &str,
    whole: &Range<usize>,
    spans: &[Range<usize>],
    own: usize,
    path: &str,
) -> Result<Vec<Splice>, EditError> {
    let at = |index: usize| spans.get(index).cloned();
    let span = at(own).ok_or(EditError::Overlap)?;
    let before = own.checked_sub(1).and_then(at);
    let (range, gaps) = match (before, at(own + 1)) {
        (_, Some(next)) => (span.start..next.start, [span.end..next.start, 0..0]),
        (Some(previous), None) => (previous.end..span.end, [previous.end..span.start, 0..0]),
        (None, None) => {
            let inner = whole.start + 1..whole.end.saturating_sub(1);
            (inner.clone(), [inner.start..span.start, span.end..inner.end])
        }
    };
    let harmless = |gap: Range<usize>| text.get(gap).is_some_and(|gap| gap.chars().all(|c| " \r\n,".contains(c)));
    if gaps.into_iter().all(harmless) {
        Ok(vec![Splice { range, text: String::new() }])
    } else {
        Err(EditError::FlowGap { path: path.to_owned() })
    }
}
