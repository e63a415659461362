//! A micro-batch with its timesteps and noise: what both networks see.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use super::Trainer;
use crate::conditions::Conditions;
use crate::data::Samples;
use crate::loss_weighting::LossWeighting;
use crate::noise_schedule::NoiseSchedule;
use crate::objective::LossConfig;
use crate::objective::dsl::Margins;
use crate::objective::loss::Measure;
use crate::parameterization::PredictionType;
use crate::rng::Stream;

/// One noised micro-batch on the plain device. Generator and discriminator get the very same.
#[derive(Clone)]
pub struct Noised {
    x_t: Tensor<4>,
    eps: Tensor<4>,
    target: Tensor<4>,
    timestep: Vec<u32>,
    conditions: Arc<Conditions>,
    views: usize,
    scale: Option<Vec<f32>>,
    weight: Option<Vec<f32>>,
    loss: LossConfig,
}

impl Noised {
    /// Noises `samples` with given draws: `x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps` (Eq. 1).
    ///
    /// # Shapes
    /// - `eps`: as `samples.x_0`
    /// - `timestep`: one per row
    pub fn new(
        samples: &Samples,
        timestep: Vec<u32>,
        eps: TensorData,
        schedule: &NoiseSchedule,
        prediction_type: PredictionType,
        loss: &LossConfig,
        device: &Device,
    ) -> Self {
        let x_0 = samples.x_0(device);
        let eps = Tensor::<4>::from_data(eps, device);
        let x_t = schedule.add_noise(x_0.clone(), eps.clone(), &timestep);
        let target = prediction_type.target(schedule, x_0, eps.clone(), &timestep);
        let quantity = loss.space.quantity(prediction_type);
        let scale = (quantity != prediction_type)
            .then(|| prediction_type.difference_scales(quantity, schedule, &timestep));
        let weight = match loss.weighting {
            LossWeighting::None => None,
            weighting => Some(weighting.weights(schedule, quantity, &timestep)),
        };
        Self {
            x_t,
            eps,
            target,
            conditions: Arc::new(samples.conditions.clone()),
            views: samples.views,
            scale,
            weight,
            loss: loss.clone(),
            timestep,
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.timestep.len()
    }

    /// Timestep of each row.
    pub fn timestep(&self) -> &[u32] {
        &self.timestep
    }

    /// The noised samples, `[batch, channels, height, width]`, on `device`'s graph.
    pub fn x_t(&self, device: &Device) -> Tensor<4> {
        on(self.x_t.clone(), device)
    }

    /// The drawn noise.
    pub fn eps(&self, device: &Device) -> Tensor<4> {
        on(self.eps.clone(), device)
    }

    /// What a network of this parameterisation should answer.
    pub fn target(&self, device: &Device) -> Tensor<4> {
        on(self.target.clone(), device)
    }

    /// Timesteps as the networks take them, `[batch]`.
    pub fn timesteps(&self, device: &Device) -> Tensor<1> {
        let values: Vec<f32> = self.timestep.iter().map(|&t| t as f32).collect();
        Tensor::from_data(TensorData::new(values, [self.timestep.len()]), device)
    }

    /// What the networks are told.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// The same samples, timesteps and noise under other conditions.
    pub(super) fn under(&self, conditions: Conditions) -> Self {
        Self {
            conditions: Arc::new(conditions),
            ..self.clone()
        }
    }

    /// How losses of this micro-batch are measured.
    pub fn measure(&self, device: &Device) -> Measure {
        let rows = self.rows();
        Measure::new(
            self.loss.reduction,
            self.scale.as_ref().map(|scale| {
                Tensor::from_data(TensorData::new(scale.clone(), [rows, 1, 1, 1]), device)
            }),
            self.weight
                .as_ref()
                .map(|w| Tensor::from_data(TensorData::new(w.clone(), [rows]), device)),
            self.views,
        )
    }

    /// The margin of each row, `[batch]`.
    pub fn margin(&self, margins: &Margins, device: &Device) -> Tensor<1> {
        let values = margins.at(&self.timestep);
        Tensor::from_data(TensorData::new(values, [self.rows()]), device)
    }
}

fn on(tensor: Tensor<4>, device: &Device) -> Tensor<4> {
    if device.is_autodiff() {
        Tensor::from_inner(tensor)
    } else {
        tensor
    }
}

impl Trainer {
    /// Draws timesteps and noise for the step's micro-batches. Row `i` of the step gets the same draws however the
    /// batch is cut into micro-batches.
    pub(super) fn draw(&self, batch: &[Samples]) -> Vec<Noised> {
        let mut first_row = 0;
        batch
            .iter()
            .map(|samples| {
                let noised = self.noise(
                    samples,
                    Stream::TIMESTEP,
                    Stream::NOISE,
                    self.step,
                    first_row,
                );
                first_row += samples.len() as u64;
                noised
            })
            .collect()
    }

    /// Noises `samples` with draws of the given streams; all views of an object share a timestep, domain by domain.
    pub(super) fn noise(
        &self,
        samples: &Samples,
        timestep_stream: Stream,
        noise_stream: Stream,
        step: u64,
        first_row: u64,
    ) -> Noised {
        let rows = samples.len();
        let together = samples.rows_per_timestep();
        let drawn = self.streams.uniform_timesteps(
            timestep_stream,
            step,
            first_row / together as u64,
            rows / together,
            self.schedule.num_train_timesteps(),
        );
        let timestep = (0..rows).map(|row| drawn[row / together]).collect();
        self.noise_at(samples, timestep, noise_stream, step, first_row)
    }

    /// Noises `samples` at given timesteps.
    pub(super) fn noise_at(
        &self,
        samples: &Samples,
        timestep: Vec<u32>,
        noise_stream: Stream,
        step: u64,
        first_row: u64,
    ) -> Noised {
        let shape: Vec<usize> = samples.x_0.shape().to_vec();
        let eps = self.streams.normal(
            noise_stream,
            step,
            first_row,
            [shape[0], shape[1], shape[2], shape[3]],
        );
        Noised::new(
            samples,
            timestep,
            TensorData::new(eps, shape),
            &self.schedule,
            self.config.prediction_type,
            &self.config.loss,
            &self.device.clone().inner(),
        )
    }
}
