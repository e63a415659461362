//! A pipeline's text encoders as part of a model, beside the frozen ones whose features are cached.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use dsl_nets::{DenoiserConfig, MlpConfig, Model, ModelConfig};

use super::*;
use crate::bridge::latents::LatentsConfig;
use crate::bridge::learned_tokens::LearnedWords;
use crate::bridge::pipeline::PipelineFolder;

const SIZES: SizeIds = [16.0, 16.0, 0.0, 0.0, 16.0, 16.0];

struct Bench {
    _cache: tempfile::TempDir,
    coder: Arc<LatentCoder>,
    card: ModelCard,
    model: Model,
}

impl Bench {
    fn new(fixture: &str, words: &[&str]) -> Self {
        let root = std::env::var_os("DSL_FIXTURES").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures"),
            PathBuf::from,
        );
        let folder = root.join(fixture).join("pipeline");
        let cache = tempfile::tempdir().unwrap();
        let config = LatentsConfig {
            cache: Some(cache.path().to_owned()),
            ..LatentsConfig::default()
        };
        let (device, pipeline) = (Device::flex(), PipelineFolder::open(&folder).unwrap());
        let text = pipeline.text_config().unwrap();
        let encoders = pipeline.load_text_as(&text, &device).unwrap();
        let shape = ModelConfig {
            denoiser: DenoiserConfig::Mlp(MlpConfig {
                features: 2,
                hidden_sizes: vec![4],
                time_embedding_dim: 4,
            }),
            text_encoder: None,
            pipeline_text: None,
        };
        let mut model = shape.init(0, &device).unwrap();
        model.pipeline_text = Some(encoders);
        let card = ModelCard {
            format: ModelCard::FORMAT,
            task: "test".to_owned(),
            model: ModelConfig {
                pipeline_text: Some(text),
                ..shape
            },
            prediction_type: Default::default(),
            noise_schedule: Default::default(),
            sample_shape: [2, 1, 1],
            pipeline: Some(folder),
            learned: Some(LearnedWords {
                words: words.iter().map(|word| (*word).to_owned()).collect(),
                initializer: "day".to_owned(),
            }),
            known_words: Vec::new(),
        };
        Self {
            coder: Arc::new(LatentCoder::new(pipeline, &config, &device).unwrap()),
            _cache: cache,
            card,
            model,
        }
    }

    fn reader(&self) -> TextReader {
        TextReader::of(&self.card, None, Some(&self.coder)).unwrap()
    }

    /// What networks get of texts: features of each token and, with SDXL, of the whole.
    fn features(&self, model: &Model, texts: &[&str]) -> Vec<f32> {
        let TextReader::Pipeline(tokenizers) = self.reader() else {
            panic!("the encoders are part of the model");
        };
        let texts = tokenizers.encode(texts, &vec![SIZES; texts.len()]).unwrap();
        flat(texts.conditioning(model, &Device::flex(), DType::F32))
    }

    fn taught(&self) -> Model {
        let learned = self.card.learned.as_ref().unwrap();
        learned.add_to(self.model.clone(), &self.reader()).unwrap()
    }
}

fn flat(conditioning: dsl_nets::Conditioning) -> Vec<f32> {
    let states = conditioning.encoder_hidden_states.unwrap().into_data();
    let mut values: Vec<f32> = states.iter::<f32>().collect();
    if let Some(added) = conditioning.added {
        values.extend(added.text_embeds.into_data().iter::<f32>());
        values.extend(added.time_ids.into_data().iter::<f32>());
    }
    values
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-4, "{found}, not {expected}");
    }
}

const FIXTURES: [&str; 2] = ["pipeline_sd", "pipeline_sdxl"];

#[test]
fn texts_are_read_as_the_frozen_encoders_read_them() {
    let texts = ["a red apple", "", "two foxes in the snow, at night"];
    for fixture in FIXTURES {
        let bench = Bench::new(fixture, &["<thing>"]);
        let frozen = bench.coder.encode_texts(&texts, &[SIZES; 3]).unwrap();
        let frozen = flat(frozen.conditioning(&Device::flex(), DType::F32));
        for model in [&bench.model, &bench.taught()] {
            assert_near(&bench.features(model, &texts), &frozen);
        }
    }
}

#[test]
fn a_new_word_starts_as_its_initializer_and_stays_when_it_enters_the_tables() {
    for fixture in FIXTURES {
        let mut bench = Bench::new(fixture, &["<thing>", "<piece>"]);
        assert_eq!(bench.reader().ids("day").unwrap()[0].len(), 1, "one token");
        let model = bench.taught();
        assert_eq!(model.learned_tokens_2.is_some(), fixture == "pipeline_sdxl");
        let texts = ["a <thing> on <Piece>", "<thing>"];
        let with_words = bench.features(&model, &texts);
        let day = bench.features(&model, &["a day on day", "day"]);
        assert_eq!(with_words, day);

        // Rows of their own, so that the two words differ from `day` and from one another.
        let moved = model.learned_tokens.clone().map(|mut tokens| {
            tokens.weight = tokens.weight.map(|rows| {
                let [count, features] = rows.dims();
                let steps = burn::tensor::Tensor::<1, burn::tensor::Int>::arange(
                    0..(count * features) as i64,
                    &rows.device(),
                );
                rows + steps.float().reshape([count, features]).mul_scalar(0.01)
            });
            tokens
        });
        let model = Model {
            learned_tokens: moved,
            ..model
        };
        let learned = bench.features(&model, &texts);
        assert_ne!(learned, with_words);
        bench.card = bench.card.with_words_in_tables();
        assert_eq!(bench.card.known_words, ["<thing>", "<piece>"]);
        let folded = model.with_words_in_tables();
        assert_eq!(bench.features(&folded, &texts), learned);

        // A further word has ids of its own, and takes nothing from those that are known.
        let further = LearnedWords {
            words: vec!["<other>".to_owned()],
            initializer: "<piece>".to_owned(),
        };
        let known = &bench.card.known_words;
        further.check_new(known).unwrap();
        bench.card.learned = Some(further);
        let two = bench.taught_further(folded);
        assert_eq!(bench.features(&two, &texts), learned);
        assert_eq!(
            bench.features(&two, &["a <thing> on <other>", "<thing>"]),
            learned
        );
    }
}

impl Bench {
    fn taught_further(&self, model: Model) -> Model {
        let learned = self.card.learned.as_ref().unwrap();
        learned.add_to(model, &self.reader()).unwrap()
    }
}

#[test]
fn a_word_that_is_known_cannot_be_learned_as_a_new_one() {
    let words = LearnedWords {
        words: vec!["<thing>".to_owned()],
        initializer: "day".to_owned(),
    };
    let error = words.check_new(&["<thing>".to_owned()]).unwrap_err();
    let said = format!("{error:#}");
    assert!(said.contains("`<thing>` already"), "{said}");
}
