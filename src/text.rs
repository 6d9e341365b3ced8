//! Text that others wrote, made fit to show; and the digests that names are made of.
//!
//! Pure, and used by every room: what is said of foreign text is said here once. What a page or a PromQL string needs beyond
//! this is the business of those who write them.

use std::error::Error;

use sha2::{Digest as _, Sha256};

/// At most `most` characters on one line: control characters, which could move a cursor or end a line, become spaces.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}

/// Whether a character reorders or hides others.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// An error with its causes, the innermost last. A cause that the error repeats is said once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        let told = cause.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        next = cause.source();
    }
    text
}

/// The first bytes of the SHA-256 of something, in hexadecimal digits.
pub(crate) fn digest(of: impl AsRef<[u8]>, bytes: usize) -> String {
    Sha256::digest(of).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer: inner")]
    struct Outer(#[source] Inner);
    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner(#[source] Core);
    #[derive(Debug, thiserror::Error)]
    #[error("core")]
    struct Core;

    #[test]
    fn foreign_text_stays_on_its_line() {
        assert_eq!(one_line("a\x1b[2Jb\nc", 7), "a [2Jb ");
    }

    #[test]
    fn causes_are_told_once() {
        assert_eq!(chain(&Outer(Inner(Core))), "outer: inner: core");
    }

    #[test]
    fn a_digest_has_two_digits_a_byte() {
        assert_eq!(digest("", 4), "e3b0c442");
        assert_eq!(digest("", 32).len(), 64);
    }
}
