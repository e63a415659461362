//! Micro-batches side by side on the CPU.
//!
//! Small networks leave cores idle: most of their operations are too short to be shared out. Each micro-batch gets a
//! thread and an autodiff graph of its own, over the same weights; gradients are added up in the order of the
//! micro-batches, so that the result does not depend on which thread was first.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use dsl_nets::parameters::count_trainable;
use dsl_nets::{CameraEstimate, Conditioning, Denoiser, Model, Tape};

use super::config::{Precision, TrainConfig};
use super::noised::Noised;
use super::{precision, predictions};

/// Runs `job` on each of `inputs`, up to `workers` at a time; results come in the order of the inputs.
pub(super) fn side_by_side<I: Send, R: Send>(
    inputs: Vec<I>,
    workers: usize,
    job: impl Fn(I) -> R + Clone + Send,
) -> Vec<R> {
    if workers <= 1 || inputs.len() <= 1 {
        return dsl_kernels::together(|| inputs.into_iter().map(job).collect());
    }
    let mut results = Vec::with_capacity(inputs.len());
    let mut inputs = inputs.into_iter().peekable();
    while inputs.peek().is_some() {
        let group: Vec<I> = inputs.by_ref().take(workers).collect();
        // Where the parts fill more than half of the cores, their operations have none to share out.
        let full = 2 * group.len() > std::thread::available_parallelism().map_or(1, usize::from);
        results.extend(std::thread::scope(|scope| {
            let threads: Vec<_> = group
                .into_iter()
                .map(|input| {
                    let job = job.clone();
                    scope.spawn(move || match full {
                        true => dsl_kernels::sequential(|| job(input)),
                        false => job(input),
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| match thread.join() {
                    Ok(result) => result,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .collect::<Vec<R>>()
        }));
    }
    results
}

/// A generator's answer to one micro-batch, with its graph.
pub(super) struct GeneratorPass {
    /// The weights as leaves of this pass's own graph.
    weights: Model,
    pub(super) eps_g: Tensor<4>,
    /// What the generator saw; the discriminator gets it detached.
    pub(super) conditioning: Conditioning,
    /// What the generator takes the conditioning picture's camera to be, in tasks that teach it.
    camera: Option<CameraEstimate>,
    /// Of a checkpointed pass.
    tape: Option<Tape>,
}

/// The losses of a camera estimate, which the generator has beside its objective (Li et al. 2024, Era3D).
pub(super) struct CameraLosses {
    /// Both, weighted.
    pub(super) loss: Tensor<1>,
    /// Squared error of the elevation, in radians, and of the inverse focal length; means over the objects.
    pub(super) errors: [Tensor<1>; 2],
}

/// Names of [`CameraLosses::errors`] in reports.
pub(super) const CAMERA_ERRORS: [&str; 2] = ["loss/camera_elevation", "loss/camera_inverse_focal"];

impl GeneratorPass {
    /// Runs `model` with gradients.
    pub(super) fn run(model: &Model, noised: &Noised, device: &Device, mode: PassMode) -> Self {
        let weights = model.valid().train();
        let network = precision::compute_copy(&weights, mode.precision);
        let conditioning = predictions::condition(&network, noised, device, mode.precision);
        let (eps_g, camera, tape) = mode.forward(
            &network.denoiser,
            &weights.denoiser,
            noised,
            device,
            &conditioning,
            trains_text(&weights),
        );
        Self {
            weights,
            eps_g,
            conditioning,
            camera,
            tape,
        }
    }

    /// The losses of the camera estimate, where the network makes one and the truth is known.
    pub(super) fn camera_losses(&self, noised: &Noised, device: &Device) -> Option<CameraLosses> {
        let estimate = self.camera.as_ref()?;
        let truth = noised.conditions().camera.as_ref()?;
        let error = |estimate: &Tensor<1>, truth: &TensorData| {
            let truth = Tensor::<1>::from_data(truth.clone(), device);
            let difference = estimate.clone().cast(DType::F32) - truth;
            (difference.clone() * difference).mean()
        };
        let errors = [
            error(&estimate.elevation, &truth.elevation),
            error(&estimate.inverse_focal, &truth.inverse_focal),
        ];
        let [elevation, inverse_focal] = errors.clone();
        Some(CameraLosses {
            loss: (elevation + inverse_focal).mul_scalar(truth.weight),
            errors,
        })
    }

    /// Gradients of `loss`, which was made of `eps_g`.
    pub(super) fn gradients(&self, loss: &Tensor<1>) -> GradientsParams {
        gradients_of_pass(&self.weights, self.tape.as_ref(), loss)
    }
}

/// A discriminator's answer to one micro-batch, with its graph.
pub(super) struct DiscriminatorPass {
    weights: Denoiser,
    pub(super) eps_phi: Tensor<4>,
    tape: Option<Tape>,
}

impl DiscriminatorPass {
    /// Runs `network` with gradients, under the generator's conditioning.
    pub(super) fn run(
        network: &Denoiser,
        noised: &Noised,
        conditioning: &Conditioning,
        device: &Device,
        mode: PassMode,
    ) -> Self {
        let weights = network.valid().train();
        let network = precision::compute_copy(&weights, mode.precision);
        let (eps_phi, _, tape) =
            mode.forward(&network, &weights, noised, device, conditioning, false);
        Self {
            weights,
            eps_phi,
            tape,
        }
    }

    /// Gradients of `loss`, which was made of `eps_phi`.
    pub(super) fn gradients(&self, loss: &Tensor<1>) -> GradientsParams {
        gradients_of_pass(&self.weights, self.tape.as_ref(), loss)
    }
}

/// How passes with gradients are run.
#[derive(Debug, Clone, Copy)]
pub(super) struct PassMode {
    pub(super) precision: Precision,
    pub(super) gradient_checkpointing: bool,
}

impl PassMode {
    pub(super) fn of(config: &TrainConfig) -> Self {
        Self {
            precision: config.precision,
            gradient_checkpointing: config.gradient_checkpointing,
        }
    }

    /// Runs `network`, which computes with the `weights` in training.
    fn forward(
        self,
        network: &Denoiser,
        weights: &Denoiser,
        noised: &Noised,
        device: &Device,
        conditioning: &Conditioning,
        trains_conditioning: bool,
    ) -> (Tensor<4>, Option<CameraEstimate>, Option<Tape>) {
        let x_t = precision::input(noised.x_t(device), self.precision);
        let timesteps = noised.timesteps(device);
        if self.gradient_checkpointing {
            network.forward_checkpointed(weights, x_t, timesteps, conditioning, trains_conditioning)
        } else {
            let (output, camera) = network.forward_with_camera(x_t, timesteps, conditioning);
            (output, camera, None)
        }
    }
}

/// Whether gradients are wanted of what a model makes of text.
fn trains_text(weights: &Model) -> bool {
    count_trainable(&weights.text_encoder) + count_trainable(&weights.learned_tokens) > 0
}

/// Gradients of `loss` in the parameters of `weights`, those of recomputed blocks included.
fn gradients_of_pass<M: Module>(
    weights: &M,
    tape: Option<&Tape>,
    loss: &Tensor<1>,
) -> GradientsParams {
    let Some(tape) = tape else {
        return gradients(weights, loss);
    };
    let mut of_loss = loss.backward();
    let mut total = GradientsAccumulator::new();
    let mut collect = |part: &mut Gradients| {
        total.accumulate(weights, GradientsParams::from_module(part, weights));
    };
    collect(&mut of_loss);
    tape.backward(&of_loss, &mut collect);
    total.grads()
}

/// Gradients of `loss` in the parameters of `weights`.
pub(super) fn gradients<M: Module>(weights: &M, loss: &Tensor<1>) -> GradientsParams {
    let mut gradients = loss.backward();
    GradientsParams::from_module(&mut gradients, weights)
}

#[cfg(test)]
mod tests {
    use super::side_by_side;

    #[test]
    fn results_come_in_the_order_of_the_inputs() {
        for workers in [1, 2, 3, 8] {
            let squares = side_by_side((0..7u64).collect(), workers, |i| {
                // The first ones take longest.
                std::thread::sleep(std::time::Duration::from_millis(7 - i));
                i * i
            });
            assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36]);
        }
    }
}
