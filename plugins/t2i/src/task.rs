//! The task: opening the data, describing it, handing out its splits.

use std::sync::{Arc, Mutex, PoisonError};

use dsl_sdk::serde_json::Value;
use dsl_sdk::{
    Asset, Batch, BatchRequest, Buckets, ColumnSpec, Dataset, Host, Injection, PluginError, Task,
    TaskDescription, tracing,
};

use crate::config::{DataConfig, T2iConfig};
use crate::dataset::locate::{Location, locate};
use crate::dataset::source::{OpenError, Source};
use crate::dataset::{CAPTION, CaptionedImages, IMAGE};
use crate::{assets, defaults, emoji};

const TRAIN: &str = "train";
const TEST: &str = "test";
/// How many captions of a user's set serve as prompts.
const MAX_SAMPLE_PROMPTS: usize = 8;

/// Text to image. `[any thread]`
#[derive(Debug)]
pub struct T2i {
    config: DataConfig,
    host: Host,
    sample_prompts: Vec<String>,
    splits: Vec<Split>,
}

/// A split, from its place on the disk to its samples: each stage is reached when it is first asked for.
#[derive(Debug)]
struct Split {
    name: &'static str,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Located(Location),
    Ready(Arc<CaptionedImages>),
}

impl Task for T2i {
    const ID: &'static str = "t2i";
    const NAME: &'static str = "Text to image";
    const DESCRIPTION: &'static str =
        "Pictures with captions, from a folder, from shards, or the emoji set inside";

    type Config = T2iConfig;

    fn host_defaults() -> Value {
        defaults::host_defaults()
    }

    fn assets() -> &'static [Asset] {
        assets::ASSETS
    }

    fn open(config: T2iConfig, host: Host) -> Result<Self, PluginError> {
        let config = config.data;
        config.check()?;
        let located = locate(&config)?;
        for note in &located.notes {
            tracing::warn!("{note}");
        }
        // The captions of the train split are read now: what is wrong with them should be said before any work begins.
        let source = open_source(&located.train, &config, &host)?;
        let sample_prompts = match config.path {
            None => emoji::sample_prompts(&texts(&source), MAX_SAMPLE_PROMPTS),
            Some(_) => first_captions(&source),
        };
        // A value may well be in one split alone, so only the first is held to have them all.
        for note in source.kept.iter().flat_map(|kept| &kept.unmatched) {
            tracing::warn!("{note}");
        }
        let train = State::Ready(ready(TRAIN, source, &config, &host)?);
        let mut splits = vec![Split {
            name: TRAIN,
            state: Mutex::new(train),
        }];
        if let Some(test) = located.test
            && let Some(state) = test_state(test, &config, &host)?
        {
            splits.push(Split {
                name: TEST,
                state: Mutex::new(state),
            });
        }
        Ok(Self {
            config,
            host,
            sample_prompts,
            splits,
        })
    }

    fn describe(&self) -> TaskDescription {
        TaskDescription {
            target: IMAGE.to_owned(),
            injections: vec![Injection::CrossAttention {
                column: CAPTION.to_owned(),
                dropout: self.config.dropout,
            }],
            sample_prompts: self.sample_prompts.clone(),
            dropout: 0.0,
        }
    }

    fn splits(&self) -> Vec<String> {
        self.splits
            .iter()
            .map(|split| split.name.to_owned())
            .collect()
    }

    fn dataset(&self, split: &str) -> Result<Box<dyn Dataset>, PluginError> {
        let Some(found) = self.splits.iter().find(|found| found.name == split) else {
            return Err(PluginError::unsupported(format!(
                "there is no split `{split}`; there are: {}",
                self.splits().join(", ")
            )));
        };
        let mut state = found.state.lock().unwrap_or_else(PoisonError::into_inner);
        let images = match &*state {
            State::Ready(images) => Arc::clone(images),
            State::Located(location) => {
                let source = open_source(location, &self.config, &self.host)?;
                let images = ready(found.name, source, &self.config, &self.host)?;
                *state = State::Ready(Arc::clone(&images));
                images
            }
        };
        Ok(Box::new(Shared(images)))
    }
}

/// The test split: read when it is first asked for; under `only` at once, since one of which nothing is left is no split.
fn test_state(
    location: Location,
    config: &DataConfig,
    host: &Host,
) -> Result<Option<State>, PluginError> {
    if config.only.is_empty() {
        return Ok(Some(State::Located(location)));
    }
    match open_source(&location, config, host) {
        Ok(source) => Ok(Some(State::Ready(ready(TEST, source, config, host)?))),
        Err(OpenError::NothingKept(error)) => {
            tracing::warn!("there is no `{TEST}` split: {}", error.message);
            Ok(None)
        }
        Err(OpenError::Failed(error)) => Err(error),
    }
}

fn open_source(location: &Location, config: &DataConfig, host: &Host) -> Result<Source, OpenError> {
    let source = Source::open(location, config, host)?;
    for note in &source.notes {
        tracing::warn!("{note}");
    }
    if let Some(kept) = &source.kept {
        tracing::info!(
            "`task.data.only` keeps {} of {} samples",
            kept.samples,
            kept.of
        );
    }
    Ok(source)
}

fn ready(
    split: &str,
    source: Source,
    config: &DataConfig,
    host: &Host,
) -> Result<Arc<CaptionedImages>, PluginError> {
    let images = CaptionedImages::new(source, config, host)?;
    let skipped = images.skipped();
    match &skipped.first {
        Some(first) => tracing::warn!(
            split,
            samples = images.len(),
            skipped_pictures = skipped.pictures,
            skipped_captions = skipped.captions,
            "{} samples of `{split}` were skipped: {} unreadable pictures, {} without a caption; the first: {first}",
            skipped.total(),
            skipped.pictures,
            skipped.captions,
        ),
        None => tracing::info!(
            split,
            samples = images.len(),
            "`{split}` has {} pictures",
            images.len()
        ),
    }
    if let Some(buckets) = images.buckets() {
        tracing::info!("`{split}` in buckets, by pictures: {}", counted(buckets));
    }
    Ok(Arc::new(images))
}

/// Width × height of each bucket and how many samples it has, those with most of them first.
fn counted(buckets: &Buckets) -> String {
    const MOST: usize = 12;
    let mut counts: Vec<(usize, &[u64])> = (buckets.shapes.iter())
        .map(|shape| (0, &shape[..]))
        .collect();
    for &bucket in &buckets.of_sample {
        counts[bucket as usize].0 += 1;
    }
    counts.retain(|(count, _)| *count > 0);
    counts.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let mut told: Vec<String> = (counts.iter().take(MOST))
        .map(|(count, shape)| format!("{}×{}: {count}", shape[2], shape[1]))
        .collect();
    if counts.len() > MOST {
        told.push(format!("{} more", counts.len() - MOST));
    }
    told.join(", ")
}

/// The first caption of each sample.
fn texts(source: &Source) -> Vec<&str> {
    source
        .samples
        .iter()
        .filter_map(|sample| sample.captions.texts.first())
        .map(String::as_str)
        .collect()
}

/// The first captions that differ.
fn first_captions(source: &Source) -> Vec<String> {
    let mut prompts: Vec<&str> = Vec::new();
    for text in texts(source) {
        if prompts.len() == MAX_SAMPLE_PROMPTS {
            break;
        }
        if !prompts.contains(&text) {
            prompts.push(text);
        }
    }
    prompts.into_iter().map(str::to_owned).collect()
}

/// One split, used from several places: with one cache.
struct Shared(Arc<CaptionedImages>);

impl Dataset for Shared {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn columns(&self) -> Vec<ColumnSpec> {
        self.0.columns()
    }

    fn buckets(&self) -> Option<&Buckets> {
        self.0.buckets()
    }

    fn batch(&self, request: &BatchRequest<'_>) -> Result<Batch, PluginError> {
        self.0.batch(request)
    }
}
