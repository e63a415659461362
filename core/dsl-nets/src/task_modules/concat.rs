//! A picture as further channels of the input (Rombach et al. 2022).
//!
//! The first convolution has one weight for x_t and the condition together, as files of such networks have it; the columns
//! of the condition, which are the last ones, start at zero.

use burn::tensor::Tensor;

/// x_t with the condition's channels behind its own.
///
/// # Shapes
/// - `x_t`: `[batch, channels, height, width]`; `condition`: `[batch, further channels, height, width]`
pub(crate) fn join(x_t: Tensor<4>, condition: Option<Tensor<4>>) -> Tensor<4> {
    match condition {
        Some(condition) => Tensor::cat(vec![x_t, condition], 1),
        None => x_t,
    }
}
