//! The step of discrepancy-aware score learning.
//!
//! Per update of each network and micro-batch: the generator runs once, its graph kept; the discriminator runs once with
//! gradients and moves; it runs once more, without gradients, to give the generator its new output. Only as many graphs
//! are kept as there are workers; with more micro-batches the generator runs again in the second pass.

use burn::module::Module;
use burn::optim::GradientsAccumulator;
use burn::tensor::Tensor;
use dsl_nets::Conditioning;

use super::discriminator::Adversary;
use super::dsm_step::{Means, share_of_step, with_camera};
use super::noised::Noised;
use super::parts::{CAMERA_ERRORS, DiscriminatorPass, GeneratorPass, PassMode, side_by_side};
use super::report::StepReport;
use super::{Trainer, precision};
use crate::error::EngineError;
use crate::objective::dsl::{discriminator_loss, generator_loss};
use crate::objective::{DslConfig, UpdateOrder};

/// What the discriminator gets to know of the generator's answer: no graph leads back.
#[derive(Clone)]
struct Seen {
    eps_g: Tensor<4>,
    conditioning: Conditioning,
}

impl Trainer {
    pub(super) fn dsl_step(
        &mut self,
        dsl: &DslConfig,
        batch: &[Noised],
    ) -> Result<StepReport, EngineError> {
        let (seen, mut kept) = self.generate(batch);

        let mut report = StepReport::default();
        let mut targets = Vec::new();
        for update in 0..dsl.update.d_steps {
            targets = self.update_discriminator(dsl, batch, &seen, update, &mut report)?;
        }
        if dsl.update.order == UpdateOrder::DThenG {
            targets = self.discriminate(batch, &seen);
        }
        for update in 0..dsl.update.g_steps {
            self.update_generator(dsl, batch, kept.take(), &targets, update, &mut report)?;
        }
        let adversary = self.adversary_mut();
        adversary.updates += 1;
        report.set("margin", adversary.margins.mean());
        Ok(report)
    }

    /// Eq. 2. Returns the discriminator's outputs before its update, detached.
    fn update_discriminator(
        &mut self,
        dsl: &DslConfig,
        batch: &[Noised],
        seen: &[Seen],
        update: u32,
        report: &mut StepReport,
    ) -> Result<Vec<Tensor<4>>, EngineError> {
        let (device, lambda, step) = (self.device.clone(), self.lambda(dsl), self.step + 1);
        let peak = dsl
            .discriminator
            .peak_learning_rate(self.config.train.learning_rate);
        let learning_rate = self.scheduled(peak, self.step);
        let mode = PassMode::of(&self.config.train);
        let adversary = self.adversary_mut();
        let inputs: Vec<_> = batch
            .iter()
            .zip(seen)
            .map(|(noised, seen)| {
                let margin = noised.margin(&adversary.margins, &device);
                (
                    noised.clone(),
                    seen.clone(),
                    margin,
                    adversary.network().clone(),
                )
            })
            .collect();
        self.forwards.discriminator += batch.len() as u32;
        let (rows, hinge) = (batch.iter().map(Noised::rows).sum(), dsl.hinge.clone());
        let done = side_by_side(
            inputs,
            self.workers(),
            move |(noised, seen, margin, network)| {
                let pass =
                    DiscriminatorPass::run(&network, &noised, &seen.conditioning, &device, mode);
                let result = discriminator_loss(
                    pass.eps_phi.clone(),
                    noised.target(&device),
                    seen.eps_g,
                    lambda,
                    margin,
                    &hinge,
                    &noised.measure(&device),
                );
                let gradients = pass.gradients(&share_of_step(result.loss.clone(), &noised, rows));
                let scalars = [
                    result.loss.detach(),
                    result.hinge.mean(),
                    result.active.mean(),
                    result.error.mean(),
                    result.gap.mean(),
                ];
                (pass.eps_phi.detach(), scalars, gradients)
            },
        );
        let mut gradients = GradientsAccumulator::new();
        let mut means = Means::new([
            "loss/discriminator",
            "loss/hinge",
            "hinge/active_fraction",
            "err/discriminator",
            "gap",
        ]);
        let mut outputs = Vec::with_capacity(batch.len());
        for (noised, (output, scalars, part)) in batch.iter().zip(done) {
            means.add(scalars, noised.rows());
            means.check("loss/discriminator", step)?;
            // A generator that overflows need not show in Eq. 2: the hinge of an infinite distance is 0.
            means.check("gap", step)?;
            outputs.push(output);
            let learner = &self.adversary_mut().learner;
            gradients.accumulate(learner.module(), part);
        }
        if update == 0 {
            means.report(report);
        }
        let norm = self.adversary_mut().learner.update(
            &mut gradients,
            learning_rate,
            step,
            "grad_norm/discriminator",
        )?;
        if update == 0 {
            report.set("grad_norm/discriminator", norm);
        }
        Ok(outputs)
    }

    /// Eq. 3.
    fn update_generator(
        &mut self,
        dsl: &DslConfig,
        batch: &[Noised],
        kept: Option<Vec<GeneratorPass>>,
        targets: &[Tensor<4>],
        update: u32,
        report: &mut StepReport,
    ) -> Result<(), EngineError> {
        let (device, lambda, step) = (self.device.clone(), self.lambda(dsl), self.step + 1);
        let kept: Vec<Option<GeneratorPass>> = match kept {
            Some(passes) => passes.into_iter().map(Some).collect(),
            None => batch.iter().map(|_| None).collect(),
        };
        self.forwards.generator += kept.iter().filter(|pass| pass.is_none()).count() as u32;
        let mode = PassMode::of(&self.config.train);
        let margins = self.adversary_mut().margins.clone();
        let inputs: Vec<_> = batch
            .iter()
            .zip(kept)
            .zip(targets)
            .map(|((noised, pass), target)| {
                (
                    noised.clone(),
                    pass,
                    target.clone(),
                    self.generator.module().clone(),
                )
            })
            .collect();
        let rows = batch.iter().map(Noised::rows).sum();
        let (config, hinge) = (dsl.generator.clone(), dsl.hinge.clone());
        let done = side_by_side(
            inputs,
            self.workers(),
            move |(noised, pass, eps_phi, model)| {
                let pass =
                    pass.unwrap_or_else(|| GeneratorPass::run(&model, &noised, &device, mode));
                let result = generator_loss(
                    pass.eps_g.clone(),
                    eps_phi,
                    noised.target(&device),
                    lambda,
                    noised.margin(&margins, &device),
                    &config,
                    &hinge,
                    &noised.measure(&device),
                );
                let camera = pass.camera_losses(&noised, &device);
                let loss = with_camera(result.loss.clone(), camera.as_ref());
                let gradients = pass.gradients(&share_of_step(loss, &noised, rows));
                (
                    [result.loss.detach(), result.error.mean(), result.gap.mean()],
                    camera.map(|camera| camera.errors),
                    gradients,
                )
            },
        );
        let mut gradients = GradientsAccumulator::new();
        let mut means = Means::new(["loss/generator", "err/generator", "gap"]);
        let mut cameras = Means::new(CAMERA_ERRORS);
        for (noised, (scalars, camera, part)) in batch.iter().zip(done) {
            means.add(scalars, noised.rows());
            means.check("loss/generator", step)?;
            cameras.add_some(camera, noised.rows());
            gradients.accumulate(self.generator.module(), part);
        }
        if update == 0 {
            means.report(report);
            cameras.report_some(report);
        }
        // A fresh copy answers as the generator does: the loss is 0 and so is its gradient, but weight decay would
        // still shrink the weights. The generator waits for the first move of its discriminator.
        let nothing_to_learn = dsl.update.order == UpdateOrder::Simultaneous
            && self.adversary_mut().updates == 0
            && dsl.generator.dsm_weight == 0.0;
        let norm = if nothing_to_learn {
            gradients.grads();
            0.0
        } else {
            self.generator.update(
                &mut gradients,
                self.learning_rate_at(self.step),
                step,
                "grad_norm/generator",
            )?
        };
        if update == 0 {
            report.set("grad_norm/generator", norm);
        }
        Ok(())
    }

    /// The generator's answers, micro-batches side by side. Their graphs are kept for the generator's first update where
    /// there are no more of them than are worked on at the same time; after that update it has other weights.
    fn generate(&mut self, batch: &[Noised]) -> (Vec<Seen>, Option<Vec<GeneratorPass>>) {
        self.forwards.generator += batch.len() as u32;
        let (device, mode) = (self.device.clone(), PassMode::of(&self.config.train));
        let keep = batch.len() <= self.workers();
        let inputs: Vec<_> = batch
            .iter()
            .map(|noised| (noised.clone(), self.generator.module().clone()))
            .collect();
        let done = side_by_side(inputs, self.workers(), move |(noised, model)| {
            let pass = GeneratorPass::run(&model, &noised, &device, mode);
            let seen = Seen {
                eps_g: pass.eps_g.clone().detach(),
                conditioning: pass.conditioning.detach(),
            };
            (seen, keep.then_some(pass))
        });
        let (seen, kept): (Vec<_>, Vec<_>) = done.into_iter().unzip();
        (seen, kept.into_iter().collect())
    }

    /// The moved discriminator's outputs, without gradients.
    fn discriminate(&mut self, batch: &[Noised], seen: &[Seen]) -> Vec<Tensor<4>> {
        self.forwards.discriminator += batch.len() as u32;
        let (plain, precision) = (self.device.clone().inner(), self.config.train.precision);
        let network = precision::compute_copy(&self.adversary_mut().network().valid(), precision);
        let inputs: Vec<_> = batch
            .iter()
            .zip(seen)
            .map(|(noised, seen)| (noised.clone(), seen.conditioning.inner(), network.clone()))
            .collect();
        side_by_side(
            inputs,
            self.workers(),
            move |(noised, conditioning, network)| {
                let output = network.forward(
                    precision::input(noised.x_t(&plain), precision),
                    noised.timesteps(&plain),
                    &conditioning,
                );
                Tensor::from_inner(output)
            },
        )
    }

    /// Lambda of this step: constant, or rising from 0 after the discriminator was made.
    fn lambda(&self, dsl: &DslConfig) -> f64 {
        let since = self.step.saturating_sub(dsl.warmup_dsm_steps);
        if since < dsl.lambda_warmup_steps {
            dsl.lambda * (since + 1) as f64 / dsl.lambda_warmup_steps as f64
        } else {
            dsl.lambda
        }
    }

    /// The discriminator of a DSL step, which [`Trainer::prepare_adversary`] has made.
    fn adversary_mut(&mut self) -> &mut Adversary {
        self.adversary
            .as_mut()
            .expect("a DSL step starts with prepare_adversary")
    }
}
