//! The task: opening the data, describing it, handing out its splits.

use std::sync::{Arc, Mutex, PoisonError};

use dsl_sdk::image::Picture;
use dsl_sdk::serde_json::{self, Value, json};
use dsl_sdk::{
    Batch, BatchRequest, ColumnSpec, Dataset, Evaluator, Host, Injection, PluginError, Task,
    TaskDescription, tracing,
};

use crate::conditions;
use crate::config::{DataConfig, EvaluationConfig, GligenConfig};
use crate::dataset::source::{Place, Source, locate};
use crate::dataset::{BOXES, BOXES_MASK, CAPTION, IMAGE, LAYOUT_MAP, LayoutImages, PHRASES};
use crate::drawing;
use crate::evaluator::LayoutScores;

const TRAIN: &str = "train";
const TEST: &str = "test";
/// How many captions serve as prompts.
const MAX_SAMPLE_PROMPTS: usize = 8;
const DEFAULTS: &str = include_str!("../defaults.json");

/// Grounded layout. `[any thread]`
#[derive(Debug)]
pub struct Gligen {
    config: DataConfig,
    evaluation: EvaluationConfig,
    host: Host,
    sample_prompts: Vec<String>,
    train: Arc<LayoutImages>,
    test: Option<Mutex<Test>>,
}

/// The test split is read when it is first asked for.
#[derive(Debug)]
enum Test {
    Located(Place),
    Ready(Arc<LayoutImages>),
}

impl Task for Gligen {
    const ID: &'static str = "gligen";
    const NAME: &'static str = "Grounded layout";
    const DESCRIPTION: &'static str = "Pictures of captions and boxes with phrases, from a folder, from shards, from COCO, or the set \
                                       inside";

    type Config = GligenConfig;

    // The file is part of the source and a test parses it, so the empty object for a broken one is never seen.
    fn host_defaults() -> Value {
        serde_json::from_str(DEFAULTS).unwrap_or_else(|_| json!({}))
    }

    fn open(config: GligenConfig, host: Host) -> Result<Self, PluginError> {
        let GligenConfig {
            data: config,
            evaluation,
        } = config;
        config.check()?;
        let (train, test, notes) = locate(&config)?;
        for note in &notes {
            tracing::warn!("{note}");
        }
        // The records of the train split are read now: what is wrong with them should be said before any work begins.
        let source = Source::open(&train, &config, &host)?;
        let sample_prompts = first_captions(&source);
        let train = ready(TRAIN, source, &config, &host)?;
        Ok(Self {
            config,
            evaluation,
            host,
            sample_prompts,
            train,
            test: test.map(|test| Mutex::new(Test::Located(test))),
        })
    }

    fn describe(&self) -> TaskDescription {
        let layout_map = (self.config.layout_map).then(|| Injection::ConcatChannels {
            column: LAYOUT_MAP.to_owned(),
            dropout: self.config.box_dropout,
        });
        TaskDescription {
            target: IMAGE.to_owned(),
            injections: [
                Injection::CrossAttention {
                    column: CAPTION.to_owned(),
                    dropout: self.config.dropout,
                },
                Injection::GroundingTokens {
                    boxes: BOXES.to_owned(),
                    phrases: PHRASES.to_owned(),
                    mask: BOXES_MASK.to_owned(),
                    dropout: self.config.box_dropout,
                },
            ]
            .into_iter()
            .chain(layout_map)
            .collect(),
            sample_prompts: self.sample_prompts.clone(),
            dropout: 0.0,
        }
    }

    fn splits(&self) -> Vec<String> {
        let test = self.test.as_ref().map(|_| TEST.to_owned());
        std::iter::once(TRAIN.to_owned()).chain(test).collect()
    }

    fn dataset(&self, split: &str) -> Result<Box<dyn Dataset>, PluginError> {
        let images = match (split, &self.test) {
            (TRAIN, _) => Arc::clone(&self.train),
            (TEST, Some(test)) => {
                let mut test = test.lock().unwrap_or_else(PoisonError::into_inner);
                match &*test {
                    Test::Ready(images) => Arc::clone(images),
                    Test::Located(place) => {
                        let source = Source::open(place, &self.config, &self.host)?;
                        let images = ready(TEST, source, &self.config, &self.host)?;
                        *test = Test::Ready(Arc::clone(&images));
                        images
                    }
                }
            }
            _ => {
                return Err(PluginError::unsupported(format!(
                    "there is no split `{split}`; there are: {}",
                    self.splits().join(", ")
                )));
            }
        };
        Ok(Box::new(Shared(images)))
    }

    fn evaluator(&self) -> Result<Option<Box<dyn Evaluator>>, PluginError> {
        let count = self.evaluation.samples;
        let split = if self.test.is_some() { TEST } else { TRAIN };
        Ok((count > 0).then(|| Box::new(LayoutScores::new(split, count)) as Box<dyn Evaluator>))
    }

    fn conditions(&self, inputs: &Value) -> Result<Batch, PluginError> {
        conditions::conditions(inputs, &self.config)
    }

    fn picture(&self, samples: &Batch) -> Result<Option<Picture>, PluginError> {
        drawing::picture(samples)
    }
}

fn ready(
    split: &str,
    source: Source,
    config: &DataConfig,
    host: &Host,
) -> Result<Arc<LayoutImages>, PluginError> {
    let images = LayoutImages::new(source, config, host)?;
    let source = images.source();
    for note in &source.notes {
        tracing::warn!("{note}");
    }
    let boxes: usize = (source.samples.iter())
        .map(|sample| sample.regions.len())
        .sum();
    tracing::info!(
        split,
        samples = images.len(),
        without_boxes = source.without_boxes,
        "`{split}` has {} pictures with {boxes} boxes",
        images.len()
    );
    if let Some(first) = &source.skipped.first {
        let count = source.skipped.count;
        tracing::warn!(
            split,
            skipped = count,
            "{count} samples of `{split}` were skipped; the first: {first}"
        );
    }
    Ok(Arc::new(images))
}

/// The first captions that differ.
fn first_captions(source: &Source) -> Vec<String> {
    let mut prompts: Vec<&String> = Vec::new();
    for text in source
        .samples
        .iter()
        .flat_map(|sample| sample.texts.first())
    {
        if prompts.len() == MAX_SAMPLE_PROMPTS {
            break;
        }
        if !prompts.contains(&text) && !text.is_empty() {
            prompts.push(text);
        }
    }
    prompts.into_iter().cloned().collect()
}

/// One split, used from several places: with one cache.
struct Shared(Arc<LayoutImages>);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_an_object() {
        let parsed: Value = serde_json::from_str(DEFAULTS).unwrap();
        assert!(parsed.is_object());
        assert_eq!(parsed, Gligen::host_defaults());
    }
}
