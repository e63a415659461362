//! Checkpoints in one file with the names of the original code (CompVis, Stability AI): Stable Diffusion 1, 2 and XL.
//!
//! The file holds UNet, autoencoder and text encoders beside each other under prefixes, and no configuration: shapes are read
//! off the tensors. What they cannot tell is a matter of the model's generation: the number of heads, and which of an
//! autoencoder's factors to use.

mod infer;
mod names;

use std::path::Path;

pub(crate) use names::ldm_unet_name;

use burn::tensor::Device;

use crate::autoencoder_kl::AutoencoderKL;
use crate::clip::{ClipConfig, ClipTextModel};
use crate::error::NetsError;
use crate::parameter_init::ParameterInit;
use crate::parameters::parameter_infos;
use crate::pretrained::{Pretrained, load_weights};
use crate::unet_2d_condition::{UNet2DCondition, UNet2DConditionConfig};
use crate::weights::{Renamed, WeightDType, WeightSet};

/// Which model a checkpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Stable Diffusion 1: CLIP-L, 8 heads everywhere.
    Sd1,
    /// Stable Diffusion 2: OpenCLIP-H without its last layer, heads of 64 features.
    Sd2,
    /// Stable Diffusion XL: CLIP-L and OpenCLIP-bigG, heads of 64 features.
    Sdxl,
}

/// The parts of a checkpoint, with their weights.
#[derive(Debug)]
pub struct SingleFile {
    /// Which model it is.
    pub generation: Generation,
    /// The denoiser and its shape.
    pub unet: (UNet2DConditionConfig, UNet2DCondition),
    /// The autoencoder.
    pub vae: AutoencoderKL,
    /// The text encoder, or the first of two.
    pub text_encoder: ClipTextModel,
    /// SDXL's second text encoder.
    pub text_encoder_2: Option<ClipTextModel>,
}

const UNET: &str = "model.diffusion_model.";
const VAE: &str = "first_stage_model.";

impl Generation {
    /// Which model the keys of a file are of, if it is a checkpoint of this kind.
    pub fn of<'a>(mut keys: impl Iterator<Item = &'a str>) -> Option<Self> {
        keys.find_map(|key| {
            if key.starts_with("conditioner.embedders.1.model.") {
                Some(Self::Sdxl)
            } else if key.starts_with("cond_stage_model.model.") {
                Some(Self::Sd2)
            } else if key.starts_with("cond_stage_model.transformer.") {
                Some(Self::Sd1)
            } else {
                None
            }
        })
    }
}

/// Reads a whole checkpoint.
///
/// # Errors
/// [`NetsError::WeightFile`] for a file that is no checkpoint of Stable Diffusion 1, 2 or XL; [`NetsError::WeightsDoNotFit`] with
/// what is missing.
pub fn load_single_file(
    path: &Path,
    dtype: WeightDType,
    device: &Device,
) -> Result<SingleFile, NetsError> {
    let set = WeightSet::open(path)?;
    let Some(generation) = Generation::of(set.keys()) else {
        let reason =
            "it has no text encoder of Stable Diffusion 1, 2 or XL under its original name";
        return Err(NetsError::NoWeights {
            folder: path.to_owned(),
            reason: reason.to_owned(),
        });
    };
    let unet_set = set.clone().below(UNET);
    let unet_config = infer::unet(&unet_set, generation)?;
    let layers = unet_config.layers_per_block.at(0);
    let unet = part::<UNet2DCondition>(&unet_config, unet_set, dtype, device, |key| {
        names::ldm_unet_names(key, layers)
    })?;
    let vae_set = set.clone().below(VAE);
    let vae_config = infer::vae(&vae_set, generation)?;
    let blocks = vae_config.block_out_channels.len();
    let vae = part::<AutoencoderKL>(&vae_config, vae_set, dtype, device, |key| {
        vec![names::ldm_vae_name(key, blocks)]
    })?;
    let clip = |prefix: &str| -> Result<ClipTextModel, NetsError> {
        let set = set.clone().below(prefix);
        let config = infer::clip(&set)?;
        Ok(load_weights(&config, set, dtype, device)?.0)
    };
    let open_clip = |prefix: &str, skip_last: bool| -> Result<ClipTextModel, NetsError> {
        let set = set.clone().below(prefix);
        let config = infer::open_clip(&set, skip_last)?;
        Ok(load_weights(&config, renamed_open_clip(set, &config), dtype, device)?.0)
    };
    let (text_encoder, text_encoder_2) = match generation {
        Generation::Sd1 => (clip("cond_stage_model.transformer.")?, None),
        Generation::Sd2 => (open_clip("cond_stage_model.model.", true)?, None),
        Generation::Sdxl => (
            clip("conditioner.embedders.0.transformer.")?,
            Some(open_clip("conditioner.embedders.1.model.", false)?),
        ),
    };
    Ok(SingleFile {
        generation,
        unet: (unet_config, unet),
        vae,
        text_encoder,
        text_encoder_2,
    })
}

/// A network whose tensors have the names that `originals` gives for its own: the table is made from the network, so that
/// nothing has to be guessed from a name.
fn part<T: Pretrained>(
    config: &T::Config,
    set: WeightSet,
    dtype: WeightDType,
    device: &Device,
    originals: impl Fn(&str) -> Vec<String>,
) -> Result<T, NetsError> {
    let shape = T::build(config, &ParameterInit::deferred(0, device))?;
    let table: std::collections::BTreeMap<String, String> = parameter_infos(&shape)
        .into_iter()
        .flat_map(|parameter| {
            let names = originals(&parameter.path).into_iter();
            names.map(move |name| (name, parameter.path.clone()))
        })
        .collect();
    // Tensors of no layer keep their name, and are reported as left over.
    let set = set.rename(|key| {
        let name = table.get(key).map_or(key, String::as_str);
        Some(Renamed::As(name.to_owned()))
    });
    Ok(load_weights(config, set, dtype, device)?.0)
}

/// OpenCLIP's text tower under transformers' names; layers and projections that the encoder does not have are left out.
fn renamed_open_clip(set: WeightSet, config: &ClipConfig) -> WeightSet {
    let layers = config.text.num_hidden_layers;
    let projected = config.with_projection;
    set.rename(|key| names::open_clip(key, layers, projected))
}
