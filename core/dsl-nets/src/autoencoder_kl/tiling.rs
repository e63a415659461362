//! Large pictures piece by piece: tiles that overlap and are blended, and one sample at a time.
//!
//! Tiles do not see each other, so the result differs a little from that of the whole picture; overlaps are blended as in
//! diffusers' `tiled_encode` and `tiled_decode`, and give the same numbers.

use burn::tensor::{Tensor, TensorData};

use super::{AutoencoderKL, AutoencoderKLConfig, ControllableFeatureWrapping, DiagonalGaussian};

/// Size of the tiles, and how much they share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tiling {
    /// Height and width of a tile of the picture, in pixels.
    pub tile_sample_min_size: usize,
    /// Height and width of a tile of the latents.
    pub tile_latent_min_size: usize,
    /// Share of a tile that it has in common with the next, 0..1.
    pub tile_overlap_factor: f64,
}

/// How one of the two directions cuts and joins.
struct Cut {
    /// Tiles of the input begin this far apart, and are this large.
    stride: usize,
    size: usize,
    /// Rows and columns of the output that are blended, and that are kept of each tile.
    blend: usize,
    keep: usize,
}

impl Tiling {
    /// diffusers' choice: tiles of the size that the network was trained on, a quarter of it shared.
    pub fn new(config: &AutoencoderKLConfig) -> Self {
        let scale = config.scale_between_picture_and_latents();
        Self {
            tile_sample_min_size: config.sample_size,
            tile_latent_min_size: (config.sample_size / scale).max(1),
            tile_overlap_factor: 0.25,
        }
    }

    fn cut(&self, from: usize, to: usize) -> Cut {
        let factor = self.tile_overlap_factor;
        let blend = (to as f64 * factor) as usize;
        Cut {
            stride: ((from as f64 * (1.0 - factor)) as usize).max(1),
            size: from,
            blend,
            keep: to - blend,
        }
    }
}

impl AutoencoderKL {
    /// As [`encode`](Self::encode), in tiles where the picture is larger than one.
    ///
    /// # Shapes
    /// - as [`encode`](Self::encode)
    pub fn encode_tiled(&self, image: Tensor<4>, tiling: &Tiling) -> DiagonalGaussian {
        let largest = tiling.tile_sample_min_size;
        let moments = if exceeds(&image, largest) {
            let cut = tiling.cut(largest, tiling.tile_latent_min_size);
            run_tiles(image, &cut, |tile, _| self.moments(tile))
        } else {
            self.moments(image)
        };
        DiagonalGaussian::from_moments(moments)
    }

    /// As [`decode`](Self::decode), in tiles where the latents are larger than one.
    ///
    /// # Shapes
    /// - as [`decode`](Self::decode)
    pub fn decode_tiled(&self, latents: Tensor<4>, tiling: &Tiling) -> Tensor<4> {
        let largest = tiling.tile_latent_min_size;
        if exceeds(&latents, largest) {
            let cut = tiling.cut(largest, tiling.tile_sample_min_size);
            run_tiles(latents, &cut, |tile, _| self.decode(tile))
        } else {
            self.decode(latents)
        }
    }

    /// As [`encode`](Self::encode), one sample at a time: the same numbers in the memory of one.
    pub fn encode_sliced(&self, image: Tensor<4>) -> DiagonalGaussian {
        DiagonalGaussian::from_moments(run_samples(image, |sample| self.moments(sample)))
    }

    /// As [`decode`](Self::decode), one sample at a time: the same numbers in the memory of one.
    pub fn decode_sliced(&self, latents: Tensor<4>) -> Tensor<4> {
        run_samples(latents, |sample| self.decode(sample))
    }
}

impl ControllableFeatureWrapping {
    /// As [`decode`](Self::decode) with the features of `picture`, in tiles where the latents are larger than one. Each tile
    /// of the latents takes the features of the same part of the picture.
    ///
    /// # Shapes
    /// - `latents`, result: as [`AutoencoderKL::decode`]
    /// - `picture`: of the result's size
    pub fn decode_tiled(
        &self,
        autoencoder: &AutoencoderKL,
        latents: Tensor<4>,
        picture: Tensor<4>,
        w: f64,
        tiling: &Tiling,
    ) -> Tensor<4> {
        let [_, _, of_latents, _] = latents.dims();
        let scale = picture.dims()[2] / of_latents.max(1);
        let decode = |latents: Tensor<4>, [top, left]: [usize; 2]| {
            let [_, _, height, width] = latents.dims().map(|side| side * scale);
            let part = picture.clone().narrow(2, top * scale, height);
            let part = part.narrow(3, left * scale, width);
            let (_, features) = autoencoder.encode_with_features(part);
            self.decode(autoencoder, latents, &features, w)
        };
        let largest = tiling.tile_latent_min_size;
        if exceeds(&latents, largest) {
            let cut = tiling.cut(largest, tiling.tile_sample_min_size);
            run_tiles(latents, &cut, decode)
        } else {
            decode(latents, [0, 0])
        }
    }
}

fn run_samples(x: Tensor<4>, run: impl Fn(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
    let batch = x.dims()[0];
    let each = (0..batch).map(|i| run(x.clone().narrow(0, i, 1)));
    Tensor::cat(each.collect(), 0)
}

fn exceeds(x: &Tensor<4>, largest: usize) -> bool {
    let [_, _, height, width] = x.dims();
    height > largest || width > largest
}

/// `x` through `run`, which gets each tile with its top and left.
fn run_tiles(
    x: Tensor<4>,
    cut: &Cut,
    run: impl Fn(Tensor<4>, [usize; 2]) -> Tensor<4>,
) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    let piece = |x: Tensor<4>, axis: usize, start: usize, whole: usize| {
        x.narrow(axis, start, cut.size.min(whole - start))
    };
    let mut above: Vec<Tensor<4>> = Vec::new();
    let mut rows = Vec::new();
    for top in (0..height).step_by(cut.stride) {
        let row = piece(x.clone(), 2, top, height);
        let mut tiles: Vec<Tensor<4>> = Vec::new();
        for (column, left) in (0..width).step_by(cut.stride).enumerate() {
            let mut tile = run(piece(row.clone(), 3, left, width), [top, left]);
            // A tile is blended with neighbours that have been blended themselves, as the reference does in place.
            if let Some(upper) = above.get(column) {
                tile = blend(upper.clone(), tile, 2, cut.blend);
            }
            if let Some(left) = tiles.last() {
                tile = blend(left.clone(), tile, 3, cut.blend);
            }
            tiles.push(tile);
        }
        let kept = tiles.iter().map(|tile| {
            let [_, _, height, width] = tile.dims();
            let tile = tile.clone().narrow(2, 0, cut.keep.min(height));
            tile.narrow(3, 0, cut.keep.min(width))
        });
        rows.push(Tensor::cat(kept.collect(), 3));
        above = tiles;
    }
    Tensor::cat(rows, 2)
}

/// `after` with its first elements along `axis` mixed with the last ones of `before`: `before (1 - k / n) + after k / n`.
fn blend(before: Tensor<4>, after: Tensor<4>, axis: usize, extent: usize) -> Tensor<4> {
    let (of_before, of_after) = (before.dims()[axis], after.dims()[axis]);
    let extent = extent.min(of_before).min(of_after);
    if extent == 0 {
        return after;
    }
    let mut shape = [1; 4];
    shape[axis] = extent;
    let share: Vec<f32> = (0..extent).map(|k| k as f32 / extent as f32).collect();
    let share =
        Tensor::<4>::from_data(TensorData::new(share, shape), &after.device()).cast(after.dtype());
    let last = before.narrow(axis, of_before - extent, extent);
    let first = after.clone().narrow(axis, 0, extent);
    let mixed = last * (share.clone().neg() + 1.0) + first * share;
    if extent == of_after {
        return mixed;
    }
    let rest = after.narrow(axis, extent, of_after - extent);
    Tensor::cat(vec![mixed, rest], axis)
}
