//! Precision and recall of generated samples (Kynkäänniemi et al. 2019).

use nalgebra::DMatrix;

use crate::{error::MetricsError, features::Features};

/// Samples of one set whose distances to the other are held at once.
const TILE: usize = 1024;

/// What [`precision_recall`] finds, each in 0..1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrecisionRecall {
    /// The share of generated samples inside the manifold of the real ones.
    pub precision: f64,
    /// The share of real samples inside the manifold of the generated ones.
    pub recall: f64,
}

impl PrecisionRecall {
    /// The harmonic mean of the two; 0 where both are.
    pub fn f_score(&self) -> f64 {
        match self.precision + self.recall {
            0.0 => 0.0,
            sum => 2.0 * self.precision * self.recall / sum,
        }
    }
}

/// The manifold of a set is the union of balls around its samples, each as wide as the distance to the `neighbours`-th
/// nearest other sample (3 in the paper); a sample on the rim is inside.
///
/// A record states the feature network (the paper: VGG-16; most papers on diffusion: Inception) and both numbers of
/// samples. Note the order of the arguments: packages differ.
///
/// # Errors
/// Features of different lengths; not more samples than `neighbours`, or no neighbours.
pub fn precision_recall(
    generated: &Features,
    real: &Features,
    neighbours: usize,
) -> Result<PrecisionRecall, MetricsError> {
    real.same_length(generated)?;
    let fewest = generated.count().min(real.count());
    if neighbours == 0 || fewest <= neighbours {
        return Err(MetricsError::TooFew {
            metric: "precision and recall",
            of: if neighbours == 0 {
                "neighbours"
            } else {
                "samples"
            },
            least: neighbours + 1,
            found: if neighbours == 0 { 0 } else { fewest },
        });
    }
    let (generated, real) = (Points::of(generated), Points::of(real));
    Ok(PrecisionRecall {
        precision: share_inside(&generated, &real, &radii(&real, neighbours)),
        recall: share_inside(&real, &generated, &radii(&generated, neighbours)),
    })
}

/// Samples as columns, with the squares of their lengths.
struct Points {
    columns: DMatrix<f64>,
    squares: Vec<f64>,
}

impl Points {
    fn of(features: &Features) -> Self {
        let squares = features.rows().map(|row| row.iter().map(|v| v * v).sum());
        Self {
            columns: features.columns(),
            squares: squares.collect(),
        }
    }

    fn count(&self) -> usize {
        self.squares.len()
    }

    /// Squared distances of all samples (rows) to some of `other` (columns).
    fn squared_distances(&self, other: &Self, first: usize, count: usize) -> DMatrix<f64> {
        let mut found = self.columns.transpose() * other.columns.columns(first, count);
        for (column, of_other) in other.squares[first..first + count].iter().enumerate() {
            for (row, ours) in self.squares.iter().enumerate() {
                let sum = ours + of_other;
                let distance = sum - 2.0 * found[(row, column)];
                // Equal samples are at distance 0, and not at what rounding leaves.
                found[(row, column)] = if distance <= 1e-13 * sum {
                    0.0
                } else {
                    distance
                };
            }
        }
        found
    }
}

/// Squared distance of each sample to its `neighbours`-th nearest other one.
fn radii(points: &Points, neighbours: usize) -> Vec<f64> {
    tiles(points.count())
        .flat_map(|(first, count)| {
            let distances = points.squared_distances(points, first, count);
            let radius = |column: usize| {
                let mut column: Vec<f64> = distances.column(column).iter().copied().collect();
                // The nearest is the sample itself.
                *column.select_nth_unstable_by(neighbours, f64::total_cmp).1
            };
            (0..count).map(radius).collect::<Vec<_>>()
        })
        .collect()
}

/// The share of `points` that are inside a ball around one of `centres`.
fn share_inside(points: &Points, centres: &Points, radii: &[f64]) -> f64 {
    let inside: usize = tiles(points.count())
        .map(|(first, count)| {
            let distances = centres.squared_distances(points, first, count);
            let is_inside = |column: &usize| {
                let column = distances.column(*column);
                column
                    .iter()
                    .zip(radii)
                    .any(|(distance, radius)| distance <= radius)
            };
            (0..count).filter(is_inside).count()
        })
        .sum();
    inside as f64 / points.count() as f64
}

fn tiles(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count)
        .step_by(TILE)
        .map(move |first| (first, TILE.min(count - first)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kid::tests::normal_features;

    #[test]
    fn a_set_covers_itself_even_with_samples_twice() {
        let set = normal_features(40, 5, 1);
        let twice: Vec<usize> = (0..40).chain(0..40).chain(0..40).chain(0..40).collect();
        for set in [set.select(&twice).unwrap(), set] {
            let found = precision_recall(&set, &set, 3).unwrap();
            assert_eq!(
                (found.precision, found.recall, found.f_score()),
                (1.0, 1.0, 1.0)
            );
        }
    }

    #[test]
    fn far_clusters_cover_nothing_of_each_other() {
        let near = normal_features(20, 4, 1);
        let far = near.rows().flatten().map(|value| value + 1000.0).collect();
        let found = precision_recall(&Features::new(far, 4).unwrap(), &near, 3).unwrap();
        assert_eq!(
            (found.precision, found.recall, found.f_score()),
            (0.0, 0.0, 0.0)
        );
    }

    #[test]
    fn tiles_find_what_plain_loops_find() {
        let (a, b) = (normal_features(TILE + 30, 3, 1), normal_features(200, 3, 2));
        let distance =
            |x: &[f64], y: &[f64]| -> f64 { x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum() };
        let plain = |points: &Features, centres: &Features| {
            let radius = |centre: &[f64]| {
                let mut all: Vec<f64> = centres.rows().map(|x| distance(x, centre)).collect();
                all.sort_by(f64::total_cmp);
                all[3]
            };
            let radii: Vec<f64> = centres.rows().map(radius).collect();
            let inside = |x: &&[f64]| {
                centres
                    .rows()
                    .zip(&radii)
                    .any(|(c, r)| distance(x, c) <= *r)
            };
            points.rows().filter(inside).count() as f64 / points.count() as f64
        };
        let found = precision_recall(&a, &b, 3).unwrap();
        assert_eq!(
            (found.precision, found.recall),
            (plain(&a, &b), plain(&b, &a))
        );
        assert!(found.precision < 1.0 && found.recall > 0.5, "{found:?}");
    }

    #[test]
    fn too_few_samples_are_refused() {
        let (few, many) = (normal_features(3, 2, 0), normal_features(9, 2, 0));
        assert!(precision_recall(&few, &many, 3).is_err());
        assert!(precision_recall(&many, &many, 0).is_err());
    }
}
