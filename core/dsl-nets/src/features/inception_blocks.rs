//! The five kinds of blocks of Inception-v3 (Szegedy et al. 2015, figures 5 to 7), named as in torchvision.
//!
//! Every convolution is followed by a batch norm and `max(0, x)`. Blocks end in a concatenation over channels.

use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};
use burn::tensor::{Tensor, module};

use super::frozen::{BatchNorm, ConvSpec, FrozenConv, LayerReader};

/// Of all batch norms of the network.
const NORM_EPS: f64 = 1e-3;

const POINT: [usize; 2] = [1, 1];
const ROW: [usize; 2] = [1, 7];
const COLUMN: [usize; 2] = [7, 1];

/// A convolution with its batch norm, called `key.conv` and `key.bn`.
pub(super) fn basic_conv(reader: &mut LayerReader<'_>, key: &str, spec: ConvSpec) -> FrozenConv {
    let norm = BatchNorm {
        key: &format!("{key}.bn"),
        norm_eps: NORM_EPS,
    };
    reader.conv_norm(&format!("{key}.conv"), norm, spec)
}

/// A convolution of a block that leaves height and width as they are.
fn same(
    reader: &mut LayerReader<'_>,
    key: &str,
    channels: [usize; 2],
    kernel: [usize; 2],
) -> FrozenConv {
    let spec = ConvSpec::new(channels[0], channels[1], kernel);
    basic_conv(reader, key, spec.padding(kernel.map(|size| size / 2)))
}

/// A 3×3 convolution of a block that halves height and width.
fn halving(reader: &mut LayerReader<'_>, key: &str, channels: [usize; 2]) -> FrozenConv {
    let spec = ConvSpec::new(channels[0], channels[1], [3, 3]);
    basic_conv(reader, key, spec.stride(2))
}

fn chain(layers: &[FrozenConv], x: Tensor<4>) -> Tensor<4> {
    layers.iter().fold(x, |x, layer| layer.forward_relu(x))
}

/// The largest of 3×3, every second position.
pub(super) fn halving_pool(x: Tensor<4>) -> Tensor<4> {
    module::max_pool2d(x, MaxPoolOptions::new([3, 3]).with_stride([2, 2]))
}

/// What the pool branch of a block does, with height and width kept.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pool {
    /// The mean of 3×3, over those that are inside the picture.
    Mean,
    /// The largest of 3×3.
    Max,
}

impl Pool {
    fn forward(self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Mean => module::avg_pool2d(
                x,
                AvgPoolOptions::new([3, 3])
                    .with_stride([1, 1])
                    .with_padding([1, 1])
                    .with_count_include_pad(false),
            ),
            Self::Max => module::max_pool2d(
                x,
                MaxPoolOptions::new([3, 3])
                    .with_stride([1, 1])
                    .with_padding([1, 1]),
            ),
        }
    }
}

/// `Mixed_5b` to `Mixed_5d`, at 35×35.
#[derive(Debug)]
pub(super) struct InceptionA {
    branch1x1: FrozenConv,
    branch5x5: [FrozenConv; 2],
    branch3x3dbl: [FrozenConv; 3],
    branch_pool: FrozenConv,
}

impl InceptionA {
    pub(super) fn read(
        reader: &mut LayerReader<'_>,
        key: &str,
        channels_in: usize,
        pool_features: usize,
    ) -> Self {
        let mut conv =
            |name, channels, kernel| same(reader, &format!("{key}.{name}"), channels, [kernel; 2]);
        Self {
            branch1x1: conv("branch1x1", [channels_in, 64], 1),
            branch5x5: [
                conv("branch5x5_1", [channels_in, 48], 1),
                conv("branch5x5_2", [48, 64], 5),
            ],
            branch3x3dbl: [
                conv("branch3x3dbl_1", [channels_in, 64], 1),
                conv("branch3x3dbl_2", [64, 96], 3),
                conv("branch3x3dbl_3", [96, 96], 3),
            ],
            branch_pool: conv("branch_pool", [channels_in, pool_features], 1),
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let branches = vec![
            self.branch1x1.forward_relu(x.clone()),
            chain(&self.branch5x5, x.clone()),
            chain(&self.branch3x3dbl, x.clone()),
            self.branch_pool.forward_relu(Pool::Mean.forward(x)),
        ];
        Tensor::cat(branches, 1)
    }
}

/// `Mixed_6a`: from 35×35 to 17×17.
#[derive(Debug)]
pub(super) struct InceptionB {
    branch3x3: FrozenConv,
    branch3x3dbl: [FrozenConv; 3],
}

impl InceptionB {
    pub(super) fn read(reader: &mut LayerReader<'_>, key: &str, channels_in: usize) -> Self {
        let name = |name| format!("{key}.{name}");
        Self {
            branch3x3: halving(reader, &name("branch3x3"), [channels_in, 384]),
            branch3x3dbl: [
                same(reader, &name("branch3x3dbl_1"), [channels_in, 64], POINT),
                same(reader, &name("branch3x3dbl_2"), [64, 96], [3, 3]),
                halving(reader, &name("branch3x3dbl_3"), [96, 96]),
            ],
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let branches = vec![
            self.branch3x3.forward_relu(x.clone()),
            chain(&self.branch3x3dbl, x.clone()),
            halving_pool(x),
        ];
        Tensor::cat(branches, 1)
    }
}

/// `Mixed_6b` to `Mixed_6e`, at 17×17: 7×7 as a row and a column.
#[derive(Debug)]
pub(super) struct InceptionC {
    branch1x1: FrozenConv,
    branch7x7: [FrozenConv; 3],
    branch7x7dbl: [FrozenConv; 5],
    branch_pool: FrozenConv,
}

impl InceptionC {
    /// Channels in and out.
    const WIDTH: usize = 768;

    pub(super) fn read(reader: &mut LayerReader<'_>, key: &str, channels_7x7: usize) -> Self {
        let (width, inner) = (Self::WIDTH, channels_7x7);
        let mut conv =
            |name, channels, kernel| same(reader, &format!("{key}.{name}"), channels, kernel);
        Self {
            branch1x1: conv("branch1x1", [width, 192], POINT),
            branch7x7: [
                conv("branch7x7_1", [width, inner], POINT),
                conv("branch7x7_2", [inner, inner], ROW),
                conv("branch7x7_3", [inner, 192], COLUMN),
            ],
            branch7x7dbl: [
                conv("branch7x7dbl_1", [width, inner], POINT),
                conv("branch7x7dbl_2", [inner, inner], COLUMN),
                conv("branch7x7dbl_3", [inner, inner], ROW),
                conv("branch7x7dbl_4", [inner, inner], COLUMN),
                conv("branch7x7dbl_5", [inner, 192], ROW),
            ],
            branch_pool: conv("branch_pool", [width, 192], POINT),
        }
    }

    /// The output, and that of the branch of 1×1 alone.
    pub(super) fn forward(&self, x: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let branch1x1 = self.branch1x1.forward_relu(x.clone());
        let branches = vec![
            branch1x1.clone(),
            chain(&self.branch7x7, x.clone()),
            chain(&self.branch7x7dbl, x.clone()),
            self.branch_pool.forward_relu(Pool::Mean.forward(x)),
        ];
        (Tensor::cat(branches, 1), branch1x1)
    }
}

/// `Mixed_7a`: from 17×17 to 8×8.
#[derive(Debug)]
pub(super) struct InceptionD {
    branch3x3: [FrozenConv; 2],
    branch7x7x3: [FrozenConv; 4],
}

impl InceptionD {
    pub(super) fn read(reader: &mut LayerReader<'_>, key: &str) -> Self {
        let width = InceptionC::WIDTH;
        let name = |name| format!("{key}.{name}");
        Self {
            branch3x3: [
                same(reader, &name("branch3x3_1"), [width, 192], POINT),
                halving(reader, &name("branch3x3_2"), [192, 320]),
            ],
            branch7x7x3: [
                same(reader, &name("branch7x7x3_1"), [width, 192], POINT),
                same(reader, &name("branch7x7x3_2"), [192, 192], ROW),
                same(reader, &name("branch7x7x3_3"), [192, 192], COLUMN),
                halving(reader, &name("branch7x7x3_4"), [192, 192]),
            ],
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let branches = vec![
            chain(&self.branch3x3, x.clone()),
            chain(&self.branch7x7x3, x.clone()),
            halving_pool(x),
        ];
        Tensor::cat(branches, 1)
    }
}

/// `Mixed_7b` and `Mixed_7c`, at 8×8: 3×3 split into a row and a column side by side.
#[derive(Debug)]
pub(super) struct InceptionE {
    branch1x1: FrozenConv,
    branch3x3: FrozenConv,
    branch3x3_split: [FrozenConv; 2],
    branch3x3dbl: [FrozenConv; 2],
    branch3x3dbl_split: [FrozenConv; 2],
    pool: Pool,
    branch_pool: FrozenConv,
}

impl InceptionE {
    pub(super) fn read(
        reader: &mut LayerReader<'_>,
        key: &str,
        channels_in: usize,
        pool: Pool,
    ) -> Self {
        let mut conv =
            |name, channels, kernel| same(reader, &format!("{key}.{name}"), channels, kernel);
        Self {
            branch1x1: conv("branch1x1", [channels_in, 320], POINT),
            branch3x3: conv("branch3x3_1", [channels_in, 384], POINT),
            branch3x3_split: [
                conv("branch3x3_2a", [384, 384], [1, 3]),
                conv("branch3x3_2b", [384, 384], [3, 1]),
            ],
            branch3x3dbl: [
                conv("branch3x3dbl_1", [channels_in, 448], POINT),
                conv("branch3x3dbl_2", [448, 384], [3, 3]),
            ],
            branch3x3dbl_split: [
                conv("branch3x3dbl_3a", [384, 384], [1, 3]),
                conv("branch3x3dbl_3b", [384, 384], [3, 1]),
            ],
            pool,
            branch_pool: conv("branch_pool", [channels_in, 192], POINT),
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let branch3x3 = self.branch3x3.forward_relu(x.clone());
        let branch3x3dbl = chain(&self.branch3x3dbl, x.clone());
        let [a, b] = &self.branch3x3_split;
        let [dbl_a, dbl_b] = &self.branch3x3dbl_split;
        let branches = vec![
            self.branch1x1.forward_relu(x.clone()),
            a.forward_relu(branch3x3.clone()),
            b.forward_relu(branch3x3),
            dbl_a.forward_relu(branch3x3dbl.clone()),
            dbl_b.forward_relu(branch3x3dbl),
            self.branch_pool.forward_relu(self.pool.forward(x)),
        ];
        Tensor::cat(branches, 1)
    }
}
