//! Low-rank adapters on the activation path (LoRA, Hu et al. 2021): `y = W x + b + (alpha / rank) B (A x)`, for linear layers
//! and convolutions.
//!
//! The product `B A` is never formed, and with a frozen base no gradient of W is computed: an adapter costs what its two thin
//! matrices cost. [`Denoiser::with_lora`](crate::Denoiser::with_lora) attaches adapters, [`LoraFile`]
//! and [`LoraExport`] read and write them.

mod adapter;
mod conv_adapter;
mod exchange;
mod files;
mod layer;
mod names;
mod peft_config;

pub use adapter::{LoraAdapter, LoraConfig, LoraInit};
pub(crate) use adapter::{attach, detach, is_at_identity, merge};
pub use conv_adapter::ConvLoraAdapter;
pub use exchange::LoraMatrices;
pub use files::{LoraExport, LoraFile};
pub(crate) use layer::LinearLayer;
pub use names::LoraComponent;

use crate::layers::{Conv2d, Linear, PointwiseConv};

/// Called with the path of a linear layer and the layer.
pub(crate) type LinearVisitor<'a> = &'a mut dyn FnMut(&str, LinearLayer<'_>);

/// Walks the linear layers of a part of a network, convolutions among them.
///
/// Burn's visitors reach parameters, not layers; an adapter belongs to a layer.
pub(crate) trait ForEachLinear {
    fn for_each_linear(&mut self, path: &str, visit: LinearVisitor<'_>);
}

impl ForEachLinear for Linear {
    fn for_each_linear(&mut self, path: &str, visit: LinearVisitor<'_>) {
        visit(path, LinearLayer::Linear(self));
    }
}

impl ForEachLinear for Conv2d {
    fn for_each_linear(&mut self, path: &str, visit: LinearVisitor<'_>) {
        visit(path, LinearLayer::Conv2d(self));
    }
}

impl ForEachLinear for PointwiseConv {
    fn for_each_linear(&mut self, path: &str, visit: LinearVisitor<'_>) {
        visit(path, LinearLayer::Pointwise(self));
    }
}

impl<T: ForEachLinear> ForEachLinear for Vec<T> {
    fn for_each_linear(&mut self, path: &str, visit: LinearVisitor<'_>) {
        for (index, item) in self.iter_mut().enumerate() {
            item.for_each_linear(&format!("{path}.{index}"), &mut *visit);
        }
    }
}

impl<T: ForEachLinear> ForEachLinear for Option<T> {
    fn for_each_linear(&mut self, path: &str, visit: LinearVisitor<'_>) {
        if let Some(item) = self {
            item.for_each_linear(path, visit);
        }
    }
}

/// Implements [`ForEachLinear`] by walking the named fields.
macro_rules! impl_for_each_linear {
    ($type:ident { $($field:ident),+ }) => {
        impl crate::lora::ForEachLinear for $type {
            fn for_each_linear(&mut self, path: &str, visit: crate::lora::LinearVisitor<'_>) {
                $(
                    let name = stringify!($field);
                    let below = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                    self.$field.for_each_linear(&below, &mut *visit);
                )+
            }
        }
    };
}
pub(crate) use impl_for_each_linear;
