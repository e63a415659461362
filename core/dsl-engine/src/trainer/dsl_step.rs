//! The step of discrepancy-aware score learning.
//!
//! With one micro-batch, per update of each network: the generator runs once, its graph kept; the discriminator runs
//! once with gradients and moves; it runs once more, without gradients, to give the generator its new output. With
//! several micro-batches the generator's graphs would not fit, so it runs again in the second pass.

use burn::module::Module;
use burn::optim::GradientsAccumulator;
use burn::tensor::Tensor;
use dsl_nets::Conditioning;

use super::discriminator::Adversary;
use super::dsm_step::Means;
use super::noised::Noised;
use super::report::StepReport;
use super::{Trainer, precision};
use crate::error::EngineError;
use crate::objective::dsl::{discriminator_loss, generator_loss};
use crate::objective::{DslConfig, UpdateOrder};
use crate::rng::Stream;

/// What the generator said of one micro-batch.
struct Seen {
    /// On the generator's graph where that is kept, else detached.
    eps_g: Tensor<4>,
    /// The discriminator gets the generator's conditioning, detached.
    conditioning: Conditioning,
}

impl Trainer {
    pub(super) fn dsl_step(
        &mut self,
        dsl: &DslConfig,
        batch: &[Noised],
    ) -> Result<StepReport, EngineError> {
        if dsl.discriminator.lora.dropout > 0.0 {
            // Masks come from the device's own generator, which a resumed run finds in another state.
            let seeds = self.streams.seeds(Stream::LORA.part("dropout"), self.step, 0, 1);
            self.device.seed(seeds[0]);
        }
        let keep_graph = batch.len() == 1;
        let mut seen: Vec<Seen> = batch
            .iter()
            .map(|noised| {
                let (eps_g, conditioning) = self.forward_generator(noised);
                Seen {
                    eps_g: if keep_graph { eps_g } else { eps_g.detach() },
                    conditioning: conditioning.detach(),
                }
            })
            .collect();

        let mut report = StepReport::default();
        let mut targets = Vec::new();
        for update in 0..dsl.update.d_steps {
            targets = self.update_discriminator(dsl, batch, &seen, update, &mut report)?;
        }
        let fresh = dsl.update.order == UpdateOrder::DThenG;
        for update in 0..dsl.update.g_steps {
            // The kept graph serves the first update only: after it the generator has other weights.
            let kept = if keep_graph && update == 0 { seen.pop() } else { None };
            if fresh && update == 0 {
                targets = self.discriminate(batch, &seen, kept.as_ref());
            }
            self.update_generator(dsl, batch, kept.map(|seen| seen.eps_g), &targets, update, &mut report)?;
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
        let peak = dsl.discriminator.peak_learning_rate(self.config.train.learning_rate);
        let learning_rate = self.scheduled(peak, self.step);
        let mut gradients = GradientsAccumulator::new();
        let mut means = Means::new(
            ["loss/discriminator", "loss/hinge", "hinge/active_fraction", "err/discriminator", "gap"],
            batch.len(),
        );
        let mut outputs = Vec::with_capacity(batch.len());
        for (noised, seen) in batch.iter().zip(seen) {
            let eps_phi = self.forward_discriminator(noised, &seen.conditioning);
            outputs.push(eps_phi.clone().detach());
            let adversary = self.adversary_mut();
            let result = discriminator_loss(
                eps_phi,
                noised.target(&device),
                seen.eps_g.clone(),
                lambda,
                noised.margin(&adversary.margins, &device),
                &dsl.hinge,
                &noised.measure(&device),
            );
            means.add([
                result.loss.clone(),
                result.hinge.mean(),
                result.active.mean(),
                result.error.mean(),
                result.gap.mean(),
            ]);
            means.check("loss/discriminator", step)?;
            // A generator that overflows need not show in Eq. 2: the hinge of an infinite distance is 0.
            means.check("gap", step)?;
            let loss = result.loss.div_scalar(batch.len() as f64);
            adversary.learner.backward(&loss, &mut gradients);
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
        mut kept: Option<Tensor<4>>,
        targets: &[Tensor<4>],
        update: u32,
        report: &mut StepReport,
    ) -> Result<(), EngineError> {
        let (device, lambda, step) = (self.device.clone(), self.lambda(dsl), self.step + 1);
        let mut gradients = GradientsAccumulator::new();
        let mut means = Means::new(["loss/generator", "err/generator", "gap"], batch.len());
        for (noised, eps_phi) in batch.iter().zip(targets) {
            let eps_g = match kept.take() {
                Some(output) => output,
                None => self.forward_generator(noised).0,
            };
            let result = generator_loss(
                eps_g,
                eps_phi.clone(),
                noised.target(&device),
                lambda,
                noised.margin(&self.adversary_mut().margins, &device),
                &dsl.generator,
                &dsl.hinge,
                &noised.measure(&device),
            );
            means.add([result.loss.clone(), result.error.mean(), result.gap.mean()]);
            means.check("loss/generator", step)?;
            let loss = result.loss.div_scalar(batch.len() as f64);
            self.generator.backward(&loss, &mut gradients);
        }
        if update == 0 {
            means.report(report);
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

    /// The moved discriminator's outputs, without gradients.
    fn discriminate(
        &mut self,
        batch: &[Noised],
        seen: &[Seen],
        kept: Option<&Seen>,
    ) -> Vec<Tensor<4>> {
        let plain = self.device.clone().inner();
        let precision = self.config.train.precision;
        let network = precision::compute_copy(&self.adversary_mut().learner.module().valid(), precision);
        batch
            .iter()
            .zip(kept.into_iter().chain(seen))
            .map(|(noised, seen)| {
                self.forwards.discriminator += 1;
                let output = network.forward(
                    precision::input(noised.x_t(&plain), precision),
                    noised.timesteps(&plain),
                    &seen.conditioning.inner(),
                );
                Tensor::from_inner(output)
            })
            .collect()
    }

    fn forward_discriminator(&mut self, noised: &Noised, conditioning: &Conditioning) -> Tensor<4> {
        self.forwards.discriminator += 1;
        let precision = self.config.train.precision;
        let device = self.device.clone();
        let network = precision::compute_copy(self.adversary_mut().learner.module(), precision);
        network.forward(
            precision::input(noised.x_t(&device), precision),
            noised.timesteps(&device),
            conditioning,
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
