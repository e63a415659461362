//! The task: opening the pictures, describing what is learned, handing out the splits.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dsl_sdk::captions;
use dsl_sdk::image::Picture;
use dsl_sdk::picture_set::{Fitting, PictureRef, Pictures};
use dsl_sdk::serde_json::{self, Value, json};
use dsl_sdk::{
    Batch, Column, ColumnData, Dataset, Evaluator, Host, Injection, PluginError, Task,
    TaskDescription, tracing,
};

use crate::concept::Concept;
use crate::config::{DataConfig, EvaluationConfig, TextualInversionConfig};
use crate::dataset::{CAPTION, ConceptViews, IMAGE};
use crate::evaluator::ConceptScores;
use crate::looks;
use crate::templates::prompts;

const TRAIN: &str = "train";
const TEST: &str = "test";
const DEFAULTS: &str = include_str!("../defaults.json");
/// Memory for the few pictures, in MiB: any that could be meant fit.
const CACHE_MIB: u64 = 256;

/// Personalization. `[any thread]`
#[derive(Debug)]
pub struct TextualInversion {
    evaluation: EvaluationConfig,
    concept: Arc<Concept>,
    host: Host,
    train: ConceptViews,
    test: Option<ConceptViews>,
    /// The pictures that are learned from, as the network is to draw them.
    given: Vec<Picture>,
    noted: Arc<AtomicBool>,
}

impl Task for TextualInversion {
    const ID: &'static str = "textual-inversion";
    const NAME: &'static str = "Textual inversion";
    const DESCRIPTION: &'static str =
        "A few pictures of one thing, and a new word of the text encoder for it";

    type Config = TextualInversionConfig;

    // The file is part of the source and a test parses it, so the empty object for a broken one is never seen.
    fn host_defaults() -> Value {
        serde_json::from_str(DEFAULTS).unwrap_or_else(|_| json!({}))
    }

    fn open(config: TextualInversionConfig, host: Host) -> Result<Self, PluginError> {
        config.data.check()?;
        let concept = Arc::new(Concept::open(&config.data)?);
        let evaluation = config.evaluation;
        let config = Arc::new(config.data);
        let train = ConceptViews::new(
            pictures(&concept.train, &config),
            config.repeats,
            &config,
            &concept,
        );
        // Every held-out view once with each template.
        let rounds = concept.templates.len() as u64;
        let test = (!concept.test.is_empty()).then(|| {
            let pictures = pictures(&concept.test, &config);
            ConceptViews::new(pictures, rounds, &config, &concept)
        });
        // They are few: what cannot be read is said now.
        let given = train.views()?;
        if let Some(test) = &test {
            test.views()?;
        }
        tracing::info!(
            "learning `{}` from {} pictures, beginning with `{}`; {} held out",
            concept.words(),
            concept.train.len(),
            concept.initializer,
            concept.test.len()
        );
        Ok(Self {
            evaluation,
            concept,
            host,
            train,
            test,
            given,
            noted: Arc::default(),
        })
    }

    fn describe(&self) -> TaskDescription {
        let prompts = prompts(self.concept.property).iter();
        TaskDescription {
            target: IMAGE.to_owned(),
            injections: vec![
                Injection::CrossAttention {
                    column: CAPTION.to_owned(),
                    dropout: 0.0,
                },
                Injection::LearnedTokens {
                    tokens: self.concept.tokens.clone(),
                    initializer: self.concept.initializer.clone(),
                },
            ],
            sample_prompts: prompts.map(|text| self.concept.caption(text)).collect(),
            dropout: 0.0,
        }
    }

    fn splits(&self) -> Vec<String> {
        let test = self.test.as_ref().map(|_| TEST.to_owned());
        std::iter::once(TRAIN.to_owned()).chain(test).collect()
    }

    fn dataset(&self, split: &str) -> Result<Box<dyn Dataset>, PluginError> {
        match (split, &self.test) {
            (TRAIN, _) => Ok(Box::new(self.train.clone())),
            (TEST, Some(test)) => Ok(Box::new(test.clone())),
            _ => Err(PluginError::unsupported(format!(
                "there is no split `{split}`; there are: {}",
                self.splits().join(", ")
            ))),
        }
    }

    fn evaluator(&self) -> Result<Option<Box<dyn Evaluator>>, PluginError> {
        if self.evaluation.samples == 0 {
            return Ok(None);
        }
        let split = if self.test.is_some() { TEST } else { TRAIN };
        let given = self.given.clone();
        Ok(Some(Box::new(ConceptScores::new(
            split,
            &self.evaluation,
            given,
            &self.host,
            &self.noted,
        ))))
    }

    fn conditions(&self, inputs: &Value) -> Result<Batch, PluginError> {
        let token = &self.concept.tokens[0];
        let wrong = |why: String| {
            Err(PluginError::config(why)
                .with_help(format!("give `prompt`, such as `a photo of a {token}`")))
        };
        let Value::Object(inputs) = inputs else {
            return wrong(format!("the inputs are {inputs}, expected an object"));
        };
        if let Some(key) = inputs.keys().find(|key| *key != "prompt") {
            return wrong(format!("there is no input `{key}`; there is: `prompt`"));
        }
        let prompt = match inputs.get("prompt") {
            Some(Value::String(text)) => captions::clean(text),
            Some(other) => return wrong(format!("`prompt` is {other}, expected a text")),
            None => return wrong("the input `prompt` is missing".to_owned()),
        };
        if !prompt.contains(token.as_str()) {
            tracing::warn!("the prompt `{prompt}` does not have the learned word `{token}`");
        }
        Ok(Batch {
            columns: vec![Column {
                name: CAPTION.into(),
                data: ColumnData::Text(vec![self.all_words(prompt)]),
            }],
        })
    }

    fn picture(&self, samples: &Batch) -> Result<Option<Picture>, PluginError> {
        Ok(looks::sheet(&self.given, &samples.pictures("generated")?))
    }
}

impl TextualInversion {
    /// The prompt with all of the words where the user wrote the first alone.
    fn all_words(&self, prompt: String) -> String {
        match self.concept.tokens.as_slice() {
            [first, second, ..] if !prompt.contains(second.as_str()) => {
                prompt.replace(first.as_str(), &self.concept.words())
            }
            _ => prompt,
        }
    }
}

fn pictures(places: &[PictureRef], config: &DataConfig) -> Pictures {
    let fitting = Fitting {
        resolution: config.resolution,
        resize: config.resize,
        filter: config.filter,
        background: config.background,
    };
    Pictures::new(places.to_vec(), None, fitting, CACHE_MIB)
}
