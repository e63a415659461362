//! The configuration of the task: which mixture, and how many points of it.

use dsl_sdk::PluginError;
use dsl_sdk::schemars::JsonSchema;
use dsl_sdk::serde::{Deserialize, Serialize};

use crate::gaussian_mixture::GaussianMixture;

/// A mixture of round Gaussians in the plane: on a ring by default, anywhere with `means`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct MixtureConfig {
    /// How many Gaussians stand on the ring, evenly, the first at angle 0. Without effect where `means` is given.
    #[schemars(range(min = 1, max = 4096))]
    pub components: u32,
    /// Radius of the ring. With the default of 1.2 the points have a standard deviation of 0.85 along each axis, and a network
    /// that always predicts no noise at all has a score error of 0.83.
    #[schemars(range(min = 0.0))]
    pub radius: f64,
    /// Standard deviation of each Gaussian, the same in all directions.
    pub std: f64,
    /// Centres of the Gaussians, in place of the ring.
    pub means: Option<Vec<[f64; 2]>>,
    /// Standard deviation for each Gaussian, in place of `std`.
    pub stds: Option<Vec<f64>>,
    /// Weight of each Gaussian, of any sum. `null` weights them equally.
    pub weights: Option<Vec<f64>>,
    /// Moves the whole mixture, for instance away from the one that a network was trained on.
    pub transform: Transform,
    /// How many points there are to train on, always the same ones. `null` draws new points all the time.
    #[schemars(range(min = 1))]
    pub points: Option<u64>,
    /// How many new points count as one pass over the data, where `points` is `null`. 10,240 are 40 steps of 256.
    #[schemars(range(min = 1))]
    pub epoch_points: u64,
    /// How many points there are to test on, always the same ones.
    #[schemars(range(min = 1))]
    pub test_points: u64,
    /// Chooses the points to train on (where there are `points`) and to test on.
    pub seed: u64,
}

/// Rotation, then scaling, then a shift.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct Transform {
    /// Counter-clockwise, about the origin.
    pub rotate_degrees: f64,
    /// Factor for distances from the origin and standard deviations.
    pub scale: f64,
    /// Added to the centres at last.
    pub shift: [f64; 2],
}

impl Default for MixtureConfig {
    fn default() -> Self {
        Self {
            components: 8,
            radius: 1.2,
            std: 0.05,
            means: None,
            stds: None,
            weights: None,
            transform: Transform::default(),
            points: None,
            epoch_points: 10_240,
            test_points: 8_192,
            seed: 0,
        }
    }
}

impl Default for Transform {
    fn default() -> Self {
        Self {
            rotate_degrees: 0.0,
            scale: 1.0,
            shift: [0.0; 2],
        }
    }
}

impl MixtureConfig {
    /// The mixture that the config describes.
    ///
    /// # Errors
    /// Lists of different lengths, numbers that are not finite, standard deviations and weights that are not above 0, and no
    /// component or point at all; each names the key.
    pub fn mixture(&self) -> Result<GaussianMixture, PluginError> {
        for (key, value) in [
            ("points", self.points.unwrap_or(1)),
            ("epoch_points", self.epoch_points),
            ("test_points", self.test_points),
        ] {
            if value == 0 {
                return Err(wrong(key, "0", "at least 1"));
            }
        }
        let means = match &self.means {
            Some(means) => means.clone(),
            None => self.ring()?,
        };
        if means.is_empty() {
            return Err(wrong("means", "an empty list", "at least one centre"));
        }
        let count = means.len();
        let stds = self.stds.clone().unwrap_or_else(|| vec![self.std; count]);
        let weights = self.weights.clone().unwrap_or_else(|| vec![1.0; count]);
        for (key, list) in [("stds", &stds), ("weights", &weights)] {
            if list.len() != count {
                let found = format!("a list of {}", list.len());
                return Err(wrong(
                    key,
                    &found,
                    &format!("one number for each of the {count} components"),
                ));
            }
            let key = if key == "stds" && self.stds.is_none() {
                "std"
            } else {
                key
            };
            if let Some(value) = list
                .iter()
                .find(|value| !(value.is_finite() && **value > 0.0))
            {
                return Err(wrong(key, &value.to_string(), "more than 0"));
            }
        }
        let Transform {
            rotate_degrees,
            scale,
            shift,
        } = self.transform;
        if !(scale.is_finite() && scale > 0.0) {
            return Err(wrong("transform.scale", &scale.to_string(), "more than 0"));
        }
        let (sin, cos) = rotate_degrees.to_radians().sin_cos();
        let moved = |[x, y]: [f64; 2]| {
            [
                scale * (cos * x - sin * y) + shift[0],
                scale * (sin * x + cos * y) + shift[1],
            ]
        };
        let means: Vec<[f64; 2]> = means.into_iter().map(moved).collect();
        if means.iter().flatten().any(|value| !value.is_finite()) {
            return Err(wrong(
                "means",
                "not finite after the transform",
                "finite numbers",
            ));
        }
        let stds = stds.into_iter().map(|std| std * scale).collect();
        Ok(GaussianMixture::new(means, stds, weights))
    }

    fn ring(&self) -> Result<Vec<[f64; 2]>, PluginError> {
        if self.components == 0 {
            return Err(wrong("components", "0", "at least 1"));
        }
        if !(self.radius.is_finite() && self.radius >= 0.0) {
            return Err(wrong("radius", &self.radius.to_string(), "0 or more"));
        }
        let angle =
            |index: u32| std::f64::consts::TAU * f64::from(index) / f64::from(self.components);
        Ok((0..self.components)
            .map(|index| {
                [
                    self.radius * angle(index).cos(),
                    self.radius * angle(index).sin(),
                ]
            })
            .collect())
    }
}

fn wrong(key: &str, found: &str, expected: &str) -> PluginError {
    PluginError::config(format!("`task.{key}` is {found}, expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_error(config: MixtureConfig, key: &str) {
        let error = config.mixture().expect_err("this config is wrong");
        assert!(
            error.message.contains(&format!("`task.{key}`")),
            "{}",
            error.message
        );
    }

    #[test]
    fn wrong_values_name_their_key() {
        let base = MixtureConfig::default;
        let three = || Some(vec![[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]);
        check_error(
            MixtureConfig {
                components: 0,
                ..base()
            },
            "components",
        );
        check_error(MixtureConfig { std: 0.0, ..base() }, "std");
        check_error(
            MixtureConfig {
                radius: f64::INFINITY,
                ..base()
            },
            "radius",
        );
        check_error(
            MixtureConfig {
                means: Some(vec![]),
                ..base()
            },
            "means",
        );
        check_error(
            MixtureConfig {
                means: Some(vec![[f64::NAN, 0.0]]),
                ..base()
            },
            "means",
        );
        check_error(
            MixtureConfig {
                means: three(),
                weights: Some(vec![1.0, 2.0]),
                ..base()
            },
            "weights",
        );
        check_error(
            MixtureConfig {
                means: three(),
                weights: Some(vec![1.0, 2.0, -1.0]),
                ..base()
            },
            "weights",
        );
        check_error(
            MixtureConfig {
                stds: Some(vec![1.0]),
                ..base()
            },
            "stds",
        );
        check_error(
            MixtureConfig {
                points: Some(0),
                ..base()
            },
            "points",
        );
        check_error(
            MixtureConfig {
                transform: Transform {
                    scale: -1.0,
                    ..Default::default()
                },
                ..base()
            },
            "transform.scale",
        );
    }

    #[test]
    fn the_transform_rotates_scales_and_shifts() {
        let transform = Transform {
            rotate_degrees: 90.0,
            scale: 2.0,
            shift: [1.0, 0.0],
        };
        let config = MixtureConfig {
            means: Some(vec![[1.0, 0.0]]),
            std: 0.1,
            transform,
            ..Default::default()
        };
        let mixture = config.mixture().unwrap();
        let [x, y] = mixture.means()[0];
        assert!((x - 1.0).abs() < 1e-12 && (y - 2.0).abs() < 1e-12);
        assert!((mixture.stds()[0] - 0.2).abs() < 1e-12);
    }
}
