//! The PromQL of one question: many counters at both ends of an interval, evaluated once by one server and summed there.
//!
//! Pure. Owns how a row of the answer is named and what it means; [`super::interval`] asks and draws the conclusions.
//! Only `last_over_time`, `resets`, sums, counts, set operators and `@` are used: Prometheus, Thanos and VictoriaMetrics
//! evaluate all of them.
//!
//! A *light* question costs five evaluations of each selector. It tells what the series stood at together and whether
//! every one of them was there at both ends and did not fall; then the difference is what they grew by. A *deep* one
//! is asked of the few selectors of which that is not true.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::answer::Vector;
use crate::live::query::{Matcher, Selector};

/// How old a sample may be to count as a series' value: Prometheus' own notion of staleness.
pub(super) const LOOKBACK: SignedDuration = SignedDuration::from_mins(5);
/// A newest sample of this age is no outage, seconds: many installations scrape every 5 s.
const LEAST_AGE: i64 = 5;
/// How long before an experiment a series may have been seen last and still be an old one that comes back: longer than
/// a restart of Prometheus or of a proxy takes. Seconds.
const MEMORY: i64 = 3600;
/// No series is looked for further back than this: one that was away for a day was started anew. Seconds.
const LONGEST_MEMORY: i64 = 86_400;
/// The label that names a row of the answer.
pub(super) const ROW: &str = "row";
/// The label that keeps a counter's name where the selector leaves it open: two counters may differ in it alone.
const NAMED: &str = "counter";

/// What all counters of a question have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// The end of the interval.
    pub(super) to: Timestamp,
    /// The newest sample is at most this old then; else the source is not up to date.
    pub(super) age: SignedDuration,
    /// When the experiment began.
    pub(super) began: Timestamp,
}

/// The series of a selector, in an interval that begins at a time of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Counter {
    /// Its series.
    pub(super) selector: Selector,
    /// Where the interval begins.
    pub(super) from: Timestamp,
    /// Buckets that each series of a histogram has among those asked for; 0: it is no histogram.
    pub(super) buckets: usize,
    /// Whether the age of its newest sample tells if the source is up to date.
    pub(super) pulse: bool,
}

/// Sums by the upper edge of a bucket. What is no histogram has one, which is infinite.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sums(Vec<(f64, f64)>);

impl Sums {
    /// The sum at an edge; 0 without a series.
    pub(super) fn at(&self, edge: f64) -> f64 {
        self.0.iter().find(|(known, _)| known.to_bits() == edge.to_bits()).map_or(0.0, |(_, sum)| *sum)
    }

    /// The sum of what is no histogram, or of all observations of one.
    pub(super) fn all(&self) -> f64 {
        self.at(f64::INFINITY)
    }

    /// Whether there is a series at all.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sums by edge.
    pub(super) fn edges(&self) -> impl Iterator<Item = (f64, f64)> {
        self.0.iter().copied()
    }

    pub(super) fn add(&mut self, edge: f64, more: f64) {
        match self.0.iter_mut().find(|(known, _)| known.to_bits() == edge.to_bits()) {
            Some((_, sum)) => *sum += more,
            None => self.0.push((edge, more)),
        }
    }
}

/// What a counter did in its interval.
// Four facts that are independent of each other: no state machine.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Found {
    /// What its series stood at when the interval began.
    pub(super) from: Sums,
    /// What they stand at when it ends.
    pub(super) to: Sums,
    /// What those of them stood at that restarted from 0 since, or are gone.
    pub(super) lost: Sums,
    /// Some series appeared, disappeared or fell, and it is not known which: only a deep question tells.
    pub(super) odd: bool,
    /// A series is back that was there before and was away when the interval began: deep questions tell.
    pub(super) returned: bool,
    /// Some series lack a bucket that the others have.
    pub(super) uneven: bool,
    /// The newest sample is as young as it has to be.
    pub(super) fresh: bool,
}

impl Found {
    /// What the counter grew by.
    pub(super) fn grown(&self) -> Sums {
        let mut grown = self.to.clone();
        self.from.edges().for_each(|(edge, sum)| grown.add(edge, -sum));
        self.lost.edges().for_each(|(edge, sum)| grown.add(edge, sum));
        grown
    }
}

/// How much is asked of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// What it stood at, and whether the difference is what it grew by.
    Light,
    /// Which series restarted, went and came back.
    Deep,
}

/// Counters whose selectors differ in the value of one label alone are asked for together.
struct Group {
    first: Counter,
    /// Where in the matchers of the first one they differ.
    differ: Option<usize>,
    /// The label's value, and the counter it belongs to.
    members: Vec<(String, Counter)>,
}

/// One question: its text, and what the rows of its answer belong to.
pub(super) struct Question {
    groups: Vec<Group>,
    rows: Vec<String>,
}

impl Question {
    /// A question about nothing.
    pub(super) fn new() -> Self {
        Self { groups: vec![], rows: vec![] }
    }

    /// Asks for these counters, each of them once.
    pub(super) fn count<'a>(&mut self, counters: impl Iterator<Item = &'a Counter>, ends: Ends, depth: Depth) {
        let mut groups: Vec<Group> = vec![];
        for counter in counters {
            if !groups.iter_mut().any(|group| group.admits(counter)) {
                groups.push(Group::of(counter));
            }
        }
        for group in groups {
            let index = self.groups.len();
            self.rows.extend(group.rows(index, ends, depth));
            self.groups.push(group);
        }
    }

    /// Asks for a row of its own. The expression has no `by` labels that matter.
    pub(super) fn row(&mut self, name: &str, expression: &str) {
        self.rows.push(row(name, expression));
    }

    /// Whether nothing is asked.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The query.
    pub(super) fn text(&self) -> String {
        self.rows.join(" or ")
    }

    /// What the answer says of each counter.
    pub(super) fn found(&self, answer: &Answered) -> HashMap<Counter, Found> {
        let of = |(index, group): (usize, &Group)| group.found(index, answer);
        self.groups.iter().enumerate().flat_map(of).collect()
    }
}

/// The rows of an answer.
pub(super) struct Answered(Vec<Row>);

/// One row.
struct Row {
    name: String,
    labels: std::collections::BTreeMap<String, String>,
    value: f64,
}

impl Answered {
    /// Sorts an answer's series into rows.
    pub(super) fn new(vector: Vector) -> Self {
        let row = |(mut labels, value): (std::collections::BTreeMap<String, String>, f64)| {
            labels.remove(ROW).map(|name| Row { name, labels, value })
        };
        Self(vector.into_iter().filter_map(row).collect())
    }

    /// The rows of this name.
    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Row> {
        self.0.iter().filter(move |row| row.name == name)
    }

    /// The value of the only row of this name.
    pub(super) fn value(&self, name: &str) -> Option<f64> {
        self.named(name).next().map(|row| row.value)
    }

    /// The texts of a histogram's edges, of the rows of this name.
    pub(super) fn edges<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.named(name).filter_map(|row| row.labels.get("le").map(String::as_str))
    }
}

impl Group {
    fn of(counter: &Counter) -> Self {
        Self { first: counter.clone(), differ: None, members: vec![(String::new(), counter.clone())] }
    }

    /// Takes a counter in, if it is here already or differs from the others in the value of one label alone.
    fn admits(&mut self, counter: &Counter) -> bool {
        if self.members.iter().any(|(_, known)| known == counter) {
            return true;
        }
        let like = |c: &Counter| (c.from, c.buckets, c.pulse, c.selector.name.clone());
        let (Some(ours), Some(theirs)) = (&self.first.selector.matchers, &counter.selector.matchers) else {
            return false;
        };
        if like(&self.first) != like(counter) || ours.len() != theirs.len() {
            return false;
        }
        let mut others = ours.iter().zip(theirs).enumerate().filter(|(_, (a, b))| a != b);
        let (Some((at, (ours, theirs))), None) = (others.next(), others.next()) else { return false };
        let one_label = ours.label == theirs.label && [ours, theirs].iter().all(|m| m.operator == "=");
        if !one_label || self.differ.is_some_and(|known| known != at) || !is_plain(ours) || !is_plain(theirs) {
            return false;
        }
        if let Some((value, _)) = self.members.first_mut() {
            value.clone_from(&ours.value);
        }
        self.differ = Some(at);
        self.members.push((theirs.value.clone(), counter.clone()));
        true
    }

    /// The label that tells the members apart.
    fn label(&self) -> Option<&str> {
        let matchers = self.first.selector.matchers.as_ref()?;
        self.differ.and_then(|at| matchers.get(at)).map(|matcher| matcher.label.as_str())
    }

    /// A selector of the series of all members.
    fn selector(&self) -> Selector {
        let mut all = self.first.selector.clone();
        let differing = self.differ.zip(all.matchers.as_mut()).and_then(|(at, matchers)| matchers.get_mut(at));
        if let Some(matcher) = differing {
            let values: Vec<String> = self.members.iter().map(|(value, _)| value.replace('.', "[.]")).collect();
            (matcher.operator, matcher.value) = ("=~", values.join("|"));
        }
        all
    }

    fn rows(&self, index: usize, ends: Ends, depth: Depth) -> Vec<String> {
        let (selector, from, to) = (self.selector(), self.first.from, ends.to);
        let last = |window: SignedDuration, at: Timestamp| series(&selector, window, at);
        let (before, after) = (last(LOOKBACK, from), last(LOOKBACK, to));
        // Exactly the series that have a sample at one end or the other.
        let both = LOOKBACK + to.duration_since(from);
        let mut by: Vec<&str> = self.label().into_iter().collect();
        if self.first.buckets > 0 {
            by.push("le");
        }
        let by = if by.is_empty() { String::new() } else { format!(" by ({})", by.join(",")) };
        let sum = |name: char, expression: &str| row(&format!("{index}{name}"), &format!("sum{by}({expression})"));
        let count = |name: char, expression: &str| row(&format!("{index}{name}"), &format!("count({expression})"));
        let mut rows = vec![sum('a', &after), sum('b', &before)];
        if self.first.pulse {
            let age = SignedDuration::from_secs(ends.age.as_secs().max(LEAST_AGE));
            rows.push(count('f', &last(age, to)));
        }
        match depth {
            Depth::Light => {
                rows.push(count('n', &last(both, to)));
                rows.push(count('m', &format!("{after} >= {before}")));
            }
            Depth::Deep => {
                rows.push(sum(
                    'r',
                    &format!("{before} and ({after} <= {before} / 2){}", restarted(&selector, both, to)),
                ));
                rows.push(sum('g', &format!("{before} unless {after}")));
                let known = last(SignedDuration::from_secs(memory(from, ends.began)), from);
                rows.push(sum('k', &format!("({after} unless {before}) and {known}")));
            }
        }
        if self.first.buckets > 0 {
            let uneven = format!("count without (le) ({after}) != {}", self.first.buckets);
            rows.push(count('u', &uneven));
        }
        rows
    }

    fn found(&self, index: usize, answer: &Answered) -> Vec<(Counter, Found)> {
        let value = |name: char| answer.value(&format!("{index}{name}"));
        let label = self.label();
        let sums = |name: char, member: &str| {
            let mut sums = Sums::default();
            for row in answer.named(&format!("{index}{name}")) {
                let ours = label.is_none_or(|label| row.labels.get(label).is_some_and(|value| value == member));
                let edge = row.labels.get("le").map_or(Some(f64::INFINITY), |text| edge(text));
                if let (true, Some(edge)) = (ours, edge) {
                    sums.add(edge, row.value);
                }
            }
            sums
        };
        let found = |(member, counter): &(String, Counter)| {
            let (from, to, mut lost) = (sums('b', member), sums('a', member), sums('r', member));
            sums('g', member).edges().for_each(|(edge, sum)| lost.add(edge, sum));
            let all = |name: char| value(name).unwrap_or(0.0);
            let found = Found {
                from,
                to,
                lost,
                // Counts are whole numbers; a deep answer has neither.
                odd: (all('n') - all('m')).abs() > 0.5,
                returned: !sums('k', member).is_empty(),
                uneven: value('u').is_some(),
                fresh: value('f').is_some(),
            };
            (counter.clone(), found)
        };
        self.members.iter().map(found).collect()
    }
}

/// How far back a series that is new to the interval is looked for, seconds.
fn memory(from: Timestamp, began: Timestamp) -> i64 {
    let age = from.as_second().saturating_sub(began.as_second()).max(0);
    age.saturating_add(MEMORY).min(LONGEST_MEMORY)
}

/// Whether a value means itself in a regular expression, but for its dots.
fn is_plain(matcher: &Matcher) -> bool {
    matcher.value.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:".contains(c))
}

/// An expression as a row of this name.
pub(super) fn row(name: &str, expression: &str) -> String {
    format!("label_replace({expression},\"{ROW}\",\"{name}\",\"\",\"\")")
}

/// The samples of a window that ends at a time.
fn range(selector: &Selector, window: SignedDuration, at: Timestamp) -> String {
    format!("{selector}[{}ms] @ {:.3}", window.as_millis(), at.as_millisecond() as f64 / 1000.0)
}

/// Each series' last sample in the window that ends at a time.
fn series(selector: &Selector, window: SignedDuration, at: Timestamp) -> String {
    named(selector, &format!("last_over_time({})", range(selector, window, at)))
}

/// Where in doubt, a fall is a restart only if the samples between show it. A process that restarted has counted little
/// since; where two streams of samples are mixed up, a series falls by little and comes back to what it was. A selector
/// that leaves the name open cannot be asked: the function forgets the name.
fn restarted(selector: &Selector, window: SignedDuration, at: Timestamp) -> String {
    if selector.name.is_empty() {
        return String::new();
    }
    format!(" and (resets({}) > 0)", range(selector, window, at))
}

/// An expression whose series stay apart although arithmetic and set operators look at no name.
pub(super) fn named(selector: &Selector, expression: &str) -> String {
    if selector.name.is_empty() {
        format!("label_replace({expression},\"{NAMED}\",\"$1\",\"__name__\",\"(.+)\")")
    } else {
        expression.to_owned()
    }
}

/// The last sample of every series at a time, counted by the text of its bucket's edge.
pub(super) fn edges(selector: &Selector, at: Timestamp) -> String {
    format!("count by (le) ({})", series(selector, LOOKBACK, at))
}

/// A bucket's edge as a number: `250` is `250.0`.
pub(super) fn edge(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|edge| !edge.is_nan())
}
