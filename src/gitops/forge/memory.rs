//! What the process knows of the forges between two turns: pauses that they asked for, answers that they repeat cheaply, and
//! the tokens of Apps.
//!
//! Losing it costs calls, never a decision. Bounded, and kept nowhere else. Used by the clients of this folder alone.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::transport::Token;
use super::github::Minted;
use crate::text::digest;
use parking_lot::Mutex;

/// Most entries of each kind; one more, and another one is forgotten.
const MOST: usize = 512;
/// Largest answer that is kept, in bytes: a request with a long text stays below it.
const LARGEST: usize = 64 << 10;

/// Who asks whom: a server's address and a fingerprint of the credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Who(String);

impl Who {
    pub(super) fn new(host: &str, credential: Option<&Token>) -> Self {
        Self(format!("{host} {}", fingerprint(credential.map(Token::expose).unwrap_or_default())))
    }
}

/// Tells secrets apart without keeping them.
pub(super) fn fingerprint(secret: &str) -> String {
    digest(secret, 16)
}

/// An answer that is asked for again with its tag.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) tag: String,
    pub(super) body: Vec<u8>,
}

/// One installation's token; held while it is being made, so that it is made once.
pub(super) type Slot = Arc<tokio::sync::Mutex<Option<Minted>>>;

/// What the process knows of the forges between two turns.
#[derive(Debug, Default)]
pub struct Memory {
    pauses: Mutex<HashMap<Who, Instant>>,
    answers: Mutex<HashMap<(Who, String), Known>>,
    tokens: Mutex<HashMap<String, Slot>>,
}

/// Keeps a value. Where there is no room, another one goes: losing it costs a call.
fn put<K: Clone + Eq + Hash, V>(map: &mut HashMap<K, V>, key: K, value: V) {
    if map.len() >= MOST && !map.contains_key(&key) {
        let any = map.keys().next().cloned();
        any.and_then(|any| map.remove(&any));
    }
    map.insert(key, value);
}

impl Memory {
    /// How much of a pause is left.
    pub(super) fn pause(&self, who: &Who) -> Option<Duration> {
        let left = self.pauses.lock().get(who)?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    pub(super) fn set_pause(&self, who: &Who, wait: Duration) {
        let (mut pauses, now) = (self.pauses.lock(), Instant::now());
        // Those that are over need no room: a server that asked to be left alone is, whoever else is asked meanwhile.
        pauses.retain(|_, until| *until > now);
        put(&mut pauses, who.clone(), now + wait);
    }

    pub(super) fn answer(&self, who: &Who, address: &str) -> Option<Known> {
        self.answers.lock().get(&(who.clone(), address.to_owned())).cloned()
    }

    pub(super) fn keep_answer(&self, who: &Who, address: &str, known: Known) {
        if known.body.len() <= LARGEST {
            put(&mut self.answers.lock(), (who.clone(), address.to_owned()), known);
        }
    }

    pub(super) fn slot(&self, installation: &str) -> Slot {
        let mut tokens = self.tokens.lock();
        if let Some(slot) = tokens.get(installation) {
            return Arc::clone(slot);
        }
        let slot = Slot::default();
        put(&mut tokens, installation.to_owned(), Arc::clone(&slot));
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_holds_no_secret() {
        let memory = Memory::default();
        let who = Who::new("git.example.com", Some(&Token::new("ghp_secret")));
        for n in 0..=MOST {
            let known = Known { tag: "t".into(), body: vec![] };
            memory.keep_answer(&who, &n.to_string(), known);
        }
        assert_eq!(memory.answers.lock().len(), MOST, "one goes for each that comes");
        assert!(memory.answer(&who, &MOST.to_string()).is_some());
        memory.keep_answer(&who, "large", Known { tag: "t".into(), body: vec![0; LARGEST + 1] });
        assert!(memory.answer(&who, "large").is_none());
        memory.set_pause(&who, Duration::from_secs(60));
        assert!(memory.pause(&who).is_some() && memory.pause(&Who::new("git.example.com", None)).is_none());
        for n in 0..=MOST {
            memory.set_pause(&Who::new(&n.to_string(), None), Duration::ZERO);
        }
        assert!(memory.pause(&who).is_some(), "what is over makes room, and nothing else goes");
        assert!(!format!("{memory:?}").contains("ghp_secret"));
    }
}
