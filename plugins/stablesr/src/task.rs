//! The task: opening the data, describing it, handing out its splits, and showing what comes of it.

use std::sync::Arc;

use dsl_sdk::image::Picture;
use dsl_sdk::serde_json::Value;
use dsl_sdk::{
    Batch, BatchRequest, ColumnSpec, Dataset, Evaluator, Host, Injection, PluginError,
    Requirements, Task, TaskDescription, tracing,
};

use crate::conditions::conditions;
use crate::config::{Conditioning, StableSrConfig};
use crate::dataset::locate::{Source, locate};
use crate::dataset::{IMAGE, LOW, LowResolutionPairs, PROMPT};
use crate::defaults;
use crate::evaluator::Fidelity;
use crate::picture::side_by_side;
use crate::samples::Samples;

const TRAIN: &str = "train";
const TEST: &str = "test";
/// Samples of a picture; the host asks for fewer.
const MOST_SAMPLES: usize = 64;

/// Super-resolution. `[any thread]`
#[derive(Debug)]
pub struct StableSr {
    config: StableSrConfig,
    host: Host,
    splits: Vec<(&'static str, Arc<LowResolutionPairs>)>,
}

impl Task for StableSr {
    const ID: &'static str = "stablesr";
    const NAME: &'static str = "Super-resolution";
    const DESCRIPTION: &'static str =
        "Pictures four times as wide and as high, from their low-resolution versions";

    type Config = StableSrConfig;

    fn host_defaults() -> Value {
        defaults::host_defaults()
    }

    fn open(config: StableSrConfig, host: Host) -> Result<Self, PluginError> {
        config.check()?;
        let located = locate(&config.data)?;
        for note in &located.notes {
            tracing::warn!("{note}");
        }
        let ready = |name: &'static str, source: Source| {
            let pictures = source.entries.len();
            let pairs = source
                .entries
                .iter()
                .filter(|entry| entry.low.is_some())
                .count();
            tracing::info!(
                split = name,
                pictures,
                pairs,
                "`{name}` has {pictures} pictures"
            );
            (
                name,
                Arc::new(LowResolutionPairs::new(source, &config, &host)),
            )
        };
        let mut splits = vec![ready(TRAIN, located.train)];
        splits.extend(located.test.map(|test| ready(TEST, test)));
        Ok(Self {
            config,
            host,
            splits,
        })
    }

    fn describe(&self) -> TaskDescription {
        let dropout = self.config.dropout;
        let column = || LOW.to_owned();
        let pyramid = Injection::FeaturePyramid {
            column: column(),
            dropout,
        };
        let concat = Injection::ConcatChannels {
            column: column(),
            dropout,
        };
        let mut injections = match self.config.conditioning {
            Conditioning::FeaturePyramid => vec![pyramid],
            Conditioning::Concat => vec![concat],
            Conditioning::Both => vec![pyramid, concat],
        };
        if self.config.prompt.is_some() {
            injections.push(Injection::CrossAttention {
                column: PROMPT.to_owned(),
                dropout: 0.0,
            });
        }
        TaskDescription {
            target: IMAGE.to_owned(),
            injections,
            sample_prompts: Vec::new(),
            dropout: 0.0,
        }
    }

    fn splits(&self) -> Vec<String> {
        let names = self.splits.iter().map(|(name, _)| (*name).to_owned());
        names.collect()
    }

    fn dataset(&self, split: &str) -> Result<Box<dyn Dataset>, PluginError> {
        match self.splits.iter().find(|(name, _)| *name == split) {
            Some((_, pairs)) => Ok(Box::new(Shared(Arc::clone(pairs)))),
            None => Err(PluginError::unsupported(format!(
                "there is no split `{split}`; there are: {}",
                self.splits().join(", ")
            ))),
        }
    }

    fn evaluator(&self) -> Result<Option<Box<dyn Evaluator>>, PluginError> {
        let Some((_, test)) = self.splits.iter().find(|(name, _)| *name == TEST) else {
            return Ok(None);
        };
        let evaluation = &self.config.evaluation;
        let count = evaluation.samples.min(test.len());
        if count == 0 {
            return Ok(None);
        }
        let requirements = Requirements::Samples {
            split: TEST.to_owned(),
            count,
        };
        let host = evaluation.lpips.then(|| self.host.clone());
        Ok(Some(Box::new(Fidelity::new(
            requirements,
            self.config.color_fix,
            host,
        ))))
    }

    fn conditions(&self, inputs: &Value) -> Result<Batch, PluginError> {
        conditions(inputs, &self.config)
    }

    fn picture(&self, samples: &Batch) -> Result<Option<Picture>, PluginError> {
        let samples = Samples::of(samples, self.config.color_fix)?;
        side_by_side(&samples, MOST_SAMPLES).map(Some)
    }
}

/// One split, used from several places: with one cache.
struct Shared(Arc<LowResolutionPairs>);

impl Dataset for Shared {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn columns(&self) -> Vec<ColumnSpec> {
        self.0.columns()
    }

    fn batch(&self, request: &BatchRequest<'_>) -> Result<Batch, PluginError> {
        self.0.batch(request)
    }
}
