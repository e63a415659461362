//! Adapters between networks and files: matrices by layer, in the files' layout.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};

use super::{ForEachLinear, LoraAdapter};
use crate::layers::Linear;
use crate::weights::{FileTensor, transpose};

/// The adapter of one layer, as files hold it: the layer gains `alpha / rank · B A`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraMatrices {
    /// A, `[rank, d_input]`.
    pub down: FileTensor,
    /// B, `[d_output, rank]`.
    pub up: FileTensor,
    /// Where it is equal to the rank, the product counts as it is.
    pub alpha: f64,
}

impl LoraMatrices {
    /// Number of rows of A.
    pub fn rank(&self) -> usize {
        self.down.shape[0]
    }

    /// The same adapter with its factor inside B, so that alpha is the rank.
    pub fn folded(&self) -> Self {
        let rank = self.rank() as f64;
        let factor = (self.alpha / rank) as f32;
        let mut folded = self.clone();
        if factor != 1.0 {
            folded.up.values.iter_mut().for_each(|v| *v *= factor);
        }
        folded.alpha = rank;
        folded
    }

    fn adapter(&self, layer: &Linear, strength: f64) -> Result<LoraAdapter, String> {
        let [d_input, d_output] = layer.weight.lazy_shape().dims();
        let (rank, device) = (self.rank(), layer.weight.lazy_device());
        if rank == 0 || self.down.shape != [rank, d_input] || self.up.shape != [d_output, rank] {
            return Err(format!(
                "takes A [rank, {d_input}] and B [{d_output}, rank], the file has {:?} and {:?}",
                self.down.shape, self.up.shape
            ));
        }
        let param = |matrix: &FileTensor| {
            let [rows, columns] = [matrix.shape[0], matrix.shape[1]];
            let values = transpose(&matrix.values, rows, columns);
            let data = TensorData::new(values, [columns, rows]);
            Param::<Tensor<2>>::from_data(data, &device)
        };
        Ok(LoraAdapter {
            lora_a: param(&self.down),
            lora_b: param(&self.up),
            scale: strength * self.alpha / rank as f64,
            dropout: 0.0,
        })
    }

    fn of(adapter: &LoraAdapter) -> Self {
        let matrix = |param: &Param<Tensor<2>>| {
            let [rows, columns] = param.dims();
            let values: Vec<f32> = param.val().inner().into_data().iter::<f32>().collect();
            FileTensor {
                shape: vec![columns, rows],
                values: transpose(&values, rows, columns),
            }
        };
        let down = matrix(&adapter.lora_a);
        Self {
            alpha: adapter.scale * down.shape[0] as f64,
            up: matrix(&adapter.lora_b),
            down,
        }
    }
}

/// Paths of all layers that can have an adapter.
pub(super) fn layer_paths(network: &mut impl ForEachLinear) -> Vec<String> {
    let mut paths = Vec::new();
    network.for_each_linear("", &mut |path, _| paths.push(path.to_owned()));
    paths
}

/// The adapters of a network, by the path of their layer. Copies all values to the host.
pub(super) fn take(network: &mut impl ForEachLinear) -> BTreeMap<String, LoraMatrices> {
    let mut found = BTreeMap::new();
    network.for_each_linear("", &mut |path, layer| {
        if let Some(adapter) = &layer.lora {
            found.insert(path.to_owned(), LoraMatrices::of(adapter));
        }
    });
    found
}

/// Attaches `adapters` to the layers of these paths, each times `strength`. The error says what does not fit.
pub(super) fn give(
    network: &mut impl ForEachLinear,
    adapters: &BTreeMap<String, LoraMatrices>,
    strength: f64,
) -> Result<(), String> {
    let mut wrong = Vec::new();
    network.for_each_linear("", &mut |path, layer| {
        let Some(matrices) = adapters.get(path) else {
            return;
        };
        match matrices.adapter(layer, strength) {
            Ok(adapter) => layer.lora = Some(adapter),
            Err(reason) => wrong.push(format!("`{path}` {reason}")),
        }
    });
    match wrong.first() {
        None => Ok(()),
        Some(first) if wrong.len() == 1 => Err(first.clone()),
        Some(first) => Err(format!(
            "{} layers are of other sizes: {first}, ..",
            wrong.len()
        )),
    }
}
