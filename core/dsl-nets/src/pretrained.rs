//! Networks in the folders that diffusers and transformers write: `config.json` beside the weights.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use serde_json::{Map, Value};

use crate::autoencoder_kl::{AutoencoderKL, AutoencoderKLConfig};
use crate::clip::{
    ClipConfig, ClipModel, ClipModelConfig, ClipTextModel, ClipVisionModel, ClipVisionModelConfig,
};
use crate::error::NetsError;
use crate::parameter_init::ParameterInit;
use crate::parameters::read_all;
use crate::unet_2d_condition::{UNet2DCondition, UNet2DConditionConfig};
use crate::weights::{
    Extension, LoadReport, Renamed, TaskShare, WeightDType, WeightSet, complete, load_set,
    load_set_extending,
};

/// A network that has a folder form.
pub trait Pretrained: Module + Sized {
    /// Its shape.
    type Config: Clone + std::fmt::Debug;

    /// Name of the weight file, without `.safetensors`.
    const STEM: &'static str;

    /// Reads `config.json`.
    ///
    /// # Errors
    /// [`NetsError::UnsupportedOption`], [`NetsError::InvalidConfig`], [`NetsError::Json`].
    fn parse_config(text: &str) -> Result<Self::Config, NetsError>;

    /// Writes `config.json`; what `original` says beside the network's shape is kept.
    fn config_json(config: &Self::Config, original: &Map<String, Value>) -> String;

    /// Builds the network.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] when the fields do not fit together.
    fn build(config: &Self::Config, init: &ParameterInit) -> Result<Self, NetsError>;

    /// Today's name of a key that other versions spell otherwise.
    fn current_name(key: &str) -> String {
        key.to_owned()
    }
}

/// How a folder is read.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Which of several sets of weights in the folder, such as `fp16`.
    pub variant: Option<String>,
    /// The type of the parameters in memory.
    pub dtype: WeightDType,
}

/// A network from a folder, with what its files say beside it.
#[derive(Debug)]
pub struct Loaded<T: Pretrained> {
    /// The network with its weights.
    pub module: T,
    /// Its shape.
    pub config: T::Config,
    /// `config.json` as it was, so that what says nothing about the network can be written back.
    pub original: Map<String, Value>,
    /// What became of each key.
    pub report: LoadReport,
}

/// Reads a network's folder.
///
/// # Errors
/// [`NetsError::Io`] and [`NetsError::NoWeights`] when a file is not there; [`NetsError::UnsupportedOption`] for a network that
/// cannot be built; [`NetsError::WeightsDoNotFit`] with every tensor that is missing, left over, or of another shape.
pub fn load_folder<T: Pretrained>(
    folder: &Path,
    options: &LoadOptions,
    device: &Device,
) -> Result<Loaded<T>, NetsError> {
    let (config, original) = read_config::<T>(folder)?;
    let set = WeightSet::open_folder(folder, T::STEM, options.variant.as_deref())?;
    let (module, report) = load_weights(&config, set, options.dtype, device)?;
    Ok(Loaded {
        module,
        config,
        original,
        report,
    })
}

/// The network that `config` describes, with the weights in `set`, which may have an older version's names.
///
/// # Errors
/// As [`load_folder`].
pub fn load_weights<T: Pretrained>(
    config: &T::Config,
    set: WeightSet,
    dtype: WeightDType,
    device: &Device,
) -> Result<(T, LoadReport), NetsError> {
    fill(
        T::build(config, &ParameterInit::deferred(0, device))?,
        set,
        dtype,
    )
}

/// `module` with the weights in `set`, which may have an older version's names: all of them, and no others.
///
/// # Errors
/// As [`load_folder`].
pub(crate) fn fill<T: Pretrained>(
    module: T,
    set: WeightSet,
    dtype: WeightDType,
) -> Result<(T, LoadReport), NetsError> {
    let set = renamed::<T>(set);
    let (module, report) = load_set(module, &set, dtype)?;
    complete(&report, set.name())?;
    Ok((module, report))
}

/// As [`load_weights`] for a UNet whose `config` may have more than the weights: a task's modules, whose fresh values follow
/// from `seed`.
///
/// # Errors
/// As [`load_folder`], and [`NetsError::BaseLacks`].
pub fn load_unet_extending(
    config: &UNet2DConditionConfig,
    set: WeightSet,
    dtype: WeightDType,
    seed: u64,
    device: &Device,
) -> Result<(UNet2DCondition, Extension), NetsError> {
    let set = renamed::<UNet2DCondition>(set);
    let module = UNet2DCondition::new(config, &ParameterInit::deferred(seed, device))?;
    let channels = module.concat_channels();
    let (module, extension) = load_set_extending(module, &set, dtype, |path| {
        TaskShare::in_unet(path, channels)
    })?;
    read_all(&module);
    Ok((module, extension))
}

/// Tensors under today's names.
pub(crate) fn renamed<T: Pretrained>(set: WeightSet) -> WeightSet {
    set.rename(|key| Some(Renamed::As(T::current_name(unwrapped(key)))))
}

/// `config.json` of a network's folder, read and as it is.
///
/// # Errors
/// [`NetsError::Io`], [`NetsError::Json`], and as [`Pretrained::parse_config`].
pub fn read_config<T: Pretrained>(
    folder: &Path,
) -> Result<(T::Config, Map<String, Value>), NetsError> {
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).map_err(|e| NetsError::read(&path, e))?;
    let original = serde_json::from_str(&text).map_err(|source| NetsError::Json {
        what: path.display().to_string(),
        source,
    })?;
    let config = T::parse_config(&text).map_err(|error| NetsError::InFile {
        path,
        source: Box::new(error),
    })?;
    Ok((config, original))
}

/// A key without what parallel training and compilation put before it.
fn unwrapped(key: &str) -> &str {
    let mut rest = key;
    for prefix in ["module.", "_orig_mod."] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    rest
}

impl Pretrained for UNet2DCondition {
    type Config = UNet2DConditionConfig;
    const STEM: &'static str = "diffusion_pytorch_model";

    fn parse_config(text: &str) -> Result<Self::Config, NetsError> {
        UNet2DConditionConfig::from_diffusers_json(text)
    }

    fn config_json(config: &Self::Config, original: &Map<String, Value>) -> String {
        UNet2DConditionConfig::file_format().write(config, original)
    }

    fn build(config: &Self::Config, init: &ParameterInit) -> Result<Self, NetsError> {
        Self::new(config, init)
    }
}

impl Pretrained for AutoencoderKL {
    type Config = AutoencoderKLConfig;
    const STEM: &'static str = "diffusion_pytorch_model";

    fn parse_config(text: &str) -> Result<Self::Config, NetsError> {
        AutoencoderKLConfig::from_diffusers_json(text)
    }

    fn config_json(config: &Self::Config, original: &Map<String, Value>) -> String {
        AutoencoderKLConfig::file_format().write(config, original)
    }

    fn build(config: &Self::Config, init: &ParameterInit) -> Result<Self, NetsError> {
        Self::new(config, init)
    }

    fn current_name(key: &str) -> String {
        if !key.contains(".attentions.") {
            return key.to_owned();
        }
        // Files of before diffusers 0.18.
        let old = [
            (".query.", ".to_q."),
            (".key.", ".to_k."),
            (".value.", ".to_v."),
            (".proj_attn.", ".to_out.0."),
        ];
        old.iter()
            .fold(key.to_owned(), |key, (old, new)| key.replace(old, new))
    }
}

impl Pretrained for ClipTextModel {
    type Config = ClipConfig;
    const STEM: &'static str = "model";

    fn parse_config(text: &str) -> Result<Self::Config, NetsError> {
        ClipConfig::from_transformers_json(text)
    }

    fn config_json(config: &Self::Config, original: &Map<String, Value>) -> String {
        kept(config.to_transformers_json(), original)
    }

    fn build(config: &Self::Config, init: &ParameterInit) -> Result<Self, NetsError> {
        Self::new(config, init)
    }

    fn current_name(key: &str) -> String {
        // transformers 5 writes `CLIPTextModel` without this prefix, every other version with it.
        let bare = ["embeddings.", "encoder.", "final_layer_norm."];
        if bare.iter().any(|part| key.starts_with(part)) {
            format!("text_model.{key}")
        } else {
            key.to_owned()
        }
    }
}

impl Pretrained for ClipVisionModel {
    type Config = ClipVisionModelConfig;
    const STEM: &'static str = "model";

    fn parse_config(text: &str) -> Result<Self::Config, NetsError> {
        ClipVisionModelConfig::from_transformers_json(text)
    }

    fn config_json(config: &Self::Config, original: &Map<String, Value>) -> String {
        kept(config.to_transformers_json(), original)
    }

    fn build(config: &Self::Config, init: &ParameterInit) -> Result<Self, NetsError> {
        Self::new(config, init)
    }

    fn current_name(key: &str) -> String {
        let bare = [
            "embeddings.",
            "encoder.",
            "pre_layrnorm.",
            "post_layernorm.",
        ];
        if bare.iter().any(|part| key.starts_with(part)) {
            format!("vision_model.{key}")
        } else {
            key.to_owned()
        }
    }
}

impl Pretrained for ClipModel {
    type Config = ClipModelConfig;
    const STEM: &'static str = "model";

    fn parse_config(text: &str) -> Result<Self::Config, NetsError> {
        ClipModelConfig::from_transformers_json(text)
    }

    fn config_json(config: &Self::Config, original: &Map<String, Value>) -> String {
        kept(config.to_transformers_json(), original)
    }

    fn build(config: &Self::Config, init: &ParameterInit) -> Result<Self, NetsError> {
        Self::new(config, init)
    }
}

/// A transformers `config.json` with what `original` says beside it.
fn kept(json: String, original: &Map<String, Value>) -> String {
    let Ok(Value::Object(mut all)) = serde_json::from_str(&json) else {
        return json;
    };
    for (field, value) in original {
        all.entry(field.clone()).or_insert_with(|| value.clone());
    }
    format!("{:#}\n", Value::Object(all))
}
