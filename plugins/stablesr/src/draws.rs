//! Random numbers of a sample: a function of its seed, what they are for, and its index.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A generator for (`seed`, `purpose`, `index`), by ChaCha with 8 rounds: the key is made of the first two, the last is the
/// stream. Purposes do not share numbers, so that the setting of one changes nothing in another.
pub(crate) fn rng(seed: u64, purpose: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&purpose.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(index);
    rng
}

/// A number in 0..1 of 53 random bits.
pub(crate) fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A number between the ends.
pub(crate) fn between(rng: &mut ChaCha8Rng, [low, high]: [f64; 2]) -> f64 {
    low + (high - low) * uniform(rng)
}

/// One of `0..weights.len()`, each as probable as its weight; weights have a sum above 0.
pub(crate) fn weighted(rng: &mut ChaCha8Rng, weights: &[f64]) -> usize {
    let mut left = uniform(rng) * weights.iter().sum::<f64>();
    let last = weights
        .iter()
        .rposition(|&weight| weight > 0.0)
        .unwrap_or(0);
    for (place, weight) in weights.iter().enumerate() {
        if left < *weight {
            return place;
        }
        left -= weight;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_met_and_what_has_none_never_comes() {
        let mut rng = rng(1, 2, 3);
        let mut counts = [0; 4];
        for _ in 0..4000 {
            counts[weighted(&mut rng, &[1.0, 0.0, 3.0, 0.0])] += 1;
        }
        assert_eq!((counts[1], counts[3]), (0, 0));
        // 4.5 standard deviations of a count of 4,000 draws with probability 1/4.
        assert!((counts[0] - 1000_i32).abs() < 124, "{counts:?}");
    }

    #[test]
    fn seed_purpose_and_index_each_make_other_numbers() {
        let first = |seed, purpose, index| uniform(&mut rng(seed, purpose, index));
        let all = [
            first(0, 0, 0),
            first(1, 0, 0),
            first(0, 1, 0),
            first(0, 0, 1),
        ];
        for (at, value) in all.iter().enumerate() {
            assert!((0.0..1.0).contains(value) && !all[..at].contains(value));
        }
        assert_eq!(all[0], first(0, 0, 0));
    }
}
