//! Aspect-ratio buckets: pictures of different proportions are brought to one of several shapes of about the same area, rather
//! than cut to a square.
//!
//! The rules are those that users of kohya's trainers know (`enable_bucket`, `min_bucket_reso`, `max_bucket_reso`,
//! `bucket_reso_steps`, `bucket_no_upscale`). All sizes are in pixels, width before height.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::PluginError;

/// How pictures of different proportions are sorted into buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BucketsConfig {
    /// Shortest side of a bucket, in pixels (`min_bucket_reso`). Without effect under `no_upscale`.
    #[schemars(range(min = 1, max = 16384))]
    pub min: u32,
    /// Longest side of a bucket, in pixels (`max_bucket_reso`). Without effect under `no_upscale`.
    #[schemars(range(min = 1, max = 16384))]
    pub max: u32,
    /// Sides of buckets are multiples of this, in pixels (`bucket_reso_steps`). The network has to be able to halve them as often
    /// as it does: 64 suits Stable Diffusion and SDXL.
    #[schemars(range(min = 1, max = 4096))]
    pub step: u32,
    /// Whether pictures are only ever made smaller (`bucket_no_upscale`): each side is cut down to a multiple of `step`, and the
    /// buckets are those that the pictures need. A side shorter than one step is enlarged to it all the same.
    pub no_upscale: bool,
    /// What the nearest bucket is.
    pub metric: BucketMetric,
}

/// How far the proportions of a picture are from those of a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BucketMetric {
    /// The difference of width / height, as kohya has it: portraits are matched more finely than landscapes.
    #[default]
    Ratio,
    /// The difference of its logarithm: portraits and landscapes alike.
    Log,
}

impl Default for BucketsConfig {
    fn default() -> Self {
        Self {
            min: 256,
            max: 1024,
            step: 64,
            no_upscale: false,
            metric: BucketMetric::Ratio,
        }
    }
}

/// What becomes of a picture: it is resized, and then cut to its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Placed {
    /// Width and height after resizing; neither is less than the bucket's.
    pub resized: [u32; 2],
    /// Width and height of the bucket.
    pub bucket: [u32; 2],
}

/// Sorts pictures into buckets whose area is at most that of a square of some resolution.
#[derive(Clone, Debug)]
pub struct Bucketing {
    config: BucketsConfig,
    resolution: u32,
    /// Width and height of each bucket, sorted; empty under `no_upscale`.
    sizes: Vec<[u32; 2]>,
}

impl Bucketing {
    /// Buckets for squares of `resolution` pixels a side; `key` is where the configuration stands, for messages, and
    /// `resolution_key` where that number does.
    ///
    /// # Errors
    /// Numbers that do not go together.
    pub fn new(
        config: BucketsConfig,
        resolution: u32,
        key: &str,
        resolution_key: &str,
    ) -> Result<Self, PluginError> {
        let BucketsConfig { min, max, step, .. } = config;
        if step == 0 || !resolution.is_multiple_of(step) {
            return Err(PluginError::config(format!(
                "`{resolution_key}` is {resolution}, expected a multiple of `{key}.step`, which is {step}"
            ))
            .with_help("64 suits Stable Diffusion and SDXL; small networks take smaller steps"));
        }
        if !config.no_upscale && !(min..=max).contains(&resolution) {
            return Err(PluginError::config(format!(
                "`{resolution_key}` is {resolution}, expected it between `{key}.min`, which is {min}, and `{key}.max`, \
                 which is {max}"
            )));
        }
        Ok(Self {
            sizes: match config.no_upscale {
                true => Vec::new(),
                false => sizes(config, resolution),
            },
            config,
            resolution,
        })
    }

    /// Width and height of each bucket that there can be, sorted; none under `no_upscale`, where the pictures decide.
    pub fn sizes(&self) -> &[[u32; 2]] {
        &self.sizes
    }

    /// What becomes of a picture of a width and a height, each at least 1.
    pub fn place(&self, size: [u32; 2]) -> Placed {
        let size = size.map(|side| side.max(1));
        match self.config.no_upscale {
            true => self.place_without_enlarging(size),
            false => covering(size, self.nearest(size)),
        }
    }

    /// The bucket of just that size; else the one whose proportions are nearest, the smaller one of two that are as near.
    fn nearest(&self, size: [u32; 2]) -> [u32; 2] {
        if self.sizes.contains(&size) {
            return size;
        }
        let wanted = self.measured(ratio(size));
        let distance = |&&bucket: &&[u32; 2]| (self.measured(ratio(bucket)) - wanted).abs();
        let nearest = (self.sizes.iter()).min_by(|a, b| distance(a).total_cmp(&distance(b)));
        nearest.copied().unwrap_or([self.resolution; 2])
    }

    fn measured(&self, ratio: f64) -> f64 {
        match self.config.metric {
            BucketMetric::Ratio => ratio,
            BucketMetric::Log => ratio.ln(),
        }
    }

    fn place_without_enlarging(&self, size: [u32; 2]) -> Placed {
        let step = self.config.step;
        let area = f64::from(self.resolution) * f64::from(self.resolution);
        let [width, height] = size.map(f64::from);
        let shrunk = match width * height > area {
            false => size,
            true => {
                let ratio = width / height;
                let wide = (area * ratio).sqrt();
                // One side is a multiple of the step, the other follows from it: whichever keeps the proportions better once
                // both are cut to the step.
                let by_width = stepped(wide, step);
                let by_height = stepped(area / wide, step);
                let error = |bucket: [u32; 2]| match bucket {
                    [0, _] | [_, 0] => f64::INFINITY,
                    bucket => (self::ratio(bucket) - ratio).abs(),
                };
                let of_width = [by_width, stepped(f64::from(by_width) / ratio, step)];
                let of_height = [stepped(f64::from(by_height) * ratio, step), by_height];
                match error(of_width) < error(of_height) {
                    true => [by_width, rounded(f64::from(by_width) / ratio)],
                    false => [rounded(f64::from(by_height) * ratio), by_height],
                }
            }
        };
        let bucket = shrunk.map(|side| (side - side % step).max(step));
        match shrunk[0] >= bucket[0] && shrunk[1] >= bucket[1] {
            true => Placed {
                resized: shrunk,
                bucket,
            },
            // A strip thinner than one step.
            false => covering(size, bucket),
        }
    }
}

fn ratio([width, height]: [u32; 2]) -> f64 {
    f64::from(width) / f64::from(height)
}

fn rounded(side: f64) -> u32 {
    (side + 0.5) as u32
}

fn stepped(side: f64, step: u32) -> u32 {
    let side = rounded(side);
    side - side % step
}

/// A picture just large enough to cover a bucket.
fn covering(size: [u32; 2], bucket: [u32; 2]) -> Placed {
    let ([width, height], [w, h]) = (size.map(f64::from), bucket.map(f64::from));
    let scale = match width / height > w / h {
        true => h / height,
        false => w / width,
    };
    let resized = [
        rounded(width * scale).max(bucket[0]),
        rounded(height * scale).max(bucket[1]),
    ];
    Placed { resized, bucket }
}

/// The square, and for each width from `min` on the greatest height within the area, either way round.
fn sizes(config: BucketsConfig, resolution: u32) -> Vec<[u32; 2]> {
    let BucketsConfig { min, max, step, .. } = config;
    let area = u64::from(resolution) * u64::from(resolution);
    let mut sizes = vec![[resolution; 2]];
    let first = min.next_multiple_of(step).max(step);
    // Beyond, heights are below `first`.
    let widest = u32::try_from(area / u64::from(first)).unwrap_or(u32::MAX);
    for width in (first..=max.min(widest)).step_by(step as usize) {
        let height = u32::try_from(area / u64::from(width)).unwrap_or(u32::MAX);
        let height = (height - height % step).min(max - max % step);
        if height >= first {
            sizes.extend([[width, height], [height, width]]);
        }
    }
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucketing(config: BucketsConfig, resolution: u32) -> Bucketing {
        Bucketing::new(config, resolution, "buckets", "resolution").unwrap()
    }

    #[track_caller]
    fn assert_placed(bucketing: &Bucketing, size: [u32; 2], bucket: [u32; 2], resized: [u32; 2]) {
        let placed = bucketing.place(size);
        assert_eq!(
            (placed.bucket, placed.resized),
            (bucket, resized),
            "{size:?}"
        );
    }

    #[test]
    fn buckets_of_512_are_those_that_kohya_makes() {
        let bucketing = bucketing(BucketsConfig::default(), 512);
        let expected = [
            [256, 832],
            [256, 896],
            [256, 960],
            [256, 1024],
            [320, 704],
            [320, 768],
            [384, 640],
            [448, 576],
            [512, 512],
            [576, 448],
            [640, 384],
            [704, 320],
            [768, 320],
            [832, 256],
            [896, 256],
            [960, 256],
            [1024, 256],
        ];
        assert_eq!(bucketing.sizes(), expected);
    }

    #[test]
    fn a_picture_goes_to_the_nearest_proportions_and_covers_its_bucket() {
        let bucketing = bucketing(BucketsConfig::default(), 512);
        for (size, bucket, resized) in [
            ([512, 512], [512, 512], [512, 512]),
            ([768, 320], [768, 320], [768, 320]),
            ([100, 100], [512, 512], [512, 512]),
            ([4000, 3000], [576, 448], [597, 448]),
            ([3000, 4000], [448, 576], [448, 597]),
            ([100, 1600], [256, 1024], [256, 4096]),
        ] {
            assert_placed(&bucketing, size, bucket, resized);
        }
    }

    #[test]
    fn the_metric_decides_between_portraits() {
        let of = |metric| {
            let config = BucketsConfig {
                metric,
                min: 64,
                max: 256,
                ..BucketsConfig::default()
            };
            bucketing(config, 128)
        };
        let sizes = [[64, 192], [64, 256], [128, 128], [192, 64], [256, 64]];
        assert_eq!(of(BucketMetric::Ratio).sizes(), sizes);
        let bucket = |metric, size| of(metric).place(size).bucket;
        // 1.9 lies nearer to 1 than to 3, and its logarithm nearer to that of 3.
        assert_eq!(bucket(BucketMetric::Ratio, [190, 100]), [128, 128]);
        assert_eq!(bucket(BucketMetric::Log, [190, 100]), [192, 64]);
        assert_eq!(bucket(BucketMetric::Ratio, [100, 190]), [64, 192]);
        assert_eq!(bucket(BucketMetric::Log, [100, 190]), [64, 192]);
    }

    #[test]
    fn without_enlarging_pictures_are_cut_to_the_step() {
        let config = BucketsConfig {
            no_upscale: true,
            ..BucketsConfig::default()
        };
        let bucketing = bucketing(config, 512);
        for (size, bucket, resized) in [
            // Small enough: cut alone.
            ([300, 200], [256, 192], [300, 200]),
            ([512, 512], [512, 512], [512, 512]),
            // Too large: shrunk to about the area, one side a multiple of the step.
            ([4000, 3000], [512, 384], [512, 384]),
            ([1024, 1024], [512, 512], [512, 512]),
            // Thinner than a step.
            ([640, 32], [640, 64], [1280, 64]),
        ] {
            assert_placed(&bucketing, size, bucket, resized);
        }
    }

    #[test]
    fn whatever_the_size_the_bucket_lies_within_the_resized_picture() {
        for no_upscale in [false, true] {
            let config = BucketsConfig {
                min: 16,
                max: 64,
                step: 8,
                no_upscale,
                ..BucketsConfig::default()
            };
            let bucketing = bucketing(config, 32);
            for width in 1..90 {
                for height in 1..90 {
                    let Placed { resized, bucket } = bucketing.place([width, height]);
                    for axis in 0..2 {
                        assert!(bucket[axis] > 0 && bucket[axis].is_multiple_of(8));
                        assert!(resized[axis] >= bucket[axis], "{width} {height}");
                    }
                    assert!(no_upscale || bucketing.sizes().contains(&bucket));
                }
            }
        }
    }

    #[test]
    fn numbers_that_do_not_go_together_are_refused_by_their_names() {
        for (config, resolution, parts) in [
            (
                BucketsConfig::default(),
                500,
                [
                    "`task.resolution` is 500",
                    "`task.buckets.step`, which is 64",
                ],
            ),
            (
                BucketsConfig::default(),
                2048,
                [
                    "`task.resolution` is 2048",
                    "`task.buckets.max`, which is 1024",
                ],
            ),
            (
                BucketsConfig::default(),
                64,
                [
                    "`task.resolution` is 64",
                    "`task.buckets.min`, which is 256",
                ],
            ),
        ] {
            let error =
                Bucketing::new(config, resolution, "task.buckets", "task.resolution").unwrap_err();
            for part in parts {
                assert!(error.message.contains(part), "{}", error.message);
            }
        }
    }
}
