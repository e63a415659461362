//! From pictures to a volume and back: values between the elements of a grid, at positions that cameras tell.
//!
//! Positions are data, so that a sample is a fixed weighted sum of the grid's elements, and gradients reach these alone.
//! What lies beyond the outermost elements counts as zeros.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::ViewVolumeConfig;

/// Nearer points are taken to be this far, so that those beside and behind a camera have positions too: far outside.
const LEAST_DEPTH: f64 = 1e-4;

/// The features of all views at each point of the cube.
///
/// Elements of a picture are at the middle of their pixels; points of the cube reach from `-half_side` to `half_side`.
///
/// # Shapes
/// - `features`: `[rows, channels, height, width]`; `projections`: `[rows, 3, 4]`
/// - result: `[objects, views * channels, z, y, x]`, each of the last three `resolution`
pub(super) fn unproject(
    features: Tensor<4>,
    projections: Tensor<3>,
    config: &ViewVolumeConfig,
) -> Tensor<5> {
    let [rows, channels, height, width] = features.dims();
    let side = config.resolution;
    let points = grid_points(config, &features.device());
    let [_, count] = points.dims();
    let projected = projections.matmul(points.unsqueeze::<3>().expand([rows, 4, count]));
    let axis = |axis: usize| projected.clone().narrow(1, axis, 1).reshape([rows, count]);
    let depth = axis(2).clamp_min(LEAST_DEPTH);
    let pixel = |along: usize, size: usize| axis(along) / depth.clone() * size as f64 - 0.5;
    let grid = Grid {
        sizes: [height, width],
        of_rows: (0..rows).collect(),
    };
    let elements = features
        .permute([0, 2, 3, 1])
        .reshape([rows * height * width, channels]);
    grid.sample(elements, [pixel(1, height), pixel(0, width)])
        .reshape([
            rows / config.views,
            config.views,
            side,
            side,
            side,
            channels,
        ])
        .permute([0, 1, 5, 2, 3, 4])
        .reshape([
            rows / config.views,
            config.views * channels,
            side,
            side,
            side,
        ])
}

/// The volume's features along the ray of each pixel of each view.
///
/// # Shapes
/// - `volume`: `[objects, channels, z, y, x]`; `projections`: `[rows, 3, 4]`, the first three columns of each invertible
/// - result: `[rows, channels, depths, height, width]`
pub(super) fn sample_frustums(
    volume: Tensor<5>,
    projections: Tensor<3>,
    [height, width]: [usize; 2],
    config: &ViewVolumeConfig,
) -> Tensor<5> {
    let [objects, channels, depth, tall, wide] = volume.dims();
    let [rows, ..] = projections.dims();
    let (depths, pixels) = (config.depths, height * width);
    let points = frustum_points(projections, [height, width], config);
    // The cube's outermost points are the volume's outermost elements.
    let position = |axis: usize, size: usize| {
        let along = points
            .clone()
            .narrow(1, axis, 1)
            .reshape([rows, depths * pixels]);
        (along / config.half_side + 1.0) * ((size - 1) as f64 / 2.0)
    };
    let grid = Grid {
        sizes: [depth, tall, wide],
        of_rows: (0..rows).map(|row| row / config.views).collect(),
    };
    let elements = volume
        .permute([0, 2, 3, 4, 1])
        .reshape([objects * depth * tall * wide, channels]);
    let positions = [position(2, depth), position(1, tall), position(0, wide)];
    grid.sample(elements, positions)
        .reshape([rows, depths, height, width, channels])
        .permute([0, 4, 1, 2, 3])
}

/// The points of the cube, homogeneous, x fastest: `[4, resolution³]`.
fn grid_points(config: &ViewVolumeConfig, device: &Device) -> Tensor<2> {
    let side = config.resolution;
    let along = linspace([-config.half_side, config.half_side], side);
    let mut points = Vec::with_capacity(4 * side * side * side);
    for axis in 0..3u32 {
        let stride = side.pow(axis);
        points.extend((0..side * side * side).map(|i| along[i / stride % side]));
    }
    points.resize(4 * side * side * side, 1.0);
    Tensor::from_data(
        TensorData::new(points, [4, side * side * side]),
        (device, DType::F32),
    )
}

/// `count` numbers from the first to the last.
fn linspace([first, last]: [f64; 2], count: usize) -> Vec<f32> {
    let step = (last - first) / (count - 1) as f64;
    (0..count)
        .map(|i| (first + step * i as f64) as f32)
        .collect()
}

/// The points at all depths on the ray through the middle of each pixel: `[rows, 3, depths, height * width]`.
fn frustum_points(
    projections: Tensor<3>,
    [height, width]: [usize; 2],
    config: &ViewVolumeConfig,
) -> Tensor<4> {
    let ([rows, ..], device) = (projections.dims(), projections.device());
    // With a projection (M, p), the point at depth d of picture position (x, y) is M⁻¹ ((x, y, 1) d - p).
    let inverse = inverse(projections.clone().narrow(2, 0, 3));
    let origin = inverse.clone().matmul(projections.narrow(2, 3, 1)).neg();
    let pixels = height * width;
    let mut positions = Vec::with_capacity(3 * pixels);
    positions.extend((0..pixels).map(|i| ((i % width) as f32 + 0.5) / width as f32));
    positions.extend((0..pixels).map(|i| ((i / width) as f32 + 0.5) / height as f32));
    positions.resize(3 * pixels, 1.0);
    let positions = TensorData::new(positions, [1, 3, pixels]);
    let positions = Tensor::<3>::from_data(positions, (&device, DType::F32));
    let directions = inverse.matmul(positions.expand([rows, 3, pixels]));
    let depths = linspace(config.depth_range, config.depths);
    let depths = TensorData::new(depths, [1, 1, config.depths, 1]);
    let depths = Tensor::<4>::from_data(depths, (&device, DType::F32));
    directions.reshape([rows, 3, 1, pixels]) * depths + origin.reshape([rows, 3, 1, 1])
}

/// Inverses of 3×3 matrices: `[rows, 3, 3]`.
fn inverse(matrices: Tensor<3>) -> Tensor<3> {
    let [rows, ..] = matrices.dims();
    let row = |i: usize| matrices.clone().narrow(1, i, 1).reshape([rows, 3]);
    let (a, b, c) = (row(0), row(1), row(2));
    let columns = [
        b.clone().cross(c.clone(), 1),
        c.cross(a.clone(), 1),
        a.clone().cross(b, 1),
    ];
    let determinant = (a * columns[0].clone()).sum_dim(1);
    Tensor::stack::<3>(columns.to_vec(), 2) / determinant.reshape([rows, 1, 1])
}

/// Grids of values, one for each object or view, and which of them each row of positions reads.
struct Grid<const AXES: usize> {
    /// Elements along each axis, outermost first.
    sizes: [usize; AXES],
    of_rows: Vec<usize>,
}

impl<const AXES: usize> Grid<AXES> {
    /// Values at `positions`, counted in elements: linear between neighbours, zero outside.
    ///
    /// # Shapes
    /// - `elements`: `[grids * size, channels]`; `positions`, by axis: `[rows, points]`
    /// - result: `[rows * points, channels]`
    fn sample(&self, elements: Tensor<2>, positions: [Tensor<2>; AXES]) -> Tensor<2> {
        let (device, dtype) = (elements.device(), elements.dtype());
        let ([rows, points], size) = (positions[0].dims(), self.sizes.iter().product::<usize>());
        let firsts: Vec<i64> = self
            .of_rows
            .iter()
            .map(|grid| (grid * size) as i64)
            .collect();
        let firsts = Tensor::<2, Int>::from_data(TensorData::new(firsts, [rows, 1]), &device);

        // All corners of the cell around a point: where they are, and how much each counts.
        let mut corners = vec![(
            firsts.expand([rows, points]),
            Tensor::<2>::ones([rows, points], (&device, DType::F32)),
        )];
        let mut stride = size;
        for (position, size) in positions.into_iter().zip(self.sizes) {
            stride /= size;
            let sides = sides(position, size);
            corners = corners
                .iter()
                .flat_map(|(at, weight)| {
                    sides.iter().map(move |(element, share)| {
                        let at = at.clone() + element.clone() * stride as i64;
                        (at, weight.clone() * share.clone())
                    })
                })
                .collect();
        }
        let parts = corners.into_iter().map(|(at, weight)| {
            let weight = weight.reshape([rows * points, 1]).cast(dtype);
            elements.clone().select(0, at.reshape([rows * points])) * weight
        });
        parts
            .reduce(|sum, part| sum + part)
            .expect("a cell has corners")
    }
}

/// The elements on both sides of each position along one axis, and the share of each.
fn sides(position: Tensor<2>, size: usize) -> [(Tensor<2, Int>, Tensor<2>); 2] {
    // Nothing changes outside, and whole numbers have an end.
    let position = position.clamp(-2.0, size as f64 + 1.0);
    let below = position.clone().floor();
    let above = below.clone() + 1.0;
    let share_above = position - below.clone();
    let share_below = share_above.clone().neg() + 1.0;
    let last = (size - 1) as f64;
    [(below, share_below), (above, share_above)].map(|(element, share)| {
        let inside = element.clone().clamp(0.0, last);
        let share = share * inside.clone().equal(element).float();
        (inside.int(), share)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(resolution: usize, depths: usize) -> ViewVolumeConfig {
        ViewVolumeConfig {
            views: 4,
            half_side: 0.5,
            depth_range: [0.6, 2.4],
            resolution,
            depths,
            channels: vec![8],
        }
    }

    /// The camera at distance 1.5 that looks at the origin; its picture is as wide as its distance to it.
    fn camera(azimuth: f64, elevation: f64) -> [[f64; 4]; 3] {
        let (sin_a, cos_a) = azimuth.sin_cos();
        let (sin_e, cos_e) = elevation.sin_cos();
        let forward = [-cos_a * cos_e, -sin_a * cos_e, -sin_e];
        let right = [-sin_a, cos_a, 0.0];
        let down = [0, 1, 2].map(|i| {
            let (j, k) = ((i + 1) % 3, (i + 2) % 3);
            forward[j] * right[k] - forward[k] * right[j]
        });
        let row = |of: [f64; 3], share: f64| {
            let [x, y, z] = [0, 1, 2].map(|i| of[i] + share * forward[i]);
            [x, y, z, share * 1.5]
        };
        let [x, y, z] = forward;
        [row(right, 0.5), row(down, 0.5), [x, y, z, 1.5]]
    }

    fn cameras() -> Vec<[[f64; 4]; 3]> {
        (0..4)
            .map(|k| camera(f64::from(k) * 1.1 + 0.2, 0.5))
            .collect()
    }

    fn tensor(cameras: &[[[f64; 4]; 3]]) -> Tensor<3> {
        let values: Vec<f32> = cameras
            .concat()
            .concat()
            .iter()
            .map(|v| *v as f32)
            .collect();
        Tensor::from_data(
            TensorData::new(values, [cameras.len(), 3, 4]),
            &Device::flex(),
        )
    }

    /// Position in the picture and depth of a point.
    fn project(camera: &[[f64; 4]; 3], [x, y, z]: [f64; 3]) -> [f64; 3] {
        let [u, v, d] = camera.map(|row| row[0] * x + row[1] * y + row[2] * z + row[3]);
        [u / d, v / d, d]
    }

    fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f64> {
        x.into_data().iter::<f64>().collect()
    }

    fn wave<const D: usize>(dims: [usize; D]) -> Tensor<D> {
        let count = dims.iter().product::<usize>();
        let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.7391).sin()).collect();
        Tensor::from_data(TensorData::new(values, dims), &Device::flex())
    }

    #[test]
    fn inverses_undo_their_matrices() {
        let matrices = tensor(&cameras()).narrow(2, 0, 3);
        let product = numbers(inverse(matrices.clone()).matmul(matrices));
        for (i, found) in product.into_iter().enumerate() {
            let expected = if i % 9 % 4 == 0 { 1.0 } else { 0.0 };
            assert!((found - expected).abs() < 1e-5, "{i}: {found}");
        }
    }

    /// One lit pixel: the points on its ray see it, and every point sees what it covers of it.
    #[test]
    fn a_lit_pixel_lights_the_points_on_its_ray() {
        let (config, side) = (config(13, 8), 13);
        let ([height, width], [row, column]) = ([7, 10], [2, 6]);
        let mut picture = vec![0.0f32; 4 * height * width];
        for view in 0..4 {
            picture[(view * height + row) * width + column] = (view + 1) as f32;
        }
        let picture = TensorData::new(picture, [4, 1, height, width]);
        let picture = Tensor::from_data(picture, &Device::flex());
        let volume = unproject(picture, tensor(&cameras()), &config);
        assert_eq!(volume.dims(), [1, 4, side, side, side]);
        let mut lit = [0; 4];
        for (i, found) in numbers(volume).into_iter().enumerate() {
            let (view, point) = (i / side.pow(3), i % side.pow(3));
            let along = |stride: usize| (point / stride % side) as f64 / 12.0 - 0.5;
            let [u, v, _] = project(
                &cameras()[view],
                [along(1), along(side), along(side * side)],
            );
            let share = |position: f64, pixel: usize| {
                (1.0 - (position - 0.5 - pixel as f64).abs()).max(0.0)
            };
            let share = share(u * width as f64, column) * share(v * height as f64, row);
            let expected = share * (view + 1) as f64;
            assert!(
                (found - expected).abs() < 1e-4,
                "{view} {point}: {found} {expected}"
            );
            lit[view] += usize::from(expected > 0.0);
        }
        assert!(lit.iter().all(|lit| *lit > 5), "{lit:?}");
    }

    #[test]
    fn the_middle_is_seen_in_the_middle_of_every_view() {
        let mut picture = vec![0.0f32; 4 * 81];
        (0..4).for_each(|view| picture[view * 81 + 40] = (view + 1) as f32);
        let picture = Tensor::from_data(TensorData::new(picture, [4, 1, 9, 9]), &Device::flex());
        let volume = unproject(picture, tensor(&cameras()), &config(5, 8));
        let middle = numbers(volume.slice([0..1, 0..4, 2..3, 2..3, 2..3]));
        for (found, expected) in middle.iter().zip([1.0, 2.0, 3.0, 4.0]) {
            assert!((found - expected).abs() < 1e-4, "{middle:?}");
        }
    }

    #[test]
    fn points_behind_a_camera_see_nothing() {
        // Far enough that a third of the cube is behind it, looking away from the rest.
        let mut behind = camera(0.0, 0.0);
        behind[0][3] -= 0.5 * 1.6;
        behind[1][3] -= 0.5 * 1.6;
        behind[2][3] -= 1.6;
        let picture = Tensor::ones([4, 1, 8, 8], &Device::flex());
        let volume = unproject(picture, tensor(&[behind; 4]), &config(9, 8));
        let values = numbers(volume);
        assert!(values.iter().all(|value| value.is_finite()));
        for (i, value) in values.iter().enumerate() {
            let x = (i % 9) as f64 / 8.0 - 0.5;
            let [.., depth] = project(&behind, [x, 0.0, 0.0]);
            if depth < 0.0 {
                let [y, z] = [i / 9 % 9, i / 81 % 9].map(|n| n as f64 / 8.0 - 0.5);
                // On the axis itself a clamped depth still gives the middle of the picture.
                assert!(*value == 0.0 || (y == 0.0 && z == 0.0), "{i}");
            }
        }
    }

    #[test]
    fn rays_go_through_the_middle_of_their_pixels() {
        let (config, [height, width]) = (config(5, 6), [3, 5]);
        let points = frustum_points(tensor(&cameras()), [height, width], &config);
        assert_eq!(points.dims(), [4, 3, 6, 15]);
        let points = numbers(points);
        for (view, camera) in cameras().iter().enumerate() {
            for sample in 0..6 * 15 {
                let at = [0, 1, 2].map(|axis| points[(view * 3 + axis) * 90 + sample]);
                let [u, v, depth] = project(camera, at);
                let (pixel, sample) = (sample % 15, sample / 15);
                let expected = [
                    ((pixel % 5) as f64 + 0.5) / 5.0,
                    ((pixel / 5) as f64 + 0.5) / 3.0,
                    0.6 + 1.8 * sample as f64 / 5.0,
                ];
                for (found, expected) in [u, v, depth].iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-5, "{found} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_constant_volume_is_constant_inside_the_cube_and_zero_outside() {
        let config = config(5, 12);
        let volume = Tensor::ones([1, 3, 5, 5, 5], &Device::flex()) * 2.0;
        let frustums = sample_frustums(volume, tensor(&cameras()), [6, 8], &config);
        assert_eq!(frustums.dims(), [4, 3, 12, 6, 8]);
        let frustums = numbers(frustums);
        let points = numbers(frustum_points(tensor(&cameras()), [6, 8], &config));
        let (mut inside, mut outside) = (0, 0);
        for (i, found) in frustums.into_iter().enumerate() {
            let (view, sample) = (i / (3 * 576), i % 576);
            let farthest = [0, 1, 2]
                .map(|axis| points[(view * 3 + axis) * 576 + sample].abs())
                .into_iter()
                .fold(0.0, f64::max);
            if farthest < 0.5 - 1e-5 {
                inside += 1;
                assert!((found - 2.0).abs() < 1e-5, "{found}");
            } else if farthest > 0.5 + 0.25 {
                // Beyond the cell around the cube, in which values fall to zero.
                outside += 1;
                assert_eq!(found, 0.0);
            }
        }
        assert!(inside > 500 && outside > 500, "{inside} {outside}");
    }

    #[test]
    fn samples_are_linear_between_the_elements_of_a_volume() {
        let config = config(5, 7);
        // Two objects, whose views must not read the other's volume.
        let volume = wave([2, 3, 5, 5, 5]);
        let both = [cameras(), cameras()].concat();
        let frustums = sample_frustums(volume.clone(), tensor(&both), [4, 4], &config);
        let (frustums, volume) = (numbers(frustums), numbers(volume));
        let points = numbers(frustum_points(tensor(&both), [4, 4], &config));
        for (i, found) in frustums.into_iter().enumerate() {
            let (view, channel, sample) = (i / (3 * 112), i / 112 % 3, i % 112);
            let position =
                [0, 1, 2].map(|axis| (points[(view * 3 + axis) * 112 + sample] / 0.5 + 1.0) * 2.0);
            let mut expected = 0.0;
            for element in 0..125 {
                let at = [element % 5, element / 5 % 5, element / 25];
                let share = |axis: usize| (1.0 - (position[axis] - at[axis] as f64).abs()).max(0.0);
                let value = volume[((view / 4) * 3 + channel) * 125 + element];
                expected += share(0) * share(1) * share(2) * value;
            }
            assert!((found - expected).abs() < 1e-4, "{i}: {found} {expected}");
        }
    }
}
