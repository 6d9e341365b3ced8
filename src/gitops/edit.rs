//! Byte-exact edits of YAML files that others wrote.
//!
//! An edit changes the bytes of its target and nothing else: comments, quotes, line endings and other documents stay. Places are
//! found with one parser (`node`), and every result is read again with another one (`verify`) and compared with what the edit
//! was to mean; a difference anywhere is [`EditError::Disagreement`] and nothing is written. What cannot be edited safely (anchors,
//! templates, duplicate keys, tabs, tags) is refused by name. Pure: text in, text out.
//!
//! The whole interface: [`File::parse`] reads and refuses, [`Selector`] names a place, and four functions change it. [`set_scalar`]
//! sets a leaf that exists, [`put()`] sets or inserts anything, [`copy_subtree`] makes one place mean what another means, [`remove()`] takes
//! an entry or item away. Each gives an [`Edited`]: the new text and what is different in it, which is nothing when the edit was
//! done before. Callers: [`super::promote`], [`super::layout`], [`crate::start`].
//!
//! Limits, so that a hostile file costs little: [`MAX_BYTES`], [`MAX_DEPTH`], [`MAX_NODES`], [`MAX_WIDTH`].

mod error;
mod kept;
mod mark;
mod merge;
mod node;
mod pairing;
mod path;
mod put;
mod remove;
mod splice;
mod value;
mod verify;

pub use error::EditError;
pub(super) use kept::Kept;
pub use mark::Marked;
use merge::Merge;
use node::{Kind, Node, Site};
pub use path::{Path, Segment};
pub use put::put;
pub use remove::remove;
use splice::{Splice, apply, scalar};
pub use value::Value;

/// Largest file that is edited, in bytes: a manifest is a few KiB, and both parsers are linear in this.
pub const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting of a file; a pod template needs about 12.
pub const MAX_DEPTH: usize = 64;
/// Most nodes of a file, so that a small file cannot become a large tree.
pub const MAX_NODES: usize = 100_000;

/// Most entries of one mapping and items of one sequence: they are looked up one by one.
pub const MAX_WIDTH: usize = 4096;

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

/// A document of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Document {
    /// The one of this `kind` and `metadata.name`.
    Named {
        /// Its `kind`.
        kind: String,
        /// Its `metadata.name`.
        name: String,
    },
    /// The only one of its file, such as a kustomization or the values of a chart.
    Only,
    /// By its position among those that have content, from 0.
    At(usize),
}

/// A place in a file: a document and a path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// The document.
    pub document: Document,
    /// The place in the document.
    pub path: Path,
}

impl Selector {
    /// Selects `path`, as text, in the document of this kind and name.
    pub fn new(kind: &str, name: &str, path: &str) -> Result<Self, EditError> {
        Ok(Self::named(kind, name, path.parse()?))
    }

    /// Selects a place in the document of this kind and name.
    pub fn named(kind: &str, name: &str, path: Path) -> Self {
        Self { document: Document::Named { kind: kind.to_owned(), name: name.to_owned() }, path }
    }

    /// Selects a place in the only document.
    pub fn only(path: Path) -> Self {
        Self { document: Document::Only, path }
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
        if let Some(line) = odd_line_break(text) {
            return Err(EditError::LineBreak { line });
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
        self.named(kind, name).and_then(|index| self.values.get(index).ok_or(EditError::Disagreement))
    }

    /// What this document means.
    pub fn value(&self, document: &Document) -> Result<&Value, EditError> {
        self.index(document).and_then(|index| self.values.get(index).ok_or(EditError::Disagreement))
    }

    fn index(&self, document: &Document) -> Result<usize, EditError> {
        match document {
            Document::Named { kind, name } => self.named(kind, name),
            Document::Only if self.values.len() == 1 => Ok(0),
            Document::At(index) if *index < self.values.len() => Ok(*index),
            Document::Only | Document::At(_) => Err(EditError::DocumentCount { found: self.values.len() }),
        }
    }

    fn named(&self, kind: &str, name: &str) -> Result<usize, EditError> {
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
        let index = self.index(&at.document)?;
        let root = self.nodes.get(index).ok_or(EditError::Disagreement)?;
        Ok((index, Site::root(root).find(&at.path)?))
    }

    /// The new text, if its documents mean what the old ones do with `wanted` in the place of document `index`.
    fn finish(&self, splices: Vec<Splice>, index: usize, wanted: Value) -> Result<String, EditError> {
        let mut values = self.values.clone();
        *values.get_mut(index).ok_or(EditError::Disagreement)? = wanted;
        let text = apply(self.text, splices)?;
        // A file whose last line has no end stays so, also when that line goes: what was inserted can be taken out again.
        let unended = text.strip_suffix('\n').filter(|_| !self.text.ends_with('\n'));
        let unended = unended.map(|text| text.strip_suffix('\r').unwrap_or(text));
        if let Some(unended) = unended.filter(|unended| verify::expect(unended, &values).is_ok()) {
            return Ok(unended.to_owned());
        }
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

/// The line, from 1, that has a break other than LF or CRLF: parsers differ in what they take for one.
fn odd_line_break(text: &str) -> Option<usize> {
    let odd = |(at, c): &(usize, char)| match c {
        '\u{85}' | '\u{2028}' | '\u{2029}' => true,
        '\r' => text.as_bytes().get(at + 1) != Some(&b'\n'),
        _ => false,
    };
    let (at, _) = text.char_indices().find(odd)?;
    Some(text.get(..at)?.matches('\n').count() + 1)
}
