//! The task: points of the mixture to train on, points to test on, and the closed form to measure against.

use dsl_sdk::serde_json::Value;
use dsl_sdk::{Dataset, Evaluator, Host, PluginError, Requirements, Task, TaskDescription};

use crate::config::MixtureConfig;
use crate::dataset::{MixturePoints, POINT, Points};
use crate::defaults;
use crate::evaluator::ScoreError;
use crate::gaussian_mixture::GaussianMixture;

const TRAIN: &str = "train";
const TEST: &str = "test";

/// A Gaussian mixture in the plane. `[any thread]`
#[derive(Debug)]
pub struct Mixture {
    config: MixtureConfig,
    mixture: GaussianMixture,
}

impl Task for Mixture {
    const ID: &'static str = "mixture";
    const NAME: &'static str = "Gaussian mixture";
    const DESCRIPTION: &'static str =
        "Points of a two-dimensional Gaussian mixture whose score is known in closed form";

    type Config = MixtureConfig;

    fn host_defaults() -> Value {
        defaults::host_defaults()
    }

    fn open(config: MixtureConfig, _host: Host) -> Result<Self, PluginError> {
        let mixture = config.mixture()?;
        Ok(Self { config, mixture })
    }

    fn describe(&self) -> TaskDescription {
        TaskDescription {
            target: POINT.to_owned(),
            injections: Vec::new(),
            sample_prompts: Vec::new(),
            dropout: 0.0,
        }
    }

    fn splits(&self) -> Vec<String> {
        vec![TRAIN.to_owned(), TEST.to_owned()]
    }

    fn dataset(&self, split: &str) -> Result<Box<dyn Dataset>, PluginError> {
        let seed = self.config.seed;
        let points = match (split, self.config.points) {
            (TRAIN, Some(count)) => Points::Fixed {
                count,
                seed,
                split: 0,
            },
            (TRAIN, None) => Points::Stream {
                epoch: self.config.epoch_points,
                seed,
                split: 0,
            },
            (TEST, _) => Points::Fixed {
                count: self.config.test_points,
                seed,
                split: 1,
            },
            _ => {
                return Err(PluginError::unsupported(format!(
                    "there is no split `{split}`; there are: {TRAIN}, {TEST}"
                )));
            }
        };
        Ok(Box::new(MixturePoints::new(self.mixture.clone(), points)))
    }

    fn evaluator(&self) -> Result<Option<Box<dyn Evaluator>>, PluginError> {
        let requirements = Requirements::NoisePredictions {
            split: TEST.to_owned(),
            count: self.config.test_points,
        };
        Ok(Some(Box::new(ScoreError::new(
            self.mixture.clone(),
            requirements,
        ))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_split_is_named() {
        let task = Mixture::open(MixtureConfig::default(), Host::detached()).unwrap();
        let Err(error) = task.dataset("dev") else {
            panic!("there is no such split")
        };
        assert!(error.message.contains("`dev`"), "{}", error.message);
    }
}
