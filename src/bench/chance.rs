//! The chances of the benchmark: counts of requests from a seed that the name of a cell determines.
//!
//! A stream depends on nothing but its seed, so a cell gives the same numbers alone, in any grid and on any number of
//! threads.

use rand_distr::{Distribution as _, Gamma, Geometric, LogNormal, Poisson, StandardUniform};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::SeedableRng as _;
use sha2::{Digest as _, Sha256};

/// Clumps up to which each one's size is drawn by itself; the sum of more is drawn at once.
const FEW_CLUMPS: f64 = 8.0;

/// A seed from a name, a number that the user chose, and the number of a replication.
pub(super) fn seed(name: &str, chosen: u64, replication: u64) -> u64 {
    let hash = Sha256::new().chain_update(chosen.to_le_bytes()).chain_update(name).finalize();
    let first = hash.iter().take(8).fold(0_u64, |seed, byte| seed << 8 | u64::from(*byte));
    // An odd step (the golden ratio's) visits every seed once.
    first.wrapping_add(replication.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A stream of chances.
pub(super) struct Chance {
    random: Pcg64Mcg,
    /// Mean size of a clump of bad requests; 1: they are independent.
    clump: f64,
    /// Size of a clump less 1, if it is more than that.
    rest: Option<Geometric>,
}

impl Chance {
    /// The stream of a seed, with bad requests in geometric clumps of this mean size, at least 1.
    pub(super) fn new(seed: u64, clump: f64) -> Self {
        let rest = (clump > 1.0).then(|| Geometric::new(1.0 / clump).ok()).flatten();
        Self { random: Pcg64Mcg::seed_from_u64(seed), clump, rest }
    }

    /// A number in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        StandardUniform.sample(&mut self.random)
    }

    /// A Poisson count.
    pub(super) fn poisson(&mut self, mean: f64) -> f64 {
        Poisson::new(mean).map_or(0.0, |poisson| poisson.sample(&mut self.random))
    }

    /// The sum of so many values with a long tail: log-normal, of this mean and standard deviation of the logarithm.
    pub(super) fn rewards(&mut self, count: f64, mean: f64, tail: f64) -> f64 {
        let Ok(values) = LogNormal::new(mean.ln() - tail * tail / 2.0, tail) else { return 0.0 };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // requests of one interval
        let count = count as u64;
        (0..count).map(|_| values.sample(&mut self.random)).sum()
    }

    /// Bad requests where `mean` are expected: a Poisson number of clumps, each of a geometric size.
    pub(super) fn bad(&mut self, mean: f64) -> f64 {
        let Some(rest) = self.rest else { return self.poisson(mean) };
        let clumps = self.poisson(mean / self.clump);
        if clumps > FEW_CLUMPS {
            // A sum of geometric sizes is a Poisson count whose mean is Gamma distributed.
            let spread = Gamma::new(clumps, self.clump - 1.0).map_or(0.0, |gamma| gamma.sample(&mut self.random));
            return clumps + self.poisson(spread);
        }
        let mut bad = clumps;
        let mut left = clumps;
        while left > 0.0 {
            bad += rest.sample(&mut self.random) as f64;
            left -= 1.0;
        }
        bad
    }

    /// The sum of so many Gamma distributed values of this mean and a standard deviation of `spread` means.
    pub(super) fn worth(&mut self, count: f64, mean: f64, spread: f64) -> f64 {
        if count <= 0.0 || spread <= 0.0 {
            return count.max(0.0) * mean;
        }
        let gamma = Gamma::new(count / (spread * spread), mean * spread * spread);
        gamma.map_or(0.0, |gamma| gamma.sample(&mut self.random))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance over mean of many draws.
    fn moments(clump: f64, mean: f64) -> (f64, f64) {
        let mut chance = Chance::new(seed("moments", 1, 0), clump);
        let n = 40_000;
        let drawn: Vec<f64> = (0..n).map(|_| chance.bad(mean)).collect();
        let average = drawn.iter().sum::<f64>() / f64::from(n);
        (average, drawn.iter().map(|x| (x - average).powi(2)).sum::<f64>() / f64::from(n) / average)
    }

    #[test]
    fn clumps_keep_the_mean_and_spread_it_as_geometric_sizes_do() {
        // Both ways of drawing a sum: few clumps, and many.
        for (clump, mean) in [(1.0, 3.0), (1.0, 400.0), (5.0, 3.0), (5.0, 400.0), (20.0, 3.0), (20.0, 4000.0)] {
            let (average, dispersion) = moments(clump, mean);
            let expected = 2.0 * clump - 1.0;
            // Five standard errors of the mean, and a tenth of the dispersion.
            assert!((average - mean).abs() < 5.0 * (mean * expected / 40_000.0).sqrt(), "{clump} {mean}: {average}");
            assert!((dispersion / expected - 1.0).abs() < 0.1, "{clump} {mean}: {dispersion}");
        }
    }

    #[test]
    fn a_seed_is_one_stream_and_a_replication_another() {
        let draw = |seed| Chance::new(seed, 1.0).unit().to_bits();
        assert_eq!(draw(seed("a", 1, 0)), draw(seed("a", 1, 0)));
        let others = [seed("a", 1, 1), seed("a", 2, 0), seed("b", 1, 0)];
        assert!(others.iter().all(|other| draw(*other) != draw(seed("a", 1, 0))));
        assert!((draw(seed("a", 1, 0))) != 0);
    }
}
