//! The last line of a request's text, hidden on its page: by it a text that people changed is told from ours.

use jiff::Timestamp;

use super::text::plain;
use crate::engine::TextSeen;

const BEGIN: &str = "<!-- iter8-text: ";
const END: &str = " -->";

/// A text with its mark: what it tells, when it was written, and what it was then.
pub fn marked(body: &str, news: &str, at: Timestamp) -> String {
    let body = unified(body);
    // A comma is in the mark of news alone; each part of it is a plain word.
    let news = news.split(',').map(plain).collect::<Vec<_>>().join(",");
    format!("{body}\n\n{BEGIN}of={} news={news} at={at}{END}\n", digest(&body))
}

/// Whose text this is. Forges may change the ends of its lines.
pub fn whose(text: &str) -> TextSeen {
    read(text).unwrap_or(TextSeen::Edited)
}

fn read(text: &str) -> Option<TextSeen> {
    let text = unified(text);
    let (body, line) = text.rsplit_once('\n')?;
    let mut words = line.strip_prefix(BEGIN)?.strip_suffix(END)?.split(' ');
    let mut word = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=').map(ToOwned::to_owned);
    let (of, news, at) = (word("of")?, word("news")?, word("at")?.parse().ok()?);
    (of == digest(&unified(body))).then_some(TextSeen::Ours { news, at })
}

fn unified(text: &str) -> String {
    text.replace("\r\n", "\n").trim_end().to_owned()
}

/// Tells texts apart.
fn digest(body: &str) -> String {
    crate::text::digest(body, 8)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_text_is_ours_until_somebody_changes_it() {
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let ours = marked("One.\n\n| a |\n|---|\n\n", "WaitingForReview,3,1767323045", at);
        let told = TextSeen::Ours { news: "WaitingForReview,3,1767323045".into(), at };
        assert_eq!(whose(&ours), told);
        assert_eq!(whose(&ours.replace('\n', "\r\n")), told, "a forge's line ends");
        assert_eq!(whose(ours.trim_end()), told, "a forge's end");
        for edited in [
            ours.replace("One", "Two"),
            format!("{ours}\nMe too."),
            format!("Me first.\n{ours}"),
            ours.replace("WaitingForReview", "x y"),
            ours.replace(&ours[ours.find(BEGIN).unwrap()..], ""),
            String::new(),
        ] {
            assert_eq!(whose(&edited), TextSeen::Edited, "{edited}");
        }
    }

    #[test]
    fn a_mark_cannot_be_left_by_what_is_told() {
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let text = marked("One.", "a --> @b\n#1", at);
        assert_eq!(text.lines().count(), 3);
        assert_eq!(text.matches("-->").count(), 1);
        assert!(!text.contains(['@', '#']), "{text}");
    }
}
