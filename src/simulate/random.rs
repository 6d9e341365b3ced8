//! A small seeded generator: the only source of chance in the embedded world.
//!
//! `SplitMix64` (Steele, Lea and Flood 2014): twelve lines, the same numbers on every machine and release, which golden
//! timelines need and a library does not promise.

/// How far the state goes from one number to the next: 2^64 over the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of numbers that its seed determines.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream of several numbers, near none of those of their neighbours.
    pub(super) fn of(seeds: &[u64]) -> Self {
        seeds.iter().fold(Self(0), |Self(state), seed| {
            let mut mixed = Self(state ^ seed);
            Self(mixed.next())
        })
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        // 53 bits fill a double's mantissa.
        (self.next() >> 11) as f64 / 9_007_199_254_740_992.0
    }

    /// Of `n` independent events of probability `p`, how many happen. Linear in `n`: a second's requests are few.
    pub(super) fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if p <= 0.0 || p >= 1.0 {
            // What is certain need not be drawn; the stream goes on as if it had been.
            self.0 = self.0.wrapping_add(STEP.wrapping_mul(n));
            return if p <= 0.0 { 0 } else { n };
        }
        // Plain loops: this is where a simulation's time goes, and tests are built without optimisation.
        let (mut left, mut count) = (n, 0);
        while left > 0 {
            left -= 1;
            if self.unit() < p {
                count += 1;
            }
        }
        count
    }

    /// A Poisson count, by Knuth's product in slices, so that large means do not underflow.
    pub(super) fn poisson(&mut self, mean: f64) -> u64 {
        let (mut left, mut count) = (mean.max(0.0), 0);
        while left > 0.0 {
            let slice = left.min(30.0);
            left -= slice;
            let floor = (-slice).exp();
            let mut product = self.unit();
            while product > floor {
                count += 1;
                product *= self.unit();
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_determines_the_stream() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (random.poisson(50.0), random.binomial(1000, 0.1), random.next())
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn what_is_certain_moves_the_stream_as_far_as_what_is_not() {
        let after = |p: f64| {
            let mut random = Random::new(7);
            (random.binomial(1000, p), random.next())
        };
        let ((none, never), (all, always), (some, sometimes)) = (after(0.0), after(1.0), after(0.5));
        assert_eq!((none, all), (0, 1000));
        assert!(some > 0 && some < 1000, "{some}");
        assert_eq!((never, always), (sometimes, sometimes));
    }

    #[test]
    fn counts_have_the_means_they_should() {
        let mut random = Random::new(1);
        let n = 4000;
        let poisson = (0..n).map(|_| random.poisson(50.0)).sum::<u64>() as f64 / f64::from(n);
        let binomial = (0..n).map(|_| random.binomial(100, 0.05)).sum::<u64>() as f64 / f64::from(n);
        // Five standard errors.
        assert!((poisson - 50.0).abs() < 5.0 * (50.0 / f64::from(n)).sqrt(), "{poisson}");
        assert!((binomial - 5.0).abs() < 5.0 * (4.75 / f64::from(n)).sqrt(), "{binomial}");
    }
}
