//! The step of denoising score matching, and of DSL's warm-up.

use burn::optim::GradientsAccumulator;
use burn::tensor::Tensor;
use dsl_nets::Model;

use super::Trainer;
use super::noised::Noised;
use super::parts::{GeneratorPass, PassMode, side_by_side};
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
        let count = inputs.len() as f64;
        let done = side_by_side(inputs, self.workers(), move |(noised, model)| {
            let pass = GeneratorPass::run(&model, &noised, &device, mode);
            let result = dsm_loss(
                pass.eps_g.clone(),
                noised.target(&device),
                &noised.measure(&device),
            );
            let gradients = pass.gradients(&result.loss.clone().div_scalar(count));
            ([result.loss.detach(), result.error.mean()], gradients)
        });
        let mut means = Means::new(["loss/generator", "err/generator"], batch.len());
        let mut gradients = GradientsAccumulator::new();
        for (scalars, part) in done {
            means.add(scalars);
            means.check("loss/generator", self.step + 1)?;
            gradients.accumulate(self.generator.module(), part);
        }
        let mut report = StepReport::default();
        means.report(&mut report);
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

/// Means of named scalars over the micro-batches of a step.
pub(super) struct Means<const N: usize> {
    names: [&'static str; N],
    sums: [f64; N],
    last: [f64; N],
    count: usize,
}

impl<const N: usize> Means<N> {
    pub(super) fn new(names: [&'static str; N], count: usize) -> Self {
        Self {
            names,
            sums: [0.0; N],
            last: [0.0; N],
            count,
        }
    }

    /// Adds the scalars of one micro-batch: one read from the device for all of them.
    pub(super) fn add(&mut self, scalars: [Tensor<1>; N]) {
        let read: Vec<f32> = Tensor::cat(scalars.into_iter().map(Tensor::detach).collect(), 0)
            .into_data()
            .iter::<f32>()
            .collect();
        for (i, value) in read.into_iter().enumerate() {
            self.last[i] = f64::from(value);
            self.sums[i] += f64::from(value);
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
            report.set(name, sum / self.count as f64);
        }
    }
}
