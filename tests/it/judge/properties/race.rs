//! Properties of the reward race.

use proptest::prelude::*;
use reiter8::engine::judge::{self, Arm, RaceEvidence, RaceTest, Sample};

use super::{Chance, any_number, near};

fn test(arms: usize, margin: f64) -> RaceTest {
    RaceTest { arms, higher_is_better: true, margin, alpha: 0.05 }
}

/// Runs until there is a winner, at most `intervals` long, with rewards of standard error 1.
fn run(test: &RaceTest, chance: &mut Chance, means: &[f64], intervals: u32) -> RaceEvidence {
    let mut e = test.start();
    for _ in 0..intervals {
        let rewards: Vec<Sample> =
            means.iter().map(|mean| Sample { count: 100.0, sum: 100.0 * (mean + chance.normal()) }).collect();
        test.update(&mut e, &rewards);
        if test.winner(&e).is_some() {
            break;
        }
    }
    e
}

fn shares(test: &RaceTest, means: &[f64], runs: u32, holds: impl Fn(&RaceEvidence) -> bool) -> f64 {
    let mut chance = Chance(11);
    let held = (0..runs).filter(|_| holds(&run(test, &mut chance, means, 180))).count();
    held as f64 / f64::from(runs)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn intervals_without_rewards_change_nothing_and_names_do_not_matter(seed in 1_u64..1000, wrong in any_number()) {
        let test = test(3, 0.0);
        let before = run(&test, &mut Chance(seed), &[0.0, 0.1, 0.2], 30);
        let mut e = before.clone();
        test.update(&mut e, &[Sample { count: 0.0, sum: wrong }; 3]);
        test.update(&mut e, &[Sample { count: f64::NAN, sum: wrong }; 3]);
        test.update(&mut e, &[Sample { count: 1.0, sum: 1.0 }; 2]);
        prop_assert_eq!(&e, &before);
        let (mut here, mut there) = (test.start(), test.start());
        let mut chance = Chance(seed);
        for _ in 0..30 {
            let [a, b, c] = [(); 3].map(|()| Sample { count: 100.0, sum: 100.0 * chance.normal() });
            test.update(&mut here, &[a, b, c]);
            test.update(&mut there, &[c, a, b]);
        }
        for (one, other) in [(0, 1), (1, 2), (2, 0)] {
            prop_assert!(near(test.log_against(&here, one), test.log_against(&there, other)));
        }
    }

    #[test]
    fn a_stricter_race_keeps_more_arms(logs in prop::collection::vec(-5.0..8.0, 2..7), strict in 0.001..0.5_f64, by in 1.0..2.0) {
        let (few, many) = (judge::eliminated(&logs, strict), judge::eliminated(&logs, f64::min(strict * by, 0.99)));
        prop_assert!(few.iter().zip(&many).all(|(few, many)| !few || *many));
        prop_assert!(many.iter().any(|gone| !gone));
    }

    #[test]
    fn no_input_makes_the_evidence_undefined_and_json_keeps_every_bit(
        inputs in prop::collection::vec(prop::array::uniform3((any_number(), any_number())), 0..60),
        margin in any_number(), alpha in prop_oneof![0.001..0.999, any_number()], higher_is_better: bool,
    ) {
        let test = RaceTest { arms: 3, higher_is_better, margin, alpha };
        let mut e = test.start();
        for rewards in inputs {
            test.update(&mut e, &rewards.map(|(count, sum)| Sample { count, sum }));
            prop_assert!((0..3).all(|arm| test.log_against(&e, arm) < f64::INFINITY));
            prop_assert!(test.arms(&e).contains(&Arm::Racing));
        }
        let text = serde_json::to_string(&e).unwrap();
        prop_assert_eq!(&serde_json::from_str::<RaceEvidence>(&text).unwrap(), &e);
    }
}

#[test]
fn the_best_arm_rarely_leaves_however_many_there_are() {
    // All are equally good: no arm is the best alone, and each has the promise. Nominal 5 %.
    for arms in [2, 4] {
        let lost = shares(&test(arms, 0.0), &vec![0.0; arms], 200, |e| test(arms, 0.0).arms(e)[0] == Arm::Eliminated);
        assert!(lost <= 0.08, "{lost} of {arms}");
    }
}

#[test]
fn a_better_arm_wins_and_must_be_better_than_the_margin() {
    let won =
        |margin, means: &[f64], arm| shares(&test(3, margin), means, 60, |e| test(3, margin).winner(e) == Some(arm));
    assert!(won(0.0, &[0.0, 1.0, 0.2], 1) > 0.9);
    assert!(won(2.0, &[0.0, 1.0, 0.2], 0) > 0.9);
    let lower = RaceTest { higher_is_better: false, ..test(3, 0.0) };
    assert!(shares(&lower, &[0.0, -1.0, 0.2], 60, |e| lower.winner(e) == Some(1)) > 0.9);
}

#[test]
fn an_arm_that_breaks_a_limit_eliminates_nobody() {
    let test = test(3, 0.0);
    let mut e = test.start();
    test.drop_arm(&mut e, 2);
    test.drop_arm(&mut e, 0);
    assert_eq!(test.arms(&e), [Arm::Racing, Arm::Racing, Arm::Dropped]);
    // The dropped arm would have been the best.
    let mut chance = Chance(5);
    for _ in 0..60 {
        let rewards = [0.0, 0.0, 9.0].map(|mean: f64| Sample { count: 100.0, sum: 100.0 * (mean + chance.normal()) });
        test.update(&mut e, &rewards);
    }
    assert_eq!(test.winner(&e), None);
    test.drop_arm(&mut e, 1);
    assert_eq!(test.winner(&e), Some(0));
}

#[test]
fn an_eliminated_arm_keeps_what_it_had_against_others() {
    let test = test(3, 0.0);
    let mut chance = Chance(6);
    let mut e = run(&test, &mut chance, &[0.0, 0.9, 1.0], 30);
    assert_eq!(test.arms(&e)[0], Arm::Eliminated);
    let (before, count) = (test.log_e(&e, 0, 1), test.totals(&e, 0).count);
    test.update(&mut e, &[Sample { count: 1e4, sum: 1e9 }; 3]);
    assert!(near(test.log_e(&e, 0, 1), before) && near(test.totals(&e, 0).count, count));
}
