//! Layers that never train, and how they are read.

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData, activation, module};
use dsl_kernels as kernels;

use crate::error::NetsError;
use crate::weights::{LoadReport, MissingKey, ShapeMismatch, WeightFile};

/// A convolution with a bias, which a batch norm may be part of.
#[derive(Debug, Clone)]
pub(super) struct FrozenConv {
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    padding: [usize; 2],
    groups: usize,
}

impl FrozenConv {
    /// # Shapes
    /// - `x`: `[batch, channels_in, height, width]`; result: `[batch, channels_out, ..]`
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (self.weight.clone(), Some(self.bias.clone()));
        let [vertical, horizontal] = self.padding;
        if self.groups == 1 && vertical == horizontal {
            return kernels::conv2d(x, weight, bias, self.stride, vertical);
        }
        let options = ConvOptions::new([self.stride; 2], self.padding, [1; 2], self.groups);
        module::conv2d(x, weight, bias, options)
    }

    /// The convolution, then `max(0, x)`.
    pub(super) fn forward_relu(&self, x: Tensor<4>) -> Tensor<4> {
        activation::relu(self.forward(x))
    }
}

/// Shape of a convolution, in the widths of the published network.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConvSpec {
    channels: [usize; 2],
    kernel: [usize; 2],
    stride: usize,
    padding: [usize; 2],
    depthwise: bool,
}

impl ConvSpec {
    /// Stride 1, no padding.
    pub(super) const fn new(channels_in: usize, channels_out: usize, kernel: [usize; 2]) -> Self {
        Self {
            channels: [channels_in, channels_out],
            kernel,
            stride: 1,
            padding: [0; 2],
            depthwise: false,
        }
    }

    /// One filter for each channel.
    pub(super) const fn depthwise(channels: usize, kernel: usize) -> Self {
        Self {
            depthwise: true,
            ..Self::new(channels, channels, [kernel; 2])
        }
    }

    pub(super) const fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// Zeros on both sides: rows, columns.
    pub(super) const fn padding(self, padding: [usize; 2]) -> Self {
        Self { padding, ..self }
    }
}

/// Keys and epsilon of a batch norm.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchNorm<'a> {
    pub(super) key: &'a str,
    pub(super) norm_eps: f64,
}

/// Reads the layers of one network, and remembers everything that does not fit, so that it is reported at once.
pub(super) struct LayerReader<'a> {
    file: &'a WeightFile,
    device: &'a Device,
    width_divisor: usize,
    report: LoadReport,
    failure: Option<NetsError>,
}

impl<'a> LayerReader<'a> {
    pub(super) fn new(file: &'a WeightFile, device: &'a Device, width_divisor: usize) -> Self {
        Self {
            file,
            device,
            width_divisor: width_divisor.max(1),
            report: LoadReport::default(),
            failure: None,
        }
    }

    /// A published width in the network that is read. The three colours and single outputs stay.
    pub(super) fn width(&self, published: usize) -> usize {
        match published {
            1 | 3 => published,
            width => width / self.width_divisor,
        }
    }

    /// A convolution with a bias of its own.
    pub(super) fn conv(&mut self, key: &str, spec: ConvSpec) -> FrozenConv {
        let shape = self.weight_shape(spec);
        let weight = self.values(&format!("{key}.weight"), &shape);
        let bias = self.values(&format!("{key}.bias"), &shape[..1]);
        self.frozen(spec, shape, weight, bias)
    }

    /// A convolution without a bias, and the batch norm behind it as part of it:
    /// `w gamma / sqrt(var + eps)` and `beta - mean gamma / sqrt(var + eps)`.
    pub(super) fn conv_norm(
        &mut self,
        key: &str,
        norm: BatchNorm<'_>,
        spec: ConvSpec,
    ) -> FrozenConv {
        let shape = self.weight_shape(spec);
        let mut weight = self.values(&format!("{key}.weight"), &shape);
        let [gamma, beta, mean, var] = ["weight", "bias", "running_mean", "running_var"]
            .map(|name| self.values(&format!("{}.{name}", norm.key), &shape[..1]));
        let mut bias = vec![0.0; shape[0]];
        let filter = shape[1..].iter().product::<usize>().max(1);
        for (channel, weights) in weight.chunks_mut(filter).enumerate() {
            let scale =
                f64::from(gamma[channel]) / (f64::from(var[channel]) + norm.norm_eps).sqrt();
            for value in weights {
                *value = (f64::from(*value) * scale) as f32;
            }
            bias[channel] = (f64::from(beta[channel]) - f64::from(mean[channel]) * scale) as f32;
        }
        self.frozen(spec, shape, weight, bias)
    }

    /// Any other tensor, of a shape that is not narrowed.
    pub(super) fn tensor<const D: usize>(&mut self, key: &str, shape: [usize; D]) -> Tensor<D> {
        let values = self.values(key, &shape);
        Tensor::from_data(TensorData::new(values, shape), self.device)
    }

    /// `network`, when everything was there.
    ///
    /// # Errors
    /// [`NetsError::WeightsDoNotFit`] with all that was not; what reading says.
    pub(super) fn finish<T>(self, network: T) -> Result<T, NetsError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if self.report.is_complete() {
            return Ok(network);
        }
        Err(NetsError::WeightsDoNotFit {
            path: self.file.name().to_owned(),
            report: Box::new(self.report),
        })
    }

    fn weight_shape(&self, spec: ConvSpec) -> [usize; 4] {
        let [channels_in, channels_out] = spec.channels.map(|width| self.width(width));
        let channels_in = if spec.depthwise { 1 } else { channels_in };
        [channels_out, channels_in, spec.kernel[0], spec.kernel[1]]
    }

    fn frozen(
        &self,
        spec: ConvSpec,
        shape: [usize; 4],
        weight: Vec<f32>,
        bias: Vec<f32>,
    ) -> FrozenConv {
        FrozenConv {
            weight: Tensor::from_data(TensorData::new(weight, shape), self.device),
            bias: Tensor::from_data(TensorData::new(bias, [shape[0]]), self.device),
            stride: spec.stride,
            padding: spec.padding,
            groups: if spec.depthwise { shape[0] } else { 1 },
        }
    }

    /// Values of a tensor of the file; zeros where it does not fit, which is then in the report.
    fn values(&mut self, key: &str, shape: &[usize]) -> Vec<f32> {
        match self.file.shape(key) {
            Some(found) if found == shape => match self.file.read(key) {
                Ok(tensor) => {
                    self.report.applied.push(key.to_owned());
                    return tensor.values;
                }
                Err(error) => self.failure = self.failure.take().or(Some(error)),
            },
            Some(found) => self.report.mismatched.push(ShapeMismatch {
                key: key.to_owned(),
                expected: shape.to_vec(),
                found: found.to_vec(),
            }),
            None => self.report.missing.push(MissingKey {
                key: key.to_owned(),
                did_you_mean: None,
            }),
        }
        vec![0.0; shape.iter().product()]
    }
}
