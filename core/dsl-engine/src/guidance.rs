//! Classifier-free guidance: `uncond + guidance_scale * (cond - uncond)` (Ho and Salimans 2022, eq. 6
//! with `guidance_scale = 1 + w`).

use burn::tensor::Tensor;

use crate::setting_error::SettingError;

/// How strongly the condition is followed; decides whether one forward pass per sample is enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guidance {
    scale: f64,
}

impl Guidance {
    /// `scale` 1 is off (the conditional prediction alone), 0 ignores the condition, above 1 follows
    /// it more strongly than the data does.
    ///
    /// # Errors
    /// A scale that is negative or not finite.
    pub fn new(scale: f64) -> Result<Self, SettingError> {
        if !(scale >= 0.0 && scale.is_finite()) {
            return Err(SettingError::out_of_range(
                "guidance_scale",
                scale,
                "a finite number, 0 or above (1 is off)",
            ));
        }
        Ok(Self { scale })
    }

    /// Whether both predictions are needed; when not, only the conditional one is.
    pub fn is_on(&self) -> bool {
        self.scale != 1.0
    }

    /// The guidance scale.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// One network evaluation with guidance.
    ///
    /// `forward` is called once. With guidance on it gets the batch twice, `[2 * batch, ...]`: the
    /// first half is for the empty condition, the second for the real one, and the caller stacks its
    /// conditioning in that order. With guidance off it gets the batch as it is.
    ///
    /// # Shapes
    /// - `x_t`, result: `[batch, channels, height, width]`
    ///
    /// # Errors
    /// Those of `forward`.
    pub fn apply<E>(
        &self,
        x_t: Tensor<4>,
        forward: impl FnOnce(Tensor<4>) -> Result<Tensor<4>, E>,
    ) -> Result<Tensor<4>, E> {
        if !self.is_on() {
            return forward(x_t);
        }
        let batch = x_t.dims()[0];
        let both = forward(Tensor::cat(vec![x_t.clone(), x_t], 0))?;
        let uncond = both.clone().narrow(0, 0, batch);
        let cond = both.narrow(0, batch, batch);
        Ok(self.combine(uncond, cond))
    }

    /// `uncond + guidance_scale * (cond - uncond)`; all of one shape.
    pub fn combine(&self, uncond: Tensor<4>, cond: Tensor<4>) -> Tensor<4> {
        uncond.clone() + (cond - uncond).mul_scalar(self.scale)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use burn::tensor::Device;

    use super::*;

    fn image(values: [f32; 2]) -> Tensor<4> {
        Tensor::<1>::from_floats(values, &Device::flex()).reshape([2, 1, 1, 1])
    }

    /// A "network" that answers `x` for the empty condition and `3 x` for the real one.
    fn run(scale: f64) -> (Vec<f32>, usize) {
        let guidance = Guidance::new(scale).expect("valid");
        let mut seen = 0;
        let out = guidance
            .apply(image([1.0, 2.0]), |x| {
                seen = x.dims()[0];
                let factors = if seen == 4 {
                    vec![1.0, 1.0, 3.0, 3.0]
                } else {
                    vec![3.0, 3.0]
                };
                Ok::<_, Infallible>(x.clone() * crate::noise_schedule::sample_scales(&factors, &x))
            })
            .expect("infallible");
        (out.into_data().try_to_vec().expect("f32"), seen)
    }

    #[test]
    fn scale_one_runs_the_conditional_half_alone() {
        assert_eq!(run(1.0), (vec![3.0, 6.0], 2));
    }

    #[test]
    fn other_scales_extrapolate_from_both_halves_of_one_batch() {
        assert_eq!(run(0.0), (vec![1.0, 2.0], 4));
        assert_eq!(run(2.0), (vec![5.0, 10.0], 4));
    }

    #[test]
    fn a_negative_or_infinite_scale_is_refused() {
        for scale in [-0.5, f64::NAN, f64::INFINITY] {
            let message = Guidance::new(scale).expect_err("refused").to_string();
            assert!(message.contains("guidance_scale"), "{message}");
        }
    }
}
