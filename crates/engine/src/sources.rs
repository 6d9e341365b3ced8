//! Each metric's own place in time: what its counters stood at, and which of its intervals are taken.
//!
//! Called by [`super::shift`] and [`super::watch`] with what a world read. Decides which numbers of an interval count:
//! one source that cannot be read blinds no other, what two servers of one source know differently is counted once, and
//! an interval whose numbers cannot be known is void. Draws nothing from the numbers; that is [`super::evidence`]'s.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::fact::Window;
use crate::judge::{Counted, Sample, Tally};
use crate::reading::{Answer, Growth, Pair, Reading, Void};

/// An interval has so many times the usual requests at most, and [`LEAST`] on top: more has never been growth, but the
/// past of counters that were taken for new ones.
const MOST: f64 = 10.0;
/// Requests that are no surprise on any service.
const LEAST: f64 = 100.0;
/// Part of what was usual that still is after an interval with less: counters that are scraped every minute grow in one
/// of six intervals.
const FADING: f64 = 0.9;
/// How long a source may know less than was counted already, before its numbers are taken anew: longer than two servers
/// are apart.
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);
/// Rounding of sums of large numbers.
const ROUNDING: f64 = 1e-6;

/// Where one source is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Place {
    /// Where its next interval begins, if that is not where the others' does.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<Timestamp>,
    /// What its counters stood at when its last interval ended, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none", with = "numbers")]
    stood: Option<Pair>,
    /// Requests per second that are usual; 0: unknown.
    usual: f64,
    /// Its last interval was void.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    void: bool,
}

impl Place {
    /// Whether the source answered for all that the others did.
    pub(super) fn is_current(&self) -> bool {
        self.behind.is_none()
    }
}

/// What a reading adds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Taken {
    /// What each source says that counts, and of which interval.
    pub(super) pairs: Vec<Option<(Pair, Window)>>,
    /// Some source could not be read.
    pub(super) unread: bool,
    /// Some source was taken in, were it as void.
    pub(super) answered: bool,
    /// Sources whose interval is void, and was not before.
    pub(super) voided: Vec<(usize, Void)>,
}

impl Taken {
    /// What a source says, if it counts.
    pub(super) fn pair(&self, source: usize) -> Option<Pair> {
        self.of(source).map(|(pair, _)| pair)
    }

    /// The same with its interval.
    pub(super) fn of(&self, source: usize) -> Option<(Pair, Window)> {
        self.pairs.get(source).copied().flatten()
    }
}

/// The intervals of the sources that begin earlier than the others'.
pub(super) fn behind(places: &[Place]) -> impl Iterator<Item = (usize, Timestamp)> {
    places.iter().enumerate().filter_map(|(source, place)| place.behind.map(|from| (source, from)))
}

/// Takes in what was read. `rate`: requests per second before there is any interval, 0 if that is unknown.
pub(super) fn take_in(places: &mut Vec<Place>, reading: &Reading, rate: f64) -> Taken {
    places.resize(reading.answers.len(), Place::default());
    // An experiment without criteria asks nothing, and its intervals pass.
    let mut taken = Taken { answered: reading.answers.is_empty(), ..Taken::default() };
    for (source, (place, answer)) in places.iter_mut().zip(&reading.answers).enumerate() {
        let window = Window { from: place.behind.unwrap_or(reading.window.from), ..reading.window };
        if place.usual <= 0.0 {
            place.usual = rate;
        }
        let said = match answer {
            Ok(Answer::Void(void)) => Said::Void(*void),
            Ok(Answer::Counted(pair)) => place.plausible(*pair, window),
            Ok(Answer::Grown(growth)) => place.grown(growth, window),
            Err(_) => {
                taken.unread = true;
                Said::Nothing
            }
        };
        place.behind = matches!(said, Said::Nothing).then_some(window.from);
        taken.answered |= place.is_current();
        let was_void = std::mem::replace(&mut place.void, matches!(said, Said::Void(_)));
        if let Said::Void(void) = said
            && !was_void
        {
            taken.voided.push((source, void));
        }
        taken.pairs.push(if let Said::Pair(pair) = said { Some((pair, window)) } else { None });
    }
    if !taken.answered {
        // All of them are where they were: that is no exception.
        for place in places {
            place.behind = place.behind.filter(|from| *from != reading.window.from);
        }
    }
    taken
}

/// What comes of an answer.
enum Said {
    Pair(Pair),
    Void(Void),
    /// The interval stays open: what arrives later lands in a longer one, and nothing is lost.
    Nothing,
}

impl Place {
    /// What grew since what was counted already. Two servers that stand for one source know requests at different times:
    /// what one of them told is not counted again when the other one knows it, and what the other one knew before is not
    /// lost.
    fn grown(&mut self, growth: &Growth, window: Window) -> Said {
        let since = self.stood.map(|stood| growth.from.less(&stood));
        let pair = since.map_or(growth.pair, |more| growth.pair.plus(&more));
        if let Some(pair) = pair.counted() {
            self.stood = Some(growth.to);
            return self.plausible(pair, window);
        }
        if window.to.duration_since(window.from) < PATIENCE {
            return Said::Nothing;
        }
        self.stood = Some(growth.to);
        Said::Void(Void::Fell)
    }

    fn plausible(&mut self, pair: Pair, window: Window) -> Said {
        let seconds = window.to.duration_since(window.from).as_secs_f64().max(0.001);
        let (baseline, candidate) = pair.volume();
        let requests = baseline + candidate;
        let most = if self.usual > 0.0 { MOST * self.usual * seconds + LEAST } else { f64::INFINITY };
        let surprising = requests > most;
        // Where it goes on like this, it is what is usual from now on.
        let usual = requests / seconds;
        self.usual = if surprising { usual } else { usual.max(FADING * self.usual) };
        if surprising { Said::Void(Void::Implausible) } else { Said::Pair(pair) }
    }
}

impl Pair {
    /// The sum of two answers of one kind; of two kinds the first.
    fn plus(&self, more: &Self) -> Self {
        self.with(more, |a, b| a + b)
    }

    /// The difference of two answers of one kind.
    fn less(&self, other: &Self) -> Self {
        self.with(other, |a, b| a - b)
    }

    fn with(&self, other: &Self, op: impl Fn(f64, f64) -> f64) -> Self {
        let tally = |a: Tally, b: Tally| Tally { requests: op(a.requests, b.requests), bad: op(a.bad, b.bad) };
        let counted = |a: Counted, b: Counted| Counted { least: tally(a.least, b.least), most: tally(a.most, b.most) };
        let sample = |a: Sample, b: Sample| Sample { count: op(a.count, b.count), sum: op(a.sum, b.sum) };
        match (*self, *other) {
            (
                Self::Requests { baseline, candidate, unreached },
                Self::Requests { baseline: b, candidate: c, unreached: u },
            ) => Self::Requests {
                baseline: counted(baseline, b),
                candidate: counted(candidate, c),
                unreached: op(unreached, u),
            },
            (Self::Values { baseline, candidate }, Self::Values { baseline: b, candidate: c }) => {
                Self::Values { baseline: sample(baseline, b), candidate: sample(candidate, c) }
            }
            (pair, _) => pair,
        }
    }

    /// The same as counts: none is negative, and no more requests are bad than there are. None if a counter fell.
    fn counted(self) -> Option<Self> {
        let count = |value: f64| (value >= -ROUNDING).then_some(value.max(0.0));
        let tally = |t: Tally| {
            let requests = count(t.requests)?;
            // Two counters that are read a moment apart may disagree by what arrived in between.
            Some(Tally { requests, bad: count(t.bad)?.min(requests) })
        };
        let counted = |c: Counted| Some(Counted { least: tally(c.least)?, most: tally(c.most)? });
        let sample = |s: Sample| Some(Sample { count: count(s.count)?, ..s });
        Some(match self {
            Self::Requests { baseline, candidate, unreached } => Self::Requests {
                baseline: counted(baseline)?,
                candidate: counted(candidate)?,
                unreached: count(unreached)?,
            },
            Self::Values { baseline, candidate } => {
                Self::Values { baseline: sample(baseline)?, candidate: sample(candidate)? }
            }
        })
    }
}

/// A pair as a status keeps it: its numbers alone, because there is one for each metric and candidate.
mod numbers {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{Counted, Pair, Sample, Tally};

    // Serde hands over the field as it is.
    #[allow(clippy::ref_option)]
    pub(super) fn serialize<S: Serializer>(pair: &Option<Pair>, to: S) -> Result<S::Ok, S::Error> {
        let counted = |c: Counted| [c.most.requests, c.least.bad, c.most.bad];
        let numbers = pair.map(|pair| match pair {
            Pair::Requests { baseline, candidate, unreached } => {
                counted(baseline).into_iter().chain(counted(candidate)).chain([unreached]).collect()
            }
            Pair::Values { baseline, candidate } => {
                vec![baseline.count, baseline.sum, candidate.count, candidate.sum]
            }
        });
        numbers.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Pair>, D::Error> {
        let Some(numbers) = Option::<Vec<f64>>::deserialize(from)? else { return Ok(None) };
        let counted = |[requests, least, most]: [f64; 3]| Counted {
            least: Tally { requests, bad: least },
            most: Tally { requests, bad: most },
        };
        match *numbers.as_slice() {
            [requests, least, most, own, own_least, own_most, unreached] => Ok(Some(Pair::Requests {
                baseline: counted([requests, least, most]),
                candidate: counted([own, own_least, own_most]),
                unreached,
            })),
            [count, sum, of, all] => {
                Ok(Some(Pair::Values { baseline: Sample { count, sum }, candidate: Sample { count: of, sum: all } }))
            }
            _ => Err(Error::custom(format!("{} numbers are no requests and no values", numbers.len()))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::cause::Cause;
    use crate::fact::Unavailable;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pair(requests: f64) -> Pair {
        let tally = Tally { requests, bad: 0.0 };
        Pair::requests(tally, tally)
    }

    /// What a server says that knows so many requests of each version at both ends.
    fn told(from: f64, to: f64) -> Answer {
        Answer::Grown(Box::new(Growth { pair: pair(to - from), from: pair(from), to: pair(to) }))
    }

    fn interval(number: i64, answer: Answer) -> Reading {
        Reading::new(Window { from: at(10 * number), to: at(10 * number + 10) }, vec![Ok(answer)])
    }

    #[test]
    fn what_two_servers_know_at_different_times_is_counted_once() {
        let mut places = vec![];
        let counted = |taken: &Taken| taken.pair(0).map(|p| p.volume().0);
        let first = take_in(&mut places, &interval(0, told(0.0, 300.0)), 0.0);
        assert_eq!(counted(&first), Some(300.0));
        // The other server is a scrape ahead: what it knew before is not lost.
        let ahead = take_in(&mut places, &interval(1, told(400.0, 400.0)), 0.0);
        assert_eq!(counted(&ahead), Some(100.0));
        // The first one again, which is behind: nothing is counted twice, and the interval stays open.
        let behind = take_in(&mut places, &interval(2, told(300.0, 300.0)), 0.0);
        assert!(counted(&behind).is_none() && !behind.answered && !behind.unread && behind.voided.is_empty());
        let later = take_in(&mut places, &interval(2, told(300.0, 600.0)), 0.0);
        assert_eq!(counted(&later), Some(200.0));
    }

    #[test]
    fn counters_that_never_come_back_to_what_they_were_are_void_and_then_counted_anew() {
        let mut places = vec![];
        take_in(&mut places, &interval(0, told(0.0, 1000.0)), 0.0);
        let long = Reading { window: Window { from: at(10), to: at(200) }, ..interval(1, told(100.0, 200.0)) };
        let fell = take_in(&mut places, &long, 0.0);
        assert_eq!((fell.voided.clone(), fell.answered), (vec![(0, Void::Fell)], true));
        let next = take_in(&mut places, &interval(20, told(200.0, 260.0)), 0.0);
        assert_eq!(next.pair(0), Some(pair(60.0)));
    }

    #[test]
    fn ten_times_the_usual_requests_are_void_once() {
        let mut places = vec![];
        for number in 0..5 {
            assert!(take_in(&mut places, &interval(number, pair(200.0).into()), 0.0).pair(0).is_some());
        }
        let surprising = take_in(&mut places, &interval(5, pair(30_000.0).into()), 0.0);
        assert_eq!((surprising.pair(0), surprising.voided), (None, vec![(0, Void::Implausible)]));
        let usual = take_in(&mut places, &interval(6, pair(30_000.0).into()), 0.0);
        assert!(usual.pair(0).is_some(), "where it goes on like this, it is what is usual");
        // Before there is any interval, the past says what is usual.
        let first = take_in(&mut vec![], &interval(0, pair(30_000.0).into()), 40.0);
        assert_eq!(first.voided, [(0, Void::Implausible)]);
    }

    #[test]
    fn a_source_that_cannot_be_read_keeps_its_place_and_blinds_no_other() {
        let gone = || Err(Unavailable::new(Cause::MetricsUnavailable, "gone"));
        let mut places = vec![];
        let reading = |number: i64, second| Reading {
            answers: vec![Ok(pair(100.0).into()), second],
            ..interval(number, pair(0.0).into())
        };
        let taken = take_in(&mut places, &reading(0, gone()), 0.0);
        assert!(taken.answered && taken.unread && taken.pair(0).is_some() && taken.pair(1).is_none());
        assert_eq!(behind(&places).collect::<Vec<_>>(), [(1, at(0))]);
        take_in(&mut places, &reading(1, gone()), 0.0);
        assert_eq!(behind(&places).collect::<Vec<_>>(), [(1, at(0))], "its interval begins where it began");
        let back = take_in(&mut places, &reading(2, Ok(pair(300.0).into())), 0.0);
        assert_eq!(back.of(1).map(|(_, window)| window), Some(Window { from: at(0), to: at(30) }));
        assert_eq!(behind(&places).count(), 0);
    }

    #[test]
    fn what_counters_stood_at_survives_the_status() {
        let mut places = vec![];
        let values =
            Pair::Values { baseline: Sample { count: 3.0, sum: 0.1 }, candidate: Sample { count: 1.0, sum: 1e300 } };
        let growth = Growth { pair: values, from: values, to: values };
        let two = Reading {
            answers: vec![Ok(told(0.0, 7.0)), Ok(Answer::Grown(Box::new(growth)))],
            ..interval(0, pair(0.0).into())
        };
        take_in(&mut places, &two, 0.0);
        // As the numbers of JSON are kept by the ledger.
        let numbers = |place: &Place| place.stood;
        assert_eq!(places.iter().map(numbers).collect::<Vec<_>>(), [Some(pair(7.0)), Some(values)]);
    }
}
