//! A discriminator of pictures, patch by patch (Isola et al. 2017, PatchGAN, arXiv 1611.07004).

use burn::module::Module;
use burn::tensor::{Tensor, activation};

use crate::layers::{Conv2d, GroupNorm};
use crate::parameter_init::ParameterInit;

/// Strided 4×4 convolutions; each of the numbers that come out sees a patch of the picture.
///
/// The reference has batch norms, of which a batch of one picture leaves nothing; these are group norms.
#[derive(Module, Debug)]
pub struct PatchDiscriminator {
    /// Half the size each, but for the last two, which keep it but for one pixel.
    pub convs: Vec<Conv2d>,
    /// After each convolution but the first and the last.
    pub norms: Vec<GroupNorm>,
}

impl PatchDiscriminator {
    /// Convolutions of stride 2: patches of 70×70 pixels.
    const LAYERS: usize = 3;
    const KERNEL: usize = 4;
    const SLOPE: f64 = 0.2;
    /// Groups of the norms, fewer where they do not divide the channels.
    const GROUPS: usize = 32;
    /// Standard deviation of fresh weights.
    const STD: f64 = 0.02;

    /// For pictures of `in_channels`; the first convolution has `channels`, the reference 64.
    pub fn new(init: &ParameterInit, in_channels: usize, channels: usize) -> Self {
        let mut widths = vec![in_channels];
        widths.extend((0..=Self::LAYERS).map(|layer| channels << layer));
        widths.push(1);
        let (convs, norms) = (init.at("convs"), init.at("norms"));
        let conv = |i: usize| {
            let (init, shape) = (convs.at(i), [widths[i], widths[i + 1]]);
            let stride = if i < Self::LAYERS { 2 } else { 1 };
            let mut conv = Conv2d::new(&init, shape, Self::KERNEL, stride, 1);
            let [from, to] = shape;
            conv.weight = init.normal("weight", [to, from, Self::KERNEL, Self::KERNEL], Self::STD);
            conv
        };
        let norm = |i: usize| {
            let width = widths[i + 2];
            let groups = (1..=Self::GROUPS.min(width))
                .rev()
                .find(|groups| width % groups == 0);
            GroupNorm::new(&norms.at(i), groups.unwrap_or(1), width, 1e-5)
        };
        Self {
            convs: (0..widths.len() - 1).map(conv).collect(),
            norms: (0..Self::LAYERS).map(norm).collect(),
        }
    }

    /// Large for patches that look real.
    ///
    /// # Shapes
    /// - `picture`: `[batch, in_channels, height, width]`, 24 pixels each way at least
    /// - result: `[batch, 1, height / 8 - 2, width / 8 - 2]`
    pub fn forward(&self, picture: Tensor<4>) -> Tensor<4> {
        let last = self.convs.len() - 1;
        let mut x = picture;
        for (i, conv) in self.convs.iter().enumerate() {
            x = conv.forward(x);
            if let Some(norm) = i.checked_sub(1).and_then(|i| self.norms.get(i)) {
                x = norm.forward(x);
            }
            if i < last {
                x = activation::leaky_relu(x, Self::SLOPE);
            }
        }
        x
    }
}
