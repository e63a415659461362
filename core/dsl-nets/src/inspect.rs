//! What is in a file or folder, without reading a single weight: parts, sizes, and what does not fit.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use serde::Serialize;

use crate::autoencoder_kl::AutoencoderKL;
use crate::clip::{ClipModel, ClipTextModel, ClipVisionModel};
use crate::error::NetsError;
use crate::lora::LoraFile;
use crate::model::ModelConfig;
use crate::parameter_init::ParameterInit;
use crate::pipeline::{part_class, read_model_index};
use crate::pretrained::{Pretrained, read_config, renamed};
use crate::single_file::Generation;
use crate::textual_inversion::LearnedEmbedding;
use crate::unet_2d_condition::UNet2DCondition;
use crate::weights::{LoadReport, WeightFile, WeightSet, compare};

/// What a file or folder holds.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// Kind of file or folder.
    pub kind: String,
    /// What it is made of.
    pub parts: Vec<PartInspection>,
}

/// One network, adapter or table.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PartInspection {
    /// Name of the folder, or prefix of the keys.
    pub name: String,
    /// Class of the network, as its own library calls it.
    pub class: String,
    /// Number of elements over all tensors in the file.
    pub parameters: u64,
    /// Number of tensors in the file.
    pub tensors: usize,
    /// Tensors by the type of their numbers.
    pub dtypes: BTreeMap<String, usize>,
    /// Parameters of the network that the file does not have.
    pub missing: Vec<String>,
    /// Tensors that the network has no parameter for.
    pub unknown: Vec<String>,
    /// Tensors of another shape: name, expected, found.
    pub mismatched: Vec<String>,
    /// Why the part cannot be used at all.
    pub problem: Option<String>,
}

impl Inspection {
    /// Whether every part can be used as it is.
    pub fn is_complete(&self) -> bool {
        self.parts
            .iter()
            .all(|p| p.missing.is_empty() && p.mismatched.is_empty() && p.problem.is_none())
    }
}

impl PartInspection {
    /// Numbers of the tensors in `set`.
    pub fn of(name: &str, class: &str, set: &WeightSet) -> Self {
        let mut part = Self {
            name: name.to_owned(),
            class: class.to_owned(),
            ..Self::default()
        };
        for key in set.keys() {
            let elements: usize = set.shape(key).unwrap_or_default().iter().product();
            part.parameters += elements as u64;
            part.tensors += 1;
            if let Some(dtype) = set.dtype(key) {
                *part.dtypes.entry(format!("{dtype:?}")).or_default() += 1;
            }
        }
        part
    }

    /// With what `report` found.
    pub fn compared(mut self, report: &LoadReport) -> Self {
        self.missing = report.missing.iter().map(|m| m.key.clone()).collect();
        self.unknown.clone_from(&report.unused);
        let shapes = report.mismatched.iter();
        self.mismatched = shapes
            .map(|m| format!("{}: expected {:?}, found {:?}", m.key, m.expected, m.found))
            .collect();
        self
    }

    fn failed(name: &str, class: &str, error: &NetsError) -> Self {
        Self {
            name: name.to_owned(),
            class: class.to_owned(),
            problem: Some(error.to_string()),
            ..Self::default()
        }
    }
}

/// Looks into a folder of diffusers or transformers, or a safetensors file.
///
/// # Errors
/// [`NetsError::Io`] and [`NetsError::WeightFile`] when nothing can be read; what is wrong with a part of a pipeline is in its
/// entry.
pub fn inspect(path: &Path) -> Result<Inspection, NetsError> {
    if !path.is_dir() {
        return inspect_file(path);
    }
    if path.join("model_index.json").is_file() {
        return inspect_pipeline(path);
    }
    if path.join("config.json").is_file() {
        let part = network_in(path, "")?;
        let kind = format!("{} folder", part.class);
        return Ok(Inspection {
            kind,
            parts: vec![part],
        });
    }
    let lora = LoraFile::read(path).map_err(|error| match error {
        NetsError::Adapter { .. } => NetsError::NoWeights {
            folder: path.to_owned(),
            reason: "it has no model_index.json, config.json or adapter: it is no model's folder"
                .to_owned(),
        },
        other => other,
    })?;
    Ok(inspect_lora(&lora))
}

/// Looks into a file that [`Model::save`](crate::Model::save) wrote, whose shape is known.
///
/// # Errors
/// [`NetsError::InvalidConfig`] for a shape that cannot be built.
pub fn inspect_model(file: WeightFile, config: &ModelConfig) -> Result<Inspection, NetsError> {
    let model = config.build(&ParameterInit::deferred(0, &Device::flex()))?;
    let set = WeightSet::from(file);
    let report = compare(&model, &set);
    let parts = [
        ("denoiser", "denoiser"),
        ("text_encoder", "text encoder"),
        ("pipeline_text.text_encoder", "text encoder of its pipeline"),
        (
            "pipeline_text.text_encoder_2",
            "text encoder of its pipeline",
        ),
    ];
    let part = |(name, class): (&str, &str)| {
        let prefix = format!("{name}.");
        let own = |key: &String| key.starts_with(&prefix);
        let mut of_part = report.clone();
        of_part.missing.retain(|missing| own(&missing.key));
        of_part.mismatched.retain(|mismatch| own(&mismatch.key));
        of_part.unused.retain(own);
        PartInspection::of(name, class, &set.clone().below(&prefix)).compared(&of_part)
    };
    Ok(Inspection {
        kind: "model of dsl-host".to_owned(),
        parts: parts
            .into_iter()
            .map(part)
            .filter(|part| part.tensors > 0 || !part.missing.is_empty())
            .collect(),
    })
}

fn inspect_pipeline(folder: &Path) -> Result<Inspection, NetsError> {
    let index = read_model_index(folder)?;
    let mut parts = Vec::new();
    for name in [
        "unet",
        "vae",
        "text_encoder",
        "text_encoder_2",
        "image_encoder",
    ] {
        if let Some(class) = part_class(&index, name) {
            let part = network_in(&folder.join(name), name);
            parts.push(part.unwrap_or_else(|e| PartInspection::failed(name, class, &e)));
        }
    }
    for name in ["tokenizer", "tokenizer_2"] {
        if let Some(class) = part_class(&index, name) {
            let read = crate::clip_tokenizer::ClipTokenizer::from_folder(&folder.join(name));
            parts.push(match read {
                Ok(_) => PartInspection {
                    name: name.to_owned(),
                    class: class.to_owned(),
                    ..PartInspection::default()
                },
                Err(error) => PartInspection::failed(name, class, &error),
            });
        }
    }
    let class = index.get("_class_name").and_then(|class| class.as_str());
    Ok(Inspection {
        kind: format!("{} folder", class.unwrap_or("pipeline")),
        parts,
    })
}

/// The network in a folder, whichever class its `config.json` names.
fn network_in(folder: &Path, name: &str) -> Result<PartInspection, NetsError> {
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).map_err(|e| NetsError::read(&path, e))?;
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|source| NetsError::Json {
            what: path.display().to_string(),
            source,
        })?;
    let class = json["_class_name"]
        .as_str()
        .or_else(|| json["architectures"][0].as_str())
        .unwrap_or("network");
    match class {
        "UNet2DConditionModel" => network::<UNet2DCondition>(folder, name, class),
        "AutoencoderKL" => network::<AutoencoderKL>(folder, name, class),
        "CLIPTextModel" | "CLIPTextModelWithProjection" => {
            network::<ClipTextModel>(folder, name, class)
        }
        "CLIPVisionModel" | "CLIPVisionModelWithProjection" => {
            network::<ClipVisionModel>(folder, name, class)
        }
        "CLIPModel" => network::<ClipModel>(folder, name, class),
        other => Err(NetsError::InFile {
            path,
            source: Box::new(crate::config_format::unsupported(
                "_class_name",
                &serde_json::json!(other),
                "no network of this class is built here".to_owned(),
            )),
        }),
    }
}

fn network<T: Pretrained>(
    folder: &Path,
    name: &str,
    class: &str,
) -> Result<PartInspection, NetsError> {
    let (config, _) = read_config::<T>(folder)?;
    let set = WeightSet::open_folder(folder, T::STEM, None).or_else(|error| {
        WeightSet::open_folder(folder, T::STEM, Some("fp16")).map_err(|_| error)
    })?;
    let module = T::build(&config, &ParameterInit::deferred(0, &Device::flex()))?;
    let set = renamed::<T>(set);
    Ok(PartInspection::of(name, class, &set).compared(&compare(&module, &set)))
}

fn inspect_file(path: &Path) -> Result<Inspection, NetsError> {
    let set = WeightSet::open(path)?;
    if Generation::of(set.keys()).is_some() {
        return Ok(inspect_checkpoint(&set));
    }
    if let Ok(lora) = LoraFile::read(path) {
        return Ok(inspect_lora(&lora));
    }
    if let Ok(embedding) = LearnedEmbedding::read(path) {
        let token = embedding.token.unwrap_or_default();
        return Ok(Inspection {
            kind: "learned embedding".to_owned(),
            parts: vec![PartInspection::of(&token, "textual inversion", &set)],
        });
    }
    Ok(Inspection {
        kind: "file of weights".to_owned(),
        parts: vec![PartInspection::of("", "tensors", &set)],
    })
}

fn inspect_checkpoint(set: &WeightSet) -> Inspection {
    let prefixes = [
        ("model.diffusion_model.", "UNet"),
        ("first_stage_model.", "autoencoder"),
        ("cond_stage_model.", "text encoder"),
        ("conditioner.embedders.0.", "text encoder"),
        ("conditioner.embedders.1.", "second text encoder"),
        ("model_ema.", "moving average of the UNet"),
    ];
    let parts = prefixes.iter().map(|(prefix, class)| {
        let name = prefix.trim_end_matches('.');
        PartInspection::of(name, class, &set.clone().below(prefix))
    });
    Inspection {
        kind: "checkpoint with the original names".to_owned(),
        parts: parts.filter(|part| part.tensors > 0).collect(),
    }
}

fn inspect_lora(lora: &LoraFile) -> Inspection {
    let parts = lora.components().map(|component| {
        let (layers, ranks, parameters) = lora.summary(component);
        let ranks: Vec<String> = ranks.iter().map(ToString::to_string).collect();
        PartInspection {
            name: component.name().to_owned(),
            class: format!(
                "low-rank adapter of {layers} layers, rank {}",
                ranks.join(", ")
            ),
            parameters: parameters as u64,
            tensors: 2 * layers,
            ..PartInspection::default()
        }
    });
    Inspection {
        kind: "low-rank adapter".to_owned(),
        parts: parts.collect(),
    }
}
