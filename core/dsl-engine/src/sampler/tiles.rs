//! Pictures larger than a network was trained on, predicted tile by tile.
//!
//! Each step of a sampler predicts overlapping tiles and blends them by Gaussian weights, as StableSR does (Wang et al. 2023,
//! section 3.4; the mixture of diffusers of Jiménez 2023): seams have no place where they could be seen, since every step mixes
//! them anew.

use burn::tensor::{Device, Tensor, TensorData};

/// Variance of the weights, in tiles squared.
const VARIANCE: f64 = 0.01;

/// Places of equal tiles that cover a picture.
#[derive(Debug, Clone)]
pub struct Tiles {
    size: [usize; 2],
    tile: [usize; 2],
    /// Top and left of each tile.
    places: Vec<[usize; 2]>,
}

impl Tiles {
    /// Tiles of `tile` (height, width) over a picture of `size`, which overlap by at least `overlap` of them, 0..1. A side that
    /// is no longer than the tile's is covered by one.
    pub fn cover(size: [usize; 2], tile: [usize; 2], overlap: f64) -> Self {
        let [height, width] = [0, 1].map(|axis| size[axis].min(tile[axis].max(1)));
        let [tops, lefts] = [0, 1].map(|axis| starts(size[axis], [height, width][axis], overlap));
        let places = tops
            .iter()
            .flat_map(|top| lefts.iter().map(move |left| [*top, *left]))
            .collect();
        Self {
            size,
            tile: [height, width],
            places,
        }
    }

    /// Height and width of the picture.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Top and left of each tile.
    pub fn places(&self) -> &[[usize; 2]] {
        &self.places
    }

    /// Height and width of a tile.
    pub fn tile(&self) -> [usize; 2] {
        self.tile
    }

    /// The tile at `place` of a picture.
    ///
    /// # Shapes
    /// - `x`: `[batch, channels, height, width]`, of the size that is covered
    /// - result: `[batch, channels, tile height, tile width]`
    pub fn cut(&self, x: Tensor<4>, [top, left]: [usize; 2]) -> Tensor<4> {
        let [height, width] = self.tile;
        x.narrow(2, top, height).narrow(3, left, width)
    }

    /// `x` through `predict`, which gets each tile and its place.
    ///
    /// # Shapes
    /// - `x`, result: `[batch, channels, height, width]`, of the size that is covered; tiles likewise
    ///
    /// # Errors
    /// The first error of `predict`.
    pub fn blend<E>(
        &self,
        x: Tensor<4>,
        mut predict: impl FnMut(Tensor<4>, [usize; 2]) -> Result<Tensor<4>, E>,
    ) -> Result<Tensor<4>, E> {
        if let [place] = self.places[..] {
            return predict(x, place);
        }
        let device = x.device();
        let weight = self.weight(&device);
        let [height, width] = self.size;
        let mut total = x.zeros_like();
        let mut weights = Tensor::<4>::zeros([1, 1, height, width], &device);
        for &place in &self.places {
            let predicted = predict(self.cut(x.clone(), place), place)?;
            total = self.add(total, predicted * weight.clone(), place);
            weights = self.add(weights, weight.clone(), place);
        }
        Ok(total / weights)
    }

    /// `whole` with `part` added at `place`.
    fn add(&self, whole: Tensor<4>, part: Tensor<4>, [top, left]: [usize; 2]) -> Tensor<4> {
        let [batch, channels, ..] = whole.dims();
        let [height, width] = self.tile;
        let there = self.cut(whole.clone(), [top, left]);
        whole.slice_assign(
            [0..batch, 0..channels, top..top + height, left..left + width],
            there + part,
        )
    }

    /// Gaussian around the middle of a tile, `[1, 1, height, width]`.
    fn weight(&self, device: &Device) -> Tensor<4> {
        let [height, width] = self.tile;
        let of = |length: usize| -> Vec<f64> {
            let middle = (length as f64 - 1.0) / 2.0;
            let gauss = |i: usize| {
                let x = (i as f64 - middle) / length as f64;
                (-x * x / (2.0 * VARIANCE)).exp()
            };
            (0..length).map(gauss).collect()
        };
        let (down, across) = (of(height), of(width));
        let values: Vec<f32> = down
            .iter()
            .flat_map(|y| across.iter().map(move |x| (x * y) as f32))
            .collect();
        Tensor::from_data(TensorData::new(values, [1, 1, height, width]), device)
    }
}

/// Where tiles of `tile` begin along a side of `size`, evenly.
fn starts(size: usize, tile: usize, overlap: f64) -> Vec<usize> {
    let free = size - tile;
    if free == 0 {
        return vec![0];
    }
    let stride = ((tile as f64 * (1.0 - overlap.clamp(0.0, 0.9))).floor() as usize).max(1);
    let steps = free.div_ceil(stride);
    (0..=steps).map(|i| i * free / steps).collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn tiles_cover_every_pixel_and_stay_inside() {
        for (size, tile, overlap) in [
            ([40, 24], [16, 16], 0.5),
            ([16, 16], [16, 16], 0.5),
            ([17, 9], [8, 8], 0.0),
            ([5, 30], [8, 8], 0.25),
        ] {
            let tiles = Tiles::cover(size, tile, overlap);
            let [height, width] = tiles.tile();
            let mut covered = vec![false; size[0] * size[1]];
            for &[top, left] in tiles.places() {
                for y in top..top + height {
                    for x in left..left + width {
                        covered[y * size[1] + x] = true;
                    }
                }
            }
            assert!(covered.iter().all(|c| *c), "{size:?} by {tile:?}");
        }
    }

    #[test]
    fn neighbours_overlap_by_what_is_asked_for() {
        let tiles = Tiles::cover([16, 100], [16, 32], 0.5);
        let lefts: Vec<usize> = tiles.places().iter().map(|place| place[1]).collect();
        assert_eq!((lefts.first(), lefts.last()), (Some(&0), Some(&68)));
        assert!(
            lefts.windows(2).all(|pair| pair[1] - pair[0] <= 16),
            "{lefts:?}"
        );
    }

    #[test]
    fn a_prediction_of_each_pixel_by_itself_is_not_changed() {
        let device = Device::flex();
        let x = Tensor::<4>::random([2, 3, 20, 37], Distribution::Default, &device);
        let tiles = Tiles::cover([20, 37], [8, 16], 0.5);
        let doubled = tiles
            .blend(x.clone(), |tile, _| Ok::<_, Infallible>(tile * 2.0))
            .unwrap();
        let difference = (doubled - x * 2.0).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-5, "{difference}");
    }

    #[test]
    fn the_middle_of_a_tile_counts_more_than_its_border() {
        let device = Device::flex();
        let tiles = Tiles::cover([8, 12], [8, 8], 0.5);
        let [first, second] = tiles.places() else {
            panic!("{tiles:?}")
        };
        assert_eq!((*first, *second), ([0, 0], [0, 4]));
        let x = Tensor::<4>::zeros([1, 1, 8, 12], &device);
        let of = |_, place: [usize; 2]| {
            Ok::<_, Infallible>(Tensor::<4>::full([1, 1, 8, 8], place[1] as f32, &device))
        };
        let row: Vec<f32> = tiles
            .blend(x, of)
            .unwrap()
            .narrow(2, 0, 1)
            .into_data()
            .iter()
            .collect();
        // By hand: in column 4 the tiles are 0.5 and -3.5 pixels off their middles.
        let weight = |pixels: f64| (-(pixels / 8.0f64).powi(2) / 0.02).exp();
        let expected = 4.0 * weight(3.5) / (weight(0.5) + weight(3.5));
        assert!(
            (f64::from(row[4]) - expected).abs() < 1e-5,
            "{} {expected}",
            row[4]
        );
        assert_eq!((row[0], row[11]), (0.0, 4.0));
    }
}
