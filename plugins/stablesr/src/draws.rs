//! Random numbers of a degradation, as the distributions of other crates want them; places and mirroring are drawn by
//! [`dsl_sdk::random`].

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Tells the numbers of degradations from others of the same seed.
const PURPOSE: u64 = 1;

/// A generator for the sample at `index` under `seed`, by ChaCha with 8 rounds. It shares no numbers with
/// [`dsl_sdk::random::SampleRng`], so that the settings of a degradation do not move crops.
pub(crate) fn rng(seed: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&PURPOSE.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(index);
    rng
}

/// A number in 0..1 of 53 random bits.
pub(crate) fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    rng.random()
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
    use dsl_sdk::random::SampleRng;

    use super::*;

    #[test]
    fn weights_are_met_and_what_has_none_never_comes() {
        let mut rng = rng(1, 3);
        let mut counts = [0; 4];
        for _ in 0..4000 {
            counts[weighted(&mut rng, &[1.0, 0.0, 3.0, 0.0])] += 1;
        }
        assert_eq!((counts[1], counts[3]), (0, 0));
        // 4.5 standard deviations of a count of 4,000 draws with probability 1/4.
        assert!((counts[0] - 1000_i32).abs() < 124, "{counts:?}");
    }

    #[test]
    fn seed_and_index_each_make_other_numbers_and_not_those_of_places() {
        let first = |seed, index| uniform(&mut rng(seed, index));
        let place = SampleRng::new(0, 0).uniform();
        let all = [first(0, 0), first(1, 0), first(0, 1), place];
        for (at, value) in all.iter().enumerate() {
            assert!((0.0..1.0).contains(value) && !all[..at].contains(value));
        }
        assert_eq!(all[0], first(0, 0));
    }
}
