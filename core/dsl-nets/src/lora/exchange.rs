//! Adapters between networks and files: matrices by layer, in the files' layout.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

use super::{ConvLoraAdapter, ForEachLinear, LinearLayer, LoraAdapter};
use crate::weights::{FileTensor, transpose};

/// The adapter of one layer, as files hold it: the layer gains `alpha / rank · B A`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraMatrices {
    /// A, `[rank, d_input]`; of a convolution `[rank, channels_in, kernel, kernel]`.
    pub down: FileTensor,
    /// B, `[d_output, rank]`; of a convolution `[channels_out, rank, 1, 1]`.
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

    /// Attaches the adapter to a layer of its size.
    fn onto(&self, layer: &mut LinearLayer<'_>, strength: f64) -> Result<(), String> {
        let scale = strength * self.alpha / self.rank().max(1) as f64;
        match layer {
            LinearLayer::Linear(layer) => {
                let [d_input, d_output] = layer.weight.lazy_shape().dims();
                self.check(&[d_input], d_output)?;
                layer.lora = Some(self.matrices(&layer.weight.lazy_device(), scale));
            }
            LinearLayer::Pointwise(layer) => {
                let [channels_out, channels_in, _, _] = layer.weight.lazy_shape().dims();
                self.check(&[channels_in], channels_out)?;
                layer.lora = Some(self.matrices(&layer.weight.lazy_device(), scale));
            }
            LinearLayer::Conv2d(layer) => {
                let [channels_out, kernel @ ..]: [usize; 4] = layer.weight.lazy_shape().dims();
                self.check(&kernel, channels_out)?;
                let device = layer.weight.lazy_device();
                let param = |tensor: &FileTensor, shape: [usize; 4]| {
                    Param::from_data(TensorData::new(tensor.values.clone(), shape), &device)
                };
                let [channels_in, height, width] = kernel;
                layer.lora = Some(ConvLoraAdapter {
                    lora_a: param(&self.down, [self.rank(), channels_in, height, width]),
                    lora_b: param(&self.up, [channels_out, self.rank(), 1, 1]),
                    scale,
                    dropout: 0.0,
                    stride: layer.stride,
                    padding: layer.padding,
                });
            }
        }
        Ok(())
    }

    /// Whether A is `[rank, inputs ..]` and B `[d_output, rank]`, sizes of 1 at the end aside.
    fn check(&self, inputs: &[usize], d_output: usize) -> Result<(), String> {
        let rank = self.rank();
        let down = [&[rank], inputs].concat();
        let up = [d_output, rank];
        if rank > 0 && bare(&self.down.shape) == bare(&down) && bare(&self.up.shape) == bare(&up) {
            return Ok(());
        }
        let inputs: Vec<String> = inputs.iter().map(usize::to_string).collect();
        Err(format!(
            "takes A [rank, {}] and B [{d_output}, rank], the file has {:?} and {:?}",
            inputs.join(", "),
            self.down.shape,
            self.up.shape
        ))
    }

    fn matrices(&self, device: &Device, scale: f64) -> LoraAdapter {
        let param = |matrix: &FileTensor| {
            let [rows, columns] = [matrix.shape[0], matrix.shape[1]];
            let values = transpose(&matrix.values, rows, columns);
            Param::<Tensor<2>>::from_data(TensorData::new(values, [columns, rows]), device)
        };
        LoraAdapter {
            lora_a: param(&self.down),
            lora_b: param(&self.up),
            scale,
            dropout: 0.0,
        }
    }

    /// The adapter of a layer, if it has one. Matrices of convolutions have the kernel's size behind theirs.
    fn of(layer: &LinearLayer<'_>) -> Option<Self> {
        match layer {
            LinearLayer::Linear(layer) => {
                layer.lora.as_ref().map(|lora| Self::of_matrices(lora, &[]))
            }
            LinearLayer::Pointwise(layer) => {
                let lora = layer.lora.as_ref();
                lora.map(|lora| Self::of_matrices(lora, &[1, 1]))
            }
            LinearLayer::Conv2d(layer) => layer.lora.as_ref().map(|lora| {
                let tensor = |param: &Param<Tensor<4>>| FileTensor {
                    shape: param.dims().to_vec(),
                    values: param.val().inner().into_data().iter::<f32>().collect(),
                };
                let down = tensor(&lora.lora_a);
                Self {
                    alpha: lora.scale * down.shape[0] as f64,
                    up: tensor(&lora.lora_b),
                    down,
                }
            }),
        }
    }

    fn of_matrices(adapter: &LoraAdapter, kernel: &[usize]) -> Self {
        let matrix = |param: &Param<Tensor<2>>| {
            let [rows, columns] = param.dims();
            let values: Vec<f32> = param.val().inner().into_data().iter::<f32>().collect();
            FileTensor {
                shape: [&[columns, rows], kernel].concat(),
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

/// A shape without sizes of 1 at its end, two sizes at least: matrices of 1×1 convolutions and of linear layers are alike.
fn bare(shape: &[usize]) -> &[usize] {
    let mut shape = shape;
    while let [rest @ .., 1] = shape
        && rest.len() >= 2
    {
        shape = rest;
    }
    shape
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
        if let Some(matrices) = LoraMatrices::of(&layer) {
            found.insert(path.to_owned(), matrices);
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
    network.for_each_linear("", &mut |path, mut layer| {
        if let Some(matrices) = adapters.get(path)
            && let Err(reason) = matrices.onto(&mut layer, strength)
        {
            wrong.push(format!("`{path}` {reason}"));
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
