//! Byte-exact edits of YAML files that others wrote.
//!
//! An edit changes the bytes of its target and nothing else: comments, quotes, line endings and other documents stay. Places are
//! found with one parser (`node`), and every result is read again with another one (`verify`) and compared with what the edit
//! was to mean; a difference anywhere is [`EditError::Disagreement`] and nothing is written. What cannot be edited safely (anchors,
//! templates, duplicate keys, tabs, tags) is refused by name. Pure: text in, text out. Callers: [`super::promote`], [`super::plan`].

mod error;
mod kept;
mod merge;
mod node;
mod pairing;
mod path;
mod splice;
mod value;
mod verify;

pub use error::EditError;
pub(super) use kept::Kept;
use merge::Merge;
use node::{Kind, Node, Site};
pub use path::{Path, Segment};
use splice::{Splice, apply, dash, line_start, lines_end, scalar};
pub use value::Value;

/// Largest file that is edited, in bytes: a manifest is a few KiB, and both parsers are linear in this.
pub const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting of a file; a pod template needs about 12.
pub const MAX_DEPTH: usize = 64;
/// Most nodes of a file, so that a small file cannot become a large tree.
pub const MAX_NODES: usize = 100_000;

/// A field that an edit changed.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FieldChange {
    /// Where, in the grammar of [`Path`].
    pub path: String,
    /// The value before; absent when the field is new.
    pub before: Option<serde_json::Value>,
    /// The value after; absent when the field is removed.
    pub after: Option<serde_json::Value>,
}

/// The result of an edit.
#[derive(Debug, Clone, PartialEq)]
pub struct Edited {
    /// The whole new text.
    pub text: String,
    /// What is different, in the order of the file's tree; empty when the text is as it was.
    pub changes: Vec<FieldChange>,
}

/// A place in a file: a document, chosen by its kind and name, and a path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// The document's `kind`.
    pub kind: String,
    /// The document's `metadata.name`.
    pub name: String,
    /// The place in the document.
    pub path: Path,
}

impl Selector {
    /// Selects `path`, as text, in the document of this kind and name.
    pub fn new(kind: &str, name: &str, path: &str) -> Result<Self, EditError> {
        Ok(Self { kind: kind.to_owned(), name: name.to_owned(), path: path.parse()? })
    }
}

/// A file that passed the checks of [`File::parse`], with both readings of it.
#[derive(Debug)]
pub struct File<'t> {
    text: &'t str,
    nodes: Vec<Node>,
    values: Vec<Value>,
}

impl<'t> File<'t> {
    /// Reads a file within the limits, refusing what no edit may touch.
    pub fn parse(bytes: &'t [u8]) -> Result<Self, EditError> {
        if bytes.len() > MAX_BYTES {
            return Err(EditError::TooLarge { bytes: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| EditError::NotText)?;
        if text.starts_with("version https://git-lfs") {
            return Err(EditError::LfsPointer);
        }
        if text.contains("{{") {
            return Err(EditError::Template);
        }
        let indentation =
            |line: &str| line.bytes().take_while(|byte| matches!(byte, b' ' | b'\t')).any(|byte| byte == b'\t');
        if let Some(line) = text.lines().position(|line| indentation(line) && !line.trim().is_empty()) {
            return Err(EditError::Tab { line: line + 1 });
        }
        let nodes = node::parse(text)?;
        let values = verify::read(text)?;
        if nodes.iter().map(Node::value).collect::<Vec<_>>() != values {
            return Err(EditError::Disagreement);
        }
        if values.iter().any(|document| document.get("sops").is_some()) {
            return Err(EditError::Encrypted);
        }
        Ok(Self { text, nodes, values })
    }

    /// What each document means; empty documents are left out.
    pub fn documents(&self) -> &[Value] {
        &self.values
    }

    /// The document of this kind and name; exactly one must be there.
    pub fn document(&self, kind: &str, name: &str) -> Result<&Value, EditError> {
        self.index(kind, name).and_then(|index| self.values.get(index).ok_or(EditError::Disagreement))
    }

    fn index(&self, kind: &str, name: &str) -> Result<usize, EditError> {
        let is = |document: &Value| {
            let found = document.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Value::text);
            document.get("kind").and_then(Value::text) == Some(kind) && found == Some(name)
        };
        let mut found = self.values.iter().enumerate().filter(|(_, document)| is(document)).map(|(index, _)| index);
        match (found.next(), found.next()) {
            (Some(index), None) => Ok(index),
            (None, _) => Err(EditError::DocumentMissing { kind: kind.to_owned(), name: name.to_owned() }),
            (Some(_), Some(_)) => Err(EditError::DocumentAmbiguous { kind: kind.to_owned(), name: name.to_owned() }),
        }
    }

    fn site(&self, at: &Selector) -> Result<(usize, Option<Site<'_>>), EditError> {
        let index = self.index(&at.kind, &at.name)?;
        let root = self.nodes.get(index).ok_or(EditError::Disagreement)?;
        Ok((index, Site::root(root).find(&at.path)?))
    }

    /// The new text, if its documents mean what the old ones do with `wanted` in the place of document `index`.
    fn finish(&self, splices: Vec<Splice>, index: usize, wanted: Value) -> Result<String, EditError> {
        let mut values = self.values.clone();
        *values.get_mut(index).ok_or(EditError::Disagreement)? = wanted;
        let text = apply(self.text, splices)?;
        verify::expect(&text, &values)?;
        Ok(text)
    }

    /// The document at `index` after putting `new` at `path`.
    fn with(&self, index: usize, path: &Path, new: Option<Value>) -> Result<Value, EditError> {
        let mut document = self.values.get(index).cloned().ok_or(EditError::Disagreement)?;
        document.put(path, new)?;
        Ok(document)
    }
}

/// Sets a leaf that exists, keeping its quotes and what follows it on its line.
pub fn set_scalar(file: &File<'_>, at: &Selector, value: &Value) -> Result<Edited, EditError> {
    let (index, site) = file.site(at)?;
    let node = site.ok_or_else(|| EditError::PathNotFound { path: at.path.to_string() })?.node;
    let path = at.path.to_string();
    let Value::Scalar { text, string } = value else { return Err(EditError::NotScalar { path }) };
    if node.is_shared() {
        return Err(EditError::AliasInvolved { path });
    }
    let Kind::Scalar { value: old, style } = &node.kind else { return Err(EditError::NotScalar { path }) };
    if matches!(style, granit_parser::ScalarStyle::Literal | granit_parser::ScalarStyle::Folded) {
        return Err(EditError::NotScalar { path });
    }
    if old == value {
        return Ok(Edited { text: file.text.to_owned(), changes: Vec::new() });
    }
    let written = scalar(text, *string, *style);
    let splice =
        Splice { range: node.range.clone(), text: if node.range.is_empty() { format!(" {written}") } else { written } };
    let text = file.finish(vec![splice], index, file.with(index, &at.path, Some(value.clone()))?)?;
    Ok(Edited { text, changes: vec![FieldChange { path, before: Some(old.to_json()), after: Some(value.to_json()) }] })
}

/// Makes the node at `to` mean what the node at `from` means: inserted if `to` lacks it, removed if `from` lacks it.
pub fn copy_subtree(from: &File<'_>, source: &Selector, to: &File<'_>, target: &Selector) -> Result<Edited, EditError> {
    copy_keeping(from, source, to, target, &Kept::default())
}

/// [`copy_subtree`], but the kept entries of the target stay as they are.
pub(super) fn copy_keeping(
    from: &File<'_>,
    source: &Selector,
    to: &File<'_>,
    target: &Selector,
    kept: &Kept,
) -> Result<Edited, EditError> {
    let missing = || EditError::PathNotFound { path: target.path.to_string() };
    let (index, site) = to.site(target)?;
    let (origin, found) = from.site(source)?;
    let mut merge = Merge { to: to.text, from: from.text, kept, splices: Vec::new(), changes: Vec::new() };
    let new = match (site, found) {
        (Some(site), Some(found)) => {
            if site.node.is_shared() || found.node.is_shared() {
                return Err(EditError::AliasInvolved { path: target.path.to_string() });
            }
            merge.node(&target.path, site, found)?;
            let value = from
                .values
                .get(origin)
                .and_then(|document| document.at(&source.path))
                .ok_or(EditError::Disagreement)?;
            let old =
                to.values.get(index).and_then(|document| document.at(&target.path)).ok_or(EditError::Disagreement)?;
            Some(kept.wanted(&target.path, old, value)?)
        }
        (None, None) => return Err(missing()),
        // The parent is merged as if it had, or had not, this one child.
        (present, _) => {
            let (parent, child) = target.path.split_last().ok_or_else(missing)?;
            let (from_parent, from_child) = source.path.split_last().ok_or_else(missing)?;
            let (_, parent) = to.site(&Selector { path: parent, ..target.clone() })?;
            let (_, from_parent) = from.site(&Selector { path: from_parent, ..source.clone() })?;
            merge.child(
                &target.path,
                parent.ok_or_else(missing)?,
                &child,
                from_parent.ok_or_else(missing)?,
                &from_child,
                present.is_none(),
            )?;
            from.values.get(origin).and_then(|document| document.at(&source.path)).cloned()
        }
    };
    let text = to.finish(merge.splices, index, to.with(index, &target.path, new)?)?;
    Ok(Edited { text, changes: merge.changes })
}

/// Removes an item of a block sequence, with its own lines; the last item leaves `[]`.
pub fn remove_list_item(file: &File<'_>, at: &Selector) -> Result<Edited, EditError> {
    let path = at.path.to_string();
    let missing = || EditError::PathNotFound { path: path.clone() };
    let (index, item) = file.site(at)?;
    let item = item.ok_or_else(missing)?.node;
    let (parent, _) = at.path.split_last().ok_or_else(missing)?;
    let (_, list) = file.site(&Selector { path: parent, ..at.clone() })?;
    let list = list.ok_or_else(missing)?;
    let Kind::List { items, flow: false } = &list.node.kind else { return Err(EditError::FlowList { path }) };
    if item.is_shared() {
        return Err(EditError::AliasInvolved { path });
    }
    let dash = dash(file.text, item.range.start).ok_or_else(|| EditError::SharedLine { path: path.clone() })?;
    let mut splices =
        vec![Splice { range: line_start(file.text, dash)..lines_end(file.text, item.range.end), text: String::new() }];
    if items.len() == 1 {
        let node::Holder::Entry(entry) = list.holder else { return Err(EditError::SharedLine { path }) };
        splices.push(Splice { range: entry.colon..entry.colon, text: " []".to_owned() });
    }
    let text = file.finish(splices, index, file.with(index, &at.path, None)?)?;
    Ok(Edited { text, changes: vec![FieldChange { path, before: Some(item.value().to_json()), after: None }] })
}
