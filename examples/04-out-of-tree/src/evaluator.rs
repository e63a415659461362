//! How far the predicted noise is from the drawn noise, by how much noise there is.

use dsl_sdk::{Artefacts, Batch, Direction, Evaluator, MetricValue, PluginError, Requirements};

/// Lower ends of the ranges of `alpha_bar`, and their names.
const RANGES: [(f32, &str); 3] = [
    (0.0, "high_noise"),
    (0.3, "medium_noise"),
    (0.7, "low_noise"),
];

/// Mean squared error of each network's prediction, by range.
pub(crate) struct NoiseError {
    requirements: Requirements,
    /// Sum and count, by network and range.
    sums: [[(f64, u64); RANGES.len()]; NETWORKS.len()],
}

/// Columns and names. The second is there when the objective has a discriminator.
const NETWORKS: [(&str, &str); 2] = [
    ("eps_pred/generator", "generator"),
    ("eps_pred/discriminator", "discriminator"),
];

impl NoiseError {
    pub(crate) fn new(requirements: Requirements) -> Self {
        Self {
            requirements,
            sums: Default::default(),
        }
    }
}

impl Evaluator for NoiseError {
    fn requirements(&self) -> Requirements {
        self.requirements.clone()
    }

    fn update(&mut self, inputs: &Batch, _first_index: u64) -> Result<(), PluginError> {
        let (_, alpha_bars) = inputs.f32("alpha_bar")?;
        let (_, eps) = inputs.f32("eps")?;
        // Not used here; an input that is not as promised is told all the same.
        let (_, x_t) = inputs.f32("x_t")?;
        for (network, (column, _)) in NETWORKS.iter().enumerate() {
            if network > 0 && inputs.column(column).is_none() {
                continue;
            }
            let (_, predicted) = inputs.f32(column)?;
            if predicted.len() != eps.len() || x_t.len() != eps.len() || alpha_bars.is_empty() {
                return Err(PluginError::contract(format!(
                    "column `{column}`: expected {} values, found {}",
                    eps.len(),
                    predicted.len()
                )));
            }
            let width = eps.len() / alpha_bars.len();
            for (place, (eps, predicted)) in eps.iter().zip(predicted).enumerate() {
                let alpha_bar = alpha_bars[place / width];
                let range = RANGES.iter().rposition(|(from, _)| alpha_bar >= *from);
                let (sum, count) = &mut self.sums[network][range.unwrap_or(0)];
                *sum += f64::from(eps - predicted).powi(2);
                *count += 1;
            }
        }
        Ok(())
    }

    fn finish(&mut self, artefacts: &mut Artefacts) -> Result<Vec<MetricValue>, PluginError> {
        let sums = std::mem::take(&mut self.sums);
        let mut metrics = Vec::new();
        for ((_, network), ranges) in NETWORKS.iter().zip(sums) {
            for ((_, range), (sum, count)) in RANGES.iter().zip(ranges) {
                if count > 0 {
                    metrics.push(MetricValue {
                        name: format!("noise_error/{range}/{network}"),
                        value: sum / count as f64,
                        direction: Direction::LowerIsBetter,
                        unit: String::new(),
                    });
                }
            }
        }
        if !metrics.is_empty() {
            let rows: Vec<String> = (metrics.iter())
                .map(|metric| format!("{},{}\n", metric.name, metric.value))
                .collect();
            artefacts.add(
                "noise-error.csv",
                "text/csv",
                format!("metric,value\n{}", rows.concat()),
            );
        }
        Ok(metrics)
    }
}
