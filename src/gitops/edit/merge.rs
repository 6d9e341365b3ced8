//! Makes one node equal to another with as few bytes as possible.
//!
//! Both trees are walked together: leaves that differ are set in place, entries and items that exist on one side only are inserted
//! or removed as whole lines, and only what has another shape is replaced as a whole. Comments of the target stay where its nodes
//! stay; a comment above a removed node stays too. The result is a list of splices; [`super`] applies and re-checks them.

use granit_parser::ScalarStyle;

use super::kept::Kept;
use super::node::{Entry, Holder, Kind, Node, Site};
use super::pairing::{Key, Pairing, pairing};
use super::path::{Path, Segment};
use super::splice::{Splice, column, dash, flow, key_text, line_start, lines_end, newline, reindent, scalar};
use super::value::Value;
use super::{EditError, FieldChange};

/// Longest collection, in bytes, that is written on one line when it need not be.
const MAX_FLOW: usize = 100;

/// One walk over a target and a source tree.
pub(super) struct Merge<'t> {
    pub(super) to: &'t str,
    pub(super) from: &'t str,
    pub(super) kept: &'t Kept,
    pub(super) splices: Vec<Splice>,
    pub(super) changes: Vec<FieldChange>,
}

impl<'t> Merge<'t> {
    /// Makes the node at `to` mean what the node at `from` means.
    pub(super) fn node(&mut self, path: &Path, to: Site<'t>, from: Site<'t>) -> Result<(), EditError> {
        let (old, new) = (to.node.value(), from.node.value());
        if old == new {
            return Ok(());
        }
        match (&to.node.kind, &from.node.kind) {
            (Kind::Scalar { style, .. }, Kind::Scalar { value, .. }) => self.leaf(path, to, from, *style, value),
            (Kind::Map { entries, flow }, Kind::Map { entries: wanted, flow: inline }) => {
                let same_keys =
                    entries.len() == wanted.len() && entries.iter().all(|entry| from.node.entry(&entry.key).is_some());
                let anchor = entries
                    .iter()
                    .any(|entry| from.node.entry(&entry.key).is_some() || self.kept.holds(&path.key(&entry.key)));
                if same_keys || (!flow && anchor) {
                    self.map(path, to.node, from.node, (*flow, *inline))
                } else {
                    self.replace(path, to, from)
                }
            }
            (Kind::List { items, flow }, Kind::List { items: wanted, flow: inline }) => {
                match pairing(path, items, wanted) {
                    Pairing::ByPosition => {
                        items.iter().zip(wanted).enumerate().try_for_each(|(index, (item, wanted))| {
                            self.node(
                                &path.join(Segment::Index(index)),
                                Site::of_item(item, *flow),
                                Site::of_item(wanted, *inline),
                            )
                        })
                    }
                    Pairing::ByName { key, same } if same || !flow => self.list(path, to.node, from.node, &key),
                    Pairing::ByName { .. } | Pairing::None => self.replace(path, to, from),
                }
            }
            _ => self.replace(path, to, from),
        }
    }

    /// Brings one entry of the block mapping `from` into the block mapping `to` (`insert`), or removes it there.
    pub(super) fn child(
        &mut self,
        path: &Path,
        to: Site<'t>,
        key: &Segment,
        from: Site<'t>,
        from_key: &Segment,
        insert: bool,
    ) -> Result<(), EditError> {
        let shape = || EditError::PathNotFound { path: path.to_string() };
        let (Kind::Map { entries, flow: in_line }, Segment::Key(key)) = (&to.node.kind, key) else {
            return Err(shape());
        };
        if insert {
            let (Kind::Map { flow, .. }, Segment::Key(from_key)) = (&from.node.kind, from_key) else {
                return Err(shape());
            };
            let wanted = from.node.entry(from_key).filter(|_| from_key == key).ok_or_else(shape)?;
            if *in_line {
                return self.insert_flow(path, to.node, entries.last(), wanted);
            }
            return self.insert_entry(path, entries.last(), wanted, *flow);
        }
        if *in_line {
            return Err(shape());
        }
        let index = entries.iter().position(|entry| entry.key == *key).ok_or_else(shape)?;
        match entries.get(index) {
            Some(entry) if entries.len() > 1 => self.remove_entry(path, entry, entries.get(index + 1)),
            _ => Err(EditError::SharedLine { path: path.to_string() }),
        }
    }

    /// Brings an entry into a mapping on one line, behind its last one.
    fn insert_flow(&mut self, path: &Path, to: &Node, last: Option<&Entry>, wanted: &Entry) -> Result<(), EditError> {
        self.refuse_shared(path, &wanted.value)?;
        let entry = format!("{}: {}", key_text(&wanted.key), flow(&wanted.value.value())?);
        let (at, text) = match last {
            Some(last) => (last.value.range.end, format!(", {entry}")),
            None => (to.range.start + 1, entry),
        };
        self.splices.push(Splice { range: at..at, text });
        self.record(path, None, Some(&wanted.value.value()));
        Ok(())
    }

    fn leaf(
        &mut self,
        path: &Path,
        to: Site<'t>,
        from: Site<'t>,
        style: ScalarStyle,
        value: &Value,
    ) -> Result<(), EditError> {
        let Value::Scalar { text, string } = value else { return self.replace(path, to, from) };
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        if block || (text.contains('\n') && !matches!(to.holder, Holder::Flow)) {
            return self.replace(path, to, from);
        }
        let written = scalar(text, *string, style);
        let text = if to.node.range.is_empty() { format!(" {written}") } else { written };
        self.splices.push(Splice { range: to.node.range.clone(), text });
        self.record(path, Some(&to.node.value()), Some(value));
        Ok(())
    }

    /// Both are mappings that share at least one key; `to` is a block mapping unless the keys are the same.
    fn map(
        &mut self,
        path: &Path,
        to: &'t Node,
        from: &'t Node,
        (flow, inline): (bool, bool),
    ) -> Result<(), EditError> {
        let (Kind::Map { entries, .. }, Kind::Map { entries: wanted, .. }) = (&to.kind, &from.kind) else {
            return Ok(());
        };
        for (index, entry) in entries.iter().enumerate() {
            let at = path.key(&entry.key);
            if self.kept.holds(&at) {
                continue;
            }
            match wanted.iter().find(|wanted| wanted.key == entry.key) {
                Some(wanted) => self.node(&at, Site::of_entry(entry, flow), Site::of_entry(wanted, inline))?,
                None => self.remove_entry(&at, entry, entries.get(index + 1))?,
            }
        }
        // New entries follow the entry that they follow in the source, if the target has it, else the first that stays.
        let mut previous = entries.iter().find(|entry| to_stays(from, entry) || self.kept.holds(&path.key(&entry.key)));
        for wanted in wanted {
            match to.entry(&wanted.key) {
                Some(entry) => previous = Some(entry),
                None if self.kept.holds(&path.key(&wanted.key)) => {}
                None => self.insert_entry(&path.key(&wanted.key), previous, wanted, inline)?,
            }
        }
        Ok(())
    }

    fn remove_entry(&mut self, path: &Path, entry: &'t Entry, next: Option<&Entry>) -> Result<(), EditError> {
        let old = entry.value.value();
        if self.kept.wanted(path, &old, &Value::plain("")).is_err() {
            return Err(EditError::IdentityLost { path: path.to_string() });
        }
        let start = line_start(self.to, entry.start);
        let own_line = column(self.to, entry.start)
            == self.to.get(start..entry.start).map_or(0, |prefix| prefix.chars().filter(|c| *c == ' ').count());
        let range = match next {
            _ if own_line => start..lines_end(self.to, entry.value.range.end),
            // The first entry of a sequence's item: the next one moves up behind the dash.
            Some(next) => entry.start..next.start,
            None => return Err(EditError::SharedLine { path: path.to_string() }),
        };
        self.refuse_shared(path, &entry.value)?;
        self.splices.push(Splice { range, text: String::new() });
        self.record(path, Some(&old), None);
        Ok(())
    }

    fn insert_entry(
        &mut self,
        path: &Path,
        previous: Option<&'t Entry>,
        wanted: &'t Entry,
        inline: bool,
    ) -> Result<(), EditError> {
        let previous = previous.ok_or_else(|| EditError::SharedLine { path: path.to_string() })?;
        let column = column(self.to, previous.start);
        let text = self.entry_text(path, wanted, inline, column)?;
        let end = lines_end(self.to, previous.value.range.end);
        self.insert_lines(end, &format!("{}{text}", " ".repeat(column)));
        self.record(path, None, Some(&wanted.value.value()));
        Ok(())
    }

    /// Both are sequences whose items are told apart by `key` and stand in the same order; `to` is a block sequence unless no item comes or goes.
    fn list(&mut self, path: &Path, to: &'t Node, from: &'t Node, key: &Key) -> Result<(), EditError> {
        let (Kind::List { items, flow }, Kind::List { items: wanted, flow: inline }) = (&to.kind, &from.kind) else {
            return Ok(());
        };
        for item in items {
            if !wanted.iter().any(|wanted| key.of(wanted) == key.of(item)) {
                let at = path.join(key.segment(item));
                self.refuse_shared(&at, item)?;
                let dash =
                    dash(self.to, item.range.start).ok_or_else(|| EditError::SharedLine { path: at.to_string() })?;
                self.splices.push(Splice {
                    range: line_start(self.to, dash)..lines_end(self.to, item.range.end),
                    text: String::new(),
                });
                self.record(&at, Some(&item.value()), None);
            }
        }
        let mut previous: Option<&Node> = None;
        for wanted in wanted {
            let at = path.join(key.segment(wanted));
            if let Some(item) = items.iter().find(|item| key.of(item) == key.of(wanted)) {
                self.node(&at, Site::of_item(item, *flow), Site::of_item(wanted, *inline))?;
                previous = Some(item);
            } else {
                self.insert_item(&at, previous, items.first(), wanted, *inline)?;
            }
        }
        Ok(())
    }

    fn insert_item(
        &mut self,
        path: &Path,
        previous: Option<&Node>,
        first: Option<&Node>,
        wanted: &'t Node,
        inline: bool,
    ) -> Result<(), EditError> {
        let shared = || EditError::SharedLine { path: path.to_string() };
        let neighbour = previous.or(first).ok_or_else(shared)?;
        let dash = dash(self.to, neighbour.range.start).ok_or_else(shared)?;
        let column = column(self.to, dash);
        let text = self.item_text(path, wanted, inline, column)?;
        let at = previous.map_or_else(|| line_start(self.to, dash), |node| lines_end(self.to, node.range.end));
        self.insert_lines(at, &format!("{}{text}", " ".repeat(column)));
        self.record(path, None, Some(&wanted.value()));
        Ok(())
    }

    /// Replaces a node as a whole, with the source's text where both are written in block style.
    pub(super) fn replace(&mut self, path: &Path, to: Site<'t>, from: Site<'t>) -> Result<(), EditError> {
        self.refuse_shared(path, to.node)?;
        let (old, new) = (to.node.value(), from.node.value());
        let wanted = self.kept.wanted(path, &old, &new)?;
        if matches!(to.holder, Holder::Flow) || stays_flow(to.node, &wanted)? {
            self.splices.push(Splice { range: to.node.range.clone(), text: flow(&wanted)? });
            self.record(path, Some(&old), Some(&wanted));
            return Ok(());
        }
        let inline =
            !matches!((to.holder, from.holder), (Holder::Entry(_), Holder::Entry(_)) | (Holder::Item, Holder::Item))
                || wanted != new;
        let end = lines_end(self.to, to.node.range.end);
        let (start, text) = match (to.holder, from.holder) {
            (Holder::Entry(entry), Holder::Entry(source)) if !inline => {
                (entry.start, self.entry_text(path, source, false, column(self.to, entry.start))?)
            }
            (Holder::Entry(entry), _) => (entry.colon, format!(" {}", flow(&wanted)?)),
            (Holder::Item, _) => {
                let dash = dash(self.to, to.node.range.start)
                    .ok_or_else(|| EditError::SharedLine { path: path.to_string() })?;
                (
                    dash,
                    if inline {
                        format!("- {}", flow(&wanted)?)
                    } else {
                        self.item_text(path, from.node, false, column(self.to, dash))?
                    },
                )
            }
            (Holder::Root | Holder::Flow, _) => return Err(EditError::BadPath { path: path.to_string() }),
        };
        let ending = if self.to.get(..end).is_some_and(|text| text.ends_with('\n')) { newline(self.to) } else { "" };
        self.splices.push(Splice { range: start..end, text: format!("{text}{ending}") });
        self.record(path, Some(&old), Some(&wanted));
        Ok(())
    }

    /// The entry's source text, comments included, moved to `column`.
    fn entry_text(&self, path: &Path, entry: &Entry, inline: bool, to: usize) -> Result<String, EditError> {
        self.refuse_shared(path, &entry.value)?;
        if inline {
            return Ok(format!("{}: {}", key_text(&entry.key), flow(&entry.value.value())?));
        }
        self.moved(entry.start, entry.value.range.end, to)
    }

    fn item_text(&self, path: &Path, item: &Node, inline: bool, to: usize) -> Result<String, EditError> {
        self.refuse_shared(path, item)?;
        match dash(self.from, item.range.start) {
            Some(dash) if !inline => self.moved(dash, item.range.end, to),
            _ => Ok(format!("- {}", flow(&item.value())?)),
        }
    }

    fn moved(&self, start: usize, end: usize, to: usize) -> Result<String, EditError> {
        let text = self.from.get(start..lines_end(self.from, end)).ok_or(EditError::Overlap)?;
        Ok(reindent(text, column(self.from, start), to, newline(self.to)))
    }

    /// Inserts lines at the start of a line, or behind a last line that has no line ending.
    fn insert_lines(&mut self, at: usize, lines: &str) {
        let newline = newline(self.to);
        let unended = at == self.to.len() && !self.to.ends_with('\n');
        let text = if unended { format!("{newline}{lines}") } else { format!("{lines}{newline}") };
        self.splices.push(Splice { range: at..at, text });
    }

    #[allow(clippy::unused_self)]
    fn refuse_shared(&self, path: &Path, node: &Node) -> Result<(), EditError> {
        if node.is_shared() { Err(EditError::AliasInvolved { path: path.to_string() }) } else { Ok(()) }
    }

    fn record(&mut self, path: &Path, before: Option<&Value>, after: Option<&Value>) {
        self.changes.push(FieldChange {
            path: path.to_string(),
            before: before.map(Value::to_json),
            after: after.map(Value::to_json),
        });
    }
}

/// Whether a replaced node keeps its flow style: only a collection that had some content and fits on its line.
fn stays_flow(node: &Node, wanted: &Value) -> Result<bool, EditError> {
    let filled = match &node.kind {
        Kind::Map { entries, flow } => *flow && !entries.is_empty(),
        Kind::List { items, flow } => *flow && !items.is_empty(),
        Kind::Scalar { .. } | Kind::Alias(_) => false,
    };
    Ok(filled && matches!(wanted, Value::Map(_) | Value::List(_)) && flow(wanted)?.len() <= MAX_FLOW)
}

fn to_stays(from: &Node, entry: &Entry) -> bool {
    from.entry(&entry.key).is_some()
}
