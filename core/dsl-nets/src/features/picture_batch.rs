//! Pictures before a network's own resizing and normalisation.

use burn::tensor::{Device, Tensor, TensorData};

use super::resize::{Resample, resize_plane};

/// Pictures of one size, as samplers make them: `[count, 3, height, width]`, row-major, RGB in −1..1.
#[derive(Debug, Clone, Copy)]
pub struct PictureBatch<'a> {
    values: &'a [f32],
    count: usize,
    height: usize,
    width: usize,
}

impl<'a> PictureBatch<'a> {
    /// Nothing when the number of values does not fit the shape, or a picture would be empty.
    pub fn new(values: &'a [f32], [count, height, width]: [usize; 3]) -> Option<Self> {
        let expected = [3, height, width]
            .into_iter()
            .try_fold(count, usize::checked_mul)?;
        (height > 0 && width > 0 && values.len() == expected).then_some(Self {
            values,
            count,
            height,
            width,
        })
    }

    /// Height and width.
    pub fn size(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// The pictures as they are.
    ///
    /// # Shapes
    /// - result: `[count, 3, height, width]`
    pub fn tensor(&self, device: &Device) -> Tensor<4> {
        self.with_values(self.values.to_vec(), self.size(), device)
    }

    /// Each value by `before`, resized to `size` (height, width), then by `after`.
    pub(super) fn resized(
        &self,
        size: [usize; 2],
        resample: Resample,
        before: impl Fn(f32) -> f32,
        after: impl Fn(f32, usize) -> f32,
        device: &Device,
    ) -> Tensor<4> {
        let mut values = Vec::with_capacity(self.count * 3 * size[0] * size[1]);
        for (index, plane) in self.values.chunks(self.height * self.width).enumerate() {
            let plane: Vec<f32> = plane.iter().map(|&value| before(value)).collect();
            let resized = resize_plane(&plane, self.size(), size, resample);
            values.extend(resized.into_iter().map(|value| after(value, index % 3)));
        }
        self.with_values(values, size, device)
    }

    fn with_values(&self, values: Vec<f32>, [h, w]: [usize; 2], device: &Device) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values, [self.count, 3, h, w]), device)
    }
}

/// A value in −1..1 as the 8-bit number that a picture file would hold; outside, the nearest.
pub(super) fn to_8_bit(value: f32) -> f32 {
    ((value + 1.0) * 127.5).round().clamp(0.0, 255.0)
}
