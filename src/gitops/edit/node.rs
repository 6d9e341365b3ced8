//! A YAML document with the bytes that each node covers, from granit-parser's events.
//!
//! Only what [`super::merge`] can splice safely gets through; everything unusual is refused here, with its line. The ranges are
//! made useful for splicing: a block collection ends with its last value, an empty value sits right behind its colon, a block
//! scalar starts at its `|` or `>`.

use std::collections::BTreeMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

use super::path::{Path, Segment};
use super::value::Value;
use super::{EditError, MAX_DEPTH, MAX_NODES, MAX_WIDTH};

/// A node and the bytes it covers.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) range: Range<usize>,
    /// Whether an anchor is defined here.
    pub(super) anchored: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Scalar { value: Value, style: ScalarStyle },
    Map { entries: Vec<Entry>, flow: bool },
    List { items: Vec<Node>, flow: bool },
    Alias(usize),
}

/// An entry of a mapping.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    /// First byte of the key as written.
    pub(super) start: usize,
    /// First byte behind the colon.
    pub(super) colon: usize,
    pub(super) value: Node,
}

impl Node {
    pub(super) fn value(&self) -> Value {
        match &self.kind {
            Kind::Scalar { value, .. } => value.clone(),
            Kind::Map { entries, .. } => Value::Map(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.value())).collect::<BTreeMap<_, _>>(),
            ),
            Kind::List { items, .. } => Value::List(items.iter().map(Self::value).collect()),
            Kind::Alias(anchor) => Value::Alias(*anchor),
        }
    }

    /// Whether an anchor or an alias is here or below: such a node means something elsewhere too.
    pub(super) fn is_shared(&self) -> bool {
        self.anchored
            || match &self.kind {
                Kind::Scalar { .. } => false,
                Kind::Map { entries, .. } => entries.iter().any(|entry| entry.key == "<<" || entry.value.is_shared()),
                Kind::List { items, .. } => items.iter().any(Self::is_shared),
                Kind::Alias(_) => true,
            }
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.kind {
            Kind::Map { entries, .. } => entries.iter().find(|entry| entry.key == key),
            Kind::Scalar { .. } | Kind::List { .. } | Kind::Alias(_) => None,
        }
    }

    /// The text of the scalar under `key`.
    pub(super) fn field(&self, key: &str) -> Option<&str> {
        match &self.entry(key)?.value.kind {
            Kind::Scalar { value, .. } => value.text(),
            Kind::Map { .. } | Kind::List { .. } | Kind::Alias(_) => None,
        }
    }
}

/// A node and what holds it, which decides how it can be replaced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site<'t> {
    pub(super) node: &'t Node,
    pub(super) holder: Holder<'t>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Holder<'t> {
    /// The document.
    Root,
    /// An entry of a block mapping.
    Entry(&'t Entry),
    /// A block sequence.
    Item,
    /// A flow collection.
    Flow,
}

impl<'t> Site<'t> {
    pub(super) fn root(node: &'t Node) -> Self {
        Self { node, holder: Holder::Root }
    }

    pub(super) fn of_entry(entry: &'t Entry, flow: bool) -> Self {
        Self { node: &entry.value, holder: if flow { Holder::Flow } else { Holder::Entry(entry) } }
    }

    pub(super) fn of_item(node: &'t Node, flow: bool) -> Self {
        Self { node, holder: if flow { Holder::Flow } else { Holder::Item } }
    }

    /// The place that `path` selects. Nodes on the way must not be shared with other places.
    pub(super) fn find(self, path: &Path) -> Result<Option<Self>, EditError> {
        let mut site = self;
        for segment in path.segments() {
            if site.node.anchored || matches!(site.node.kind, Kind::Alias(_)) {
                return Err(EditError::AliasInvolved { path: path.to_string() });
            }
            match site.child(segment).map_err(|()| EditError::Ambiguous { path: path.to_string() })? {
                Some(child) => site = child,
                None => return Ok(None),
            }
        }
        Ok(Some(site))
    }

    fn child(self, segment: &Segment) -> Result<Option<Self>, ()> {
        match (&self.node.kind, segment) {
            (Kind::Map { entries, flow }, Segment::Key(key)) => {
                Ok(entries.iter().find(|entry| entry.key == *key).map(|entry| Self::of_entry(entry, *flow)))
            }
            (Kind::List { items, flow }, Segment::Index(index)) => {
                Ok(items.get(*index).map(|item| Self::of_item(item, *flow)))
            }
            (Kind::List { items, flow }, Segment::Named { key, value }) => {
                let mut named = items.iter().filter(|item| item.field(key) == Some(value));
                let first = named.next();
                if named.next().is_some() { Err(()) } else { Ok(first.map(|item| Self::of_item(item, *flow))) }
            }
            _ => Ok(None),
        }
    }
}

/// Parses every document of `text`; documents without content are left out.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, EditError> {
    let mut builder = Builder { text, events: Parser::new_from_str(text), nodes: 0 };
    let mut documents = Vec::new();
    while let Some((event, span)) = builder.next()? {
        if is_node(&event) {
            documents.push(builder.node(event, &span, 0, 0)?);
        }
    }
    Ok(documents)
}

fn is_node(event: &Event<'_>) -> bool {
    matches!(event, Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) | Event::Alias(_))
}

struct Builder<'t, P> {
    text: &'t str,
    events: P,
    nodes: usize,
}

impl<'t, P: Iterator<Item = Result<(Event<'t>, Span), granit_parser::ScanError>>> Builder<'t, P> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, EditError> {
        for item in self.events.by_ref() {
            match item.map_err(|error| EditError::Syntax { message: error.to_string() })? {
                (Event::Comment(..), _) => {}
                other => return Ok(Some(other)),
            }
        }
        Ok(None)
    }

    fn inside(&mut self) -> Result<(Event<'t>, Span), EditError> {
        self.next()?.ok_or_else(|| EditError::Syntax { message: "the document ends early".to_owned() })
    }

    /// Builds the node that `event` starts. `floor` is where the search for a block scalar's header may begin.
    fn node(&mut self, event: Event<'t>, span: &Span, depth: usize, floor: usize) -> Result<Node, EditError> {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(EditError::TooDeep);
        }
        if self.nodes > MAX_NODES {
            return Err(EditError::TooManyNodes);
        }
        if event.tag().is_some() {
            return Err(EditError::Tagged { line: line(span) });
        }
        let range =
            span.byte_range().ok_or_else(|| EditError::Syntax { message: "a position is missing".to_owned() })?;
        match event {
            Event::Scalar(text, style, anchor, _) => self.scalar(&text, style, anchor, range, floor),
            Event::MappingStart(style, anchor, _) => {
                self.map(style == StructureStyle::Flow, anchor, range.start, depth)
            }
            Event::SequenceStart(style, anchor, _) => {
                self.list(style == StructureStyle::Flow, anchor, range.start, depth)
            }
            Event::Alias(anchor) => Ok(Node { kind: Kind::Alias(anchor), range, anchored: false }),
            _ => Err(EditError::Syntax { message: format!("line {}: not a node", line(span)) }),
        }
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        range: Range<usize>,
        floor: usize,
    ) -> Result<Node, EditError> {
        let (value, range) = match style {
            // An empty value is reported as `~` without bytes.
            ScalarStyle::Plain if range.is_empty() => (Value::plain(""), floor.max(1)..floor.max(1)),
            ScalarStyle::Plain => (Value::plain(text), range),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => (Value::string(text), range),
            ScalarStyle::Literal | ScalarStyle::Folded => (Value::string(text), self.block_scalar(text, range, floor)?),
        };
        Ok(Node { kind: Kind::Scalar { value, style }, range, anchored: anchor != 0 })
    }

    /// From the header to the last line of content; blank lines behind it belong to the scalar only if it keeps them (`|+`).
    fn block_scalar(&self, value: &str, content: Range<usize>, floor: usize) -> Result<Range<usize>, EditError> {
        let unclear = || EditError::Syntax { message: "a block scalar without content".to_owned() };
        let before = self.text.get(..content.start).ok_or_else(unclear)?;
        let indent = before.rfind('\n').ok_or_else(unclear)?;
        let header_line = before.get(..indent).ok_or_else(unclear)?.trim_end();
        let from = header_line.rfind('\n').map_or(0, |at| at + 1).max(floor);
        let start = header_line.get(from..).and_then(|line| line.find(['|', '>'])).ok_or_else(unclear)? + from;
        let inner = self.text.get(content.clone()).ok_or_else(unclear)?;
        let end = if value.ends_with("\n\n") {
            content.end
        } else {
            let last = content.start + inner.trim_end().len();
            self.text.get(last..content.end).and_then(|rest| rest.find('\n')).map_or(content.end, |at| last + at + 1)
        };
        if inner.trim().is_empty() { Err(unclear()) } else { Ok(start..end) }
    }

    fn map(&mut self, flow: bool, anchor: usize, start: usize, depth: usize) -> Result<Node, EditError> {
        let mut entries: Vec<Entry> = Vec::new();
        let end = loop {
            let (event, span) = self.inside()?;
            if matches!(event, Event::MappingEnd) {
                break span.byte_range().map_or(start, |range| range.end);
            }
            let line = line(&span);
            let (Event::Scalar(key, _, 0, None), Some(range)) = (event, span.byte_range()) else {
                return Err(EditError::ComplexKey { line });
            };
            let colon = self.colon(range.end).ok_or(EditError::ComplexKey { line })?;
            if entries.len() >= MAX_WIDTH {
                return Err(EditError::TooWide { line });
            }
            if entries.iter().any(|entry| entry.key == key) {
                return Err(EditError::DuplicateKey { key: key.into_owned(), line });
            }
            let (event, span) = self.inside()?;
            let value = self.node(event, &span, depth + 1, colon)?;
            entries.push(Entry { key: key.into_owned(), start: range.start, colon, value });
        };
        let end = if flow { end } else { entries.last().map_or(start, |entry| entry.value.range.end) };
        Ok(Node { kind: Kind::Map { entries, flow }, range: start..end, anchored: anchor != 0 })
    }

    fn list(&mut self, flow: bool, anchor: usize, start: usize, depth: usize) -> Result<Node, EditError> {
        let mut items: Vec<Node> = Vec::new();
        let end = loop {
            let (event, span) = self.inside()?;
            if matches!(event, Event::SequenceEnd) {
                break span.byte_range().map_or(start, |range| range.end);
            }
            if items.len() >= MAX_WIDTH {
                return Err(EditError::TooWide { line: line(&span) });
            }
            let at = span.byte_range().map_or(0, |range| range.start);
            let empty = matches!(event, Event::Scalar(..)) && span.byte_range().is_some_and(|range| range.is_empty());
            items.push(self.node(event, &span, depth + 1, if empty { at } else { 0 })?);
        };
        let end = if flow { end } else { items.last().map_or(start, |item| item.range.end) };
        Ok(Node { kind: Kind::List { items, flow }, range: start..end, anchored: anchor != 0 })
    }

    /// The byte behind the colon of a key that ends at `at`; a key written with `?` has none there.
    fn colon(&self, at: usize) -> Option<usize> {
        let rest = self.text.get(at..)?;
        let spaces = rest.len() - rest.trim_start_matches(' ').len();
        rest.get(spaces..)?.starts_with(':').then_some(at + spaces + 1)
    }
}

/// The line of an event, from 1.
fn line(span: &Span) -> usize {
    span.start.line()
}
