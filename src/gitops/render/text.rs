//! Words, numbers and code spans that carry foreign text without its power over the page.

use crate::text::is_invisible;

/// Longest text in a code span, in characters.
const MAX_CODE: usize = 120;
/// Longest name in a title, in characters.
const MAX_WORD: usize = 60;

/// A share in percent with three significant digits.
pub(super) fn percent(share: f64) -> String {
    let value = share * 100.0;
    let digits = if value >= 10.0 {
        1
    } else if value >= 1.0 {
        2
    } else {
        3
    };
    let text = format!("{value:.digits$}");
    format!("{} %", if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text })
}

/// A time in its two largest units.
pub(super) fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// A single word without meaning to any forge: no space, so no keyword before a reference, and no `#`, `@` or `:`.
pub(super) fn plain(text: &str) -> String {
    let word: String = text
        .chars()
        .take(MAX_WORD)
        .map(|c| if c.is_ascii_alphanumeric() || "._/-".contains(c) { c } else { '-' })
        .collect();
    // `--` could end a comment.
    let mut word = word;
    while word.contains("--") || word.contains("..") {
        word = word.replace("--", "-").replace("..", ".");
    }
    word
}

/// A code span: no line break, cut to length, fenced by more backticks than it holds.
pub(super) fn code(text: &str) -> String {
    let mut inner: String = text
        .chars()
        .filter(|c| !is_invisible(*c))
        .map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c })
        .take(MAX_CODE)
        .collect();
    if text.chars().count() > MAX_CODE {
        inner.push('…');
    }
    let longest = inner.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if inner.is_empty() || longest > 0 { " " } else { "" };
    format!("{fence}{space}{inner}{space}{fence}")
}

/// A code span in a table's cell. Escaped bars are read differently by different forges, so there is none.
pub(super) fn cell(text: &str) -> String {
    code(&text.replace('|', "¦"))
}
