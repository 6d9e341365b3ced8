//! Every edit of a text, held against what it is to mean: for the fuzz target and the property tests.

use reiter8::gitops::edit::{
    Document, EditError, Edited, File, Path, Segment, Selector, Value, copy_subtree, put, remove, set_scalar,
};
use serde_json::Value as Json;

/// How often edits were carried out and refused.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) done: usize,
    pub(crate) refused: usize,
}

/// Most places of a text that are edited.
const MAX_PLACES: usize = 40;

/// The places in a document, with indices for items.
pub(crate) fn places(value: &Value, path: &Path, found: &mut Vec<Path>) {
    if found.len() >= MAX_PLACES {
        return;
    }
    if !path.segments().is_empty() {
        found.push(path.clone());
    }
    match value {
        Value::Map(entries) => entries.iter().for_each(|(key, value)| places(value, &path.key(key), found)),
        Value::List(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, value)| places(value, &path.join(Segment::Index(index)), found));
        }
        Value::Scalar { .. } | Value::Alias(_) => {}
    }
}

/// Puts or removes, as anybody would in JSON.
pub(crate) fn replace(root: &mut Json, path: &[Segment], new: Option<Json>) {
    let (first, rest) = path.split_first().unwrap();
    if root.is_null() && matches!(first, Segment::Key(_)) {
        *root = Json::Object(serde_json::Map::new());
    }
    match (first, rest.is_empty()) {
        (Segment::Key(key), true) => {
            let entries = root.as_object_mut().unwrap();
            match new {
                Some(new) => entries.insert(key.clone(), new),
                None => entries.remove(key),
            };
        }
        (Segment::Index(index), true) => match new {
            Some(new) => root.as_array_mut().unwrap()[*index] = new,
            None => drop(root.as_array_mut().unwrap().remove(*index)),
        },
        (Segment::Key(key), false) => {
            let entries = root.as_object_mut().unwrap();
            replace(entries.entry(key.clone()).or_insert(Json::Null), rest, new);
        }
        (Segment::Index(index), false) => replace(&mut root.as_array_mut().unwrap()[*index], rest, new),
        (Segment::Named { .. }, _) => panic!("places have indices"),
    }
}

fn json(file: &File<'_>) -> Vec<Json> {
    file.documents().iter().map(Value::to_json).collect()
}

/// Carries out all kinds of edits at one place; each result means what it should or is refused.
pub(crate) fn exercise_place(text: &str, document: usize, path: &Path, tally: &mut Tally) {
    let file = File::parse(text.as_bytes()).unwrap();
    let at = Selector { document: Document::At(document), path: path.clone() };
    let count = |result: Result<Edited, EditError>, wanted: &dyn Fn(&mut Json), tally: &mut Tally| match result {
        Ok(edited) => {
            tally.done += 1;
            let again = File::parse(edited.text.as_bytes());
            let again = again.unwrap_or_else(|error| panic!("{error}: {text:?} at {path} became {:?}", edited.text));
            let mut all = json(&file);
            wanted(&mut all[document]);
            assert_eq!(json(&again), all, "{text:?} at {path} became {:?}", edited.text);
            if edited.changes.is_empty() {
                assert_eq!(edited.text, text, "no change is no edit");
            }
        }
        Err(error) => {
            tally.refused += 1;
            assert!(!error.cause().word().is_empty());
        }
    };
    for new in [Value::string("v 1: #x"), Value::string("1.20"), Value::Scalar { text: "7".into(), string: false }] {
        let wanted = |root: &mut Json| replace(root, path.segments(), Some(new.to_json()));
        count(set_scalar(&file, &at, &new), &wanted, tally);
        count(put(&file, &at, &new), &wanted, tally);
    }
    count(remove(&file, &at), &|root| replace(root, path.segments(), None), tally);
    let new = Value::from_json(&serde_json::json!({"a": [1, "x y"], "b": {"c": "two\nlines"}}));
    let below = Selector { path: path.key("new").key("deep"), ..at.clone() };
    if file.documents()[document].at(path).is_some_and(|value| matches!(value, Value::Map(_))) {
        count(put(&file, &below, &new), &|root| replace(root, below.path.segments(), Some(new.to_json())), tally);
    }
}

/// Copies the meaning of one place to another.
pub(crate) fn exercise_copy(text: &str, document: usize, from: &Path, to: &Path, tally: &mut Tally) {
    let file = File::parse(text.as_bytes()).unwrap();
    let at = |path: &Path| Selector { document: Document::At(document), path: path.clone() };
    match copy_subtree(&file, &at(from), &file, &at(to)) {
        Ok(edited) => {
            tally.done += 1;
            let again = File::parse(edited.text.as_bytes());
            let again = again.unwrap_or_else(|error| panic!("{error}: {text:?}, {from} to {to}: {:?}", edited.text));
            let mut all = json(&file);
            let new = file.documents()[document].at(from).unwrap().to_json();
            replace(&mut all[document], to.segments(), Some(new));
            assert_eq!(json(&again), all, "{text:?}, {from} to {to}: {:?}", edited.text);
        }
        Err(_) => tally.refused += 1,
    }
}

/// Reads any bytes, and edits them at every place when they are accepted.
pub(crate) fn exercise(bytes: &[u8]) -> Tally {
    let mut tally = Tally::default();
    let Ok(file) = File::parse(bytes) else { return tally };
    let text = std::str::from_utf8(bytes).unwrap();
    for name in ["x", "app"] {
        let _ = file.marked(name);
    }
    for (document, value) in file.documents().iter().enumerate().take(4) {
        let mut found = Vec::new();
        places(value, &Path::default(), &mut found);
        for (index, path) in found.iter().enumerate() {
            assert_eq!(path.to_string().parse::<Path>().as_ref(), Ok(path), "a path reads back");
            exercise_place(text, document, path, &mut tally);
            exercise_copy(text, document, path, &found[(index * 7 + 3) % found.len()], &mut tally);
        }
    }
    tally
}
