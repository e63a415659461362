//! The distribution of latents: independent Gaussians, as the encoder describes them.

use burn::tensor::Tensor;

/// Independent Gaussians, `[batch, latent_channels, height, width]`.
#[derive(Debug, Clone)]
pub struct DiagonalGaussian {
    /// Means.
    pub mean: Tensor<4>,
    /// Logarithms of the variances, clamped to -30..20.
    pub logvar: Tensor<4>,
}

impl DiagonalGaussian {
    /// # Shapes
    /// - `moments`: `[batch, 2 * latent_channels, height, width]`, means first
    pub fn from_moments(moments: Tensor<4>) -> Self {
        let channels = moments.dims()[1] / 2;
        Self {
            mean: moments.clone().narrow(1, 0, channels),
            logvar: moments.narrow(1, channels, channels).clamp(-30.0, 20.0),
        }
    }

    /// `mean + std noise`, with `noise` drawn from N(0, 1).
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        self.mean.clone() + (self.logvar.clone() * 0.5).exp() * noise
    }

    /// The most likely latents: the mean.
    pub fn mode(&self) -> Tensor<4> {
        self.mean.clone()
    }

    /// The Kullback-Leibler divergence from N(0, 1), summed over all elements of a sample.
    ///
    /// # Shapes
    /// - result: `[batch]`
    pub fn kl(&self) -> Tensor<1> {
        let [batch, ..] = self.mean.dims();
        let terms = self.mean.clone().powi_scalar(2) + self.logvar.clone().exp()
            - 1.0
            - self.logvar.clone();
        terms.flatten::<2>(1, 3).sum_dim(1).reshape([batch]) * 0.5
    }
}
