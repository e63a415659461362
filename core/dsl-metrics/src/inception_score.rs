//! Inception score (Salimans et al. 2016).

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::{error::MetricsError, features::Features, summary::MeanStd};

/// How samples are divided into splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsSplits {
    /// This many, split `i` beginning at `i N / splits`.
    Count(usize),
    /// Of this many samples each, the last one with what is left: ADM's evaluation has 5000.
    Size(usize),
}

/// How the score is averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InceptionScoreConfig {
    /// The splits.
    pub splits: IsSplits,
    /// Seed of a random order of samples beforehand; none keeps the order, as ADM's evaluation does.
    pub shuffle: Option<u64>,
}

impl Default for InceptionScoreConfig {
    /// Ten splits of samples in random order.
    fn default() -> Self {
        Self {
            splits: IsSplits::Count(10),
            shuffle: Some(2020),
        }
    }
}

/// `exp(mean over samples of KL(p ‖ mean p))` of each split, with `p` the softmax of a row of logits.
///
/// Logits are Inception's without the bias of the last layer. A record states network, resize, splits and order; the random
/// order is this crate's, not numpy's: give rows in numpy's order, without `shuffle`, for equal digits.
///
/// # Errors
/// Fewer samples than splits; a split of size 0.
pub fn inception_score(
    logits: &Features,
    config: InceptionScoreConfig,
) -> Result<MeanStd, MetricsError> {
    let count = logits.count();
    let (splits, bounds) = match config.splits {
        IsSplits::Count(splits) => {
            let bound = |index: usize| index * count / splits.max(1);
            (splits, (0..=splits).map(bound).collect::<Vec<_>>())
        }
        IsSplits::Size(0) => {
            return Err(MetricsError::Setting {
                field: "split_size",
                found: 0.0,
                reason: "a split has one sample at least",
            });
        }
        IsSplits::Size(size) => {
            let splits = count.div_ceil(size).max(1);
            let bound = |index: usize| (index * size).min(count);
            (splits, (0..=splits).map(bound).collect())
        }
    };
    if splits == 0 || count < splits {
        return Err(MetricsError::TooFew {
            metric: "the inception score",
            of: "samples",
            least: splits.max(1),
            found: count,
        });
    }
    let mut order: Vec<usize> = (0..count).collect();
    if let Some(seed) = config.shuffle {
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    }
    let log_p: Vec<Vec<f64>> = logits.rows().map(log_softmax).collect();
    let scores: Vec<f64> = bounds
        .windows(2)
        .map(|bound| score(order[bound[0]..bound[1]].iter().map(|&index| &log_p[index])))
        .collect();
    Ok(MeanStd::of(&scores))
}

/// The score of one split, whose rows are logarithms of probabilities.
fn score<'a>(rows: impl ExactSizeIterator<Item = &'a Vec<f64>> + Clone) -> f64 {
    let count = rows.len() as f64;
    let classes = rows.clone().next().map_or(0, Vec::len);
    let mut mean = vec![0.0; classes];
    for row in rows.clone() {
        for (sum, log_p) in mean.iter_mut().zip(row) {
            *sum += log_p.exp() / count;
        }
    }
    let divergence = |row: &Vec<f64>| -> f64 {
        let terms = row.iter().zip(&mean);
        // A class of probability 0 in float64 adds its limit, 0.
        terms
            .filter(|(log_p, _)| log_p.exp() > 0.0)
            .map(|(log_p, mean)| log_p.exp() * (log_p - mean.ln()))
            .sum()
    };
    (rows.map(divergence).sum::<f64>() / count).exp()
}

fn log_softmax(row: &[f64]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|value| (value - largest).exp()).sum();
    let log_sum = largest + sum.ln();
    row.iter().map(|value| value - log_sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score_of(rows: Vec<f64>, classes: usize, splits: IsSplits) -> MeanStd {
        let config = InceptionScoreConfig {
            splits,
            shuffle: None,
        };
        inception_score(&Features::new(rows, classes).unwrap(), config).unwrap()
    }

    #[test]
    fn certain_and_varied_samples_score_the_number_of_classes_and_equal_ones_score_one() {
        let mut certain = vec![0.0; 25];
        (0..5).for_each(|i| certain[i * 6] = 1000.0);
        let found = score_of(certain, 5, IsSplits::Count(1));
        assert!(
            (found.mean - 5.0).abs() < 1e-9 && found.std == 0.0,
            "{found:?}"
        );
        let same = score_of([1.0, 2.0, -1.0].repeat(7), 3, IsSplits::Count(2));
        assert!((same.mean - 1.0).abs() < 1e-12, "{same:?}");
    }

    #[test]
    fn splits_by_size_keep_what_is_left() {
        let rows: Vec<f64> = (0..14).map(|i| f64::from(i * i % 5)).collect();
        let three = score_of(rows.clone(), 2, IsSplits::Size(3));
        let parts = [0..6, 6..12, 12..14]
            .map(|part| score_of(rows[part].to_vec(), 2, IsSplits::Count(1)).mean);
        assert_eq!(three, MeanStd::of(&parts));
    }

    #[test]
    fn more_splits_than_samples_are_refused() {
        let logits = Features::new(vec![0.0; 6], 2).unwrap();
        let error = inception_score(&logits, InceptionScoreConfig::default()).unwrap_err();
        assert!(error.to_string().contains("wants 10 samples"), "{error}");
    }
}
