//! The edges that histograms are known to have: PromQL cannot compare them as numbers, so they are read once and
//! remembered.
//!
//! A hint, never a fact: an answer shows by itself when a histogram has other edges than were asked for, and then they
//! are forgotten here and read again.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::question;
use crate::engine::judge::Bracket;
use crate::live::query::{Matcher, Selector};

/// Most histograms that are remembered; beyond it all are read again.
const MOST: usize = 4096;
/// Most edges of one histogram that are remembered.
const MOST_EDGES: usize = 1000;

/// Known edges by selector, as they are written.
#[derive(Default)]
pub(super) struct Edges(Mutex<HashMap<Selector, Vec<String>>>);

impl Edges {
    /// The edges of a histogram, as they are written.
    pub(super) fn known(&self, selector: &Selector) -> Option<Vec<String>> {
        self.0.lock().get(selector).cloned()
    }

    /// Remembers the edges of a histogram that has some.
    pub(super) fn learn<'a>(&self, selector: &Selector, edges: impl Iterator<Item = &'a str>) {
        let edges: Vec<String> = edges.take(MOST_EDGES).map(str::to_owned).collect();
        if edges.is_empty() {
            return;
        }
        let mut known = self.0.lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(selector.clone(), edges);
    }

    /// Forgets the edges of a histogram.
    pub(super) fn forget(&self, selector: &Selector) {
        self.0.lock().remove(selector);
    }
}

/// The edges around a bound.
pub(super) fn bracket(edges: &[String], bound: f64) -> Bracket {
    Bracket::around(bound, edges.iter().filter_map(|text| question::edge(text)))
}

/// The series of a histogram at these edges and at infinity, and how many of them each has.
pub(super) fn at(selector: &Selector, written: &[String], wanted: impl Iterator<Item = f64>) -> (Selector, usize) {
    // Nothing is at most 0 or above infinity; every histogram has the latter.
    let mut edges: Vec<f64> = wanted.filter(|edge| *edge > 0.0).chain([f64::INFINITY]).collect();
    edges.sort_by(f64::total_cmp);
    edges.dedup_by(|a, b| a.to_bits() == b.to_bits());
    let is_wanted = |text: &&String| {
        question::edge(text).is_some_and(|edge| edges.iter().any(|wanted| wanted.to_bits() == edge.to_bits()))
    };
    let texts: Vec<String> =
        written.iter().filter(is_wanted).map(|text| text.replace('+', "[+]").replace('.', "[.]")).collect();
    let matcher = Matcher { label: "le".into(), operator: "=~", value: texts.join("|") };
    (selector.with(matcher), edges.len())
}
