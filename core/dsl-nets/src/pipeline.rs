//! A whole pipeline in a folder, as diffusers writes it: `model_index.json` and one folder for each part.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::{Map, Value, json};

use crate::autoencoder_kl::AutoencoderKL;
use crate::clip::ClipTextModel;
use crate::clip_tokenizer::ClipTokenizer;
use crate::config_format::{DIFFUSERS_VERSION, unsupported};
use crate::error::NetsError;
use crate::pretrained::{LoadOptions, Loaded, Pretrained, load_folder};
use crate::unet_2d_condition::UNet2DCondition;
use crate::weights::{WeightDType, file_tensors, write_atomically, write_sharded};

/// The parts of a pipeline that sampling and training need.
#[derive(Debug)]
pub struct Pipeline {
    /// diffusers' class, such as `StableDiffusionPipeline`.
    pub class_name: String,
    /// The denoiser.
    pub unet: Loaded<UNet2DCondition>,
    /// The autoencoder.
    pub vae: Loaded<AutoencoderKL>,
    /// The text encoder, or the first of two.
    pub text_encoder: Option<Loaded<ClipTextModel>>,
    /// SDXL's second text encoder.
    pub text_encoder_2: Option<Loaded<ClipTextModel>>,
    /// Of `text_encoder`.
    pub tokenizer: Option<ClipTokenizer>,
    /// Of `text_encoder_2`.
    pub tokenizer_2: Option<ClipTokenizer>,
    /// `scheduler_config.json` as it is. Some of diffusers' hold `-Infinity`, which is not JSON.
    pub scheduler_config: Option<String>,
    /// `model_index.json` as it was.
    pub index: Map<String, Value>,
    folder: PathBuf,
}

/// How a folder is written.
#[derive(Debug, Clone)]
pub struct SaveOptions {
    /// Numbers in the file.
    pub dtype: WeightDType,
    /// Larger weights are split into files of at most this many bytes; one tensor is never split.
    pub max_shard_bytes: u64,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self {
            dtype: WeightDType::F32,
            // diffusers' limit.
            max_shard_bytes: 10_000_000_000,
        }
    }
}

/// Classes that a part may be of; any other changes the numbers.
const CLASSES: &[(&str, &[&str])] = &[
    ("unet", &["UNet2DConditionModel"]),
    ("vae", &["AutoencoderKL"]),
    ("text_encoder", &["CLIPTextModel"]),
    ("text_encoder_2", &["CLIPTextModelWithProjection"]),
    ("tokenizer", &["CLIPTokenizer", "CLIPTokenizerFast"]),
    ("tokenizer_2", &["CLIPTokenizer", "CLIPTokenizerFast"]),
];

/// The parts that `model_index.json` names, with their classes.
///
/// # Errors
/// [`NetsError::Io`] when there is no such file, [`NetsError::Json`], and [`NetsError::UnsupportedOption`] for a part of a class
/// that is not built here.
pub fn read_model_index(folder: &Path) -> Result<Map<String, Value>, NetsError> {
    let path = folder.join("model_index.json");
    let text = std::fs::read_to_string(&path).map_err(|e| NetsError::read(&path, e))?;
    let index: Map<String, Value> =
        serde_json::from_str(&text).map_err(|source| NetsError::Json {
            what: path.display().to_string(),
            source,
        })?;
    for (name, classes) in CLASSES {
        let Some(class) = part_class(&index, name) else {
            continue;
        };
        if !classes.contains(&class) {
            let reason = format!("only {} can be read", classes.join(" or "));
            return Err(NetsError::InFile {
                path,
                source: Box::new(unsupported(name, &json!(class), reason)),
            });
        }
    }
    Ok(index)
}

/// The class of a part, if the pipeline has it.
pub(crate) fn part_class<'a>(index: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    index.get(name)?.as_array()?.get(1)?.as_str()
}

impl Pipeline {
    /// Reads a pipeline's folder.
    ///
    /// # Errors
    /// As [`read_model_index`] and [`load_folder`]; [`NetsError::Tokenizer`].
    pub fn open(folder: &Path, options: &LoadOptions, device: &Device) -> Result<Self, NetsError> {
        let index = read_model_index(folder)?;
        let has = |name: &str| part_class(&index, name).is_some();
        let encoder = |name: &str| {
            has(name)
                .then(|| load_folder::<ClipTextModel>(&folder.join(name), options, device))
                .transpose()
        };
        let tokenizer = |name: &str| {
            has(name)
                .then(|| ClipTokenizer::from_folder(&folder.join(name)))
                .transpose()
        };
        let scheduler = folder.join("scheduler/scheduler_config.json");
        let scheduler_config = match scheduler.is_file() {
            true => Some(
                std::fs::read_to_string(&scheduler).map_err(|e| NetsError::read(&scheduler, e))?,
            ),
            false => None,
        };
        Ok(Self {
            class_name: index
                .get("_class_name")
                .and_then(Value::as_str)
                .unwrap_or("DiffusionPipeline")
                .to_owned(),
            unet: load_folder(&folder.join("unet"), options, device)?,
            vae: load_folder(&folder.join("vae"), options, device)?,
            text_encoder: encoder("text_encoder")?,
            text_encoder_2: encoder("text_encoder_2")?,
            tokenizer: tokenizer("tokenizer")?,
            tokenizer_2: tokenizer("tokenizer_2")?,
            scheduler_config,
            index,
            folder: folder.to_owned(),
        })
    }

    /// Writes the pipeline to another folder: networks as they are now, everything else as it was read.
    ///
    /// # Errors
    /// [`NetsError::Io`] when a file cannot be written, [`NetsError::InvalidConfig`] for the folder it was read from.
    pub fn save(&self, folder: &Path, options: &SaveOptions) -> Result<(), NetsError> {
        if folder == self.folder {
            let reason = "a pipeline is not written over the files it was read from";
            return Err(NetsError::config("folder", folder, reason));
        }
        save_folder(&self.unet, &folder.join("unet"), options)?;
        save_folder(&self.vae, &folder.join("vae"), options)?;
        if let Some(encoder) = &self.text_encoder {
            save_folder(encoder, &folder.join("text_encoder"), options)?;
        }
        if let Some(encoder) = &self.text_encoder_2 {
            save_folder(encoder, &folder.join("text_encoder_2"), options)?;
        }
        let networks = ["unet", "vae", "text_encoder", "text_encoder_2"];
        for part in self.index.keys() {
            let source = self.folder.join(part);
            if source.is_dir() && !networks.contains(&part.as_str()) {
                copy_files(&source, &folder.join(part))?;
            }
        }
        let mut index = self.index.clone();
        index
            .entry("_diffusers_version")
            .or_insert_with(|| json!(DIFFUSERS_VERSION));
        let text = format!("{:#}\n", Value::Object(index));
        write_atomically(&folder.join("model_index.json"), text.as_bytes())
    }
}

/// Writes a network's folder: `config.json`, and the weights in one file or several.
///
/// # Errors
/// [`NetsError::Io`] when a file cannot be written.
pub fn save_folder<T: Pretrained>(
    network: &Loaded<T>,
    folder: &Path,
    options: &SaveOptions,
) -> Result<(), NetsError> {
    save_parts(
        &network.module,
        &network.config,
        &network.original,
        folder,
        options,
    )
}

/// As [`save_folder`], from a network that was not read from one; `original` may be empty.
///
/// # Errors
/// As [`save_folder`].
pub fn save_parts<T: Pretrained>(
    module: &T,
    config: &T::Config,
    original: &Map<String, Value>,
    folder: &Path,
    options: &SaveOptions,
) -> Result<(), NetsError> {
    std::fs::create_dir_all(folder).map_err(|e| NetsError::write(folder, e))?;
    write_sharded(
        folder,
        T::STEM,
        file_tensors(module),
        options.dtype,
        options.max_shard_bytes,
    )?;
    let json = T::config_json(config, original);
    write_atomically(&folder.join("config.json"), json.as_bytes())
}

fn copy_files(from: &Path, to: &Path) -> Result<(), NetsError> {
    std::fs::create_dir_all(to).map_err(|e| NetsError::write(to, e))?;
    let entries = std::fs::read_dir(from).map_err(|e| NetsError::read(from, e))?;
    for entry in entries.flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_files(&source, &target)?;
        } else {
            let bytes = std::fs::read(&source).map_err(|e| NetsError::read(&source, e))?;
            write_atomically(&target, &bytes)?;
        }
    }
    Ok(())
}
