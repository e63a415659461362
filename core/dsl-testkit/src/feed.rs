//! Inputs for evaluators, made as the host makes them: noised samples and predictions.

use dsl_loader::{
    DatasetHandle, EvaluatorHandle, HostColumnData, InputColumn, InputData, LoaderError,
    Requirements, TaskHandle,
};

use crate::{
    case::Verdict,
    context::{affordable, some_indices},
};

/// Noised samples with the predictions of networks that are a little wrong.
#[derive(Clone)]
pub(crate) struct Feed {
    /// Shape of one sample.
    sample: Vec<u64>,
    alpha_bar: Vec<f32>,
    x_t: Vec<f32>,
    eps: Vec<f32>,
    generator: Vec<f32>,
    discriminator: Vec<f32>,
}

/// Columns to leave out or to spoil, for cases that feed what an evaluator did not ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    Nothing,
    Discriminator,
    XT,
}

impl Feed {
    /// `count` samples of the split that the evaluator asks for, or as many as fit into memory.
    pub(crate) fn new(
        task: &TaskHandle,
        evaluator: &EvaluatorHandle,
        count: usize,
    ) -> Result<Self, Verdict> {
        let (Requirements::NoisePredictions { split, .. } | Requirements::Samples { split, .. }) =
            evaluator.requirements();
        let dataset = task.dataset(split)?;
        if dataset.is_empty() {
            return Err(Verdict::failed(format!(
                "the evaluator wants samples of the split `{split}`, which is empty"
            )));
        }
        Ok(Self::of(&dataset, &task.describe().target, count)?)
    }

    fn of(dataset: &DatasetHandle, target: &str, count: usize) -> Result<Self, LoaderError> {
        // Five such arrays are held here, and the evaluator may hold as much.
        let count = affordable(dataset, 10 * count)?.div_ceil(10).min(count);
        // The same samples again where there are too few.
        let some = some_indices(dataset, count);
        let indices: Vec<u64> = some.iter().copied().cycle().take(count).collect();
        let columns = dataset.batch(&indices, &vec![0; count], false)?;
        let mut feed = Self {
            sample: Vec::new(),
            alpha_bar: (0..count)
                .map(|row| 0.01 + 0.98 * (row as f32 + 0.5) / count as f32)
                .collect(),
            x_t: Vec::new(),
            eps: Vec::new(),
            generator: Vec::new(),
            discriminator: Vec::new(),
        };
        let tensor = columns.iter().find_map(|column| match &column.data {
            HostColumnData::Tensor(tensor) if column.name == target => Some(tensor),
            _ => None,
        });
        // The loader has checked that the target is there and holds floats.
        let Some((tensor, x_0)) = tensor.and_then(|tensor| Some((tensor, tensor.as_f32()?))) else {
            return Ok(feed);
        };
        feed.sample = tensor.shape().get(1..).unwrap_or_default().to_vec();
        let length = x_0.len() / count.max(1);
        let mut noise = Noise(0x5EED);
        for (place, &value) in x_0.iter().enumerate() {
            let alpha_bar = feed.alpha_bar[place / length.max(1)];
            let eps = noise.normal();
            feed.eps.push(eps);
            feed.x_t
                .push(alpha_bar.sqrt() * value + (1.0 - alpha_bar).sqrt() * eps);
            feed.generator.push(0.9 * eps + 0.1 * noise.normal());
            feed.discriminator.push(0.8 * eps + 0.2 * noise.normal());
        }
        Ok(feed)
    }

    /// Feeds the rows `from..to`, as far as there are so many.
    pub(crate) fn feed(
        &self,
        evaluator: &mut EvaluatorHandle,
        from: usize,
        to: usize,
        leave: Leave,
    ) -> Result<(), LoaderError> {
        let to = to.min(self.alpha_bar.len());
        if from >= to {
            return Ok(());
        }
        let rows = (to - from) as u64;
        let shape: Vec<u64> = std::iter::once(rows)
            .chain(self.sample.iter().copied())
            .collect();
        let length: usize = self.sample.iter().product::<u64>() as usize;
        let part = |values: &'static str| -> (&'static str, &[f32]) {
            let all = match values {
                "x_t" => &self.x_t,
                "eps" => &self.eps,
                "eps_pred/generator" => &self.generator,
                _ => &self.discriminator,
            };
            (values, &all[from * length..to * length])
        };
        let mut columns = vec![InputColumn {
            name: "alpha_bar",
            data: InputData::F32 {
                shape: &shape[..1],
                values: &self.alpha_bar[from..to],
            },
        }];
        for name in ["x_t", "eps", "eps_pred/generator", "eps_pred/discriminator"] {
            let left_out = (leave == Leave::XT && name == "x_t")
                || (leave == Leave::Discriminator && name == "eps_pred/discriminator");
            if !left_out {
                let (name, values) = part(name);
                let data = InputData::F32 {
                    shape: &shape,
                    values,
                };
                columns.push(InputColumn { name, data });
            }
        }
        evaluator.update(&columns, from as u64)
    }
}

/// Normal numbers, always the same ones.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 40) as f32 / (1_u64 << 24) as f32
    }

    fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.uniform()).cos()
    }
}
