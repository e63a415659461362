//! Training of controllable feature wrapping, the second stage of StableSR (Wang et al. 2023, section 3.2).
//!
//! The autoencoder stays as it is. What wraps its decoder learns to rebuild pictures from latents that the first stage drew,
//! with the encoder's features of the low-resolution picture: `L1 + p LPIPS + g λ hinge`. The last term is that of a
//! discriminator of patches and comes later. As in VQGAN (Esser et al. 2021, equation 7), `λ = |∇ (L1 + p LPIPS)| / (|∇ hinge| +
//! 1e-4)`, over the weights of the decoder's last convolution.
//!
//! That convolution is frozen, and its gradient is needed all the same. Every loss is taken at the finished picture first,
//! where its gradient costs no pass through the decoder. The last convolution alone is then run once for each of the two
//! gradients: this is exactly what a whole backward pass would give, and one such pass is left, for the sum.

use burn::module::Module;
use burn::optim::GradientsAccumulator;
use burn::tensor::{Device, Tensor, TensorData, activation};
use dsl_nets::{
    AutoencoderKL, AutoencoderKLConfig, ControllableFeatureWrapping,
    ControllableFeatureWrappingConfig, ParameterInit, PatchDiscriminator,
};

use crate::error::EngineError;
use crate::trainable::frozen_sha256;
use crate::trainer::{AdamWConfig, Learner, StepReport};

/// Keeps the quotient of the adaptive weight defined.
const ADAPTIVE_EPS: f64 = 1e-4;
/// Largest adaptive weight.
const ADAPTIVE_MAX: f64 = 1e4;
/// The discriminator sees nothing in pictures with shorter sides.
const LEAST_SIDE: usize = 24;

/// Settings of the stage. Defaults are the reference's but for AdamW's, which are those of [`AdamWConfig`].
#[derive(Debug, Clone, PartialEq)]
pub struct WrappingConfig {
    /// Of both networks.
    pub learning_rate: f64,
    /// Of both networks.
    pub optimizer: AdamWConfig,
    /// Of the perceptual distance, beside an L1 of weight 1.
    pub perceptual_weight: f64,
    /// Of the adversarial loss, times its adaptive weight.
    pub gan_weight: f64,
    /// First step with the adversarial loss, counted from 1. The discriminator learns from there on too.
    pub gan_start: u64,
    /// Shape of what is trained.
    pub wrapping: ControllableFeatureWrappingConfig,
    /// Channels of the discriminator's first convolution.
    pub discriminator_channels: usize,
    /// Fresh weights follow from it; nothing else is random.
    pub seed: u64,
}

impl Default for WrappingConfig {
    fn default() -> Self {
        Self {
            learning_rate: 5e-5,
            optimizer: AdamWConfig::default(),
            perceptual_weight: 1.0,
            gan_weight: 0.025,
            gan_start: 501,
            wrapping: ControllableFeatureWrappingConfig::default(),
            discriminator_channels: 64,
            seed: 0,
        }
    }
}

/// Pictures of one micro-batch.
#[derive(Debug, Clone)]
pub struct WrappingBatch {
    /// What is to be rebuilt: `[rows, channels, height, width]`, float32 in −1..1.
    pub target: TensorData,
    /// The low-resolution pictures, enlarged to the targets' size.
    pub low_resolution: TensorData,
    /// What the first stage drew of them, scaled as diffusion models see latents: `[rows, latent_channels, ..]`.
    pub latents: TensorData,
}

/// A perceptual distance between two batches of pictures in −1..1: `[rows]`, with a gradient in the first. Its weights must be on
/// the autodiff device.
pub type PerceptualDistance = Box<dyn Fn(Tensor<4>, Tensor<4>) -> Tensor<1> + Send>;

/// Trains what wraps a decoder.
pub struct WrappingTrainer {
    config: WrappingConfig,
    autoencoder: AutoencoderKL,
    shape: AutoencoderKLConfig,
    autoencoder_sha256: String,
    perceptual: Option<PerceptualDistance>,
    device: Device,
    pub(crate) wrapping: Learner<ControllableFeatureWrapping>,
    pub(crate) discriminator: Learner<PatchDiscriminator>,
    /// Steps done.
    pub(crate) step: u64,
}

/// Pictures with their graph.
struct Pass {
    picture: Tensor<4>,
    target: Tensor<4>,
    /// What the decoder's last norm and convolution read, off the graph.
    last: Tensor<4>,
}

impl WrappingTrainer {
    /// A trainer at step 0. `shape` is that of `autoencoder`; `device` is the plain device.
    ///
    /// # Errors
    /// [`EngineError::Nets`] for an autoencoder that cannot be wrapped.
    pub fn new(
        config: WrappingConfig,
        autoencoder: AutoencoderKL,
        shape: &AutoencoderKLConfig,
        perceptual: Option<PerceptualDistance>,
        device: &Device,
    ) -> Result<Self, EngineError> {
        let device = device.clone().autodiff();
        let init = ParameterInit::new(config.seed, &device);
        let wrapping =
            ControllableFeatureWrapping::new(&config.wrapping, shape, &init.at("wrapping"))?;
        let discriminator = PatchDiscriminator::new(
            &init.at("patch_discriminator"),
            shape.out_channels,
            config.discriminator_channels,
        );
        let autoencoder = autoencoder.no_grad().train();
        Ok(Self {
            autoencoder_sha256: frozen_sha256(&autoencoder).unwrap_or_default(),
            autoencoder,
            shape: shape.clone(),
            perceptual,
            device,
            wrapping: Learner::new(wrapping, &config.optimizer, None),
            discriminator: Learner::new(discriminator, &config.optimizer, None),
            config,
            step: 0,
        })
    }

    /// Steps done.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// What is trained, off the autodiff graph.
    pub fn wrapping(&self) -> ControllableFeatureWrapping {
        self.wrapping.module().valid()
    }

    /// The discriminator, off the autodiff graph.
    pub fn discriminator(&self) -> PatchDiscriminator {
        self.discriminator.module().valid()
    }

    /// The autoencoder, which does not change.
    pub fn autoencoder(&self) -> &AutoencoderKL {
        &self.autoencoder
    }

    /// SHA-256 over the autoencoder's weights when the trainer was made.
    pub fn autoencoder_sha256(&self) -> &str {
        &self.autoencoder_sha256
    }

    /// One optimiser step over micro-batches, which count by their rows.
    ///
    /// Reports `loss/l1`, `loss/perceptual` where there is a distance, and `loss/gan`, `loss/patch_discriminator` and
    /// `gan/adaptive_weight` from `gan_start` on; each loss without its weight.
    ///
    /// # Errors
    /// [`EngineError::Batch`] for pictures that do not fit; [`EngineError::NonFinite`] before any weight is touched by a bad
    /// loss.
    pub fn step(&mut self, batch: &[WrappingBatch]) -> Result<StepReport, EngineError> {
        let step = self.step + 1;
        let mut rows = 0;
        for part in batch {
            rows += self.rows_of(step, part)?;
        }
        if rows == 0 {
            let message = "it has no pictures".to_owned();
            return Err(EngineError::Batch { step, message });
        }
        let mut report = StepReport {
            step,
            images: rows,
            ..StepReport::default()
        };
        let is_adversarial = step >= self.config.gan_start;
        let mut of_wrapping = GradientsAccumulator::new();
        let mut of_discriminator = GradientsAccumulator::new();
        for part in batch {
            let share = part.target.shape()[0] as f64 / rows as f64;
            let mut told = |name: &str, value: f64| {
                report.set(name, report.get(name).unwrap_or(0.0) + share * value);
            };
            let pass = self.reconstruct(part);
            let target = pass.target.clone();
            let (l1, mut gradient) = at_picture(&pass.picture, |x| (x - target).abs().mean());
            told("loss/l1", l1);
            if let Some(distance) = &self.perceptual {
                let target = pass.target.clone();
                let (value, more) = at_picture(&pass.picture, |x| distance(x, target).mean());
                told("loss/perceptual", value);
                gradient = gradient + more * self.config.perceptual_weight;
            }
            if is_adversarial {
                let judge = self.discriminator.module().clone().no_grad();
                let (value, more) = at_picture(&pass.picture, |x| judge.forward(x).mean().neg());
                let norm = |gradient: &Tensor<4>| self.norm_at_last_layer(&pass.last, gradient);
                let adaptive = norm(&gradient) / (norm(&more) + ADAPTIVE_EPS);
                let adaptive = adaptive.min(ADAPTIVE_MAX);
                told("loss/gan", value);
                told("gan/adaptive_weight", adaptive);
                gradient = gradient + more * (self.config.gan_weight * adaptive);

                let loss = self.discriminator_loss(&pass);
                told("loss/patch_discriminator", scalar(loss.clone()));
                (self.discriminator).backward(&(loss * share), &mut of_discriminator);
            }
            // The loss whose gradient at the picture is `gradient`.
            let loss = (pass.picture * Tensor::from_inner(gradient)).sum() * share;
            self.wrapping.backward(&loss, &mut of_wrapping);
        }
        let bad = report.values.iter().find(|(_, value)| !value.is_finite());
        if let Some((name, value)) = bad {
            return Err(EngineError::NonFinite {
                step,
                name: name.clone(),
                value: *value,
            });
        }
        let rate = self.config.learning_rate;
        let name = "grad_norm/wrapping";
        let norm = (self.wrapping).update(&mut of_wrapping, rate, step, name)?;
        report.set(name, norm);
        if is_adversarial {
            let name = "grad_norm/patch_discriminator";
            let norm = (self.discriminator).update(&mut of_discriminator, rate, step, name)?;
            report.set(name, norm);
        }
        self.step = step;
        Ok(report)
    }

    fn reconstruct(&self, part: &WrappingBatch) -> Pass {
        let on_device = |data: &TensorData| Tensor::<4>::from_data(data.clone(), &self.device);
        let (_, features) =
            (self.autoencoder).encode_with_features(on_device(&part.low_resolution));
        let latents = self.autoencoder.unscale_latents(on_device(&part.latents));
        let mut last = latents.clone();
        let wrapping = self.wrapping.module();
        let picture = (self.autoencoder).decode_with(latents, &mut |block, of_decoder| {
            let wrapped = wrapping.wrap(block, of_decoder, &features, 1.0);
            last = wrapped.clone();
            wrapped
        });
        Pass {
            picture,
            target: on_device(&part.target),
            last: last.detach(),
        }
    }

    /// Length of the gradient in the weights of the decoder's last convolution that `gradient` at the picture gives.
    fn norm_at_last_layer(&self, last: &Tensor<4>, gradient: &Tensor<4>) -> f64 {
        let decoder = &self.autoencoder.decoder;
        let input = decoder.conv_norm_out.forward_silu(last.clone());
        let conv = decoder.conv_out.clone().set_require_grad(true);
        let loss = (conv.forward(input) * Tensor::from_inner(gradient.clone())).sum();
        let gradients = loss.backward();
        match conv.weight.val().grad(&gradients) {
            Some(gradient) => scalar(gradient.square().sum()).sqrt(),
            None => 0.0,
        }
    }

    /// Half the hinge losses of real pictures and of rebuilt ones.
    fn discriminator_loss(&self, pass: &Pass) -> Tensor<1> {
        let judge = self.discriminator.module();
        let real = judge.forward(pass.target.clone());
        let fake = judge.forward(pass.picture.clone().detach());
        let hinge = |x: Tensor<4>| activation::relu(x + 1.0).mean();
        (hinge(real.neg()) + hinge(fake)) * 0.5
    }

    /// Rows of a micro-batch that fits the autoencoder.
    fn rows_of(&self, step: u64, part: &WrappingBatch) -> Result<usize, EngineError> {
        let refused = |message: String| Err(EngineError::Batch { step, message });
        let scale = self.shape.scale_between_picture_and_latents();
        let [target, low, latents] =
            [&part.target, &part.low_resolution, &part.latents].map(|data| data.shape().to_vec());
        let &[rows, channels, height, width] = &target[..] else {
            return refused(format!("targets have the shape {target:?}"));
        };
        let sides = [height, width];
        if channels != self.shape.in_channels
            || sides
                .iter()
                .any(|side| side % scale != 0 || *side < LEAST_SIDE)
        {
            return refused(format!(
                "targets have the shape {target:?}; expected {} channels and sides that are multiples of {scale}, {LEAST_SIDE} at \
                 least",
                self.shape.in_channels
            ));
        }
        let expected = [
            rows,
            self.shape.latent_channels,
            height / scale,
            width / scale,
        ];
        if rows == 0 || low != target || latents != expected {
            return refused(format!(
                "targets have the shape {target:?}, low-resolution pictures {low:?}, latents {latents:?}; expected {target:?} \
                 and {expected:?}, one row at least"
            ));
        }
        Ok(rows)
    }
}

/// The value of a loss of pictures, and its gradient in them, off the graph.
fn at_picture(picture: &Tensor<4>, loss: impl FnOnce(Tensor<4>) -> Tensor<1>) -> (f64, Tensor<4>) {
    let picture = picture.clone().detach().require_grad();
    let loss = loss(picture.clone());
    let gradients = loss.backward();
    let gradient = picture.grad(&gradients);
    let gradient = gradient.unwrap_or_else(|| picture.inner().zeros_like());
    (scalar(loss), gradient)
}

fn scalar(value: Tensor<1>) -> f64 {
    f64::from(value.into_scalar::<f32>())
}
