//! Adapters in the files of diffusers, PEFT and kohya's scripts.
//!
//! | style | file | keys | factor |
//! |---|---|---|---|
//! | diffusers | `pytorch_lora_weights.safetensors` | `unet.<layer>.lora_A.weight` | 1, or what the header says |
//! | PEFT | folder with `adapter_model.safetensors` | `base_model.model.<layer>.lora_A.weight` | `adapter_config.json` |
//! | kohya | one file | `lora_unet_<layer>.lora_down.weight` | `….alpha` over the rank |
//!
//! Older spellings of these are read too. B is written with the factor inside for diffusers, whose readers would not all see
//! it elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::exchange::{self, LoraMatrices};
use super::names::{self, LayerName, LayerTable, LoraComponent, Part};
use super::{ForEachLinear, peft_config::PeftConfig};
use crate::clip::ClipTextModel;
use crate::denoiser::Denoiser;
use crate::error::NetsError;
use crate::weights::{FileTensor, WeightDType, WeightFile, write_atomically, write_tensors};

const DIFFUSERS_FILE: &str = "pytorch_lora_weights.safetensors";
const PEFT_FILE: &str = "adapter_model.safetensors";
const PEFT_CONFIG: &str = "adapter_config.json";
/// What layers of text encoders are in, in weight files and in most versions of transformers.
const TEXT_MODEL: &str = "text_model.";
/// Header entry of diffusers: the PEFT configuration, each field with its network's name before it.
const DIFFUSERS_METADATA: &str = "lora_adapter_metadata";

/// Adapters of one file, by network and by the layer's name there.
#[derive(Debug, Clone)]
pub struct LoraFile {
    path: PathBuf,
    layers: BTreeMap<LoraComponent, BTreeMap<LayerName, LoraMatrices>>,
}

/// The tensors of one layer, as they are found.
#[derive(Default)]
struct Found {
    down: Option<FileTensor>,
    up: Option<FileTensor>,
    alpha: Option<f64>,
}

impl LoraFile {
    /// Reads a file, or the adapter in a folder.
    ///
    /// # Errors
    /// [`NetsError::Adapter`] for tensors that are no adapter of the kind that networks here have; [`NetsError::Io`],
    /// [`NetsError::WeightFile`], [`NetsError::Json`].
    pub fn read(path: &Path) -> Result<Self, NetsError> {
        let file_path = if path.is_dir() {
            file_in(path)?
        } else {
            path.to_owned()
        };
        let file = WeightFile::open(&file_path)?;
        let wrong = |reason: String| NetsError::Adapter {
            path: file_path.clone(),
            reason,
        };
        let mut found: BTreeMap<(LoraComponent, LayerName), Found> = BTreeMap::new();
        for key in file.keys() {
            let Some((component, layer, part)) = names::parse(&key) else {
                return Err(wrong(format!(
                    "`{key}` is not a matrix of a plain low-rank adapter"
                )));
            };
            let tensor = file.read(&key)?;
            let entry = found.entry((component, layer)).or_default();
            match part {
                Part::Down => entry.down = Some(tensor),
                Part::Up => entry.up = Some(tensor),
                Part::Alpha => entry.alpha = tensor.values.first().map(|v| f64::from(*v)),
            }
        }
        if found.is_empty() {
            return Err(wrong("it holds no adapter".to_owned()));
        }
        let configs = configs(&file_path, &file)?;
        let mut layers: BTreeMap<LoraComponent, BTreeMap<_, _>> = BTreeMap::new();
        for ((component, layer), found) in found {
            let (LayerName::Dotted(name) | LayerName::Flat(name)) = &layer;
            let (Some(down), Some(up)) = (found.down, found.up) else {
                return Err(wrong(format!("`{name}` has only one of its two matrices")));
            };
            if down.shape.len() < 2 || up.shape.len() < 2 {
                return Err(wrong(format!("the matrices of `{name}` have no columns")));
            }
            let rank = down.shape[0];
            let from_config = configs.get(&component).map(|c| c.alpha(name, rank));
            let alpha = found.alpha.or(from_config).unwrap_or(rank as f64);
            let matrices = LoraMatrices { down, up, alpha };
            layers.entry(component).or_default().insert(layer, matrices);
        }
        Ok(Self {
            path: file_path,
            layers,
        })
    }

    /// The networks that the file has adapters for.
    pub fn components(&self) -> impl Iterator<Item = LoraComponent> {
        self.layers.keys().copied()
    }

    /// Number of adapted layers, the ranks that occur, and the number of elements of one network's adapters.
    pub fn summary(&self, component: LoraComponent) -> (usize, Vec<usize>, usize) {
        let layers = self.layers.get(&component);
        let all = || layers.into_iter().flat_map(BTreeMap::values);
        let ranks: BTreeSet<usize> = all().map(LoraMatrices::rank).collect();
        let elements = all().map(|m| m.down.values.len() + m.up.values.len()).sum();
        (all().count(), ranks.into_iter().collect(), elements)
    }

    /// `denoiser`, frozen, with this file's adapters for it, each times `strength` (1: as they were trained).
    ///
    /// # Errors
    /// [`NetsError::Adapter`] when the file has none for it, or they are of another network.
    pub fn attach(&self, denoiser: &Denoiser, strength: f64) -> Result<Denoiser, NetsError> {
        let mut adapted = denoiser.without_lora();
        adapted = burn::module::Module::no_grad(adapted);
        let layers = denoiser.layers_per_block();
        self.give(&mut adapted, LoraComponent::Unet, layers, strength)?;
        Ok(adapted)
    }

    /// As [`Self::attach`], for a text encoder.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub fn attach_to_text_encoder(
        &self,
        encoder: &ClipTextModel,
        component: LoraComponent,
        strength: f64,
    ) -> Result<ClipTextModel, NetsError> {
        let mut adapted = burn::module::Module::no_grad(encoder.clone());
        self.give(&mut adapted, component, 0, strength)?;
        Ok(adapted)
    }

    fn give(
        &self,
        network: &mut impl ForEachLinear,
        component: LoraComponent,
        layers_per_block: usize,
        strength: f64,
    ) -> Result<(), NetsError> {
        let wrong = |reason: String| NetsError::Adapter {
            path: self.path.clone(),
            reason,
        };
        let Some(layers) = self.layers.get(&component) else {
            return Err(wrong(format!("it has nothing for `{}`", component.name())));
        };
        let paths = exchange::layer_paths(network);
        let table = LayerTable::new(&paths, component, layers_per_block);
        let mut adapters = BTreeMap::new();
        let mut strangers = Vec::new();
        for (name, matrices) in layers {
            match table.path(name) {
                Some(path) => {
                    adapters.insert(path.clone(), matrices.clone());
                }
                None => strangers.push(name),
            }
        }
        if let Some(LayerName::Dotted(name) | LayerName::Flat(name)) = strangers.first() {
            return Err(wrong(format!(
                "it is of another network: {} of its {} layers are not in this one, such as `{name}`",
                strangers.len(),
                layers.len(),
            )));
        }
        exchange::give(network, &adapters, strength).map_err(wrong)
    }
}

/// The adapter's file in a folder.
fn file_in(folder: &Path) -> Result<PathBuf, NetsError> {
    for name in [PEFT_FILE, DIFFUSERS_FILE] {
        if folder.join(name).is_file() {
            return Ok(folder.join(name));
        }
    }
    let entries = std::fs::read_dir(folder).map_err(|e| NetsError::read(folder, e))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "safetensors"))
        .collect();
    files.sort();
    match files.as_slice() {
        [only] => Ok(only.clone()),
        _ => Err(NetsError::Adapter {
            path: folder.to_owned(),
            reason: format!(
                "it has neither {PEFT_FILE} nor {DIFFUSERS_FILE}, and {} other safetensors files",
                files.len()
            ),
        }),
    }
}

/// What is said beside the matrices: in the file's header, or in the folder.
fn configs(
    path: &Path,
    file: &WeightFile,
) -> Result<BTreeMap<LoraComponent, PeftConfig>, NetsError> {
    let mut configs = BTreeMap::new();
    let json = |what: String, text: &str| {
        serde_json::from_str::<Map<String, Value>>(text)
            .map_err(|source| NetsError::Json { what, source })
    };
    let beside = path.with_file_name(PEFT_CONFIG);
    if path.file_name().is_some_and(|name| name == PEFT_FILE) && beside.is_file() {
        let text = std::fs::read_to_string(&beside).map_err(|e| NetsError::read(&beside, e))?;
        let fields = json(beside.display().to_string(), &text)?;
        let config = PeftConfig::parse(&fields, &beside)?;
        // Which network it is of, nobody says: that of the keys.
        for component in LoraComponent::ALL {
            configs.insert(component, config.clone());
        }
    } else if let Some(text) = file.metadata().get(DIFFUSERS_METADATA) {
        let fields = json(format!("{DIFFUSERS_METADATA} of {}", path.display()), text)?;
        for component in LoraComponent::ALL {
            let prefix = format!("{}.", component.name());
            let own: Map<String, Value> = fields
                .iter()
                .filter_map(|(k, v)| Some((k.strip_prefix(&prefix)?.to_owned(), v.clone())))
                .collect();
            if !own.is_empty() {
                configs.insert(component, PeftConfig::parse(&own, path)?);
            }
        }
        if configs.is_empty() {
            configs.insert(LoraComponent::Unet, PeftConfig::parse(&fields, path)?);
        }
    }
    Ok(configs)
}

/// Adapters to be written: the denoiser's, and those of text encoders that have any.
#[derive(Debug, Clone, Default)]
pub struct LoraExport {
    layers: BTreeMap<LoraComponent, BTreeMap<String, LoraMatrices>>,
}

impl LoraExport {
    /// The adapters of a denoiser.
    ///
    /// # Errors
    /// [`NetsError::Adapter`] when it has none.
    pub fn of(denoiser: &Denoiser) -> Result<Self, NetsError> {
        let adapters = exchange::take(&mut denoiser.clone());
        if adapters.is_empty() {
            return Err(NetsError::Adapter {
                path: PathBuf::from("denoiser"),
                reason: "it has no adapter to write".to_owned(),
            });
        }
        Ok(Self {
            layers: BTreeMap::from([(LoraComponent::Unet, adapters)]),
        })
    }

    /// With the adapters of a text encoder, if it has any.
    pub fn with_text_encoder(mut self, encoder: &ClipTextModel, component: LoraComponent) -> Self {
        let adapters = exchange::take(&mut encoder.clone());
        if !adapters.is_empty() {
            self.layers.insert(component, adapters);
        }
        self
    }

    /// Writes `pytorch_lora_weights.safetensors` into `folder`, as diffusers' `save_lora_weights` names it.
    ///
    /// # Errors
    /// [`NetsError::Io`] when it cannot be written.
    pub fn write_diffusers(&self, folder: &Path, dtype: WeightDType) -> Result<(), NetsError> {
        std::fs::create_dir_all(folder).map_err(|e| NetsError::write(folder, e))?;
        let mut tensors = Vec::new();
        for (component, layers) in &self.layers {
            for (path, matrices) in layers {
                let matrices = matrices.folded();
                let name = format!("{}.{path}", component.name());
                tensors.push((format!("{name}.lora_A.weight"), matrices.down));
                tensors.push((format!("{name}.lora_B.weight"), matrices.up));
            }
        }
        write_tensors(&folder.join(DIFFUSERS_FILE), tensors, dtype, &pt())
    }

    /// Writes the denoiser's adapter as a PEFT folder; with adapters of text encoders, a PEFT folder `unet`, `text_encoder` or
    /// `text_encoder_2` in `folder` for each network, as peft's own example for diffusers has it.
    ///
    /// The `CLIPTextModel` of transformers 4 has its layers in `text_model`, that of transformers 5.23 has not, and its
    /// `CLIPTextModelWithProjection`, which is SDXL's second, still has. For all of them to find their layers, those to adapt are
    /// named without it, since PEFT compares ends of names, and the matrices of the first encoder are in the file by either name,
    /// of which a model takes the one that it has.
    ///
    /// # Errors
    /// [`NetsError::Io`] when it cannot be written.
    pub fn write_peft(&self, folder: &Path, dtype: WeightDType) -> Result<(), NetsError> {
        for (component, layers) in &self.layers {
            match self.layers.len() {
                1 => Self::write_one_peft(*component, layers, folder, dtype)?,
                _ => {
                    let folder = folder.join(component.name());
                    Self::write_one_peft(*component, layers, &folder, dtype)?;
                }
            }
        }
        Ok(())
    }

    fn write_one_peft(
        component: LoraComponent,
        layers: &BTreeMap<String, LoraMatrices>,
        folder: &Path,
        dtype: WeightDType,
    ) -> Result<(), NetsError> {
        std::fs::create_dir_all(folder).map_err(|e| NetsError::write(folder, e))?;
        let mut tensors = Vec::new();
        for (path, matrices) in layers {
            let bare = match component {
                LoraComponent::TextEncoder => path.strip_prefix(TEXT_MODEL),
                LoraComponent::Unet | LoraComponent::TextEncoder2 => None,
            };
            for path in [Some(path.as_str()), bare].into_iter().flatten() {
                let name = format!("base_model.model.{path}");
                tensors.push((format!("{name}.lora_A.weight"), matrices.down.clone()));
                tensors.push((format!("{name}.lora_B.weight"), matrices.up.clone()));
            }
        }
        write_tensors(&folder.join(PEFT_FILE), tensors, dtype, &pt())?;
        let each = layers.iter().map(|(path, m)| {
            (
                path.strip_prefix(TEXT_MODEL).unwrap_or(path),
                m.rank(),
                m.alpha,
            )
        });
        let config = PeftConfig::json(&each.collect::<Vec<_>>());
        let text = format!("{config:#}\n");
        write_atomically(&folder.join(PEFT_CONFIG), text.as_bytes())
    }

    /// Writes one file as kohya's scripts do, with layer names as the denoiser has them. `metadata` goes into the header.
    ///
    /// # Errors
    /// [`NetsError::Io`] when it cannot be written.
    pub fn write_kohya(
        &self,
        path: &Path,
        dtype: WeightDType,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), NetsError> {
        let two_encoders = self.layers.contains_key(&LoraComponent::TextEncoder2);
        let mut tensors = Vec::new();
        for (component, layers) in &self.layers {
            let prefix = match component {
                LoraComponent::Unet => "lora_unet_",
                LoraComponent::TextEncoder if two_encoders => "lora_te1_",
                LoraComponent::TextEncoder => "lora_te_",
                LoraComponent::TextEncoder2 => "lora_te2_",
            };
            for (path, matrices) in layers {
                let name = format!("{prefix}{}", path.replace('.', "_"));
                tensors.push((format!("{name}.lora_down.weight"), matrices.down.clone()));
                tensors.push((format!("{name}.lora_up.weight"), matrices.up.clone()));
                let alpha = FileTensor {
                    shape: Vec::new(),
                    values: vec![matrices.alpha as f32],
                };
                tensors.push((format!("{name}.alpha"), alpha));
            }
        }
        let mut all = pt();
        let matrices = || self.layers.values().flat_map(BTreeMap::values);
        if matrices().next().is_some() {
            let rank = one_of(matrices().map(|matrices| matrices.rank() as f64));
            let alpha = one_of(matrices().map(|matrices| matrices.alpha));
            all.insert("ss_network_module".to_owned(), "networks.lora".to_owned());
            all.insert("ss_network_dim".to_owned(), rank);
            all.insert("ss_network_alpha".to_owned(), alpha);
        }
        all.extend(metadata.clone());
        write_tensors(path, tensors, dtype, &all)
    }
}

/// A number that all layers have; as kohya's scripts say it where they differ.
fn one_of(mut values: impl Iterator<Item = f64>) -> String {
    let first = values.next().unwrap_or_default();
    match values.all(|value| value == first) {
        true => first.to_string(),
        false => "Dynamic".to_owned(),
    }
}

/// Without this entry some readers refuse a file.
fn pt() -> BTreeMap<String, String> {
    BTreeMap::from([("format".to_owned(), "pt".to_owned())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_moves_into_b() {
        let matrices = LoraMatrices {
            down: FileTensor {
                shape: vec![2, 1],
                values: vec![1.0, 2.0],
            },
            up: FileTensor {
                shape: vec![1, 2],
                values: vec![3.0, 4.0],
            },
            alpha: 1.0,
        };
        let folded = matrices.folded();
        assert_eq!(folded.up.values, [1.5, 2.0]);
        assert_eq!((folded.alpha, folded.rank()), (2.0, 2));
    }
}
