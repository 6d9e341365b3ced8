//! Any document, any edit: the result means what it should, every line that is not the target's is as it was, and no input costs
//! more than its size.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::yaml::{Tally, exercise, exercise_copy, exercise_place, places};
use proptest::prelude::*;
use reiter8::gitops::edit::{
    Document, EditError, Edited, File, MAX_BYTES, MAX_DEPTH, MAX_WIDTH, Path, Selector, Value, put, remove, set_scalar,
};

/// Longest time for one text of at most [`MAX_BYTES`], in a build without optimisation on a busy machine. A walk that is quadratic
/// in the text takes hours.
const BOUND: Duration = Duration::from_secs(60);

/// What a document says.
#[derive(Debug, Clone)]
enum Tree {
    Leaf(&'static str),
    Map(Vec<(&'static str, Self)>),
    List(Vec<Self>),
}

const LEAVES: [&str; 16] = [
    "v1",
    "1.20",
    "yes",
    "a: b",
    "x # y",
    "it's",
    "é",
    "",
    "- a",
    "{x}",
    "100m",
    "null",
    "a,b",
    "&a",
    "0755",
    "two\nlines",
];
const KEYS: [&str; 10] = ["a", "b", "name", "image", "k.x/y", "on", "1", "*", "a b", "ü"];

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop::sample::select(&LEAVES[..]).prop_map(Tree::Leaf);
    leaf.prop_recursive(4, 24, 4, |inner| {
        let map = prop::collection::vec((prop::sample::select(&KEYS[..]), inner.clone()), 0..4);
        prop_oneof![
            map.prop_map(|entries| Tree::Map(entries.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect())),
            prop::collection::vec(inner, 0..4).prop_map(Tree::List),
        ]
    })
}

/// A document's root is a mapping.
fn root() -> impl Strategy<Value = Tree> {
    prop::collection::btree_map(prop::sample::select(&KEYS[..]), tree(), 1..5)
        .prop_map(|entries| Tree::Map(entries.into_iter().collect()))
}

/// Writes trees in the styles that a seed selects. Each line of a leaf in block style ends with a comment of its own.
struct Writer {
    seed: u64,
    comments: usize,
    out: String,
}

impl Writer {
    fn choose(&mut self, of: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % of
    }

    fn scalar(&mut self, text: &str) -> String {
        match self.choose(3) {
            0 if matches!(text, "v1" | "100m" | "é") => text.to_owned(),
            1 if !text.contains('\n') => format!("'{}'", text.replace('\'', "''")),
            _ => serde_json::Value::from(text).to_string(),
        }
    }

    fn comment(&mut self) -> String {
        self.comments += 1;
        format!(" # c{}", self.comments)
    }

    fn flow(&mut self, tree: &Tree) -> String {
        match tree {
            Tree::Leaf(text) => self.scalar(text),
            Tree::Map(entries) => {
                let all: Vec<String> =
                    entries.iter().map(|(key, value)| format!("{}: {}", self.scalar(key), self.flow(value))).collect();
                format!("{{{}}}", all.join(", "))
            }
            Tree::List(items) => {
                let all: Vec<String> = items.iter().map(|item| self.flow(item)).collect();
                format!("[{}]", all.join(", "))
            }
        }
    }

    /// Writes a value behind `key:` or `-`, which end the text so far.
    fn value(&mut self, tree: &Tree, indent: usize, behind_dash: bool) {
        let pad = " ".repeat(indent);
        match tree {
            Tree::Leaf(text) if text.contains('\n') && self.choose(2) == 0 => {
                let lines: Vec<String> = text.lines().map(|line| format!("{pad}  {line}")).collect();
                self.out += &format!(" |-\n{}\n", lines.join("\n"));
            }
            Tree::Map(entries) if !entries.is_empty() && self.choose(4) > 0 => {
                if !behind_dash {
                    self.line_end();
                }
                for (index, (key, value)) in entries.iter().enumerate() {
                    let key = self.scalar(key);
                    let start = if index == 0 && behind_dash { " ".to_owned() } else { pad.clone() };
                    self.out += &format!("{start}{key}:");
                    let step = if behind_dash { 2 } else { 1 + usize::try_from(self.choose(4)).unwrap_or(0) };
                    self.value(value, indent + step, false);
                }
            }
            Tree::List(items) if !items.is_empty() && !behind_dash && self.choose(4) > 0 => {
                self.line_end();
                for item in items {
                    self.out += &format!("{pad}-");
                    self.value(item, indent + 2, true);
                }
            }
            _ => {
                let text = self.flow(tree);
                let comment = self.comment();
                self.out += &format!(" {text}{comment}\n");
            }
        }
    }

    fn line_end(&mut self) {
        let comment = if self.choose(2) == 0 { self.comment() } else { String::new() };
        self.out += &format!("{comment}\n");
    }
}

/// A text of up to three documents.
fn write(documents: &[Tree], seed: u64) -> String {
    let mut writer = Writer { seed, comments: 0, out: String::new() };
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            let between = if writer.choose(2) == 0 { "---\n" } else { "...\n---\n" };
            writer.out += between;
        }
        let Tree::Map(entries) = document else { panic!("a root is a mapping") };
        for (key, value) in entries {
            if writer.choose(3) == 0 {
                let comment = writer.comment();
                writer.out += &format!("{}\n", comment.trim_start());
            }
            let key = writer.scalar(key);
            writer.out += &format!("{key}:");
            writer.value(value, 2, false);
        }
    }
    let mut text = writer.out.clone();
    if writer.choose(4) == 0 {
        text = text.replace('\n', "\r\n");
    }
    if writer.choose(4) == 0 {
        text.insert(0, '\u{feff}');
    }
    if writer.choose(4) == 0 {
        text.truncate(text.trim_end().len());
    }
    text
}

/// The lines of the first text that the second one lacks, and the reverse.
fn changed(old: &str, new: &str) -> (Vec<String>, Vec<String>) {
    let diff = similar::TextDiff::from_lines(old, new);
    let lines = |tag: similar::ChangeTag| {
        let some = diff.iter_all_changes().filter(|change| change.tag() == tag);
        some.map(|change| change.value().to_owned()).collect()
    };
    (lines(similar::ChangeTag::Delete), lines(similar::ChangeTag::Insert))
}

/// What an edit did to the lines, the end of a text without a last line's end aside.
fn lines_of(old: &str, edited: &Edited) -> (Vec<String>, Vec<String>) {
    let ended = |text: &str| if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    let unify = |text: &str| ended(text).replace("\r\n", "\n");
    changed(&unify(old), &unify(&edited.text))
}

thread_local! {
    static SEEN: Cell<Tally> = const { Cell::new(Tally { done: 0, refused: 0 }) };
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn every_edit_of_any_document_means_what_it_should() {
    let mut runner = proptest::test_runner::TestRunner::new(config(300));
    let documents = (prop::collection::vec(root(), 1..4), any::<u64>(), any::<prop::sample::Index>());
    runner
        .run(&documents, |(documents, seed, pick)| {
            let text = write(&documents, seed);
            let file = File::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text:?}"));
            prop_assert_eq!(file.documents().len(), documents.len());
            let mut tally = SEEN.get();
            for (document, value) in file.documents().iter().enumerate() {
                let mut found = Vec::new();
                places(value, &Path::default(), &mut found);
                for (index, path) in found.iter().enumerate() {
                    exercise_place(&text, document, path, &mut tally);
                    let other = &found[(pick.index(found.len()) + index) % found.len()];
                    exercise_copy(&text, document, path, other, &mut tally);
                }
            }
            SEEN.set(tally);
            Ok(())
        })
        .unwrap();
    let Tally { done, refused } = SEEN.get();
    println!("{done} edits done, {refused} refused");
    assert!(done > 3 * refused && done > 10_000, "{done} done, {refused} refused");
}

#[test]
fn only_the_targets_lines_change() {
    let counts = Cell::new([0_usize; 3]);
    let mut runner = proptest::test_runner::TestRunner::new(config(600));
    runner
        .run(&(prop::collection::vec(root(), 1..3), any::<u64>()), |(documents, seed)| {
            let text = write(&documents, seed);
            let file = File::parse(text.as_bytes()).unwrap();
            let mut seen = counts.get();
            for (document, value) in file.documents().iter().enumerate() {
                let mut found = Vec::new();
                places(value, &Path::default(), &mut found);
                for path in found {
                    let at = Selector { document: Document::At(document), path: path.clone() };
                    let told = |what: &str| format!("{what} {path} in {text:?}");
                    // A leaf keeps its line but for itself, its comment included.
                    if let Ok(edited) = set_scalar(&file, &at, &Value::string("another one")) {
                        let (gone, new) = lines_of(&text, &edited);
                        prop_assert_eq!((gone.len(), new.len()), (1, 1), "{}", told("set"));
                        let comment = |line: &str| line.rsplit_once(" # c").map(|(_, rest)| rest.to_owned());
                        prop_assert_eq!(comment(&gone[0]), comment(&new[0]), "{}", told("set"));
                        seen[0] += 1;
                    }
                    // What is removed takes its own lines; in flow style, or as the last one, its collection's line changes.
                    if let Ok(edited) = remove(&file, &at) {
                        let (gone, new) = lines_of(&text, &edited);
                        prop_assert!(!gone.is_empty() && new.len() <= 1, "{} {gone:?} {new:?}", told("remove"));
                        for line in &new {
                            let kept = line.trim().chars().filter(|c| !c.is_whitespace() && !"-[]{}".contains(*c));
                            let old: String = gone.concat();
                            prop_assert!(
                                is_part(&kept.collect::<String>(), &old),
                                "{} {gone:?} {new:?}",
                                told("remove")
                            );
                        }
                        seen[1] += 1;
                    }
                    // A new entry of a block mapping is a line of its own; taking it out again leaves the text as it was.
                    let new = Selector { path: path.key("brand-new"), ..at.clone() };
                    if let Ok(edited) = put(&file, &new, &Value::string("x")) {
                        let (gone, added) = lines_of(&text, &edited);
                        if gone.is_empty() {
                            prop_assert_eq!(added.len(), 1, "{}", told("put"));
                            let back = remove(&File::parse(edited.text.as_bytes()).unwrap(), &new);
                            prop_assert_eq!(back.unwrap().text, text.clone(), "{}", told("put"));
                            seen[2] += 1;
                        } else {
                            prop_assert!(added.len() == 1, "{} {gone:?} {added:?}", told("put"));
                        }
                    }
                }
            }
            counts.set(seen);
            Ok(())
        })
        .unwrap();
    let [set, removed, added] = counts.get();
    println!("{set} set, {removed} removed, {added} added and taken out again");
    assert!(set > 1000 && removed > 1000 && added > 500, "{set} {removed} {added}");
}

/// Whether the characters of `part` are in `whole`, in this order.
fn is_part(part: &str, whole: &str) -> bool {
    let mut rest = whole.chars();
    part.chars().all(|c| rest.by_ref().any(|other| other == c))
}

/// Manifests as they are found, to be damaged.
fn seeds() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gitops/seeds");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Pieces that mean something to a parser.
const PIECES: [&str; 24] = [
    "\n", "\r\n", "\r", "\t", " ", "  ", "- ", "? ", ": ", "#", "{", "}", "[", "]", ",", "&a", "*a", "!!str ", "|\n",
    ">-\n", "'", "\"", "---\n", "\u{feff}",
];

fn mutation() -> impl Strategy<Value = (prop::sample::Index, prop::sample::Index, usize, Vec<u8>)> {
    let piece = prop_oneof![
        prop::sample::select(&PIECES[..]).prop_map(|piece| piece.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 1..3),
        Just(Vec::new()),
    ];
    (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..24_usize, piece)
}

#[test]
fn damaged_manifests_are_read_or_refused_and_never_misread() {
    let seeds = seeds();
    let counts = Cell::new((0_usize, Tally::default()));
    let mut runner = proptest::test_runner::TestRunner::new(config(400));
    let inputs = (any::<prop::sample::Index>(), prop::collection::vec(mutation(), 1..5));
    runner
        .run(&inputs, |(seed, mutations)| {
            let mut bytes = seeds[seed.index(seeds.len())].clone();
            for (at, from, length, piece) in mutations {
                let at = at.index(bytes.len() + 1);
                // Something of the text again, a piece that is special, or a hole.
                let copied = if length > 12 && !bytes.is_empty() {
                    let from = from.index(bytes.len());
                    bytes[from..(from + length).min(bytes.len())].to_vec()
                } else {
                    piece
                };
                let end = (at + length % 7).min(bytes.len());
                bytes.splice(at..end, copied);
            }
            let began = Instant::now();
            let tally = exercise(&bytes);
            prop_assert!(began.elapsed() < BOUND, "{:?}", String::from_utf8_lossy(&bytes));
            let (read, all) = counts.get();
            let all = Tally { done: all.done + tally.done, refused: all.refused + tally.refused };
            counts.set((read + usize::from(tally.done > 0), all));
            Ok(())
        })
        .unwrap();
    let (read, Tally { done, refused }) = counts.get();
    println!("{read} of 400 damaged texts could be edited: {done} edits done, {refused} refused");
    // Chance decides how many; a tenth is usual, and none would prove nothing.
    assert!(read > 8 && read < 400, "{read}");
}

/// A file that is made to be expensive is refused, or edited, in little time.
#[test]
fn hostile_files_cost_no_more_than_their_size() {
    let fill = |piece: &str| piece.repeat((MAX_BYTES - 100) / piece.len());
    let lines = |line: fn(usize) -> String| {
        (0..)
            .map(line)
            .scan(0, |size, line| {
                *size += line.len();
                (*size < MAX_BYTES).then_some(line)
            })
            .collect::<String>()
    };
    let width = MAX_WIDTH - 1;
    let texts: Vec<(&str, String, &str)> = vec![
        ("open brackets", fill("["), "FileTooDeep|InvalidYaml"),
        ("open braces", fill("{ "), "FileTooDeep|InvalidYaml"),
        ("open mappings", fill("{a: "), "FileTooDeep|InvalidYaml"),
        ("dashes", fill("- "), "FileTooDeep"),
        ("question marks", fill("? "), ""),
        ("deeper lines", (0..1400).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect(), "FileTooDeep"),
        ("keys", lines(|index| format!("k{index}:\n")), "FileTooComplex"),
        ("items", lines(|_| "- a\n".into()), "FileTooComplex"),
        ("flow items", format!("[{}]", fill("1,").trim_end_matches(',')), "FileTooComplex"),
        ("documents", fill("---\na\n"), ""),
        ("comments", fill("#\n"), ""),
        ("blank lines", fill("\n"), ""),
        ("one line", format!("a: {}", "x".repeat(MAX_BYTES - 10)), ""),
        ("one text", format!("a: \"{}\"", "x".repeat(MAX_BYTES - 10)), ""),
        ("escapes", format!("a: \"{}\"", "\\n".repeat(MAX_BYTES / 2 - 10)), ""),
        ("block text", format!("a: |\n{}", fill("  x\n")), ""),
        ("folded text", format!("a: >\n{}", fill("  x\n\n")), ""),
        ("plain lines", format!("a:\n{}", fill("  x\n")), ""),
        ("anchors", lines(|index| format!("k{index}: &a{index} [*a{}]\n", index.saturating_sub(1))), ""),
        (
            "laughs",
            format!(
                "a0: &a0 [x]\n{}",
                (1..60)
                    .map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 50].join(", ")))
                    .collect::<String>()
            ),
            "",
        ),
        ("widest mapping", (0..width).map(|index| format!("k{index}: {{name: {index}}}\n")).collect(), ""),
        (
            "widest list",
            format!("l:\n{}", (0..width).map(|index| format!("- {{name: n{index}}}\n")).collect::<String>()),
            "",
        ),
        ("colons", fill(":"), ""),
        ("quotes", fill("'"), ""),
        ("tabs", fill("\t"), ""),
        ("tags", fill("! "), ""),
        ("directives", fill("%YAML 1.2\n"), ""),
        ("ends", fill("...\n"), ""),
    ];
    for (what, text, reason) in texts {
        let began = Instant::now();
        let read = File::parse(text.as_bytes());
        match (&read, reason) {
            (Err(error), "") => assert!(!error.cause().word().is_empty()),
            (Err(error), wanted) => {
                assert!(wanted.split('|').any(|one| one == error.cause().word()), "{what}: {error}");
            }
            (Ok(_), wanted) => assert_eq!(wanted, "", "{what} was read"),
        }
        if let Ok(file) = read {
            let mut found = Vec::new();
            if let Some(value) = file.documents().first() {
                places(value, &Path::default(), &mut found);
            }
            for path in found.iter().take(1).chain(found.last()) {
                exercise_copy(&text, 0, path, found.last().unwrap(), &mut Tally::default());
                let at = Selector { document: Document::At(0), path: path.clone() };
                let _ = (remove(&file, &at), put(&file, &at, &Value::string("x")));
            }
        }
        let took = began.elapsed();
        assert!(text.len() <= MAX_BYTES, "{what} is refused for its size alone");
        println!("{what}: {} bytes, {} ms", text.len(), took.as_millis());
        assert!(took < BOUND, "{what} took {took:?}");
    }
    assert_eq!(File::parse(&vec![b'#'; MAX_BYTES + 1]).unwrap_err().cause().word(), "FileTooLarge");
    let deep = format!("a: {}1{}\n", "[".repeat(MAX_DEPTH - 1), "]".repeat(MAX_DEPTH - 1));
    assert!(File::parse(deep.as_bytes()).is_ok(), "the limit itself is allowed");
}

#[test]
fn what_parsers_may_read_in_two_ways_is_refused() {
    for (text, reason) in [
        ("a: b\rc: d\n", "UnsupportedYaml"),
        ("a: b\u{85}c: d\n", "UnsupportedYaml"),
        ("# note\u{2028}c: d\n", "UnsupportedYaml"),
        ("a: \"x\u{2029}\"\n", "UnsupportedYaml"),
    ] {
        let error: EditError = File::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.cause().word(), reason, "{text:?}: {error}");
        assert!(error.to_string().contains("line 1"), "{error}");
    }
}
