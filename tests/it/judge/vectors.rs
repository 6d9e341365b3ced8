//! Known answers: every vector whose kind the judge implements, computed by the judge itself.
//!
//! `REITER8_VECTORS` names a further file of the same form. A kind that is not known here is skipped and named, never
//! counted as passed.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // counts

use std::collections::BTreeMap;

use reiter8::bench::peers::flagger::Flagger;
use reiter8::bench::peers::{Verdict, argo, flagger, kayenta};
use reiter8::bench::promql;
use reiter8::engine::judge::{
    self, Bracket, Comparison, Dispersion, Moments, RelativeEvidence, RelativeTest, ShareEvidence, ShareTest, Tally,
    environment, information, ramp, threshold,
};
use serde_json::Value;
use statrs::distribution::{Binomial, ContinuousCDF, Discrete, StudentsT};

const CAP: f64 = 2.0;
const FIRST: f64 = 0.8;

#[test]
fn the_judge_gives_the_known_answers() {
    let mut files = vec![include_str!("../../vectors/judge.json").to_owned()];
    files.extend(
        std::env::var_os("REITER8_VECTORS").map(|path| std::fs::read_to_string(path).expect("REITER8_VECTORS")),
    );
    let (mut passed, mut skipped, mut wrong) = (0, BTreeMap::<String, u32>::new(), Vec::new());
    for file in &files {
        let file: Value = serde_json::from_str(file).unwrap();
        let listed = file["vectors"].as_array().unwrap().iter();
        for vector in listed.filter(|v| v["use"] == "product" || v["use"] == "bench") {
            let case = Case {
                input: &vector["input"],
                expected: &vector["expected"],
                tolerance: vector["rel_tol"].as_f64().unwrap(),
            };
            match case.run(vector["kind"].as_str().unwrap()) {
                Ran::Right => passed += 1,
                Ran::Unknown(kind) => *skipped.entry(kind).or_default() += 1,
                Ran::Wrong(why) => wrong.push(format!("{}: {why}", vector["id"])),
            }
        }
    }
    let kinds = skipped.iter().map(|(kind, n)| format!("{kind} {n}")).collect::<Vec<_>>().join(", ");
    println!("{passed} vectors passed, {} skipped", skipped.values().sum::<u32>());
    if !kinds.is_empty() {
        println!("skipped kinds: {kinds}");
    }
    assert!(wrong.is_empty(), "{} vectors failed:\n{}", wrong.len(), wrong.join("\n"));
    assert!(passed >= 20, "only {passed} vectors ran");
}

/// The same test without history: Fail rests on the ratio bet alone.
fn bets_alone(test: ShareTest) -> ShareTest {
    ShareTest { dispersion: Dispersion { mixed: false, ..test.dispersion }, ..test }
}

enum Ran {
    Right,
    Wrong(String),
    Unknown(String),
}

struct Case<'a> {
    input: &'a Value,
    expected: &'a Value,
    tolerance: f64,
}

impl Case<'_> {
    fn run(&self, kind: &str) -> Ran {
        let got = match kind {
            "ratio_bet" => self.ratio_bet(),
            "ratio" if self.input.get("limit").is_some() => self.ratio(),
            "ratio" | "ratio_rel" => self.relative_ratio(),
            "solve_a" => self.multipliers(),
            "rrs_logf" => self.log_factor(),
            "rrs_expectation" => self.expectation(),
            "pass_rel" => self.relative(RelativeTest::log_pass, "log_e"),
            "harm_hybrid_rel" if self.has_product_start() => self.relative_hybrid(),
            "tmix_one_sided" => self.t_mixture("log_e", &self.list("h")),
            "tmix_seq" => self.t_mixture_crossing(),
            "acf_temper" => {
                let powers = self.list("r1").into_iter().zip(self.list("n")).map(|(r1, n)| judge::temper(r1, n as u32));
                self.close("kappa", &powers.collect::<Vec<_>>())
            }
            "race" => self.race(),
            "iter8_feasible" => self.threshold(),
            "plan_abs" => self.absolute_plan(),
            "plan_rel" => {
                let version = |n: &str, p: &str| (self.number(n, f64::NAN), self.number(p, f64::NAN));
                let (ratio, slack) = (self.number("r", f64::NAN), self.number("d", f64::NAN));
                let (candidate, baseline) = (version("nc", "pc"), version("nb", "pb"));
                self.close("I", &[information::relative(candidate, baseline, ratio, slack, self.number("phi", 1.0))])
            }
            "flagger_trace" => self.flagger(),
            "argo_trace" => self.argo(),
            "kayenta_mann_whitney" => self.mann_whitney(),
            "prom_increase" => self.increase(),
            "hist_quantile" => self.histogram_quantile(),
            "env_guard" => self.environment(),
            "hist_bracket" => self.bracket(),
            "harm_lr_abs" if self.number("cap", CAP).to_bits() == CAP.to_bits() => {
                self.share(|t, e| t.log_fail_parts(e).1, "log_e")
            }
            "harm_hybrid_abs" if self.has_product_start() => self.hybrid(),
            "pass_abs" => self.share(ShareTest::log_pass, "log_e"),
            "pass_abs_min_n" => self.least_clean_requests(),
            "upper" => self.upper(),
            "bernoulli_cs" => self.interval(),
            "dispersion" => self.dispersion(),
            "counter_delta" => self.counter(),
            "combine_fail" => self.combine_fail(),
            "combine_pass" => {
                let logs = self.list("e").into_iter().map(f64::ln);
                self.truth("pass_", judge::combine_pass(logs, self.number("beta", 0.05)))
            }
            "sr_prior" if self.has_product_start() => self.start_prior(),
            "ramp_start" => self.ramp_start(),
            // The special functions that the judge's formulas take from the library, as an upgrade could change them.
            "student_t_cdf" => {
                let cdf = |(x, df): (f64, f64)| StudentsT::new(0.0, 1.0, df).unwrap().cdf(x);
                self.close("cdf", &self.list("x").into_iter().zip(self.list("df")).map(cdf).collect::<Vec<_>>())
            }
            "beta_reg" => {
                let beta = |v: &Value| statrs::function::beta::beta_reg(at(v, 0), at(v, 1), at(v, 2));
                self.close("i", &self.input["abx"].as_array().unwrap().iter().map(beta).collect::<Vec<_>>())
            }
            other => return Ran::Unknown(other.to_owned()),
        };
        match got {
            Ok(true) => Ran::Right,
            Ok(false) => Ran::Unknown(format!("{kind} with other constants")),
            Err(why) => Ran::Wrong(why),
        }
    }

    fn test(&self, limit: f64) -> ShareTest {
        // Without a start-time mixture all weight lies on the first interval, which is a horizon of one.
        let horizon = self.input.get("horizon").map_or(1, |h| u32::try_from(h.as_u64().unwrap()).unwrap());
        ShareTest { limit, dispersion: Dispersion::known(self.number("phi", 1.0)), horizon, aim: 0.0 }
    }

    fn has_product_start(&self) -> bool {
        self.input.get("horizon").is_none() || (self.number("pi1", FIRST) - FIRST).abs() < 1e-15
    }

    fn ratio_bet(&self) -> Result<bool, String> {
        if !self.has_product_start() {
            return Ok(false);
        }
        let ratios = self.list("ratios");
        // One request each, and a limit at which every ratio is a possible share.
        let test = bets_alone(self.test(0.5 / ratios.iter().copied().fold(1.0, f64::max)));
        let intervals = ratios.iter().map(|r| Tally { requests: 1.0, bad: r * test.limit });
        let logs = after_each(test, intervals, ShareTest::log_fail);
        let key = if self.expected.get("log_e_last").is_some() { "log_e_last" } else { "log_e" };
        self.close(key, if self.expected[key].is_array() { &logs } else { &logs[logs.len() - 1..] })
    }

    fn ratio(&self) -> Result<bool, String> {
        let test = self.test(self.number("limit", f64::NAN));
        let tallies = self.list("bad").into_iter().zip(self.list("total"));
        self.close("ratio", &tallies.map(|(bad, requests)| test.ratio(Tally { requests, bad })).collect::<Vec<_>>())
    }

    fn share(&self, read: impl Fn(&ShareTest, &ShareEvidence) -> f64, key: &str) -> Result<bool, String> {
        let batches =
            self.input["batches"].as_array().unwrap().iter().map(|b| Tally { requests: at(b, 1), bad: at(b, 0) });
        let logs = after_each(self.test(self.number("limit", f64::NAN)), batches, read);
        self.close(key, if self.expected[key].is_array() { &logs } else { &logs[logs.len() - 1..] })
    }

    fn hybrid(&self) -> Result<bool, String> {
        self.share(ShareTest::log_fail, "log_e")?;
        self.share(|t, e| t.log_fail_parts(e).0, "log_e_ratio")?;
        self.share(|t, e| bets_alone(*t).log_fail(e), "log_e_ratio")?;
        self.share(|t, e| t.log_fail_parts(e).1, "log_e_lr")
    }

    fn relative_ratio(&self) -> Result<bool, String> {
        let test = self.relative_test();
        let tally = |bad, requests| Tally {
            requests: self.input[requests].as_f64().unwrap(),
            bad: self.input[bad].as_f64().unwrap(),
        };
        let parts = test.parts(tally("ec", "nc"), tally("eb", "nb"));
        self.close("pseudo", &[parts.pseudo])?;
        self.close("theta0", &[parts.expected])?;
        self.close("ratio", &[parts.ratio])
    }

    fn relative_test(&self) -> RelativeTest {
        let ShareTest { dispersion, horizon, .. } = self.test(0.01);
        let (ratio, slack) = (self.number("r", f64::NAN), self.number("d", 0.0));
        RelativeTest { ratio, slack, dispersion, horizon, history: self.number("p0", 0.0), aim: 0.0, collapse: 0.0 }
    }

    fn relative(&self, read: impl Fn(&RelativeTest, &RelativeEvidence) -> f64, key: &str) -> Result<bool, String> {
        let test = self.relative_test();
        let mut e = test.start();
        let step = |i: &Value| {
            let tally = |bad, requests| Tally { requests: at(i, requests), bad: at(i, bad) };
            test.update(&mut e, tally(0, 1), tally(2, 3), true);
            read(&test, &e)
        };
        let logs: Vec<f64> = self.input["intervals"].as_array().unwrap().iter().map(step).collect();
        self.close(key, if self.expected[key].is_array() { &logs } else { &logs[logs.len() - 1..] })
    }

    fn relative_hybrid(&self) -> Result<bool, String> {
        for (key, read) in [
            ("log_e", &RelativeTest::log_fail as &dyn Fn(&RelativeTest, &RelativeEvidence) -> f64),
            ("log_e_ratio", &|t, e| t.log_fail_parts(e).0),
            ("log_e_lr", &|t, e| t.log_fail_parts(e).1),
        ] {
            if self.expected.get(key).is_some() {
                self.relative(read, key)?;
            }
        }
        Ok(self.expected.get("log_e").is_some())
    }

    fn comparison(&self) -> Comparison {
        let number = |key| self.number(key, f64::NAN);
        Comparison { ratio: number("r"), slack: number("d"), candidate: number("nc"), baseline: number("nb") }
    }

    fn multipliers(&self) -> Result<bool, String> {
        let (p_c, p_b) = (self.number("p1c", f64::NAN), self.number("p1b", f64::NAN));
        let (sizes, best) = (self.comparison(), self.comparison().best(p_c, p_b));
        self.close("A", &[best.candidate])?;
        self.close("B", &[best.baseline])?;
        let (q_c, q_b) = (p_c / best.candidate, p_b / best.baseline);
        self.close("qc", &[q_c])?;
        self.close("qb", &[q_b])?;
        self.truth("residual", (q_c - sizes.ratio * q_b - sizes.slack).abs() < 1e-12)
    }

    fn log_factor(&self) -> Result<bool, String> {
        let sizes = self.comparison();
        let by = sizes.with(self.number("A", f64::NAN));
        self.close("log_f", &[sizes.log_factor(by, self.number("ec", f64::NAN), self.number("eb", f64::NAN))])
    }

    fn expectation(&self) -> Result<bool, String> {
        let (sizes, p_b) = (self.comparison(), self.number("pb", f64::NAN));
        let by = sizes.with(self.number("A", f64::NAN));
        let chances = |n: f64, p: f64| {
            let chance = Binomial::new(p, n as u64).unwrap();
            (0..=n as u64).map(move |k| (k as f64, chance.pmf(k))).collect::<Vec<_>>()
        };
        let of_baseline = chances(sizes.baseline, p_b);
        let each = chances(sizes.candidate, sizes.ratio * p_b + sizes.slack).into_iter().flat_map(|(c, chance_c)| {
            of_baseline.iter().map(move |(b, chance_b)| chance_c * chance_b * sizes.log_factor(by, c, *b).exp())
        });
        let expectation: f64 = each.sum();
        self.close("expectation", &[expectation])?;
        self.truth("le_one", expectation <= 1.0)
    }

    fn environment(&self) -> Result<bool, String> {
        let limit = self.number("limit", f64::NAN);
        let tally = |(bad, requests)| Tally { requests, bad };
        let intervals: Vec<Tally> = self.list("eb").into_iter().zip(self.list("nb")).map(tally).collect();
        self.close("p", &intervals.iter().map(|t| environment::chance(*t, limit)).collect::<Vec<_>>())?;
        let masked: Vec<Value> = intervals.iter().map(|t| environment::masked(*t, limit).into()).collect();
        self.same("masked", &masked.into())
    }

    /// The t-mixture after every block.
    fn t_mixture(&self, key: &str, weights: &[f64]) -> Result<bool, String> {
        let logs = self.t_mixture_logs(weights);
        self.close(key, if self.expected[key].is_array() { &logs } else { &logs[logs.len() - 1..] })
    }

    fn t_mixture_logs(&self, weights: &[f64]) -> Vec<f64> {
        let mut moments = Moments::start();
        let step = |(z, h): (f64, &f64)| {
            moments.add_weighted(z, *h);
            moments.log_e(true, self.number("tau2", 0.5))
        };
        self.list("z").into_iter().zip(weights).map(step).collect()
    }

    fn t_mixture_crossing(&self) -> Result<bool, String> {
        let weights = self.input.get("h").map_or_else(|| vec![1.0; self.list("z").len()], numbers);
        self.t_mixture("log_e", &weights)?;
        let crossed = self.t_mixture_logs(&weights).iter().position(|log| *log >= 20_f64.ln());
        self.close("first_cross", &[crossed.map_or(f64::NAN, |at| at as f64 + 1.0)])
    }

    fn race(&self) -> Result<bool, String> {
        let rows: Vec<Vec<f64>> = self.input["E_j_over_i"].as_array().unwrap().iter().map(numbers).collect();
        let against = |arm: usize| {
            let others = rows.iter().enumerate().filter(|(j, _)| *j != arm);
            judge::log_against(others.map(|(_, row)| row[arm].ln()))
        };
        let logs: Vec<f64> = (0..rows.len()).map(against).collect();
        self.close("mean_for_arm", &logs.iter().map(|log| log.exp()).collect::<Vec<_>>())?;
        self.same("eliminated", &judge::eliminated(&logs, self.number("alpha", 0.05)).into())
    }

    fn threshold(&self) -> Result<bool, String> {
        let limits = |key: &str| self.input.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let at = |list: &[Value], i: usize| list.get(i).and_then(Value::as_f64);
        let (values, lower, upper) = (limits("values"), limits("lower"), limits("upper"));
        let met = |i| threshold::satisfied(at(&values, i), at(&lower, i), at(&upper, i));
        let met: Vec<bool> = (0..values.len()).map(met).collect();
        self.same("satisfied", &met.clone().into())?;
        self.truth("feasible", met.iter().all(|met| *met))
    }

    fn absolute_plan(&self) -> Result<bool, String> {
        let (p, limit) = (self.number("p", f64::NAN), self.number("limit", f64::NAN));
        let found = information::absolute(p, limit, self.number("n", f64::NAN), self.number("phi", 1.0));
        self.close("I", &[found])?;
        let intervals = if p < limit {
            information::intervals_to_pass(found, self.number("beta", 0.05))
        } else {
            information::intervals_to_fail(found, self.number("alpha", 0.05), self.number("criteria", 1.0) as u32)
        };
        self.close("intervals", &[intervals])
    }

    fn flagger(&self) -> Result<bool, String> {
        let number = |key| self.input[key].as_u64().unwrap();
        let (most, step) = (u8::try_from(number("max")).unwrap(), u8::try_from(number("step")).unwrap());
        let setup =
            flagger::Setup { threshold: u32::try_from(number("threshold")).unwrap(), most, step, ..Default::default() };
        let mut canary = Flagger::new(setup, 0.01);
        let success = self.input["success"].as_array().unwrap().iter();
        let turns: Vec<_> = success.map(|s| canary.tick(s.as_f64().is_some_and(|s| s >= 99.0))).collect();
        self.same("weight_after_tick", &turns.iter().map(|t| t.weight).collect::<Vec<_>>().into())?;
        let results = turns.iter().map(|t| match t.verdict {
            None => "continue",
            Some(Verdict::Promote) => "promote",
            Some(Verdict::Rollback) => "rollback",
            Some(Verdict::Paused) => "paused",
        });
        self.same("result", &results.collect::<Vec<_>>().into())
    }

    fn argo(&self) -> Result<bool, String> {
        let failure_limit = u32::try_from(self.input["failure_limit"].as_u64().unwrap()).unwrap();
        let template = argo::Template { delay: 0.0, interval: 60.0, count: None, failure_limit };
        let mut run = argo::Analysis::start(template, 0.0);
        let mut measurements = self.input["measurements"].as_array().unwrap().iter();
        let failed = measurements.position(|m| {
            let ok = *m == "ok";
            let measurement = if ok { argo::Measurement::Successful } else { argo::Measurement::Failed };
            run.measure(measurement) == argo::Phase::Failed
        });
        self.same("fails_at_index", &failed.into())
    }

    fn mann_whitney(&self) -> Result<bool, String> {
        let (canary, baseline) = (self.list("canary"), self.list("baseline"));
        let shift = kayenta::Shift::between(&canary, &baseline, self.number("conf", 0.98));
        self.close("low", &[shift.low])?;
        self.close("high", &[shift.high])?;
        self.close("estimate", &[shift.estimate])?;
        let mean = |series: &[f64]| series.iter().sum::<f64>() / series.len() as f64;
        self.truth("high_class", shift.is_high() && mean(&canary) >= mean(&baseline))
    }

    fn increase(&self) -> Result<bool, String> {
        let samples: Vec<(f64, f64)> = self.list("t").into_iter().zip(self.list("v")).collect();
        let windows = self.input["windows"].as_array().unwrap().iter();
        let got = windows.map(|w| promql::increase(&samples, at(w, 0), at(w, 1)).unwrap_or(f64::NAN));
        // No value is null.
        let expected: Vec<f64> =
            self.expected["increase"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect();
        let got: Vec<f64> = got.collect();
        let near = |(g, x): (&f64, &f64)| g.is_nan() && x.is_nan() || (g - x).abs() <= self.tolerance * x.abs();
        let right = got.len() == expected.len() && got.iter().zip(&expected).all(near);
        if right { Ok(true) } else { Err(format!("increase is {got:?}, not {expected:?}")) }
    }

    fn histogram_quantile(&self) -> Result<bool, String> {
        let edges = self.input["le"].as_array().unwrap().iter().map(|le| le.as_str().unwrap().parse().unwrap());
        let buckets: Vec<(f64, f64)> = edges.zip(self.list("cumulative")).collect();
        let values = self.list("q").into_iter().map(|q| promql::histogram_quantile(q, &buckets).unwrap());
        self.close("value", &values.collect::<Vec<_>>())
    }

    fn bracket(&self) -> Result<bool, String> {
        let edges: Vec<f64> =
            self.input["le"].as_array().unwrap().iter().map(|le| le.as_str().unwrap().parse().unwrap()).collect();
        let bracket = Bracket::around(self.number("bound", f64::NAN), edges.iter().copied());
        let buckets: Vec<(f64, f64)> = edges.into_iter().zip(self.list("cumulative")).collect();
        let counted = bracket.count(&buckets).unwrap();
        self.close("pass_bucket", &[bracket.lower])?;
        self.close("fail_bucket", &[bracket.upper])?;
        self.close("bad_for_pass", &[counted.most.bad])?;
        self.close("bad_for_fail", &[counted.least.bad])?;
        self.close("total", &[counted.least.requests])?;
        self.close("limit", &[Bracket::limit(self.number("quantile", f64::NAN))])
    }

    fn least_clean_requests(&self) -> Result<bool, String> {
        let beta = self.input.get("threshold").map_or_else(|| self.number("beta", 0.05), |t| 1.0 / t.as_f64().unwrap());
        let test = self.test(self.number("limit", f64::NAN));
        let passes = |n: &u32| {
            let e = seen(&test, Tally { requests: f64::from(*n), bad: 0.0 });
            judge::combine_pass([test.log_pass(&e)], beta)
        };
        self.close("n", &[f64::from((1..1_000_000).find(passes).unwrap())])
    }

    fn upper(&self) -> Result<bool, String> {
        let test = self.test(0.01);
        let e = seen(&test, Tally { requests: self.number("total", f64::NAN), bad: self.number("bad", f64::NAN) });
        self.close("upper", &[test.upper(&e, self.number("gamma", f64::NAN))])
    }

    fn interval(&self) -> Result<bool, String> {
        let test = self.test(0.01);
        let e =
            seen(&test, Tally { requests: self.number("trials", f64::NAN), bad: self.number("successes", f64::NAN) });
        let (lower, upper) = test.interval(&e, self.number("alpha", f64::NAN));
        self.close("lower", &[lower])?;
        self.close("upper", &[upper])
    }

    fn dispersion(&self) -> Result<bool, String> {
        let history: Vec<Tally> = self.list("counts").into_iter().map(|bad| Tally { requests: 1000.0, bad }).collect();
        let scales =
            self.input["scales"].as_array().unwrap().iter().map(|s| usize::try_from(s.as_u64().unwrap()).unwrap());
        self.close("fano", &scales.map(|s| judge::dispersion_at(&history, s).unwrap()).collect::<Vec<_>>())?;
        self.close("phi", &[judge::dispersion(&history, 0.01).phi])
    }

    fn counter(&self) -> Result<bool, String> {
        let deltas: Vec<f64> = self.list("samples").windows(2).map(|w| judge::counter_delta(w[0], w[1])).collect();
        self.close("deltas", &deltas)?;
        self.close("total", &[deltas.iter().sum()])
    }

    fn combine_fail(&self) -> Result<bool, String> {
        let log = judge::combine_fail(self.list("e").into_iter().map(f64::ln).zip(self.list("weights")));
        self.close("mean", &[log.exp()])?;
        self.truth("fail", log >= -self.number("alpha", 0.05).ln())
    }

    fn start_prior(&self) -> Result<bool, String> {
        let horizon = self.test(0.01).horizon;
        self.close("pi_1", &[judge::start_weight(horizon, 1)])?;
        self.close("pi_j", &[judge::start_weight(horizon, 2)])?;
        self.close("pi_j", &[judge::start_weight(horizon, horizon)])?;
        let times = self.input["t"].as_array().unwrap().iter().map(|t| u32::try_from(t.as_u64().unwrap()).unwrap());
        self.close("tail", &times.map(|t| judge::start_tail(horizon, t)).collect::<Vec<_>>())
    }

    fn ramp_start(&self) -> Result<bool, String> {
        let start = |rps| f64::from(ramp::start(rps, self.number("B", 50.0), self.number("tau", 40.0), 50));
        self.close("weight", &self.list("rps").into_iter().map(start).collect::<Vec<_>>())
    }

    fn number(&self, key: &str, default: f64) -> f64 {
        self.input.get(key).map_or(default, |v| v.as_f64().unwrap())
    }

    fn list(&self, key: &str) -> Vec<f64> {
        numbers(&self.input[key])
    }

    /// Compares with the expected number or numbers under `key`: relative tolerance, or 1e-12 near 0.
    fn close(&self, key: &str, got: &[f64]) -> Result<bool, String> {
        let expected = numbers(&self.expected[key]);
        let near = |(g, x): (&f64, &f64)| (g - x).abs() <= (self.tolerance * x.abs()).max(1e-12);
        let right = !got.is_empty() && got.len() == expected.len() && got.iter().zip(&expected).all(near);
        if right { Ok(true) } else { Err(format!("{key} is {got:?}, not {expected:?}")) }
    }

    fn same(&self, key: &str, got: &Value) -> Result<bool, String> {
        if self.expected[key] == *got { Ok(true) } else { Err(format!("{key} is {got}, not {}", self.expected[key])) }
    }

    fn truth(&self, key: &str, got: bool) -> Result<bool, String> {
        self.same(key, &got.into())
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .map_or_else(|| vec![value.as_f64().unwrap()], |list| list.iter().map(|v| v.as_f64().unwrap()).collect())
}

fn at(list: &Value, index: usize) -> f64 {
    list[index].as_f64().unwrap()
}

fn seen(test: &ShareTest, tally: Tally) -> ShareEvidence {
    let mut e = test.start();
    test.update(&mut e, tally, true);
    e
}

fn after_each(
    test: ShareTest,
    intervals: impl Iterator<Item = Tally>,
    read: impl Fn(&ShareTest, &ShareEvidence) -> f64,
) -> Vec<f64> {
    let mut e = test.start();
    let step = |tally| {
        test.update(&mut e, tally, true);
        read(&test, &e)
    };
    intervals.map(step).collect()
}
