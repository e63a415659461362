//! The step of denoising score matching, and of DSL's warm-up.

use burn::optim::GradientsAccumulator;
use burn::tensor::Tensor;
use dsl_nets::Model;

use super::Trainer;
use super::noised::Noised;
use super::parts::{CAMERA_ERRORS, CameraLosses, GeneratorPass, PassMode, side_by_side};
use super::report::StepReport;
use crate::error::EngineError;
use crate::objective::dsm::dsm_loss;

impl Trainer {
    pub(super) fn dsm_step(&mut self, batch: &[Noised]) -> Result<StepReport, EngineError> {
        let (device, mode) = (self.device.clone(), PassMode::of(&self.config.train));
        let inputs: Vec<(Noised, Model)> = batch
            .iter()
            .map(|noised| (noised.clone(), self.generator.module().clone()))
            .collect();
        self.forwards.generator += inputs.len() as u32;
        let rows = batch.iter().map(Noised::rows).sum();
        let done = side_by_side(inputs, self.workers(), move |(noised, model)| {
            let pass = GeneratorPass::run(&model, &noised, &device, mode);
            let result = dsm_loss(
                pass.eps_g.clone(),
                noised.target(&device),
                &noised.measure(&device),
            );
            let camera = pass.camera_losses(&noised, &device);
            let loss = with_camera(result.loss.clone(), camera.as_ref());
            let gradients = pass.gradients(&share_of_step(loss, &noised, rows));
            let scalars = [result.loss.detach(), result.error.mean()];
            (scalars, camera.map(|camera| camera.errors), gradients)
        });
        let mut means = Means::new(["loss/generator", "err/generator"]);
        let mut gradients = GradientsAccumulator::new();
        let mut cameras = Means::new(CAMERA_ERRORS);
        for (noised, (scalars, camera, part)) in batch.iter().zip(done) {
            means.add(scalars, noised.rows());
            means.check("loss/generator", self.step + 1)?;
            cameras.add_some(camera, noised.rows());
            gradients.accumulate(self.generator.module(), part);
        }
        let mut report = StepReport::default();
        means.report(&mut report);
        cameras.report_some(&mut report);
        let norm = self.generator.update(
            &mut gradients,
            self.learning_rate_at(self.step),
            self.step + 1,
            "grad_norm/generator",
        )?;
        report.set("grad_norm/generator", norm);
        Ok(report)
    }
}

/// A loss with those of the camera estimate, where there are such.
pub(super) fn with_camera(loss: Tensor<1>, camera: Option<&CameraLosses>) -> Tensor<1> {
    match camera {
        Some(camera) => loss + camera.loss.clone(),
        None => loss,
    }
}

/// What the mean loss of a micro-batch adds to that of its step of `rows` rows: every row of the step counts the same, also
/// where the micro-batches are not of one size.
pub(super) fn share_of_step(loss: Tensor<1>, part: &Noised, rows: usize) -> Tensor<1> {
    loss.div_scalar(rows as f64 / part.rows() as f64)
}

/// Means of named scalars over the rows of a step, which are given as means over its micro-batches.
pub(super) struct Means<const N: usize> {
    names: [&'static str; N],
    sums: [f64; N],
    last: [f64; N],
    rows: usize,
}

impl<const N: usize> Means<N> {
    pub(super) fn new(names: [&'static str; N]) -> Self {
        Self {
            names,
            sums: [0.0; N],
            last: [0.0; N],
            rows: 0,
        }
    }

    /// Adds the scalars of a micro-batch of `rows` rows: one read from the device for all of them.
    pub(super) fn add(&mut self, scalars: [Tensor<1>; N], rows: usize) {
        let read: Vec<f32> = Tensor::cat(scalars.into_iter().map(Tensor::detach).collect(), 0)
            .into_data()
            .iter::<f32>()
            .collect();
        self.rows += rows;
        for (i, value) in read.into_iter().enumerate() {
            self.last[i] = f64::from(value);
            self.sums[i] += f64::from(value) * rows as f64;
        }
    }

    /// [`Self::add`] of scalars that not every task has.
    pub(super) fn add_some(&mut self, scalars: Option<[Tensor<1>; N]>, rows: usize) {
        if let Some(scalars) = scalars {
            self.add(scalars, rows);
        }
    }

    /// [`Self::report`], where anything was added.
    pub(super) fn report_some(&self, report: &mut StepReport) {
        if self.rows > 0 {
            self.report(report);
        }
    }

    /// Refuses to go on where the micro-batch just added has a `name` that is not a number.
    pub(super) fn check(&self, name: &str, step: u64) -> Result<(), EngineError> {
        match self.names.iter().position(|known| *known == name) {
            Some(i) if !self.last[i].is_finite() => Err(EngineError::NonFinite {
                step,
                name: name.to_owned(),
                value: self.last[i],
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn report(&self, report: &mut StepReport) {
        for (name, sum) in self.names.iter().zip(self.sums) {
            report.set(name, sum / self.rows as f64);
        }
    }
}
