//! Sets of feature vectors, and what is kept of them.

use nalgebra::{DMatrix, DVector};

use crate::error::{MetricsError, finite};

/// Feature vectors of one length, one row for each sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    rows: Vec<f64>,
    length: usize,
}

impl Features {
    /// Rows one after the other, each of `length` numbers.
    ///
    /// # Errors
    /// Numbers that do not make whole rows; values that are not finite.
    pub fn new(rows: Vec<f64>, length: usize) -> Result<Self, MetricsError> {
        if length == 0 || !rows.len().is_multiple_of(length) {
            let found = format!("{} numbers", rows.len());
            return Err(MetricsError::shape(
                "features",
                format!("rows of {length}"),
                found,
            ));
        }
        finite("features", &rows)?;
        Ok(Self { rows, length })
    }

    /// As [`Features::new`], from numbers as networks give them.
    ///
    /// # Errors
    /// As [`Features::new`].
    pub fn from_f32(rows: &[f32], length: usize) -> Result<Self, MetricsError> {
        Self::new(rows.iter().map(|&value| f64::from(value)).collect(), length)
    }

    /// Number of samples.
    pub fn count(&self) -> usize {
        self.rows.len() / self.length
    }

    /// Number of features.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Row by row.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.rows.chunks_exact(self.length)
    }

    /// The rows of these indices, in their order.
    ///
    /// # Errors
    /// An index beyond the last row.
    pub fn select(&self, indices: &[usize]) -> Result<Self, MetricsError> {
        let mut rows = Vec::with_capacity(indices.len() * self.length);
        for &index in indices {
            let row = self.row(index).ok_or_else(|| {
                MetricsError::shape("index", format!("less than {}", self.count()), index)
            })?;
            rows.extend_from_slice(row);
        }
        Ok(Self {
            rows,
            length: self.length,
        })
    }

    pub(crate) fn row(&self, index: usize) -> Option<&[f64]> {
        self.rows.chunks_exact(self.length).nth(index)
    }

    /// Features as columns, for matrix products.
    pub(crate) fn columns(&self) -> DMatrix<f64> {
        DMatrix::from_column_slice(self.length, self.count(), &self.rows)
    }

    pub(crate) fn same_length(&self, other: &Self) -> Result<(), MetricsError> {
        if self.length == other.length {
            return Ok(());
        }
        Err(MetricsError::shape(
            "features of the second set",
            self.length,
            other.length,
        ))
    }
}

/// Mean and covariance of features that come in pieces; the features themselves are not kept.
///
/// Pieces and whole agree up to rounding: sums of squares are merged about their means (Chan et al. 1979).
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureStatistics {
    count: u64,
    mean: DVector<f64>,
    /// Sum of `(x − mean)(x − mean)ᵀ`.
    scatter: DMatrix<f64>,
}

impl FeatureStatistics {
    /// Of nothing yet.
    pub fn new(length: usize) -> Self {
        Self {
            count: 0,
            mean: DVector::zeros(length),
            scatter: DMatrix::zeros(length, length),
        }
    }

    /// Of known moments, such as a published reference's: mean `[length]` and covariance `[length, length]` of `count` samples.
    ///
    /// # Errors
    /// Numbers that do not fit each other or are not finite; less than two samples.
    pub fn from_moments(
        count: u64,
        mean: &[f64],
        covariance: &[f64],
    ) -> Result<Self, MetricsError> {
        let length = mean.len();
        if covariance.len() != length * length {
            let expected = format!("{length} × {length} numbers");
            return Err(MetricsError::shape(
                "covariance",
                expected,
                covariance.len(),
            ));
        }
        finite("mean", mean)?;
        finite("covariance", covariance)?;
        let of_count = count.checked_sub(1).filter(|&n| n > 0);
        let weight = of_count.ok_or_else(|| too_few(count))? as f64;
        Ok(Self {
            count,
            mean: DVector::from_column_slice(mean),
            scatter: DMatrix::from_row_slice(length, length, covariance) * weight,
        })
    }

    /// Takes further samples.
    ///
    /// # Errors
    /// Features of another length.
    pub fn add(&mut self, features: &Features) -> Result<(), MetricsError> {
        let length = self.mean.len();
        if features.length() != length {
            return Err(MetricsError::shape("features", length, features.length()));
        }
        if features.count() == 0 {
            return Ok(());
        }
        let mut columns = features.columns();
        let mean = columns.column_mean();
        for mut column in columns.column_iter_mut() {
            column -= &mean;
        }
        let piece = Self {
            count: features.count() as u64,
            mean,
            scatter: &columns * columns.transpose(),
        };
        self.merge(&piece)
    }

    /// Takes the samples of other statistics.
    ///
    /// # Errors
    /// Statistics of another length.
    pub fn merge(&mut self, other: &Self) -> Result<(), MetricsError> {
        if self.mean.len() != other.mean.len() {
            let (expected, found) = (self.mean.len(), other.mean.len());
            return Err(MetricsError::shape("statistics", expected, found));
        }
        let total = self.count + other.count;
        if total == 0 {
            return Ok(());
        }
        let (ours, theirs) = (self.count as f64, other.count as f64);
        let all = total as f64;
        let step = &other.mean - &self.mean;
        self.scatter += &other.scatter + &step * step.transpose() * (ours * theirs / all);
        self.mean += step * (theirs / all);
        self.count = total;
        Ok(())
    }

    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Mean of each feature.
    pub fn mean(&self) -> &[f64] {
        self.mean.as_slice()
    }

    /// Covariance with N − 1, row-major (it is symmetric).
    ///
    /// # Errors
    /// Less than two samples.
    pub fn covariance(&self) -> Result<Vec<f64>, MetricsError> {
        Ok(self.covariance_matrix()?.as_slice().to_vec())
    }

    pub(crate) fn mean_vector(&self) -> &DVector<f64> {
        &self.mean
    }

    pub(crate) fn covariance_matrix(&self) -> Result<DMatrix<f64>, MetricsError> {
        if self.count < 2 {
            return Err(too_few(self.count));
        }
        Ok(&self.scatter / (self.count - 1) as f64)
    }
}

fn too_few(count: u64) -> MetricsError {
    MetricsError::TooFew {
        metric: "a covariance",
        of: "samples",
        least: 2,
        found: usize::try_from(count).unwrap_or(usize::MAX),
    }
}
