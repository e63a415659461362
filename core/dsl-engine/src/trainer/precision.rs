//! bfloat16 computation over float32 weights.
//!
//! The whole network is cast per forward pass, on the autodiff graph: gradients arrive at the float32 weights, which
//! the optimiser moves. No layer needs to know.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor};

use super::config::Precision;
use crate::error::EngineError;

/// Refuses a number format that the device cannot compute with.
pub(super) fn check(precision: Precision, device: &Device) -> Result<(), EngineError> {
    if precision == Precision::Bf16 && !device.supports_dtype(DType::BF16) {
        return Err(EngineError::Config {
            key: "train.precision".to_owned(),
            message: "this device does not compute in bfloat16".to_owned(),
            help: "set `train.precision: f32`".to_owned(),
        });
    }
    Ok(())
}

/// The module to compute with: itself in float32, a cast copy on its graph in bfloat16.
pub(super) fn compute_copy<M: Module>(module: &M, precision: Precision) -> M {
    match precision {
        Precision::F32 => module.clone(),
        Precision::Bf16 => module.clone().map(&mut Cast),
    }
}

/// An input of a network in its number format.
pub(super) fn input(tensor: Tensor<4>, precision: Precision) -> Tensor<4> {
    match precision {
        Precision::F32 => tensor,
        Precision::Bf16 => tensor.cast(DType::BF16),
    }
}

/// The type of the networks' activations.
pub(super) fn dtype(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::BF16,
    }
}

struct Cast;

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(DType::BF16))
    }
}
