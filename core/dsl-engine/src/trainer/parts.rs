//! Micro-batches side by side on the CPU.
//!
//! Small networks leave cores idle: most of their operations are too short to be shared out. Each micro-batch gets a
//! thread and an autodiff graph of its own, over the same weights; gradients are added up in the order of the
//! micro-batches, so that the result does not depend on which thread was first.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use dsl_nets::{Conditioning, Denoiser, Model};

use super::config::Precision;
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
}

impl GeneratorPass {
    /// Runs `model` with gradients.
    pub(super) fn run(
        model: &Model,
        noised: &Noised,
        device: &Device,
        precision: Precision,
    ) -> Self {
        let weights = model.valid().train();
        let network = precision::compute_copy(&weights, precision);
        let conditioning = predictions::condition(&network, noised.token_ids(device));
        let eps_g = network.denoiser.forward(
            precision::input(noised.x_t(device), precision),
            noised.timesteps(device),
            &conditioning,
        );
        Self {
            weights,
            eps_g,
            conditioning,
        }
    }

    /// Gradients of `loss`, which was made of `eps_g`.
    pub(super) fn gradients(&self, loss: &Tensor<1>) -> GradientsParams {
        gradients(&self.weights, loss)
    }
}

/// A discriminator's answer to one micro-batch, with its graph.
pub(super) struct DiscriminatorPass {
    weights: Denoiser,
    pub(super) eps_phi: Tensor<4>,
}

impl DiscriminatorPass {
    /// Runs `network` with gradients, under the generator's conditioning.
    pub(super) fn run(
        network: &Denoiser,
        noised: &Noised,
        conditioning: &Conditioning,
        device: &Device,
        precision: Precision,
    ) -> Self {
        let weights = network.valid().train();
        let eps_phi = precision::compute_copy(&weights, precision).forward(
            precision::input(noised.x_t(device), precision),
            noised.timesteps(device),
            conditioning,
        );
        Self { weights, eps_phi }
    }

    /// Gradients of `loss`, which was made of `eps_phi`.
    pub(super) fn gradients(&self, loss: &Tensor<1>) -> GradientsParams {
        gradients(&self.weights, loss)
    }
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
