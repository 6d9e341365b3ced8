//! What all metrics of an experiment say of one interval, in at most two queries.
//!
//! The first one is light: in most intervals every series is there at both ends and grew. Where one is not, and where a
//! histogram's edges were not known, a second one asks what happened, and answers alone: no number is put together from
//! two evaluations, because two servers may answer them. A metric that the server refuses is asked alone, so that it
//! spoils no other.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::answer::Failure;
use super::question::{Counter, Depth, Ends, Found, Question, Sums};
use super::{Prometheus, answer, edges, in_place, question, unfilled};
use crate::engine::judge::{Bracket, Counted, Sample, Tally};
use crate::engine::{Answer, Cause, Growth, Pair, Seen, Unavailable, Void};
use crate::live::metric::MetricQuery;
use crate::live::query::{Selector, Values, Versions};

/// One metric of two versions, in an interval that begins at a time of its own.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The metric.
    pub query: &'a MetricQuery,
    /// The versions.
    pub versions: &'a Versions,
    /// Where the interval begins.
    pub from: Timestamp,
}

/// The baseline's part and the candidate's.
type Both<T> = [T; 2];

/// What is read of one metric.
enum Source {
    /// Bad requests among all.
    Share { total: Both<Counter>, bad: Both<Vec<Counter>>, unreached: Option<Counter> },
    /// Observations above a bound.
    Slower { buckets: Both<Selector>, bound: f64, from: Timestamp },
    /// A sum and a number of values.
    Mean { sum: Both<Counter>, count: Both<Counter> },
    /// Queries that answer with a number.
    Gauge(Both<String>),
}

/// What is known so far of the counters and gauges.
#[derive(Default)]
struct Known {
    counters: HashMap<Counter, Found>,
    gauges: HashMap<String, Gauge>,
    /// The buckets of each histogram, and which of its edges they are.
    buckets: HashMap<(Selector, Timestamp), Buckets>,
}

/// What a gauge's query answered with.
#[derive(Clone, Copy)]
struct Gauge {
    value: Option<f64>,
    /// How many series, if there are several.
    several: Option<f64>,
}

/// The part of a histogram that is asked for.
#[derive(Clone, Default)]
struct Buckets {
    edges: Vec<String>,
    /// None without a single series.
    counter: Option<Counter>,
}

impl Prometheus {
    /// What each metric says of its interval, all of which end at the same time. `began`: when the experiment did. `age`:
    /// the newest sample may be so old at the end.
    ///
    /// A server that was away answers with what it last knew: an interval that ended then would look as if nothing had
    /// happened, and the next one would get all that happened meanwhile, whatever the weights were.
    pub async fn read(
        &self,
        asked: &[Asked<'_>],
        to: Timestamp,
        began: Timestamp,
        age: SignedDuration,
    ) -> Vec<Seen<Answer>> {
        let ends = Ends { to, age, began };
        let sources: Vec<Seen<Source>> = asked.iter().map(|asked| Source::new(asked, ends)).collect();
        let read: Vec<&Source> = sources.iter().filter_map(|source| source.as_ref().ok()).collect();
        let answers = match self.together(&read, ends).await {
            Ok(answers) => answers,
            Err(failure) if failure.is_spoilt && read.len() > 1 => {
                let alone = read.iter().map(|source| self.alone(source, ends));
                futures::future::join_all(alone).await
            }
            Err(failure) => vec![Err(failure.why); read.len()],
        };
        in_place(sources, answers)
    }

    async fn alone(&self, source: &Source, ends: Ends) -> Seen<Answer> {
        let answers = self.together(&[source], ends).await.map_err(|failure| failure.why);
        answers?.pop().unwrap_or_else(|| Err(answer::unexpected()))
    }

    /// Asks about all sources at once, and once more about those that one question does not settle.
    async fn together(&self, sources: &[&Source], ends: Ends) -> Result<Vec<Seen<Answer>>, Failure> {
        let mut known = Known::default();
        let histograms: HashSet<&Selector> = sources.iter().flat_map(|source| source.histograms()).collect();
        let unknown: Vec<&Selector> = histograms.into_iter().filter(|s| self.edges.known(s).is_none()).collect();
        self.find_buckets(sources, &mut known);
        let mut first = Question::new();
        first.count(sources.iter().flat_map(|source| source.counters(&known)), ends, Depth::Light);
        let gauges: HashSet<&String> = sources.iter().flat_map(|source| source.gauges()).collect();
        let gauges: Vec<&String> = gauges.into_iter().collect();
        for (at, gauge) in gauges.iter().enumerate() {
            // A comment must not swallow the bracket.
            first.row(&format!("v{at}"), &format!("sum({gauge}\n)"));
            first.row(&format!("s{at}"), &format!("count({gauge}\n) > 1"));
        }
        for (at, selector) in unknown.iter().enumerate() {
            first.row(&format!("e{at}"), &question::edges(selector, ends.to));
        }
        if first.is_empty() {
            return Ok(vec![]);
        }
        let answered = self.ask(&first, ends.to).await?;
        known.counters = first.found(&answered);
        for (at, gauge) in gauges.into_iter().enumerate() {
            let found = Gauge { value: answered.value(&format!("v{at}")), several: answered.value(&format!("s{at}")) };
            known.gauges.insert(gauge.clone(), found);
        }
        for (at, selector) in unknown.iter().enumerate() {
            self.edges.learn(selector, answered.edges(&format!("e{at}")));
        }
        self.find_buckets(sources, &mut known);
        let open = sources.iter().filter(|source| !source.is_settled(&known));
        let mut second = Question::new();
        second.count(open.flat_map(|source| source.counters(&known)), ends, Depth::Deep);
        if !second.is_empty() {
            let answered = self.ask(&second, ends.to).await?;
            known.counters.extend(second.found(&answered));
        }
        Ok(sources.iter().map(|source| self.answer(source, &known, ends)).collect())
    }

    /// The buckets that are asked for of each histogram, as far as its edges are known: those around every bound.
    fn find_buckets(&self, sources: &[&Source], known: &mut Known) {
        let mut bounds: HashMap<(&Selector, Timestamp), Vec<f64>> = HashMap::new();
        for source in sources {
            if let Source::Slower { buckets, bound, from } = source {
                for selector in buckets {
                    bounds.entry((selector, *from)).or_default().push(*bound);
                }
            }
        }
        for ((selector, from), bounds) in bounds {
            let edges = self.edges.known(selector).unwrap_or_default();
            let brackets = bounds.iter().map(|bound| edges::bracket(&edges, *bound));
            let wanted = brackets.flat_map(|bracket| [bracket.lower, bracket.upper]);
            let counter = (!edges.is_empty()).then(|| {
                let (selector, buckets) = edges::at(selector, &edges, wanted);
                Counter { selector, from, buckets, pulse: true }
            });
            known.buckets.insert((selector.clone(), from), Buckets { edges, counter });
        }
    }

    fn answer(&self, source: &Source, known: &Known, ends: Ends) -> Seen<Answer> {
        if let Source::Gauge(queries) = source {
            let [baseline, candidate] = queries.each_ref().map(|query| known.gauge(query));
            return Ok(Answer::Counted(Pair::Values { baseline: baseline?, candidate: candidate? }));
        }
        let counters: Vec<&Found> = source.counters(known).filter_map(|counter| known.counters.get(counter)).collect();
        let pulses: Vec<&Found> =
            source.counters(known).filter(|c| c.pulse).filter_map(|counter| known.counters.get(counter)).collect();
        let seen = |end: fn(&Found) -> &Sums| pulses.iter().any(|found| !end(found).is_empty());
        if seen(|found| &found.to) && !pulses.iter().any(|found| found.fresh) {
            let message = format!(
                "Prometheus has no sample of the {} s before {}: it was away, or what it scrapes was",
                ends.age.as_secs(),
                ends.to
            );
            return Err(Unavailable::new(Cause::MetricsUnavailable, message));
        }
        if counters.iter().any(|found| found.uneven) {
            return Err(self.uneven(source));
        }
        if seen(|found| &found.to) && !seen(|found| &found.from) {
            return Ok(Answer::Void(Void::NoPast));
        }
        if counters.iter().any(|found| found.returned) {
            return Ok(Answer::Void(Void::Returned));
        }
        let is_count = |sum: f64| sum.is_finite() && sum >= 0.0;
        let sound = |found: &Found| [&found.from, &found.to].iter().all(|s| s.edges().all(|(_, sum)| is_count(sum)));
        if !counters.into_iter().all(sound) {
            return Ok(Answer::Void(Void::NotACounter));
        }
        let pair = |end: &dyn Fn(&Found) -> Sums| source.pair(known, end);
        Ok(Answer::Grown(Box::new(Growth {
            pair: pair(&Found::grown),
            from: pair(&|found| found.from.clone()),
            to: pair(&|found| found.to.clone()),
        })))
    }

    /// A histogram whose series have different edges cannot be counted. It may have been changed just now: its edges are
    /// read again.
    fn uneven(&self, source: &Source) -> Unavailable {
        source.histograms().for_each(|selector| self.edges.forget(selector));
        let names: Vec<String> = source.histograms().map(ToString::to_string).collect();
        Unavailable::new(
            Cause::InvalidQuery,
            format!(
                "the series of `{}` do not all have the same buckets (label `le`); let every pod have the same, or narrow \
                 the selector",
                names.join("` and `")
            ),
        )
    }
}

impl Source {
    fn new(asked: &Asked<'_>, ends: Ends) -> Seen<Self> {
        let Asked { query, versions, from } = *asked;
        let [baseline, candidate] = [&versions.baseline, &versions.candidate];
        let fill = |values: &Values, selector: &str| values.fill(selector).map_err(|e| unfilled(&e));
        let counter = |values: &Values, selector: &str, pulse: bool| {
            Ok::<_, Unavailable>(Counter { selector: fill(values, selector)?, from, buckets: 0, pulse })
        };
        let both = |selector: &str, pulse: bool| {
            Ok::<_, Unavailable>([counter(baseline, selector, pulse)?, counter(candidate, selector, pulse)?])
        };
        Ok(match query {
            MetricQuery::Share(share) => {
                let bad =
                    |values| share.bad.iter().map(|selector| counter(values, selector, false)).collect::<Seen<_>>();
                Self::Share {
                    total: both(&share.total, true)?,
                    bad: [bad(baseline)?, bad(candidate)?],
                    unreached: share.unreached.as_ref().map(|s| counter(candidate, s, false)).transpose()?,
                }
            }
            MetricQuery::Histogram { buckets, bound } => {
                Self::Slower { buckets: [fill(baseline, buckets)?, fill(candidate, buckets)?], bound: *bound, from }
            }
            MetricQuery::Mean { sum, count } => Self::Mean { sum: both(sum, false)?, count: both(count, true)? },
            MetricQuery::Gauge { query } => {
                let elapsed = ends.to.duration_since(ends.began).as_secs().max(0);
                let fill = |values: &Values| values.fill_query(query, elapsed).map_err(|e| unfilled(&e));
                Self::Gauge([gauge(fill(baseline)?)?, gauge(fill(candidate)?)?])
            }
            MetricQuery::Opaque(_) => {
                return Err(Unavailable::new(Cause::InvalidQuery, "an opaque metric is not one of Prometheus"));
            }
        })
    }

    /// The histograms of which the edges have to be known.
    fn histograms(&self) -> impl Iterator<Item = &Selector> {
        let buckets = if let Self::Slower { buckets, .. } = self { buckets.as_slice() } else { &[] };
        buckets.iter()
    }

    fn gauges(&self) -> impl Iterator<Item = &String> {
        let queries = if let Self::Gauge(queries) = self { queries.as_slice() } else { &[] };
        queries.iter()
    }

    /// The counters to read, as far as the edges of histograms are known.
    fn counters<'a>(&'a self, known: &'a Known) -> Box<dyn Iterator<Item = &'a Counter> + 'a> {
        match self {
            Self::Share { total, bad, unreached } => {
                Box::new(total.iter().chain(bad.iter().flatten()).chain(unreached))
            }
            Self::Slower { buckets, from, .. } => {
                Box::new(buckets.iter().filter_map(|selector| known.buckets(selector, *from)?.counter.as_ref()))
            }
            Self::Mean { sum, count } => Box::new(count.iter().chain(sum)),
            Self::Gauge(_) => Box::new(std::iter::empty()),
        }
    }

    /// Whether what is known says what each counter grew by.
    fn is_settled(&self, known: &Known) -> bool {
        self.counters(known).all(|counter| known.counters.get(counter).is_some_and(|found| !found.odd))
    }

    /// What it says of both versions, where one end, or the growth between them, is taken of each counter.
    fn pair(&self, known: &Known, end: &dyn Fn(&Found) -> Sums) -> Pair {
        let sums = |counter: &Counter| known.counters.get(counter).map(end).unwrap_or_default();
        match self {
            Self::Share { total, bad, unreached } => {
                let tally = |total: &Counter, bad: &[Counter]| Tally {
                    requests: sums(total).all(),
                    bad: bad.iter().map(|counter| sums(counter).all()).sum(),
                };
                let ([total_b, total_c], [bad_b, bad_c]) = (total, bad);
                Pair::Requests {
                    baseline: tally(total_b, bad_b).into(),
                    candidate: tally(total_c, bad_c).into(),
                    unreached: unreached.as_ref().map_or(0.0, |counter| sums(counter).all()),
                }
            }
            Self::Slower { buckets, bound, from } => {
                let [baseline, candidate] = buckets.each_ref().map(|selector| {
                    let buckets = known.buckets(selector, *from).cloned().unwrap_or_default();
                    let sums = buckets.counter.as_ref().map(sums).unwrap_or_default();
                    slower(edges::bracket(&buckets.edges, *bound), &sums)
                });
                Pair::Requests { baseline, candidate, unreached: 0.0 }
            }
            Self::Mean { sum, count } => {
                let sample = |sum: &Counter, count: &Counter| Sample { count: sums(count).all(), sum: sums(sum).all() };
                let ([sum_b, sum_c], [count_b, count_c]) = (sum, count);
                Pair::Values { baseline: sample(sum_b, count_b), candidate: sample(sum_c, count_c) }
            }
            Self::Gauge(_) => Pair::Values { baseline: Sample::default(), candidate: Sample::default() },
        }
    }
}

/// Observations above a bound that lies between these edges.
fn slower(bracket: Bracket, sums: &Sums) -> Counted {
    let requests = sums.all();
    let above = |edge: f64| Tally { requests, bad: requests - if edge > 0.0 { sums.at(edge) } else { 0.0 } };
    Counted { least: above(bracket.upper), most: above(bracket.lower) }
}

impl Known {
    fn buckets(&self, selector: &Selector, from: Timestamp) -> Option<&Buckets> {
        self.buckets.get(&(selector.clone(), from))
    }

    /// A gauge's number. No series, or NaN, is a value that is missing.
    fn gauge(&self, query: &str) -> Seen<Sample> {
        let invalid = |why: String| Unavailable::new(Cause::InvalidQuery, format!("`{query}` answered {why}"));
        match self.gauges.get(query) {
            Some(Gauge { several: Some(count), .. }) => {
                Err(invalid(format!("{count} series; aggregate them to one number")))
            }
            Some(Gauge { value: Some(value), .. }) if value.is_finite() => Ok(Sample::gauge(*value)),
            Some(Gauge { value: Some(value), .. }) if !value.is_nan() => {
                Err(invalid(format!("{value}; a gauge is a finite number")))
            }
            Some(_) | None => Ok(Sample::default()),
        }
    }
}

/// A gauge's query, if it can stand between brackets without leaving them.
fn gauge(query: String) -> Seen<String> {
    let (mut depth, mut quote, mut comment, mut escaped) = (0_i32, None, false, false);
    for c in query.chars() {
        match (quote, c) {
            _ if comment => comment = c != '\n',
            (Some('`'), '`') => quote = None,
            (Some(_), _) if escaped => escaped = false,
            (Some(open), _) if c == open => quote = None,
            (Some(open), '\\') => escaped = open != '`',
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '#') => comment = true,
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth -= 1,
            (Some(_) | None, _) => {}
        }
        if depth < 0 {
            break;
        }
    }
    if depth == 0 && quote.is_none() {
        return Ok(query);
    }
    Err(Unavailable::new(Cause::InvalidQuery, format!("a bracket or a quote of `{query}` has no other half")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_cannot_leave_its_brackets() {
        for whole in ["m", "sum(m{a=\"(\"})", "m # )", "m{a='\\'('}", "max(rate(m[5m])) / 2", "m{a=`\\`}"] {
            assert!(gauge(whole.into()).is_ok(), "{whole}");
        }
        for open in ["m) or (n", "sum(m", "m{a=\"}", "m]", "m{a='\\'}"] {
            assert!(gauge(open.into()).is_err(), "{open}");
        }
    }
}
