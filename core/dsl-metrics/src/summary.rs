//! Mean and spread.

/// Mean and standard deviation (dividing by the count) of the parts that a metric was computed on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanStd {
    /// Mean over parts.
    pub mean: f64,
    /// Population standard deviation over parts; 0 for one part.
    pub std: f64,
}

impl MeanStd {
    /// Of one value at least.
    pub(crate) fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
        Self {
            mean,
            std: variance.sqrt(),
        }
    }
}
