//! A layer that can have an adapter, whichever kind it is.

use super::adapter::{LoraAdapter, LoraConfig};
use super::conv_adapter::ConvLoraAdapter;
use crate::layers::{Conv2d, Linear, PointwiseConv};
use crate::parameter_init::ParameterInit;

/// One layer of a network on a walk over those that can be adapted.
pub(crate) enum LinearLayer<'a> {
    Linear(&'a mut Linear),
    Conv2d(&'a mut Conv2d),
    Pointwise(&'a mut PointwiseConv),
}

impl LinearLayer<'_> {
    /// Attaches a fresh adapter. Its values and ids follow from `seed`, `name` and the layer's path.
    pub(super) fn attach(&mut self, config: &LoraConfig, seed: u64, name: &str, path: &str) {
        let init = |device: &burn::tensor::Device| {
            let root = ParameterInit::new(seed, device);
            match name {
                "" => root.at(path).at("lora"),
                name => root.at(name).at(path).at("lora"),
            }
        };
        match self {
            Self::Linear(layer) => {
                let init = init(&layer.weight.device());
                layer.lora = Some(LoraAdapter::new(&init, config, layer.weight.dims()));
            }
            Self::Pointwise(layer) => {
                let init = init(&layer.weight.device());
                let [channels_out, channels_in, ..] = layer.weight.dims();
                layer.lora = Some(LoraAdapter::new(&init, config, [channels_in, channels_out]));
            }
            Self::Conv2d(layer) => {
                let init = init(&layer.weight.device());
                layer.lora = Some(ConvLoraAdapter::new(
                    &init,
                    config,
                    layer.weight.dims(),
                    layer.stride,
                    layer.padding,
                ));
            }
        }
    }

    /// Takes the adapter that trains away.
    pub(crate) fn detach(&mut self) {
        match self {
            Self::Linear(layer) => layer.lora = None,
            Self::Pointwise(layer) => layer.lora = None,
            Self::Conv2d(layer) => layer.lora = None,
        }
    }

    /// Makes the adapter that trains part of the base.
    pub(crate) fn move_to_base(&mut self) {
        match self {
            Self::Linear(layer) => layer.base_lora = layer.lora.take(),
            Self::Pointwise(layer) => layer.base_lora = layer.lora.take(),
            Self::Conv2d(layer) => layer.base_lora = layer.lora.take(),
        }
    }

    /// Adds what the adapters compute to the weight, and takes them away.
    pub(crate) fn merge(&mut self) {
        match self {
            Self::Linear(layer) => {
                for adapter in [layer.base_lora.take(), layer.lora.take()]
                    .into_iter()
                    .flatten()
                {
                    layer.weight = layer.weight.clone().map(|weight| weight + adapter.delta());
                }
            }
            Self::Pointwise(layer) => {
                for adapter in [layer.base_lora.take(), layer.lora.take()]
                    .into_iter()
                    .flatten()
                {
                    let shape = layer.weight.dims();
                    let delta = adapter.delta().transpose().reshape(shape);
                    layer.weight = layer.weight.clone().map(|weight| weight + delta);
                }
            }
            Self::Conv2d(layer) => {
                for adapter in [layer.base_lora.take(), layer.lora.take()]
                    .into_iter()
                    .flatten()
                {
                    layer.weight = layer.weight.clone().map(|weight| weight + adapter.delta());
                }
            }
        }
    }

    /// The largest magnitude in B of the adapter that trains; `None` without one. Reads from the device.
    pub(super) fn largest_b(&self) -> Option<f32> {
        let of = |adapter: &LoraAdapter| adapter.lora_b.val().inner().abs().max();
        let largest = match self {
            Self::Linear(layer) => layer.lora.as_ref().map(of),
            Self::Pointwise(layer) => layer.lora.as_ref().map(of),
            Self::Conv2d(layer) => layer
                .lora
                .as_ref()
                .map(|adapter| adapter.lora_b.val().inner().abs().max()),
        };
        largest.map(|largest| largest.into_scalar::<f32>())
    }
}
