//! What is simulated: the objective, the traffic and the truth of one scenario, and its name.

use std::fmt;

/// Largest share of bad requests of the absolute objective.
pub const ABSOLUTE: f64 = 0.01;
/// Largest share of requests slower than the bound: that of a 95 % quantile.
pub const SLOW: f64 = 0.05;
/// The relative objective: at most this multiple of the baseline's share.
pub const RATIO: f64 = 1.5;
/// And this share on top of it.
pub const SLACK: f64 = 0.002;
/// Half of the deadline of an hour, seconds: when late harm begins.
pub const HALF_TIME: f64 = 1800.0;
/// How long a drift lasts, seconds.
pub const DRIFT: f64 = 3600.0;
/// Length of an outage of both versions, seconds.
pub const OUTAGE: f64 = 60.0;
/// What it adds to both shares.
pub const OUTAGE_SHARE: f64 = 0.1;
/// Between these times an outage begins, seconds: while the ramp rises or the verdict is due.
pub const OUTAGE_BEGINS: (f64, f64) = (30.0, 150.0);
/// How late data are visible unless the user says otherwise, seconds.
pub const LAG: f64 = 15.0;

/// What is asked of the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Objective {
    /// At most 1 % bad requests.
    Absolute,
    /// At most 1.5 times the baseline's share and 0.2 percentage points.
    Relative,
    /// A latency at the 95 % quantile: at most 5 % slower requests.
    Quantile,
}

impl Objective {
    /// The largest share that is acceptable beside a baseline of this share.
    pub fn limit(self, baseline: f64) -> f64 {
        match self {
            Self::Absolute => ABSOLUTE,
            Self::Quantile => SLOW,
            Self::Relative => RATIO * baseline + SLACK,
        }
    }

    /// The word in names of scenarios.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absolute => "absolute",
            Self::Relative => "relative",
            Self::Quantile => "p95",
        }
    }
}

/// Where the candidate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// Below its limit at all times: a rollback is wrong.
    Within,
    /// Exactly at it: both verdicts are wrong.
    AtTheLimit,
    /// Above it at all times: a promotion is wrong.
    Beyond,
    /// Below it before half time, above it from then on: a rollback is wrong before, a promotion after.
    Late,
}

impl Truth {
    /// The word in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Within => "within",
            Self::AtTheLimit => "at the limit",
            Self::Beyond => "beyond",
            Self::Late => "beyond from half time on",
        }
    }
}

/// One scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scenario {
    /// What is asked of the candidate.
    pub objective: Objective,
    /// Requests per second, of both versions together.
    pub rps: f64,
    /// The baseline's share of bad requests.
    pub baseline: f64,
    /// The candidate's.
    pub candidate: f64,
    /// Mean size of a clump of bad requests; 1: they are independent.
    pub clump: f64,
    /// Whether both versions suffer an outage.
    pub outage: bool,
    /// The candidate's share from half time on.
    pub late: Option<f64>,
    /// What both shares are multiplied by in the end, linearly in time.
    pub drift: f64,
    /// How late data are visible, seconds.
    pub lag: f64,
}

impl Scenario {
    /// Independent bad requests, no outage, no change.
    pub fn new(objective: Objective, rps: f64, baseline: f64, candidate: f64) -> Self {
        Self { objective, rps, baseline, candidate, clump: 1.0, outage: false, late: None, drift: 1.0, lag: LAG }
    }

    /// Shares of baseline and candidate at a time, the outage aside.
    pub fn shares(&self, seconds: f64) -> (f64, f64) {
        let grown = 1.0 + (self.drift - 1.0) * (seconds / DRIFT).clamp(0.0, 1.0);
        let candidate = self.late.filter(|_| seconds >= HALF_TIME).unwrap_or(self.candidate);
        (self.baseline * grown, candidate * grown)
    }

    /// Where the candidate is; at both ends of a drift, and so all the way.
    pub fn truth(&self) -> Truth {
        let at = |seconds: f64| {
            let (baseline, candidate) = self.shares(seconds);
            candidate / self.objective.limit(baseline)
        };
        let (start, end) = (at(0.0), at(DRIFT));
        // Shares are written in decimal.
        let near = |x: f64| (x - 1.0).abs() < 1e-9;
        if self.late.is_some() {
            Truth::Late
        } else if near(start) && near(end) {
            Truth::AtTheLimit
        } else if start <= 1.0 {
            Truth::Within
        } else {
            Truth::Beyond
        }
    }

    /// The candidate's share in units of its limit, at the start.
    pub fn times_limit(&self) -> f64 {
        self.candidate / self.objective.limit(self.baseline)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { objective, rps, baseline, candidate, .. } = self;
        let (baseline, candidate) = (percent(*baseline), percent(*candidate));
        write!(f, "{}, {rps} rps, baseline {baseline} %, candidate {candidate} %", objective.as_str())?;
        if self.clump > 1.0 {
            write!(f, ", clumps of {}", self.clump)?;
        }
        if self.outage {
            f.write_str(", outage of both")?;
        }
        if let Some(late) = self.late {
            write!(f, ", {} % from half time", percent(late))?;
        }
        if (self.drift - 1.0).abs() > 0.0 {
            write!(f, ", drift x{}", self.drift)?;
        }
        if (self.lag - LAG).abs() > 0.0 {
            write!(f, ", lag {} s", self.lag)?;
        }
        Ok(())
    }
}

/// A share as a percentage with no more digits than it needs.
pub fn percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_truth_is_where_the_share_is() {
        let truth = |objective, baseline, candidate| Scenario::new(objective, 50.0, baseline, candidate).truth();
        assert_eq!(truth(Objective::Absolute, 0.005, 0.008), Truth::Within);
        assert_eq!(truth(Objective::Absolute, 0.005, 0.01), Truth::AtTheLimit);
        assert_eq!(truth(Objective::Absolute, 0.1, 0.1), Truth::Beyond);
        assert_eq!(truth(Objective::Quantile, 0.005, 0.012), Truth::Within);
        assert_eq!(truth(Objective::Relative, 0.001, 0.0035), Truth::AtTheLimit);
        assert_eq!(truth(Objective::Relative, 0.008, 0.012), Truth::Within);
        assert_eq!(truth(Objective::Relative, 0.005, 0.012), Truth::Beyond);
        let late = Scenario { late: Some(0.04), ..Scenario::new(Objective::Absolute, 5.0, 0.008, 0.008) };
        assert_eq!(
            (late.truth(), late.shares(1799.0).1 < 0.01, late.shares(1800.0).1 > 0.01),
            (Truth::Late, true, true)
        );
    }

    #[test]
    fn a_name_says_what_is_unusual() {
        let plain = Scenario::new(Objective::Absolute, 50.0, 0.005, 0.05);
        assert_eq!(plain.to_string(), "absolute, 50 rps, baseline 0.5 %, candidate 5 %");
        let all = Scenario { clump: 5.0, outage: true, drift: 4.0, lag: 30.0, late: Some(0.25), ..plain };
        let unusual = all.to_string();
        assert!(
            unusual.ends_with(", clumps of 5, outage of both, 25 % from half time, drift x4, lag 30 s"),
            "{unusual}"
        );
    }
}
