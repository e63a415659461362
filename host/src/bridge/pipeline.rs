//! A pipeline as diffusers keeps it: a folder with `model_index.json` and one folder per part.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use burn::tensor::Device;
use dsl_nets::{
    AutoencoderKL, AutoencoderKLConfig, ClipTextModel, ClipTokenizer, Denoiser, DenoiserConfig,
    LoadOptions, PipelineText, PipelineTextConfig, Pretrained as _, UNet2DCondition,
    UNet2DConditionConfig, WeightDType, WeightSet, load_folder, load_unet_extending, read_config,
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::feature_cache::hex;
use super::model::told_fresh;
use crate::failure;

const INDEX: &str = "model_index.json";

/// How a pipeline turns text into what its UNet attends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipelineKind {
    /// One text encoder, its last state: Stable Diffusion 1 and 2, GLIGEN.
    StableDiffusion,
    /// Two text encoders, the last state but one of each, side by side; pooled features and sizes beside them.
    StableDiffusionXl,
}

/// What a pipeline's folder says of itself. Weights are read when they are asked for.
#[derive(Debug, Clone)]
pub struct PipelineFolder {
    /// The folder.
    pub folder: PathBuf,
    /// How its text is encoded.
    pub kind: PipelineKind,
    /// Whether the empty prompt's features are zeros (`force_zeros_for_empty_prompt`).
    pub zeros_for_empty_prompt: bool,
    /// Shape of the denoiser.
    pub unet: UNet2DConditionConfig,
    /// Shape of the autoencoder.
    pub vae: AutoencoderKLConfig,
}

/// A text encoder with its tokenizer.
pub struct TextPart {
    /// The encoder.
    pub model: ClipTextModel,
    /// Makes ids of text.
    pub tokenizer: ClipTokenizer,
}

impl PipelineFolder {
    /// Whether a folder is a pipeline's.
    pub fn is_one(folder: &Path) -> bool {
        folder.join(INDEX).is_file()
    }

    /// Reads what the folder says.
    ///
    /// # Errors
    /// A usage error for a pipeline of a kind that cannot be trained, or whose parts cannot be read.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::read(folder).map_err(failure::usage)
    }

    fn read(folder: &Path) -> Result<Self> {
        let index = read_json(&folder.join(INDEX))?;
        let kind = match index["_class_name"].as_str() {
            // GLIGEN's encode pictures of what boxes hold as well; here boxes bring phrases alone.
            Some(
                "StableDiffusionPipeline"
                | "StableDiffusionGLIGENPipeline"
                | "StableDiffusionGLIGENTextImagePipeline",
            ) => PipelineKind::StableDiffusion,
            Some("StableDiffusionXLPipeline") => PipelineKind::StableDiffusionXl,
            other => {
                return Err(anyhow!(
                    "`{}` is a pipeline of class {}\nhint: pipelines that can be trained are \
                     StableDiffusionPipeline, StableDiffusionXLPipeline, StableDiffusionGLIGENPipeline and \
                     StableDiffusionGLIGENTextImagePipeline",
                    folder.display(),
                    other.unwrap_or("(none)")
                ));
            }
        };
        let part = |name: &str| format!("the part `{name}` of `{}`", folder.display());
        let (unet, _) =
            read_config::<UNet2DCondition>(&folder.join("unet")).with_context(|| part("unet"))?;
        let (vae, _) =
            read_config::<AutoencoderKL>(&folder.join("vae")).with_context(|| part("vae"))?;
        Ok(Self {
            folder: folder.to_owned(),
            kind,
            // Missing in pipelines older than the option, which is true for SDXL.
            zeros_for_empty_prompt: kind == PipelineKind::StableDiffusionXl
                && index["force_zeros_for_empty_prompt"]
                    .as_bool()
                    .unwrap_or(true),
            unet,
            vae,
        })
    }

    /// What the pipeline was trained with, as a part of a run's configuration: prediction type and noise levels, and how
    /// its own sampler walks them.
    ///
    /// # Errors
    /// A usage error for a scheduler's configuration that cannot be read.
    pub fn defaults(folder: &Path) -> Result<Value> {
        let path = folder.join("scheduler").join("scheduler_config.json");
        let scheduler = read_json(&path).map_err(failure::usage)?;
        let take = |keys: &[&str]| -> Map<String, Value> {
            keys.iter()
                .filter_map(|key| Some(((*key).to_owned(), scheduler.get(key)?.clone())))
                .filter(|(_, value)| !value.is_null())
                .collect()
        };
        let noise_schedule = take(&[
            "num_train_timesteps",
            "beta_schedule",
            "beta_start",
            "beta_end",
            "rescale_betas_zero_snr",
        ]);
        let mut sampler = take(&["timestep_spacing", "steps_offset", "set_alpha_to_one"]);
        // Good for pixels, wrong for latents.
        sampler.insert("clip_sample".to_owned(), json!(false));
        let prediction_type = scheduler
            .get("prediction_type")
            .cloned()
            .unwrap_or_else(|| json!("epsilon"));
        Ok(json!({
            "model": {
                "denoiser": null,
                "text_encoder": null,
                "prediction_type": prediction_type,
                "noise_schedule": noise_schedule,
            },
            "sampling": {"sampler": sampler},
        }))
    }

    /// The denoiser.
    ///
    /// # Errors
    /// Weights that cannot be read or do not fit.
    pub fn load_unet(&self, device: &Device) -> Result<Denoiser> {
        let loaded = load_folder::<UNet2DCondition>(
            &self.folder.join("unet"),
            &LoadOptions::default(),
            device,
        );
        Ok(Denoiser::Unet(loaded.map_err(failure::usage)?.module))
    }

    /// The denoiser in the shape of `config`, which may have layers that a task adds; those get fresh values, which follow
    /// from `seed`.
    ///
    /// # Errors
    /// As [`Self::load_unet`].
    pub fn load_unet_as(
        &self,
        config: &DenoiserConfig,
        seed: u64,
        device: &Device,
    ) -> Result<Denoiser> {
        let config = match config {
            DenoiserConfig::Unet(config) if *config != self.unet => config,
            _ => return self.load_unet(device),
        };
        let folder = self.folder.join("unet");
        let (unet, extension) = WeightSet::open_folder(&folder, UNet2DCondition::STEM, None)
            .and_then(|set| load_unet_extending(config, set, WeightDType::F32, seed, device))
            .map_err(failure::usage)?;
        told_fresh(&extension);
        Ok(Denoiser::Unet(unet))
    }

    /// The autoencoder.
    ///
    /// # Errors
    /// As [`Self::load_unet`].
    pub fn load_vae(&self, device: &Device) -> Result<AutoencoderKL> {
        let folder = self.folder.join("vae");
        let loaded = load_folder::<AutoencoderKL>(&folder, &LoadOptions::default(), device);
        Ok(loaded.map_err(failure::usage)?.module)
    }

    /// The text encoders, in order.
    ///
    /// # Errors
    /// As [`Self::load_unet`]; a tokenizer that cannot be read.
    pub fn load_text(&self, device: &Device) -> Result<Vec<TextPart>> {
        let parts = self.text_parts().iter().zip(self.load_tokenizers()?);
        let part = |([encoder, _], tokenizer): (&[&str; 2], ClipTokenizer)| -> Result<TextPart> {
            let folder = self.folder.join(encoder);
            let loaded = load_folder::<ClipTextModel>(&folder, &LoadOptions::default(), device);
            Ok(TextPart {
                model: loaded.map_err(failure::usage)?.module,
                tokenizer,
            })
        };
        parts.map(part).collect()
    }

    /// The tokenizers of the text encoders, in order.
    ///
    /// # Errors
    /// A usage error for one that cannot be read.
    pub fn load_tokenizers(&self) -> Result<Vec<ClipTokenizer>> {
        let folders = self
            .text_parts()
            .iter()
            .map(|[_, tokenizer]| self.folder.join(tokenizer));
        let tokenizers = folders.map(|folder| ClipTokenizer::from_folder(&folder));
        tokenizers.collect::<Result<_, _>>().map_err(failure::usage)
    }

    /// Shape of the text encoders as a part of a generator.
    ///
    /// # Errors
    /// A usage error for parts that cannot be read.
    pub fn text_config(&self) -> Result<PipelineTextConfig> {
        let mut configs = Vec::new();
        for ([encoder, _], tokenizer) in self.text_parts().iter().zip(self.load_tokenizers()?) {
            let folder = self.folder.join(encoder);
            let (mut config, _) = read_config::<ClipTextModel>(&folder).map_err(failure::usage)?;
            // The largest id of a text, as old files have it, would be a new word's.
            if config.text.end_token_id().is_none() {
                config.text.eos_token_id = tokenizer.end_id();
            }
            configs.push(config);
        }
        let mut configs = configs.into_iter();
        Ok(PipelineTextConfig {
            text_encoder: (configs.next())
                .ok_or_else(|| anyhow!("the pipeline has no text encoder"))?,
            text_encoder_2: configs.next(),
        })
    }

    /// The text encoders as a part of a generator, in the shape that [`Self::text_config`] gives.
    ///
    /// # Errors
    /// As [`Self::load_unet`].
    pub fn load_text_as(
        &self,
        config: &PipelineTextConfig,
        device: &Device,
    ) -> Result<PipelineText> {
        PipelineText::load(&self.folder, config, device).map_err(failure::usage)
    }

    /// Text encoders with their tokenizers.
    fn text_parts(&self) -> &'static [[&'static str; 2]] {
        const PARTS: &[[&str; 2]] = &[
            ["text_encoder", "tokenizer"],
            ["text_encoder_2", "tokenizer_2"],
        ];
        match self.kind {
            PipelineKind::StableDiffusion => &PARTS[..1],
            PipelineKind::StableDiffusionXl => PARTS,
        }
    }

    /// SHA-256 over the files of the parts that encode pictures.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn vae_sha256(&self) -> Result<String> {
        self.sha256_of(&["vae"])
    }

    /// SHA-256 over the files of the parts that encode text.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn text_sha256(&self) -> Result<String> {
        self.sha256_of(self.text_parts().as_flattened())
    }

    fn sha256_of(&self, parts: &[&str]) -> Result<String> {
        let mut sum = Sha256::new();
        for part in parts {
            let folder = self.folder.join(part);
            let reading = || format!("cannot read `{}`", folder.display());
            let mut files = std::fs::read_dir(&folder)
                .with_context(reading)?
                .map(|entry| Ok(entry?.path()))
                .collect::<std::io::Result<Vec<PathBuf>>>()
                .with_context(reading)?;
            files.retain(|path| path.is_file());
            files.sort();
            for path in files {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                sum.update(format!("{part}/{name}\n").as_bytes());
                let mut file = std::fs::File::open(&path)
                    .with_context(|| format!("cannot read `{}`", path.display()))?;
                std::io::copy(&mut file, &mut sum)
                    .with_context(|| format!("cannot read `{}`", path.display()))?;
            }
        }
        Ok(hex(sum))
    }
}

fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("`{}` is not JSON", path.display()))
}
