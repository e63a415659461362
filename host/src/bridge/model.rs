//! The generator at step 0: bundled with the plugin, from a file, or fresh.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use burn::tensor::Device;
use dsl_loader::{Injection, Plugin, TaskHandle};
use dsl_nets::parameters::read_all;
use dsl_nets::weights::Extension;
use dsl_nets::{
    DenoiserConfig, Model, ModelConfig, ParameterInit, Tokenizer, UNet2DConditionConfig, WeightFile,
};

use super::data::{Data, caption_column};
use super::latents::LatentCoder;
use super::learned_tokens::{LearnedWords, needs_text_encoder};
use super::model_card::{self, ModelCard};
use super::pipeline::PipelineFolder;
use super::task_modules::with_task_modules;
use super::text::TextReader;
use crate::config::{BaseModel, RunConfig};
use crate::failure;

/// Asset of a plugin that holds its bundled model.
const BUNDLED: &str = "base.safetensors";
/// Captions that a tokenizer is learned from, at most.
const TOKENIZER_CAPTIONS: u64 = 50_000;

/// What must be kept of a generator to use it later.
pub struct Prepared {
    /// Shape and meaning.
    pub card: ModelCard,
    /// Of the model's own text encoder, without the words that it is taught.
    pub tokenizer: Option<Tokenizer>,
    /// Who makes features of texts.
    pub text: TextReader,
    /// For networks that work on latents.
    pub latents: Option<Arc<LatentCoder>>,
    /// Where the weights come from, in words.
    pub source: String,
}

/// Builds the generator that the configuration asks for, off the autodiff graph. Its networks are handed over: who trains them
/// may hold them in another form.
///
/// # Errors
/// A base that cannot be read or does not fit; networks that do not fit the data.
pub fn prepare(
    config: &RunConfig,
    plugin: &Plugin,
    task: &TaskHandle,
    data: &Data,
    device: &Device,
) -> Result<(Model, Prepared)> {
    let base = weights_of(&config.model.base, || Ok(plugin))?;
    let (mut base_card, mut base_tokenizer) = (None, None);
    if let Some(file) = &base
        && let Some((card, tokenizer)) = model_card::read(file)?
    {
        (base_card, base_tokenizer) = (Some(card), tokenizer);
    }
    let pipeline = pipeline_of(&config.model.base, base_card.as_ref())?;
    let learned = LearnedWords::of_task(task.describe());
    if base.is_none() && pipeline.is_none() && learned.is_some() {
        return Err(needs_text_encoder());
    }
    let trains_text = config.model.trainable.trains_pipeline_text();
    let known_words = base_card.as_ref().map(|card| card.known_words.clone());
    let known_words = known_words.unwrap_or_default();
    if let Some(learned) = &learned {
        learned.check_new(&known_words)?;
    }
    let latents = pipeline
        .as_ref()
        .map(|pipeline| LatentCoder::new(pipeline.clone(), &config.model.latents, device))
        .transpose()?;
    let mut model = match &pipeline {
        Some(pipeline) => {
            let of_base = base_card
                .as_ref()
                .and_then(|card| card.model.pipeline_text.clone());
            ModelConfig {
                denoiser: DenoiserConfig::Unet(pipeline.unet.clone()),
                text_encoder: None,
                // Part of the generator as soon as they have something to learn, or have learned something.
                pipeline_text: match of_base {
                    None if learned.is_some() || trains_text => Some(pipeline.text_config()?),
                    of_base => of_base,
                },
            }
        }
        None => model_config(config, base_card.as_ref(), task, data)?,
    };
    let picture = data.shape().picture;
    let in_network = |picture| match &latents {
        Some(coder) => coder.latent_shape(picture),
        None => Ok(picture),
    };
    let sample_shape = in_network(picture)?;
    model.denoiser = with_task_modules(
        model.denoiser,
        task.describe(),
        data,
        &config.model.task_modules,
        latents.is_some().then_some(sample_shape[0]),
    )?;
    let card = ModelCard {
        format: ModelCard::FORMAT,
        task: plugin.manifest().id.clone(),
        model,
        prediction_type: config.model.prediction_type,
        noise_schedule: config.model.noise_schedule.clone(),
        sample_shape,
        pipeline: pipeline.map(|pipeline| pipeline.folder),
        learned,
        known_words,
    };
    let has_encoder = card.model.text_encoder.is_some() || card.model.pipeline_text.is_some();
    if card.learned.is_some() && !has_encoder {
        return Err(needs_text_encoder());
    }
    check_base(base_card.as_ref(), &card)?;
    check_shape(&card)?;
    // An autoencoder has to take every bucket.
    for picture in data.pictures() {
        in_network(picture)?;
    }

    let tokenizer = match (&card.model.text_encoder, base_tokenizer) {
        (None, _) => None,
        (Some(_), Some(tokenizer)) => Some(tokenizer),
        (Some(encoder), None) => Some(learn_tokenizer(task, data, encoder.vocab_size)?),
    };
    let (mut model, source) = at_step_0(&card, base.as_ref(), config.train.seed, device)?;
    let latents = latents.map(Arc::new);
    let text = TextReader::of(&card, tokenizer.as_ref(), latents.as_ref())?;
    if let Some(learned) = &card.learned {
        model = learned.add_to(model, &text)?;
    }
    let prepared = Prepared {
        card,
        tokenizer,
        text,
        latents,
        source,
    };
    Ok((model, prepared))
}

/// The generator of a run before its first step: what checkpoints of a part of its parameters are put into. `plugin` is
/// opened where the base is inside it.
///
/// # Errors
/// A base that cannot be read or does not fit.
pub fn base_of_run(
    config: &RunConfig,
    card: &ModelCard,
    plugin: impl FnOnce() -> Result<Plugin>,
    device: &Device,
) -> Result<Model> {
    let base = weights_of(&config.model.base, plugin)?;
    Ok(at_step_0(card, base.as_ref(), config.train.seed, device)?.0)
}

/// The pipeline whose latents a base works on, where it does.
fn pipeline_of(base: &BaseModel, card: Option<&ModelCard>) -> Result<Option<PipelineFolder>> {
    let folder = match (base, card.and_then(|card| card.pipeline.as_ref())) {
        (BaseModel::Path(path), _) if PipelineFolder::is_one(path) => path,
        (_, Some(folder)) => folder,
        _ => return Ok(None),
    };
    PipelineFolder::open(folder).map(Some)
}

/// The weights to begin with; none for fresh ones.
fn weights_of<P: std::borrow::Borrow<Plugin>>(
    base: &BaseModel,
    plugin: impl FnOnce() -> Result<P>,
) -> Result<Option<WeightFile>> {
    Ok(match base {
        BaseModel::None => None,
        BaseModel::Bundled => {
            let plugin = plugin()?;
            let plugin = plugin.borrow();
            let name = format!("{BUNDLED} of plugin {}", plugin.manifest().id);
            let bytes = plugin.asset(BUNDLED)?;
            bytes
                .map(|bytes| WeightFile::from_bytes(&name, bytes))
                .transpose()?
        }
        // A pipeline's own reader knows its files.
        BaseModel::Path(path) if PipelineFolder::is_one(path) => None,
        BaseModel::Path(path) => Some(open_base(path)?),
    })
}

/// Networks with the base's weights, or fresh ones, and where those are from.
fn at_step_0(
    card: &ModelCard,
    base: Option<&WeightFile>,
    seed: u64,
    device: &Device,
) -> Result<(Model, String)> {
    let base_card = base.map(model_card::read).transpose()?.flatten();
    let base_card = base_card.map(|(card, _)| card);
    let of_base = base_card
        .as_ref()
        .and_then(|card| card.model.pipeline_text.as_ref());
    let pipeline = card
        .pipeline
        .as_deref()
        .map(PipelineFolder::open)
        .transpose()?;
    // A base in which they have learned nothing leaves them to the pipeline.
    let pipeline_text = match (&card.model.pipeline_text, &pipeline) {
        (Some(config), Some(pipeline)) if of_base.is_none() => {
            Some(pipeline.load_text_as(config, device)?)
        }
        _ => None,
    };
    if let (None, Some(pipeline)) = (base, &pipeline) {
        let model = Model {
            denoiser: pipeline.load_unet_as(&card.model.denoiser, seed, device)?,
            text_encoder: None,
            pipeline_text,
            learned_tokens: None,
            learned_tokens_2: None,
        };
        return Ok((model, pipeline.folder.display().to_string()));
    }
    let config = ModelConfig {
        pipeline_text: of_base.cloned(),
        ..card.model.clone()
    };
    // Of fresh values, those alone are made that the base does not have.
    let model = config.build(&ParameterInit::deferred(seed, device));
    let mut model = model.map_err(failure::usage)?;
    let Some(file) = base else {
        read_all(&model);
        return Ok((model, "fresh weights".to_owned()));
    };
    model = load(model, file, base_card.is_some())?;
    read_all(&model);
    model.pipeline_text = model.pipeline_text.or(pipeline_text);
    Ok((model, file.name().display().to_string()))
}

/// A file of weights, or a folder as diffusers writes it for a UNet.
fn open_base(path: &Path) -> Result<WeightFile> {
    let in_folder = |name: &str| path.join(format!("diffusion_pytorch_model.{name}"));
    let file = match (path.is_dir(), in_folder("safetensors"), in_folder("bin")) {
        (false, ..) => path.to_owned(),
        (true, safetensors, bin) if bin.is_file() && !safetensors.is_file() => bin,
        (true, safetensors, _) => safetensors,
    };
    WeightFile::open(&file)
        .with_context(|| format!("`model.base: {}` cannot be read", path.display()))
        .map_err(failure::usage)
}

/// The shape of the networks: what the configuration says, else what the base says.
fn model_config(
    config: &RunConfig,
    base: Option<&ModelCard>,
    task: &TaskHandle,
    data: &Data,
) -> Result<ModelConfig> {
    let section = &config.model;
    let mut model = match (base, &section.base) {
        // A base's networks are what they are; the configuration's shape is for training from scratch.
        (Some(card), _) => card.model.clone(),
        (None, BaseModel::Path(path)) if path.is_dir() => ModelConfig {
            denoiser: diffusers_unet(&path.join("config.json"))?,
            text_encoder: section.text_encoder.clone(),
            pipeline_text: None,
        },
        (None, _) => ModelConfig {
            denoiser: section.denoiser.clone().ok_or_else(|| {
                failure::usage(anyhow!(
                    "the networks have no shape: the base carries none, and `model.denoiser` is not set\n\
                     hint: set `model.denoiser`, for example `{{kind: unet}}` or `{{kind: mlp}}`"
                ))
            })?,
            text_encoder: section.text_encoder.clone(),
            pipeline_text: None,
        },
    };
    let wants_text = caption_column(task.describe(), data).is_some();
    if !wants_text {
        model.text_encoder = None;
    }
    let is_unet = model.denoiser.cross_attention_dim().is_some();
    if is_unet && wants_text && model.text_encoder.is_none() {
        return Err(failure::usage(anyhow!(
            "the task has text, and there is no text encoder\nhint: set `model.text_encoder`, for example `{{hidden_size: 96}}`"
        )));
    }
    Ok(model)
}

fn diffusers_unet(path: &Path) -> Result<DenoiserConfig> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read `{}`", path.display()))
        .map_err(failure::usage)?;
    let config = UNet2DConditionConfig::from_diffusers_json(&text)
        .with_context(|| {
            format!(
                "`{}` is not the configuration of a UNet2DConditionModel",
                path.display()
            )
        })
        .map_err(failure::usage)?;
    Ok(DenoiserConfig::Unet(config))
}

/// A base goes on predicting what it was trained to predict.
fn check_base(base: Option<&ModelCard>, card: &ModelCard) -> Result<()> {
    let Some(base) = base else { return Ok(()) };
    let differs = |key: &str, found: String, expected: String| {
        Err(failure::usage(anyhow!(
            "`model.{key}` is {found}, and the base was trained with {expected}\n\
             hint: set `model.{key}` to the base's, or train from scratch with `model.base: none`"
        )))
    };
    if base.prediction_type != card.prediction_type {
        return differs(
            "prediction_type",
            json(&card.prediction_type),
            json(&base.prediction_type),
        );
    }
    if base.noise_schedule != card.noise_schedule {
        return differs(
            "noise_schedule",
            json(&card.noise_schedule),
            json(&base.noise_schedule),
        );
    }
    Ok(())
}

/// The denoiser takes samples of the data's shape.
fn check_shape(card: &ModelCard) -> Result<()> {
    let [channels, height, width] = card.sample_shape;
    match &card.model.denoiser {
        DenoiserConfig::Unet(unet) => {
            if unet.out_channels != channels {
                return Err(failure::usage(anyhow!(
                    "the data has {channels} channels, and the UNet gives {}",
                    unet.out_channels
                )));
            }
        }
        DenoiserConfig::Mlp(mlp) => {
            if mlp.features != channels || height * width != 1 {
                return Err(failure::usage(anyhow!(
                    "the data has samples of shape {channels}×{height}×{width}, and the MLP takes vectors of {}",
                    mlp.features
                )));
            }
        }
    }
    Ok(())
}

fn learn_tokenizer(task: &TaskHandle, data: &Data, vocab_size: usize) -> Result<Tokenizer> {
    let Some(column) = caption_column(task.describe(), data) else {
        bail!("the task has no captions to learn a tokenizer from");
    };
    let mut texts = data.texts(column, TOKENIZER_CAPTIONS)?;
    for injection in &task.describe().injections {
        if let Injection::GroundingTokens { phrases, .. } = injection {
            texts.extend(data.texts(phrases, TOKENIZER_CAPTIONS)?);
        }
    }
    tracing::info!(captions = texts.len(), "learning the tokenizer");
    Ok(Tokenizer::train_bpe(
        texts.iter().map(String::as_str),
        vocab_size,
    )?)
}

/// All of the generator from our own files; the denoiser alone from others'. What the task adds may be absent from both.
fn load(model: Model, file: &WeightFile, is_ours: bool) -> Result<Model> {
    let (model, extension) = match is_ours {
        true => model.load_extending(file).map_err(failure::usage)?,
        false => {
            if model.fit(file).is_complete() {
                return Ok(model.load(file)?.0);
            }
            let mut model = model;
            let (denoiser, extension) = (model.denoiser)
                .load_extending(file)
                .map_err(failure::usage)?;
            model.denoiser = denoiser;
            (model, extension)
        }
    };
    told_fresh(&extension);
    Ok(model)
}

/// Says which of the task's layers a base does not have.
pub fn told_fresh(extension: &Extension) {
    if !extension.is_empty() {
        let kinds: Vec<&str> = extension.kinds.iter().map(|kind| kind.name()).collect();
        tracing::info!(
            "the base has no {}: fresh weights for them",
            kinds.join(", ")
        );
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
