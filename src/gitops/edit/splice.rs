//! Text: where lines begin and end, how a value is written, and how splices become a new text.

use std::ops::Range;

use granit_parser::ScalarStyle;

use super::EditError;
use super::value::{Value, may_be_plain};

/// One replacement of bytes; several are applied together by [`apply`].
#[derive(Debug)]
pub(super) struct Splice {
    pub(super) range: Range<usize>,
    pub(super) text: String,
}

/// Applies non-overlapping splices. Insertions at one place keep their order and come before what is removed there.
pub(super) fn apply(text: &str, mut splices: Vec<Splice>) -> Result<String, EditError> {
    splices.sort_by_key(|splice| (splice.range.start, !splice.range.is_empty()));
    let mut result = String::with_capacity(text.len());
    let mut done = 0;
    for splice in splices {
        result.push_str(text.get(done..splice.range.start).ok_or(EditError::Overlap)?);
        result.push_str(&splice.text);
        done = splice.range.end;
    }
    result.push_str(text.get(done..).ok_or(EditError::Overlap)?);
    Ok(result)
}

/// First byte of the line that holds `at`.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1)
}

/// First byte behind the line on which a block node that ends at `end` ends; a trailing comment belongs to that line.
pub(super) fn lines_end(text: &str, end: usize) -> usize {
    if text.get(..end).is_some_and(|before| before.ends_with('\n')) {
        return end;
    }
    text.get(end..).and_then(|rest| rest.find('\n')).map_or(text.len(), |newline| end + newline + 1)
}

/// Bytes between the start of the line and `at`.
pub(super) fn column(text: &str, at: usize) -> usize {
    // A byte order mark is not indentation.
    let start = line_start(text, at);
    let mark = if start == 0 && text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    at - start - mark.min(at)
}

/// The dash of the block sequence item at `start`, when the item is alone behind it on its line.
pub(super) fn dash(text: &str, start: usize) -> Option<usize> {
    let from = line_start(text, start);
    let prefix = text.get(from..start)?;
    (prefix.trim() == "-").then(|| from + prefix.len() - prefix.trim_start().len())
}

/// The line ending that a text uses.
pub(super) fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text.get(..at).is_some_and(|line| line.ends_with('\r')) => "\r\n",
        _ => "\n",
    }
}

/// Moves every line but the first from column `from` to column `to`, with line endings `newline`; no line ending at the end.
pub(super) fn reindent(text: &str, from: usize, to: usize, newline: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for (index, line) in text.trim_end_matches(['\n', '\r']).split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if index > 0 {
            result.push_str(newline);
            let spaces = line.len() - line.trim_start_matches(' ').len();
            // A line that is indented less than its parent is a comment or a blank one: it moves as far as it can.
            let indent = if to >= from { spaces + (to - from) } else { spaces.saturating_sub(from - to) };
            if !line.is_empty() {
                result.push_str(&" ".repeat(indent));
            }
            result.push_str(line.trim_start_matches(' '));
        } else {
            result.push_str(line);
        }
    }
    result
}

/// A leaf, written in `style` when that can hold it.
pub(super) fn scalar(value: &str, string: bool, style: ScalarStyle) -> String {
    if !string {
        return value.to_owned();
    }
    let printable = !value.chars().any(char::is_control);
    match style {
        ScalarStyle::Plain if may_be_plain(value) => value.to_owned(),
        ScalarStyle::SingleQuoted if printable => format!("'{}'", value.replace('\'', "''")),
        ScalarStyle::Plain
        | ScalarStyle::SingleQuoted
        | ScalarStyle::DoubleQuoted
        | ScalarStyle::Literal
        | ScalarStyle::Folded => double_quoted(value),
    }
}

/// JSON strings are YAML's double-quoted scalars, but for the line separators that YAML 1.1 would fold.
fn double_quoted(value: &str) -> String {
    serde_json::Value::from(value)
        .to_string()
        .replace('\u{85}', "\\u0085")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
        .replace('\u{feff}', "\\ufeff")
}

/// A value on one line, in flow style.
pub(super) fn flow(value: &Value) -> Result<String, EditError> {
    match value {
        Value::Scalar { text, string } => Ok(scalar(text, *string, ScalarStyle::Plain)),
        Value::List(items) => Ok(format!("[{}]", items.iter().map(flow).collect::<Result<Vec<_>, _>>()?.join(", "))),
        Value::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| Ok(format!("{}: {}", key_text(key), flow(value)?)));
            Ok(format!("{{{}}}", entries.collect::<Result<Vec<_>, EditError>>()?.join(", ")))
        }
        Value::Alias(_) => Err(EditError::Overlap),
    }
}

/// A mapping's key as written in block and flow style.
pub(super) fn key_text(key: &str) -> String {
    scalar(key, true, ScalarStyle::Plain)
}
