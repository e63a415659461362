//! Score error: how far a network's prediction is from the exact conditional mean of the noise.

use dsl_sdk::{
    Artefacts, Batch, ColumnData, Direction, Evaluator, MetricValue, PluginError, Requirements,
};

use crate::gaussian_mixture::GaussianMixture;

const GENERATOR: &str = "eps_pred/generator";
const DISCRIMINATOR: &str = "eps_pred/discriminator";

/// Mean over samples and dimensions of `(eps_pred − E[eps | x_t])²`, for each network and for a constant prediction of 0.
///
/// Unlike the loss, whose minimum is the noise's own conditional variance, this is 0 for a perfect network.
#[derive(Clone, Debug)]
pub struct ScoreError {
    mixture: GaussianMixture,
    requirements: Requirements,
    generator: Mean,
    discriminator: Mean,
    zero: Mean,
}

/// A sum and how many values are in it. Squares are added in f64, so the order of batches shows in no printed digit.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn take(&mut self) -> Option<f64> {
        let Self { sum, count } = std::mem::take(self);
        (count > 0).then(|| sum / count as f64)
    }
}

impl ScoreError {
    pub(crate) fn new(mixture: GaussianMixture, requirements: Requirements) -> Self {
        let [generator, discriminator, zero] = [Mean::default(); 3];
        Self {
            mixture,
            requirements,
            generator,
            discriminator,
            zero,
        }
    }
}

/// The values of a column, `per_sample` for each of `samples`.
fn column<'a>(
    inputs: &'a Batch,
    name: &str,
    samples: usize,
    per_sample: usize,
) -> Result<&'a [f32], PluginError> {
    let (shape, values) = inputs.f32(name)?;
    if shape.first() != Some(&(samples as u64)) || values.len() != samples * per_sample {
        return Err(PluginError::contract(format!(
            "column `{name}`: expected {samples} samples of {per_sample} values, found the shape {shape:?}"
        )));
    }
    Ok(values)
}

impl Evaluator for ScoreError {
    fn requirements(&self) -> Requirements {
        self.requirements.clone()
    }

    fn update(&mut self, inputs: &Batch, _first_index: u64) -> Result<(), PluginError> {
        let samples = inputs.f32("alpha_bar")?.1.len();
        let alpha_bars = column(inputs, "alpha_bar", samples, 1)?;
        let x_t = column(inputs, "x_t", samples, 2)?;
        let generator = column(inputs, GENERATOR, samples, 2)?;
        // Only objectives with a discriminator send its prediction.
        let discriminator = match inputs.column(DISCRIMINATOR) {
            Some(ColumnData::F32 { .. }) => Some(column(inputs, DISCRIMINATOR, samples, 2)?),
            Some(other) => {
                return Err(PluginError::contract(format!(
                    "column `{DISCRIMINATOR}`: expected f32, found {}",
                    other.dtype()
                )));
            }
            None => None,
        };
        if let Some(alpha_bar) = alpha_bars
            .iter()
            .find(|value| !(0.0..=1.0).contains(*value))
        {
            return Err(PluginError::contract(format!(
                "column `alpha_bar`: expected values in 0..=1, found {alpha_bar}"
            )));
        }
        for (sample, &alpha_bar) in alpha_bars.iter().enumerate() {
            let point = [x_t[2 * sample], x_t[2 * sample + 1]].map(f64::from);
            let exact = self.mixture.eps_mean(point, f64::from(alpha_bar));
            for (axis, exact) in exact.into_iter().enumerate() {
                let place = 2 * sample + axis;
                self.zero.add(exact * exact);
                self.generator
                    .add((f64::from(generator[place]) - exact).powi(2));
                if let Some(discriminator) = discriminator {
                    self.discriminator
                        .add((f64::from(discriminator[place]) - exact).powi(2));
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Artefacts) -> Result<Vec<MetricValue>, PluginError> {
        let means = [
            ("generator", &mut self.generator),
            ("discriminator", &mut self.discriminator),
            ("zero", &mut self.zero),
        ];
        let metric = |(name, mean): (&str, &mut Mean)| {
            let value = mean.take()?;
            let direction = Direction::LowerIsBetter;
            Some(MetricValue {
                name: format!("score_error/{name}"),
                value,
                direction,
                unit: String::new(),
            })
        };
        Ok(means.into_iter().filter_map(metric).collect())
    }
}

#[cfg(test)]
mod tests {
    use dsl_sdk::Column;

    use super::*;
    use crate::MixtureConfig;
    use crate::dataset::{normals, rng, uniform};

    /// alpha_bar of the 1,000 steps of a schedule whose beta rises linearly from 1e-4 to 0.02.
    fn alpha_bars() -> Vec<f64> {
        let betas = (0..1000).map(|step| 1e-4 + (0.02 - 1e-4) * f64::from(step) / 999.0);
        betas
            .scan(1.0, |product, beta| {
                *product *= 1.0 - beta;
                Some(*product)
            })
            .collect()
    }

    fn f32_column(name: &str, shape: &[u64], values: Vec<f32>) -> Column {
        Column {
            name: name.into(),
            data: ColumnData::F32 {
                shape: shape.into(),
                values,
            },
        }
    }

    /// Noised points, and the exact answer plus `error` as the generator's prediction.
    fn inputs(count: usize, error: f32, discriminator: Option<f32>) -> Batch {
        let mixture = MixtureConfig::default().mixture().unwrap();
        let alpha_bars = alpha_bars();
        let mut rng = rng(11, 0, 0);
        let (mut levels, mut x_t, mut exact) = (vec![], vec![], vec![]);
        for _ in 0..count {
            let level = alpha_bars[(uniform(&mut rng) * 1000.0) as usize] as f32;
            let component = uniform(&mut rng);
            let normal = normals(&mut rng);
            let (x_0, eps) = (mixture.point(component, normal), normals(&mut rng));
            let alpha_bar = f64::from(level);
            let point = [0, 1].map(|axis| {
                (alpha_bar.sqrt() * x_0[axis] + (1.0 - alpha_bar).sqrt() * eps[axis]) as f32
            });
            levels.push(level);
            x_t.extend(point);
            exact.extend(
                mixture
                    .eps_mean(point.map(f64::from), alpha_bar)
                    .map(|value| value as f32),
            );
        }
        let n = count as u64;
        let off = |error: f32| exact.iter().map(|value| value + error).collect::<Vec<_>>();
        let mut columns = vec![
            f32_column("alpha_bar", &[n], levels),
            // As the host sends vectors: with two axes of length 1.
            f32_column("x_t", &[n, 2, 1, 1], x_t),
            f32_column("eps", &[n, 2], vec![0.0; 2 * count]),
            f32_column(GENERATOR, &[n, 2], off(error)),
        ];
        columns.extend(discriminator.map(|error| f32_column(DISCRIMINATOR, &[n, 2], off(error))));
        Batch { columns }
    }

    fn evaluator() -> ScoreError {
        let requirements = Requirements::NoisePredictions {
            split: "test".into(),
            count: 1,
        };
        ScoreError::new(MixtureConfig::default().mixture().unwrap(), requirements)
    }

    fn metrics(evaluator: &mut ScoreError) -> Vec<(String, f64)> {
        evaluator
            .finish(&mut Artefacts::default())
            .unwrap()
            .into_iter()
            .map(|metric| (metric.name, metric.value))
            .collect()
    }

    #[test]
    fn the_exact_answer_has_no_error_and_an_offset_its_square() {
        let mut evaluator = evaluator();
        evaluator.update(&inputs(500, 0.0, Some(0.5)), 0).unwrap();
        let found = metrics(&mut evaluator);
        assert_eq!(found[0].0, "score_error/generator");
        assert!(found[0].1 < 1e-12, "{found:?}");
        assert_eq!(found[1].0, "score_error/discriminator");
        assert!((found[1].1 - 0.25).abs() < 1e-5, "{found:?}");
    }

    #[test]
    fn a_constant_zero_scores_what_the_config_says() {
        let mut evaluator = evaluator();
        evaluator.update(&inputs(100_000, 0.0, None), 0).unwrap();
        let found = metrics(&mut evaluator);
        assert_eq!(found.len(), 2, "no discriminator was sent");
        assert_eq!(found[1].0, "score_error/zero");
        assert!((found[1].1 - 0.83).abs() < 0.01, "{found:?}");
    }

    #[test]
    fn finishing_starts_anew_and_batches_add_up() {
        let (whole, mut evaluator) = (inputs(60, 0.3, None), evaluator());
        evaluator.update(&whole, 0).unwrap();
        let once = metrics(&mut evaluator);
        assert!(metrics(&mut evaluator).is_empty());
        evaluator.update(&whole, 0).unwrap();
        evaluator.update(&whole, 60).unwrap();
        let twice = metrics(&mut evaluator);
        for (once, twice) in once.iter().zip(&twice) {
            assert!((once.1 - twice.1).abs() < 1e-12);
        }
    }

    #[test]
    fn wrong_columns_are_errors() {
        let check = |change: &dyn Fn(&mut Batch), part: &str| {
            let mut batch = inputs(4, 0.0, None);
            change(&mut batch);
            let error = evaluator().update(&batch, 0).unwrap_err();
            assert!(error.message.contains(part), "{}", error.message);
        };
        check(
            &|batch| batch.columns.retain(|column| column.name != "x_t"),
            "`x_t`",
        );
        check(
            &|batch| batch.columns[1] = f32_column("x_t", &[4, 3], vec![0.0; 12]),
            "4 samples of 2 values",
        );
        check(
            &|batch| batch.columns[0] = f32_column("alpha_bar", &[4], vec![1.5; 4]),
            "0..=1",
        );
        check(
            &|batch| {
                batch.columns.push(Column {
                    name: DISCRIMINATOR.into(),
                    data: ColumnData::Text(vec![]),
                })
            },
            "expected f32",
        );
    }
}
