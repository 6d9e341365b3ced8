//! What a pure module may name, and a reader of Rust's text that finds everything else.
//!
//! Allow-lists, not lists of sins: the first name of every path (in `use`, in code, in an attribute's text), every macro
//! and every part of the standard library has to be known here. Comments, texts and tests are left out.
#![allow(missing_docs, dead_code, unreachable_pub)]

/// Crates and roots that a path may begin with, beside what the module has itself.
const ROOTS: [&str; 11] =
    ["std", "core", "serde", "jiff", "statrs", "sha2", "thiserror", "crate", "self", "super", "clippy"];
/// Parts of the standard library that reach nowhere. Maps of random order are not among them.
const STD: [&str; 22] = [
    "array",
    "borrow",
    "char",
    "cmp",
    "collections::BTreeMap",
    "collections::BTreeSet",
    "collections::VecDeque",
    "convert",
    "error",
    "f64",
    "fmt",
    "iter",
    "marker",
    "mem",
    "num",
    "ops",
    "option",
    "result",
    "slice",
    "str",
    "string",
    // Shares a value, and changes none.
    "sync::Arc",
];
/// Time as a value.
const JIFF: [&str; 2] = ["SignedDuration", "Timestamp"];
/// Types of the language, whose functions are pure.
const PRIMITIVES: [&str; 17] = [
    "bool", "char", "str", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128",
    "usize",
];
const MACROS: [&str; 12] = [
    "assert",
    "assert_eq",
    "assert_ne",
    "debug_assert",
    "debug_assert_eq",
    "format",
    "format_args",
    "macro_rules",
    "matches",
    "unreachable",
    "vec",
    "write",
];
/// Words that are never innocent, wherever they come from.
const WORDS: [&str; 20] = [
    "async",
    "await",
    "extern",
    "unsafe",
    "Instant",
    "SystemTime",
    "Zoned",
    "TimeZone",
    "HashMap",
    "HashSet",
    "Mutex",
    "RwLock",
    "OnceLock",
    "LazyLock",
    "OnceCell",
    "LazyCell",
    "RefCell",
    "Cell",
    "Future",
    "Rng",
];

/// Everything in a module's text that is not pure. `depth`: how many modules it is below the pure one.
pub fn violations(text: &str, depth: usize) -> Vec<String> {
    let code = released(text, &blanked(text));
    let mut found = words(&code);
    let paths = paths(&code);
    let own = own_names(&code, &paths);
    let attributes = attribute_texts(text, &code);
    let hidden = attributes.iter().flat_map(|text| self::paths(text));
    found.extend(paths.iter().cloned().chain(hidden).filter_map(|path| {
        let problem = wrong(&path.segments, &own, depth)?;
        Some(format!("{}: {problem}", path.segments.join("::")))
    }));
    found
}

/// A path as it is written, from its first name.
#[derive(Clone, Debug)]
pub struct Path {
    segments: Vec<String>,
    /// Whether it is imported.
    used: bool,
}

/// Why a path is not pure.
fn wrong(segments: &[String], own: &[String], depth: usize) -> Option<&'static str> {
    let root = segments.first().map_or("", String::as_str);
    let rest = segments.get(1..).unwrap_or_default().join("::");
    let within = |list: &[&str]| list.iter().any(|item| rest == *item || rest.starts_with(&format!("{item}::")));
    if segments.iter().any(|s| s == "now") {
        return Some("asks a clock");
    }
    match root {
        "std" | "core" if !within(&STD) => Some("is no pure part of the standard library"),
        "jiff" if !within(&JIFF) => Some("is more than time as a value"),
        "crate" if !within(&["engine"]) => Some("leaves the engine"),
        "super" | "self" if segments.iter().filter(|s| *s == "super").count() > depth => Some("leaves the engine"),
        _ if root.starts_with(|c: char| c.is_ascii_uppercase()) => None,
        _ if ROOTS.contains(&root) || PRIMITIVES.contains(&root) || own.iter().any(|name| name == root) => None,
        _ => Some("is no crate that is known to be pure"),
    }
}

/// Impure words, macros and items.
fn words(code: &str) -> Vec<String> {
    let mut found = vec![];
    for (at, word) in identifiers(code) {
        let after = code.get(at + word.len()..).unwrap_or_default();
        let is_macro = after.starts_with('!') && !after.starts_with("!=");
        let is_static = word == "static" && !code.get(..at).unwrap_or_default().ends_with('\'');
        if WORDS.contains(&word) || is_static && after.trim_start().starts_with("mut ") {
            found.push(format!("the word {word}"));
        }
        if is_macro && !MACROS.contains(&word) {
            found.push(format!("{word}!"));
        }
    }
    if code.contains("#[path") || code.contains("#![path") {
        found.push("a module from elsewhere".to_owned());
    }
    found
}

/// Names that the module declares or imports, with which its own paths may begin.
fn own_names(code: &str, paths: &[Path]) -> Vec<String> {
    let words: Vec<&str> = identifiers(code).map(|(_, word)| word).collect();
    let declared = words.iter().zip(words.iter().skip(1)).filter(|(a, _)| **a == "mod").map(|(_, b)| (*b).to_owned());
    // What is imported was looked at where it is.
    let imported = paths.iter().filter(|path| path.used && path.segments.len() > 1).flat_map(|path| {
        let last = path.segments.iter().rfind(|s| *s != "self").cloned();
        let alias = path.segments.iter().find_map(|s| s.split_once(" as ").map(|(_, alias)| alias.to_owned()));
        [last, alias].into_iter().flatten()
    });
    declared.chain(imported).collect()
}

/// Every path of two names or more, and every imported one.
fn paths(code: &str) -> Vec<Path> {
    let mut found = vec![];
    let mut imports: Vec<(usize, usize)> = vec![];
    // `use<>` says what a type captures.
    let imports_here = |at: usize| !code.get(at + 3..).unwrap_or_default().trim_start().starts_with('<');
    for (at, _) in identifiers(code).filter(|(at, word)| *word == "use" && imports_here(*at)) {
        let end = code.get(at..).and_then(|rest| rest.find(';')).map_or(code.len(), |end| at + end);
        imports.push((at, end));
        let tree = code.get(at + 3..end).unwrap_or_default();
        let mut all = vec![];
        expand(&tree.split_whitespace().collect::<Vec<_>>().join(" "), &[], &mut all);
        found.extend(all.into_iter().map(|segments| Path { segments, used: true }));
    }
    for (at, word) in identifiers(code) {
        let before = code.get(..at).unwrap_or_default().trim_end();
        let inner = before.strip_suffix("::").map(str::trim_end);
        // `<T>::x` and `a::b` begin before; `::x` begins here.
        let continues = inner.is_some_and(|b| b.ends_with(|c: char| c.is_alphanumeric() || "_>".contains(c)));
        if continues || imports.iter().any(|(from, to)| (*from..*to).contains(&at)) {
            continue;
        }
        let mut segments = vec![word.to_owned()];
        let mut rest = code.get(at + word.len()..).unwrap_or_default();
        while let Some(next) = rest.trim_start().strip_prefix("::") {
            let Some((0, name)) = identifiers(next.trim_start()).next() else { break };
            segments.push(name.to_owned());
            rest = next.trim_start().get(name.len()..).unwrap_or_default();
        }
        if segments.len() > 1 {
            found.push(Path { segments, used: false });
        }
    }
    found
}

/// The paths of a tree of imports.
fn expand(tree: &str, before: &[String], found: &mut Vec<Vec<String>>) {
    let tree = tree.trim().trim_start_matches("::").trim();
    let Some((head, rest)) = tree.split_once("::").filter(|(head, _)| !head.contains('{')) else {
        if let Some(inner) = tree.strip_prefix('{') {
            let inner = inner.strip_suffix('}').unwrap_or(inner);
            let (mut depth, mut start) = (0_i32, 0);
            for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
                depth += i32::from(c == '{') - i32::from(c == '}');
                if c == ',' && depth == 0 {
                    let one = inner.get(start..at).unwrap_or_default().trim();
                    if !one.is_empty() {
                        expand(one, before, found);
                    }
                    start = at + 1;
                }
            }
        } else {
            found.push(before.iter().cloned().chain([tree.to_owned()]).collect());
        }
        return;
    };
    let path: Vec<String> = before.iter().cloned().chain([head.trim().to_owned()]).collect();
    expand(rest, &path, found);
}

/// The texts in attributes: serde takes paths there.
fn attribute_texts(text: &str, code: &str) -> Vec<String> {
    let starts = code.match_indices("#[").chain(code.match_indices("#!["));
    let attribute = starts.filter_map(|(at, _)| {
        let mut depth = 0_i32;
        let length = code.get(at..)?.char_indices().find_map(|(i, c)| {
            depth += i32::from(c == '[') - i32::from(c == ']');
            (c == ']' && depth == 0).then_some(i)
        })?;
        text.get(at..at + length)
    });
    let texts = |a: &str| a.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    // A text with a space is for people.
    attribute.flat_map(texts).filter(|t| t.contains("::") && !t.contains(' ')).collect()
}

fn identifiers(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is = |c: char| c.is_alphanumeric() || c == '_';
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + code.get(from..)?.find(is)?;
        let rest = code.get(start..)?;
        let word = rest.get(..rest.find(|c| !is(c)).unwrap_or(rest.len()))?;
        from = start + word.len();
        Some((start, word))
    })
    .filter(|(_, word)| !word.starts_with(|c: char| c.is_ascii_digit()))
}

/// The text with its comments and literals replaced by spaces, byte for byte.
pub fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let end = literal(rest, out.chars().last());
        if end == 0 {
            out.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        } else {
            let (gone, left) = rest.split_at(end);
            out.extend(gone.bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }));
            rest = left;
        }
    }
    out
}

/// The length of the comment or literal that a text begins with; 0 if it begins with none.
fn literal(rest: &str, before: Option<char>) -> usize {
    let whole = rest.len();
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(whole);
    }
    if rest.starts_with("/*") {
        let (mut depth, mut at) = (0_i32, 0);
        while let Some(left) = rest.get(at..).filter(|left| !left.is_empty()) {
            let step = if left.starts_with("/*") { 1 } else { -i32::from(left.starts_with("*/")) };
            depth += step;
            at += if step == 0 { left.chars().next().map_or(1, char::len_utf8) } else { 2 };
            if depth == 0 {
                return at;
            }
        }
        return whole;
    }
    let in_a_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let prefix = ["br", "cr", "r", "b", "c"].into_iter().find(|p| !in_a_word && rest.starts_with(p)).unwrap_or("");
    let body = rest.get(prefix.len()..).unwrap_or_default();
    if prefix.ends_with('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        if body.get(hashes..).is_some_and(|b| b.starts_with('"')) {
            let close = format!("\"{}", "#".repeat(hashes));
            let from = prefix.len() + hashes + 1;
            let end = rest.get(from..).and_then(|b| b.find(&close)).map_or(whole, |end| from + end + close.len());
            return end;
        }
    }
    if let Some(inner) = body.strip_prefix('"') {
        return prefix.len() + 1 + quoted(inner, '"');
    }
    let Some(inner) = rest.strip_prefix('\'') else { return 0 };
    // `'a'` is a character, `'a` a lifetime.
    let mut chars = inner.chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => 1 + quoted(inner, '\''),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        (_, _) => 0,
    }
}

/// Bytes up to and with the closing quote.
fn quoted(inner: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    inner.len()
}

/// Items that are in no release: tests, and defects on purpose.
const UNRELEASED: [&str; 2] = ["#[cfg(test)]", "#[cfg(feature = \"mutants\")]"];

/// Blanked code without the items that are in no release. `text` is the same with its literals.
fn released(text: &str, code: &str) -> String {
    let mut out = String::new();
    let mut from = 0;
    let here = |at: usize| code.get(at..).is_some_and(|code| code.starts_with("#[cfg("));
    let next = |from: usize| {
        let rest = text.get(from..)?;
        let found = UNRELEASED.iter().flat_map(|mark| rest.match_indices(mark)).map(|(at, _)| from + at);
        found.filter(|at| here(*at)).min()
    };
    while let Some(at) = next(from) {
        out.push_str(code.get(from..at).unwrap_or_default());
        let left = code.get(at..).unwrap_or_default();
        let mut depth = 0_i32;
        let end = left.char_indices().find_map(|(i, c)| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            (depth == 0 && (c == '}' || c == ';')).then_some(i + 1)
        });
        let end = end.unwrap_or(left.len());
        out.extend(left.bytes().take(end).map(|_| ' '));
        from = at + end;
    }
    out.push_str(code.get(from..).unwrap_or_default());
    out
}
