use image::{Rgb, RgbImage};

use super::{PictureError, Samples, blank};

const PAPER: [u8; 3] = [255, 255, 255];
const RULE: [u8; 3] = [225, 225, 225];
const AXIS: [u8; 3] = [150, 150, 150];
const REFERENCE: [u8; 3] = [150, 150, 150];
const SAMPLE: [u8; 3] = [20, 80, 200];
const OUTSIDE: [u8; 3] = [220, 30, 30];

/// How points of the plane are plotted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScatterLayout {
    /// Pixels of a side.
    pub side: usize,
    /// The plot shows −`extent`..`extent` on both axes; by default what holds the reference (or,
    /// without one, the samples), so that the plots of one run have one scale.
    pub extent: Option<f32>,
    /// Radius of a point in pixels.
    pub radius: f32,
}

impl Default for ScatterLayout {
    fn default() -> Self {
        Self {
            side: 512,
            extent: None,
            radius: 2.5,
        }
    }
}

/// Plots `samples` (blue) over `reference` (grey); overlapping points are darker. The axes are
/// drawn, and rules at a round distance (1, 2 or 5 times a power of ten). A sample outside the plot
/// is a red point on its border; one that is not finite is not drawn.
///
/// # Errors
/// [`PictureError::Shape`] unless both are `[n, 2, 1, 1]`; [`PictureError::TooLarge`].
pub fn scatter(
    samples: Samples<'_>,
    reference: Option<Samples<'_>>,
    layout: &ScatterLayout,
) -> Result<RgbImage, PictureError> {
    for drawn in [Some(samples), reference].into_iter().flatten() {
        if !drawn.are_points() {
            return Err(PictureError::Shape(drawn.shape()));
        }
    }
    let extent = layout
        .extent
        .filter(|extent| extent.is_finite() && *extent > 0.0)
        .unwrap_or_else(|| extent_of(reference.unwrap_or(samples)));
    let side = layout.side.max(16);
    let mut plot = Plot {
        picture: blank(side as u64, side as u64, PAPER)?,
        extent,
        side: side as f32,
        radius: layout.radius.max(0.5),
    };
    plot.rules();
    for point in reference.iter().flat_map(Samples::points) {
        plot.point(point, REFERENCE, REFERENCE);
    }
    for point in samples.points() {
        plot.point(point, SAMPLE, OUTSIDE);
    }
    Ok(plot.picture)
}

/// The largest coordinate and a margin.
fn extent_of(samples: Samples<'_>) -> f32 {
    let largest = samples
        .points()
        .flatten()
        .filter(|value| value.is_finite())
        .fold(0.0f32, |largest, value| largest.max(value.abs()));
    if largest > 0.0 && largest < f32::MAX / 4.0 {
        largest * 1.25
    } else {
        1.0
    }
}

/// The distance of rules: 1, 2 or 5 times a power of ten, at most about ten of them.
fn rule_distance(extent: f32) -> f32 {
    let power = 10f32.powf((extent / 5.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|distance| extent / distance <= 5.0)
        .unwrap_or(extent)
}

struct Plot {
    picture: RgbImage,
    extent: f32,
    side: f32,
    radius: f32,
}

impl Plot {
    /// Pixels from the left (or, for the second coordinate, from the bottom).
    fn place(&self, value: f32) -> f32 {
        (value / self.extent + 1.0) / 2.0 * (self.side - 1.0)
    }

    fn rules(&mut self) {
        let distance = rule_distance(self.extent);
        let last = (self.extent / distance).floor() as i32;
        // The axes last, so that they lie on top.
        let numbers = (1..=last).flat_map(|number| [number, -number]).chain([0]);
        for number in numbers {
            let colour = if number == 0 { AXIS } else { RULE };
            let at = self.place(number as f32 * distance).round() as u32;
            for along in 0..self.picture.width() {
                self.picture.put_pixel(at, along, Rgb(colour));
                let from_top = self.picture.height() - 1 - at;
                self.picture.put_pixel(along, from_top, Rgb(colour));
            }
        }
    }

    fn point(&mut self, point: [f32; 2], colour: [u8; 3], outside: [u8; 3]) {
        if point.iter().any(|value| !value.is_finite()) {
            return;
        }
        let beyond = point.iter().any(|value| value.abs() > self.extent);
        let [x, y] = point.map(|value| self.place(value.clamp(-self.extent, self.extent)));
        let y = self.side - 1.0 - y;
        let colour = if beyond { outside } else { colour };
        let last = self.side - 1.0;
        let range = |centre: f32| {
            let from = (centre - self.radius - 1.0).clamp(0.0, last) as u32;
            let to = (centre + self.radius + 1.0).clamp(0.0, last) as u32;
            from..=to
        };
        for py in range(y) {
            for px in range(x) {
                let distance = (px as f32 - x).hypot(py as f32 - y);
                // Soft over one pixel at the rim; half opaque, so that density shows.
                let opacity = (self.radius + 0.5 - distance).clamp(0.0, 1.0) * 0.5;
                let pixel = self.picture.get_pixel_mut(px, py);
                for (old, new) in pixel.0.iter_mut().zip(colour) {
                    let mixed = f32::from(*old) * (1.0 - opacity) + f32::from(new) * opacity;
                    *old = mixed.round() as u8;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: &[f32], extent: Option<f32>) -> RgbImage {
        let samples = Samples::new(points, [points.len() / 2, 2, 1, 1]).unwrap();
        let layout = ScatterLayout {
            side: 101,
            extent,
            ..ScatterLayout::default()
        };
        scatter(samples, None, &layout).unwrap()
    }

    fn is_bluish(pixel: Rgb<u8>) -> bool {
        pixel.0[2] > pixel.0[0].saturating_add(30)
    }

    #[test]
    fn points_lie_where_they_should() {
        // Right and up are positive.
        let picture = plot(&[0.5, 0.25], Some(1.0));
        assert!(is_bluish(*picture.get_pixel(75, 37)));
        assert!(!is_bluish(*picture.get_pixel(75, 63)));
        assert!(!is_bluish(*picture.get_pixel(25, 37)));
    }

    #[test]
    fn many_points_are_darker_than_one() {
        let one = plot(&[0.5, 0.25], Some(1.0));
        let many = plot(&[0.5, 0.25, 0.5, 0.25, 0.5, 0.25], Some(1.0));
        assert!(many.get_pixel(75, 37).0[0] < one.get_pixel(75, 37).0[0]);
    }

    #[test]
    fn a_point_outside_is_red_on_the_border_and_a_broken_one_is_absent() {
        let picture = plot(&[40.0, 0.5], Some(1.0));
        let pixel = picture.get_pixel(100, 25).0;
        assert!(pixel[0] > pixel[2].saturating_add(30), "{pixel:?}");
        assert_eq!(
            plot(&[f32::NAN, 0.5], Some(1.0)),
            plot(&[f32::INFINITY, 0.1], Some(1.0))
        );
        // All broken: there is still a plot.
        plot(&[f32::NAN, f32::NAN], None);
    }

    #[test]
    fn the_reference_sets_the_scale() {
        let samples = [100.0, 0.0];
        let reference = [2.0, -1.0, -2.0, 1.0];
        let samples = Samples::new(&samples, [1, 2, 1, 1]).unwrap();
        let reference = Samples::new(&reference, [2, 2, 1, 1]).unwrap();
        assert_eq!(extent_of(reference), 2.5);
        scatter(samples, Some(reference), &ScatterLayout::default()).unwrap();
        let image = Samples::new(&[0.0; 3], [1, 3, 1, 1]).unwrap();
        assert!(scatter(samples, Some(image), &ScatterLayout::default()).is_err());
    }

    #[test]
    fn rules_are_at_round_distances() {
        for (extent, distance) in [(1.0, 0.2), (2.5, 0.5), (4.0, 1.0), (30.0, 10.0)] {
            assert!((rule_distance(extent) - distance).abs() < 1e-6, "{extent}");
        }
    }
}
