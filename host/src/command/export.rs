//! `dsl-host export`: a run's generator, for this program or for others.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ValueEnum};
use dsl_nets::weights::FileTensor;
use dsl_nets::{
    Denoiser, DenoiserConfig, EmbeddingStyle, LearnedEmbedding, LearnedTokens, LoraExport, Model,
    NetsError, PipelineText, SaveOptions, WeightDType, save_parts,
};
use serde_json::{Map, Value, json};

use crate::bridge::adapter_metadata::kohya_metadata;
use crate::bridge::model_card;
use crate::failure;
use crate::run::{Finished, open_finished};
use crate::run_dir::write_atomic;

/// Write a run's generator: to one safetensors file, or for other programs
///
/// `file` holds denoiser and text encoder under diffusers' and transformers' key names, and in its metadata the shape of the
/// networks and the tokenizer: `model.base` takes it as it is; adapters are merged into the
/// weights, and learned words stand in the token tables. The other formats hold the denoiser alone, or the adapters of
/// denoiser and text encoders where such were trained. The discriminator is always left out.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dsl-host export --run runs/a --out model.safetensors\n  dsl-host export --run runs/a --format diffusers --out exported"
)]
pub struct ExportArgs {
    /// Folder of the run
    #[arg(long)]
    run: PathBuf,
    /// The file, or the folder for `diffusers`, `peft`, `kohya` and `embedding`
    #[arg(long)]
    out: PathBuf,
    /// What is written
    #[arg(long, value_enum, default_value_t = Format::File)]
    format: Format,
    /// Number format of the weights
    #[arg(long, value_enum, default_value_t = DType::F32)]
    dtype: DType,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One file with everything that sampling takes.
    File,
    /// Folders `unet` and `scheduler`, and those of text encoders of which parameters were trained; or the adapter's
    /// `pytorch_lora_weights.safetensors`.
    Diffusers,
    /// The adapter as PEFT's `adapter_model.safetensors` and `adapter_config.json`; with adapters of text encoders a folder for
    /// each network.
    Peft,
    /// The adapter as `lora.safetensors`, with the names that most other programs read.
    Kohya,
    /// New words of the text encoder as `learned_embeds.safetensors`: one tensor `[vectors, features]` under the first word; of
    /// SDXL's two encoders `clip_l` and `clip_g`.
    Embedding,
}

/// Number format of exported weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DType {
    /// 32 bits, exact.
    F32,
    /// 16 bits, half the size.
    F16,
    /// 16 bits with the range of 32.
    Bf16,
}

/// Writes the generator.
///
/// # Errors
/// A folder that is no run; a run without a usable checkpoint; a format that the generator does not have; a file that cannot
/// be written.
pub fn export(args: &ExportArgs) -> Result<()> {
    let run = open_finished(&args.run)?;
    let dtype = match args.dtype {
        DType::F32 => WeightDType::F32,
        DType::F16 => WeightDType::F16,
        DType::Bf16 => WeightDType::Bf16,
    };
    let denoiser = &run.model.denoiser;
    let written = match args.format {
        Format::File => {
            let tokenizer = run.tokenizer.as_ref();
            let merged = run.model.merge_lora();
            model_card::write(&args.out, &merged, &run.card, tokenizer, dtype)?;
            args.out.clone()
        }
        Format::Diffusers if denoiser.has_lora() => {
            adapter(&run.model, "diffusers")?.write_diffusers(&args.out, dtype)?;
            args.out.join("pytorch_lora_weights.safetensors")
        }
        Format::Diffusers => unet(&run, &args.out, dtype)?,
        Format::Peft => {
            adapter(&run.model, "peft")?.write_peft(&args.out, dtype)?;
            args.out.clone()
        }
        Format::Kohya => {
            let adapter = adapter(&run.model, "kohya")?;
            std::fs::create_dir_all(&args.out).map_err(|source| NetsError::Io {
                action: "write",
                path: args.out.clone(),
                source,
            })?;
            let file = args.out.join("lora.safetensors");
            let title = args.run.canonicalize().unwrap_or_else(|_| args.run.clone());
            let title = title.file_name().unwrap_or_default().to_string_lossy();
            adapter.write_kohya(&file, dtype, &kohya_metadata(&run, &title))?;
            file
        }
        Format::Embedding => embedding(&run, &args.out, dtype)?,
    };
    failure::print(&format!("{}\n", written.display()))
}

/// The new words that a run has learned.
fn embedding(run: &Finished, out: &Path, dtype: WeightDType) -> Result<PathBuf> {
    let (Some(learned), Some(tokens)) = (&run.card.learned, &run.model.learned_tokens) else {
        return Err(failure::usage(anyhow::anyhow!(
            "`--format embedding` writes new words, and this run has learned none"
        )));
    };
    std::fs::create_dir_all(out).map_err(|source| NetsError::Io {
        action: "write",
        path: out.to_owned(),
        source,
    })?;
    let rows = |tokens: &LearnedTokens| {
        let weight = tokens.weight.val();
        FileTensor {
            shape: weight.dims().to_vec(),
            values: weight.into_data().iter::<f32>().collect(),
        }
    };
    let embedding = LearnedEmbedding {
        token: learned.words.first().cloned(),
        clip_l: rows(tokens),
        clip_g: run.model.learned_tokens_2.as_ref().map(rows),
    };
    let style = match embedding.clip_g {
        Some(_) => EmbeddingStyle::Sdxl,
        None => EmbeddingStyle::Diffusers,
    };
    let file = out.join("learned_embeds.safetensors");
    embedding.write(&file, style, dtype)?;
    Ok(file)
}

/// The adapters of a generator that has some: the denoiser's, and those of text encoders.
fn adapter(model: &Model, format: &str) -> Result<LoraExport> {
    if !model.denoiser.has_lora() {
        return Err(failure::usage(anyhow::anyhow!(
            "`--format {format}` writes an adapter, and this run has trained the whole generator; \
             `--format diffusers` and `--format file` write that"
        )));
    }
    let mut adapters = LoraExport::of(&model.denoiser)?;
    for (component, encoder) in model.pipeline_text.iter().flat_map(PipelineText::encoders) {
        adapters = adapters.with_text_encoder(encoder, component);
    }
    Ok(adapters)
}

/// The denoiser as diffusers' folder.
fn unet(run: &Finished, out: &Path, dtype: WeightDType) -> Result<PathBuf> {
    let (Denoiser::Unet(unet), DenoiserConfig::Unet(config)) =
        (&run.model.denoiser, &run.card.model.denoiser)
    else {
        return Err(failure::usage(anyhow::anyhow!(
            "`--format diffusers` writes a UNet, and this run's generator is another network; `--format file` writes it"
        )));
    };
    let folder = out.join("unet");
    let options = SaveOptions {
        dtype,
        ..SaveOptions::default()
    };
    save_parts(unet, config, &Map::new(), &folder, &options)?;
    write_scheduler(run, out)?;
    let has_learned_text = run.config.model.trainable.trains_pipeline_text();
    if has_learned_text {
        write_text_encoders(run, out, &options)?;
    }
    if run.model.text_encoder.is_some() {
        tracing::warn!(
            "the text encoder is of a kind that diffusers does not have, and is left out; `--format file` writes it"
        );
    }
    let has_words = run.card.learned.is_some() || !run.card.known_words.is_empty();
    if run.model.pipeline_text.is_some() && (has_words || !has_learned_text) {
        tracing::warn!(
            "what the pipeline's text encoders have learned is left out; `--format file` writes all, `--format embedding` new \
             words, `--format peft` and `--format kohya` adapters"
        );
    }
    Ok(folder)
}

/// The text encoders, as diffusers' folders beside the denoiser's.
fn write_text_encoders(run: &Finished, out: &Path, options: &SaveOptions) -> Result<()> {
    let (Some(text), Some(config)) = (&run.model.pipeline_text, &run.card.model.pipeline_text)
    else {
        return Ok(());
    };
    let configs = [Some(&config.text_encoder), config.text_encoder_2.as_ref()];
    for ((component, encoder), config) in text.encoders().zip(configs.into_iter().flatten()) {
        let folder = out.join(component.name());
        save_parts(encoder, config, &Map::new(), &folder, options)?;
    }
    Ok(())
}

/// The noise levels that the denoiser was trained on, and what it predicts: `scheduler/scheduler_config.json`.
fn write_scheduler(run: &Finished, out: &Path) -> Result<()> {
    let folder = out.join("scheduler");
    std::fs::create_dir_all(&folder).map_err(|source| NetsError::Io {
        action: "write",
        path: folder.clone(),
        source,
    })?;
    // The configuration has diffusers' names.
    let mut config = Map::from_iter([
        ("_class_name".to_owned(), json!("DDPMScheduler")),
        ("clip_sample".to_owned(), json!(false)),
        (
            "prediction_type".to_owned(),
            json!(run.card.prediction_type),
        ),
    ]);
    if let Value::Object(schedule) = serde_json::to_value(&run.card.noise_schedule)? {
        config.extend(schedule);
    }
    let text = format!("{:#}\n", Value::Object(config));
    write_atomic(&folder.join("scheduler_config.json"), text.as_bytes())?;
    Ok(())
}
