//! The random decisions of a sample, which follow from its index and its seed alone.
//!
//! Draw all of them in a fixed order, whether they are used or not: then one setting does not change another's numbers.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A stream of random numbers for one sample, the same on every machine.
#[derive(Clone, Debug)]
pub struct SampleRng(ChaCha8Rng);

impl SampleRng {
    /// The stream of the sample at `index` under `seed`: two samples that were given the same seed still differ.
    pub fn new(index: u64, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index);
        Self(rng)
    }

    /// A number of 53 random bits, from 0 to below 1.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One of `0..count`, each as likely; 0 when there is none.
    pub fn below(&mut self, count: usize) -> usize {
        ((self.uniform() * count as f64) as usize).min(count.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_index_and_by_seed_and_stay_in_range() {
        let first = |index, seed| SampleRng::new(index, seed).uniform();
        assert_eq!(first(3, 7), first(3, 7));
        assert!(first(3, 7) != first(4, 7) && first(3, 7) != first(3, 8));
        let mut rng = SampleRng::new(0, 0);
        let mut counts = [0; 4];
        for _ in 0..400 {
            counts[rng.below(4)] += 1;
        }
        assert!(
            counts.iter().all(|count| (70..130).contains(count)),
            "{counts:?}"
        );
        assert_eq!(rng.below(0), 0);
    }
}
