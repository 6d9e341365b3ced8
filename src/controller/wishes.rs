//! What people ask for, read from an experiment's annotations.
//!
//! Pure; called by [`super::resolve`]. An annotation is hostile text: its length is bounded, and one that cannot be
//! read is passed on as such, never as another request.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::Experiment;
use crate::engine::{Verb, Wish};
use crate::text::{is_invisible, one_line};

/// Prefix of the annotations; the verb follows.
const PREFIX: &str = "iter8.tools/";
/// Longest reason that is kept, characters: it becomes part of Events and requests.
const LONGEST_WHY: usize = 200;

/// The annotation that carries the last request of a kind.
pub(crate) fn annotation(verb: Verb) -> String {
    format!("{PREFIX}{}", verb.as_str())
}

/// The requests of an experiment, by verb.
pub(super) fn wishes(experiment: &Experiment) -> Vec<Wish> {
    Verb::ALL
        .into_iter()
        .filter_map(|verb| {
            let value = experiment.annotations().get(&annotation(verb))?;
            Some(wish(verb, value))
        })
        .collect()
}

/// A time, then perhaps a space and why.
fn wish(verb: Verb, value: &str) -> Wish {
    let (time, why) = value.split_once(' ').unwrap_or((value, ""));
    match time.parse::<Timestamp>() {
        Ok(at) => Wish::Asked { verb, at, why: shortened(why) },
        Err(_) => Wish::Unreadable(format!("annotation {}: `{}`", annotation(verb), shortened(value))),
    }
}

/// At most [`LONGEST_WHY`] characters on one line, none of which hides or reorders others.
fn shortened(text: &str) -> String {
    let seen: String = text.trim().chars().filter(|c| !is_invisible(*c)).collect();
    one_line(&seen, LONGEST_WHY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_time_and_perhaps_a_reason() {
        let at = Timestamp::from_second(1_800_000_000).unwrap_or_default();
        let asked = |why: &str| Wish::Asked { verb: Verb::Pause, at, why: why.into() };
        assert_eq!(wish(Verb::Pause, &at.to_string()), asked(""));
        assert_eq!(wish(Verb::Pause, &format!("{at} look\nat this")), asked("look at this"));
        assert_eq!(wish(Verb::Pause, &format!("{at} \u{202e}look\u{1b}[2J\u{200b}")), asked("look [2J"));
        let long = format!("{at} {}", "x".repeat(5000));
        assert_eq!(wish(Verb::Pause, &long), asked(&"x".repeat(LONGEST_WHY)));
    }

    #[test]
    fn what_cannot_be_read_names_the_annotation() {
        for value in ["", "true", "now", "2026-13-01T00:00:00Z", "2026-01-01"] {
            let Wish::Unreadable(text) = wish(Verb::Abort, value) else { unreachable!("{value}") };
            assert!(text.contains("iter8.tools/abort"), "{text}");
        }
    }
}
