//! Manifests as they lie on the disk: files, documents, and the line on which each field stands.
//!
//! Everything here is foreign text: sizes, depth and numbers of files are bounded, links are not followed.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::Value;

use crate::gitops::edit::MAX_NODES;

/// Largest file that is read, bytes: generated bundles of definitions are smaller.
const MOST_BYTES: u64 = 4 << 20;
/// Most files of all directories together.
const MOST_FILES: usize = 10_000;
/// Deepest directory.
const MOST_DEPTH: usize = 32;
/// What a file of manifests ends with.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];
/// The argument that stands for standard input.
pub(super) const STDIN: &str = "-";

/// A field's place in a document: keys, and indices as digits.
type Place = Vec<String>;

/// One object with its place.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// The file, as it is shown.
    pub(super) file: String,
    /// Its folder, if it is a file.
    pub(super) folder: Option<PathBuf>,
    /// The object.
    pub(super) value: Value,
    /// Line of each field, from 1.
    lines: BTreeMap<Place, usize>,
    /// Where the object is in its document, if that is a `List`.
    root: Place,
}

/// What cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// The file, as it is shown.
    pub(super) file: String,
    /// The line, from 1.
    pub(super) line: usize,
    /// Why, and what to do.
    pub(super) problem: String,
}

impl Unreadable {
    fn new(file: &str, problem: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: 1, problem: problem.into() }
    }
}

impl Document {
    /// The line of a field such as `spec.criteria.objectives[0].metric`, or of the nearest one around it.
    ///
    /// `[]` and `*` stand for any item; the first one whose text `hint` repeats is meant, else the first.
    pub(super) fn line(&self, field: &str, hint: &str) -> usize {
        let mut pattern = self.root.clone();
        pattern.extend(segments(field));
        loop {
            let fits = |place: &&Place| {
                place.len() == pattern.len()
                    && place.iter().zip(&pattern).all(|(is, wanted)| wanted == "*" || is == wanted)
            };
            let found: Vec<&Place> = self.lines.keys().filter(fits).collect();
            let named = found.iter().find(|place| self.text(place).is_some_and(|text| hint.contains(&text)));
            if let Some(line) = named.or_else(|| found.first()).and_then(|place| self.lines.get(*place)) {
                return *line;
            }
            if pattern.pop().is_none() {
                return 1;
            }
        }
    }

    /// A leaf's text in backticks, as messages repeat it.
    fn text(&self, place: &[String]) -> Option<String> {
        let inside = place.get(self.root.len()..)?;
        let leaf = inside.iter().try_fold(&self.value, |at, key| match at {
            Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            other => other.get(key),
        })?;
        match leaf {
            Value::String(text) => Some(format!("`{text}`")),
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// Text of a field at the top or below `metadata`.
    pub(super) fn at(&self, pointer: &str) -> Option<&str> {
        self.value.pointer(pointer).and_then(Value::as_str)
    }

    /// Namespace and name for messages.
    pub(super) fn name(&self) -> &str {
        self.at("/metadata/name").unwrap_or_default()
    }

    /// The namespace, if it is written.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.at("/metadata/namespace").filter(|n| !n.is_empty())
    }

    /// Group, version and kind.
    pub(super) fn kind(&self) -> (&str, &str, &str) {
        let (group, version) = self.at("/apiVersion").unwrap_or_default().rsplit_once('/').unwrap_or_default();
        (group, version, self.at("/kind").unwrap_or_default())
    }
}

/// The segments of a field's path as people write it.
fn segments(field: &str) -> Vec<String> {
    // Names of annotations have dots of their own.
    if let Some(name) = field.strip_prefix("metadata.annotations.") {
        return ["metadata", "annotations", name].map(ToOwned::to_owned).to_vec();
    }
    let spread = field.replace("[]", ".*").replace('[', ".").replace(']', "");
    spread.split('.').filter(|s| !s.is_empty()).map(ToOwned::to_owned).collect()
}

/// The files that the arguments mean, in order; directories are searched.
pub(super) fn files(arguments: &[PathBuf]) -> Result<Vec<PathBuf>, Unreadable> {
    let mut files = vec![];
    for argument in arguments {
        if argument.is_dir() {
            search(argument, 0, &mut files)?;
        } else {
            files.push(argument.clone());
        }
    }
    Ok(files)
}

fn search(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Unreadable> {
    let shown = dir.display().to_string();
    if depth > MOST_DEPTH {
        return Err(Unreadable::new(
            &shown,
            format!("more than {MOST_DEPTH} directories deep; name a smaller directory"),
        ));
    }
    let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = entries.map_err(|e| Unreadable::new(&shown, format!("failed to read the directory: {e}")))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let Ok(kind) = entry.file_type() else { continue };
        if hidden || kind.is_symlink() {
            continue;
        }
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if kind.is_dir() {
            search(&path, depth + 1, files)?;
        } else if EXTENSIONS.contains(&extension) {
            files.push(path);
        }
        if files.len() > MOST_FILES {
            return Err(Unreadable::new(&shown, format!("more than {MOST_FILES} files; name a smaller directory")));
        }
    }
    Ok(())
}

/// The objects of a file.
pub(super) fn read(path: &Path) -> Result<Vec<Document>, Unreadable> {
    if path.as_os_str() == STDIN {
        return documents("<stdin>", None, &text("<stdin>", std::io::stdin().lock())?);
    }
    let shown = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|e| Unreadable::new(&shown, format!("failed to read it: {e}")))?;
    documents(&shown, path.parent(), &text(&shown, file)?)
}

fn text(shown: &str, source: impl std::io::Read) -> Result<String, Unreadable> {
    let mut bytes = vec![];
    let read = source.take(MOST_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|e| Unreadable::new(shown, format!("failed to read it: {e}")))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Unreadable::new(shown, format!("larger than {MOST_BYTES} bytes; split the file")));
    }
    String::from_utf8(bytes).map_err(|_| Unreadable::new(shown, "not UTF-8 text; save it as UTF-8"))
}

/// The objects of a text; empty documents are left out.
pub(super) fn documents(shown: &str, folder: Option<&Path>, text: &str) -> Result<Vec<Document>, Unreadable> {
    let lines = lines(shown, text)?;
    let values: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        let line = error.location().map_or(1, |l| usize::try_from(l.line()).unwrap_or(1));
        let message = error.without_snippet().to_string();
        Unreadable { file: shown.to_owned(), line, problem: not_yaml(&message) }
    })?;
    let values = values.into_iter().filter(|v| !v.is_null());
    let mut documents = vec![];
    for (value, lines) in values.zip(lines) {
        let document = Document { file: shown.to_owned(), folder: folder.map(Into::into), value, lines, root: vec![] };
        documents.extend(items(document));
    }
    Ok(documents)
}

fn not_yaml(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    // The parser's own settings and its second mention of the place help nobody.
    if let Some((_, twice)) = first.split_once("duplicate mapping key: ") {
        let key = twice.split_once(", set ").map_or(twice, |(key, _)| key);
        return format!("not YAML: the key `{key}` is written twice in one mapping; remove one of them");
    }
    format!("not YAML: {first}; correct the syntax, and give templates after they are filled in")
}

/// The items of a `List`, or the document itself.
fn items(document: Document) -> Vec<Document> {
    match document.value.get("items") {
        Some(Value::Array(items)) if document.at("/kind") == Some("List") => items
            .iter()
            .enumerate()
            .map(|(index, item)| Document {
                value: item.clone(),
                root: vec!["items".into(), index.to_string()],
                ..document.clone()
            })
            .collect(),
        Some(_) | None => vec![document],
    }
}

/// A collection that is being read.
enum Open {
    /// A mapping, with the key whose value comes next.
    Map(Option<String>),
    /// A sequence, with the index of the next item.
    List(usize),
}

/// The line of each field, for each document that is not empty.
fn lines(shown: &str, text: &str) -> Result<Vec<BTreeMap<Place, usize>>, Unreadable> {
    let mut documents = vec![];
    let (mut lines, mut place, mut open) = (BTreeMap::new(), Place::new(), Vec::<Open>::new());
    for (count, event) in Parser::new_from_str(text).enumerate() {
        let (event, span) = event.map_err(|error| {
            let line = error.marker().line();
            Unreadable { file: shown.to_owned(), line, problem: not_yaml(&error.info()) }
        })?;
        if count > 2 * MAX_NODES {
            return Err(Unreadable::new(shown, "too many fields; split the file"));
        }
        let line = span.start.line();
        match event {
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
                done(&mut open, &mut place);
            }
            Event::DocumentEnd if !lines.is_empty() => documents.push(std::mem::take(&mut lines)),
            Event::Scalar(ref key, ..) if matches!(open.last(), Some(Open::Map(None))) => {
                place.push(key.to_string());
                lines.insert(place.clone(), line);
                open.pop();
                open.push(Open::Map(Some(key.to_string())));
            }
            Event::Scalar(..) | Event::Alias(_) | Event::MappingStart(..) | Event::SequenceStart(..) => {
                if let Some(Open::Map(None)) = open.last() {
                    return Err(Unreadable { file: shown.into(), line, problem: not_yaml("a key that is not text") });
                }
                if let Some(Open::List(index)) = open.last() {
                    place.push(index.to_string());
                    lines.insert(place.clone(), line);
                }
                if open.is_empty() && !is_null(&event) {
                    lines.insert(vec![], line);
                }
                match event {
                    Event::MappingStart(..) => open.push(Open::Map(None)),
                    Event::SequenceStart(..) => open.push(Open::List(0)),
                    _ => done(&mut open, &mut place),
                }
            }
            _ => {}
        }
    }
    Ok(documents)
}

/// Whether a document's root says that there is nothing.
fn is_null(event: &Event<'_>) -> bool {
    let Event::Scalar(text, ScalarStyle::Plain, ..) = event else { return false };
    matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL")
}

/// A value has come to its end: the collection around it waits for the next one.
fn done(open: &mut [Open], place: &mut Place) {
    match open.last_mut() {
        Some(Open::Map(key)) => {
            *key = None;
            place.pop();
        }
        Some(Open::List(index)) => {
            *index += 1;
            place.pop();
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    const TEXT: &str = "# first\n---\n---\nkind: A\nspec:\n  list:\n  - {name: x, limit: 1%}\n  - name: y\n    limit: 5x\n---\nkind: B\nmetadata: {name: b}\n";

    fn read(text: &str) -> Vec<Document> {
        documents("f.yaml", None, text).unwrap()
    }

    #[test]
    fn each_field_has_its_line() {
        let documents = read(TEXT);
        assert_eq!(documents.len(), 2);
        let first = &documents[0];
        for (field, hint, line) in [
            ("kind", "", 4),
            ("spec.list[0].limit", "", 7),
            ("spec.list[1].limit", "", 9),
            ("spec.list[].limit", "", 7),
            ("spec.list[].limit", "`5x` is wrong", 9),
            ("spec.*.limit", "", 6),
            ("spec.list[1].absent.more", "", 8),
            ("nothing", "", 4),
        ] {
            assert_eq!(first.line(field, hint), line, "{field} {hint}");
        }
        assert_eq!(documents[1].line("metadata.name", ""), 12);
    }

    #[test]
    fn the_items_of_a_list_are_objects() {
        let documents = read("kind: List\nitems:\n- kind: A\n  metadata: {name: a}\n- kind: B\n  spec:\n    x: 1\n");
        assert_eq!(documents.len(), 2);
        assert_eq!((documents[1].kind().2, documents[1].line("spec.x", "")), ("B", 7));
    }

    #[test]
    fn what_is_not_yaml_is_told_with_its_line() {
        for (text, line) in [("a: 1\nb: [1\nc: 2\n", 3), ("a: 1\n? [x]\n: 1\n", 2), ("a: 1\na: 2\n", 2), ("a: *x\n", 1)]
        {
            let error = documents("f.yaml", None, text).unwrap_err();
            assert!(error.problem.contains("not YAML") && error.line.abs_diff(line) <= 1, "{text}: {error:?}");
        }
        assert!(read("# nothing\n---\n~\n").is_empty());
    }

    #[test]
    fn hostile_text_is_refused_or_read_and_never_the_end() {
        let deep = "[".repeat(200_000);
        let nested = "a:\n".to_owned() + &(1..2_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>();
        let laughs = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
            format!("{text}a{n}: &a{n} [*a{0}, *a{0}, *a{0}, *a{0}]\n", n - 1)
        });
        for text in [&deep, &nested, &laughs, &"- ".repeat(100_000), &"a: 1\n---\n".repeat(50_000)] {
            let _ = documents("f.yaml", None, text);
        }
    }
}
