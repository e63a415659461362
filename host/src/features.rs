//! Feature networks and distances for plugins, by identifier, computed on the run's device.
//!
//! A network is read when it is first asked for, and then kept. Where weights are looked for: [`weights`].

mod catalogue;
mod weights;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use burn::tensor::{Device, Tensor};
use dsl_engine::wrapping::PerceptualDistance;
use dsl_loader::{ErrorCode, FeatureInfo, FeatureKind, HostError, Pictures};
use dsl_nets::features::{
    ClipImages, InceptionV3, Lpips, LpipsNet, MobileNetV2, PictureBatch, ResizeMode,
};
use dsl_nets::{NetsError, WeightFile};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::catalogue::{Feature, Weights};

/// Feature networks that plugins measure with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FeaturesConfig {
    /// Folder with weight files, which is looked into before those of DSL_FEATURES_PATH and the user's cache folder.
    pub path: Option<PathBuf>,
    /// How pictures are resized for Inception-v3; distances of features are not comparable across these.
    pub resize: ResizeMode,
    /// Pictures that go through a network at once.
    #[schemars(range(min = 1, max = 4096))]
    pub batch_size: u32,
}

impl Default for FeaturesConfig {
    fn default() -> Self {
        Self {
            path: None,
            resize: ResizeMode::default(),
            batch_size: 16,
        }
    }
}

/// Answers plugins that ask for features. `[any thread]`
#[derive(Debug)]
pub struct FeatureService {
    settings: RwLock<Settings>,
    networks: Mutex<HashMap<Weights, Network>>,
}

#[derive(Debug, Clone)]
struct Settings {
    config: FeaturesConfig,
    device: Device,
}

/// A network that has been read. Clones share the weights.
#[derive(Debug, Clone)]
enum Network {
    InceptionV3(Arc<InceptionV3>),
    MobileNetV2(Arc<MobileNetV2>),
    Clip(Arc<ClipImages>),
    Lpips(LpipsNet, Arc<Lpips>),
}

impl Default for FeatureService {
    /// Default configuration, on the CPU: what a plugin may ask for before there is a run.
    fn default() -> Self {
        Self {
            settings: RwLock::new(Settings {
                config: FeaturesConfig::default(),
                device: Device::flex(),
            }),
            networks: Mutex::default(),
        }
    }
}

impl FeatureService {
    /// Takes the configuration and the device of a run. Networks that were read before are read again.
    pub fn configure(&self, config: &FeaturesConfig, device: &Device) {
        let settings = Settings {
            config: config.clone(),
            device: device.clone(),
        };
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = settings;
        let networks = self.networks.lock();
        networks.unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Everything with a meaning, and whether its weights are there.
    pub fn describe(&self) -> Vec<FeatureInfo> {
        let path = self.settings().config.path;
        let info = |feature: Feature| {
            let missing = weights::find(feature, path.as_deref()).err();
            FeatureInfo {
                id: feature.id().to_owned(),
                kind: feature.kind(),
                available: missing.is_none(),
                help: missing.map_or_else(String::new, |error| {
                    format!("{}; {}", error.message, error.help)
                }),
            }
        };
        Feature::ALL.into_iter().map(info).collect()
    }

    /// Features of pictures, row by row.
    ///
    /// # Errors
    /// `Unsupported` for an identifier without a meaning and for weights that are not there; `Contract` for a distance,
    /// and for pictures that are not finite; what reading the weights says.
    pub fn extract(&self, id: &str, images: &Pictures<'_>) -> Result<Vec<f32>, HostError> {
        let feature = Feature::of_id(id)?;
        if feature.kind() == FeatureKind::Distance {
            let message = format!("`{id}` is a distance between two pictures, not a vector of one");
            return Err(contract(message, "ask for it with `distance`"));
        }
        let settings = self.settings();
        let mut rows = Vec::new();
        for batch in batches(images, &settings.config)? {
            rows.extend(numbers(
                self.network(feature, &settings)?
                    .extract(feature, &batch, &settings),
            )?);
        }
        Ok(rows)
    }

    /// Distances between the pictures of two batches of one shape, pair by pair.
    ///
    /// # Errors
    /// As [`FeatureService::extract`]; pictures smaller than the network can compare.
    pub fn distance(
        &self,
        id: &str,
        first: &Pictures<'_>,
        second: &Pictures<'_>,
    ) -> Result<Vec<f32>, HostError> {
        let feature = Feature::of_id(id)?;
        if feature.kind() != FeatureKind::Distance {
            let message = format!("`{id}` is a vector of one picture, not a distance between two");
            return Err(contract(message, "ask for it with `extract`"));
        }
        let settings = self.settings();
        let pairs = batches(first, &settings.config)?
            .into_iter()
            .zip(batches(second, &settings.config)?);
        let mut distances = Vec::new();
        for (a, b) in pairs {
            let Network::Lpips(net, lpips) = self.network(feature, &settings)? else {
                return Err(other(format!("`{id}` has a network that is no distance")));
            };
            let (size, least) = (a.size(), net.least_side());
            if size.into_iter().any(|side| side < least) {
                let message = format!(
                    "pictures of {} × {} are too small for `{id}`, which wants {least} at least",
                    size[0], size[1]
                );
                return Err(contract(message, "enlarge them first"));
            }
            let device = &settings.device;
            let found = lpips.forward(a.tensor(device), b.tensor(device));
            distances.extend(numbers(found.total)?);
        }
        Ok(distances)
    }

    fn settings(&self) -> Settings {
        let settings = self.settings.read();
        settings.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The network of a feature, read from its file when it is first needed.
    fn network(&self, feature: Feature, settings: &Settings) -> Result<Network, HostError> {
        let networks = self.networks.lock();
        let mut networks = networks.unwrap_or_else(PoisonError::into_inner);
        if let Some(network) = networks.get(&feature.weights()) {
            return Ok(network.clone());
        }
        let path = weights::find(feature, settings.config.path.as_deref())?;
        let network = WeightFile::open(&path)
            .and_then(|file| Network::read(feature.weights(), file, &settings.device))
            .map_err(|error| HostError {
                code: ErrorCode::Io,
                message: format!("the weights of `{}` cannot be used: {error}", feature.id()),
                help: feature.weights().how_to_get(),
            })?;
        tracing::info!(file = %path.display(), resize = ?settings.config.resize, "features `{}`", feature.id());
        networks.insert(feature.weights(), network.clone());
        Ok(network)
    }
}

/// LPIPS on VGG-16, the authors' choice as a loss, with gradients; nothing where its weights are not installed, which is told.
///
/// # Errors
/// Weights that are there and cannot be used.
pub fn perceptual_loss(
    config: &FeaturesConfig,
    device: &Device,
) -> Result<Option<PerceptualDistance>, NetsError> {
    let net = LpipsNet::Vgg;
    let path = match weights::find(Feature::Lpips(net), config.path.as_deref()) {
        Ok(path) => path,
        Err(missing) => {
            let (message, help) = (missing.message, missing.help);
            tracing::warn!("no perceptual loss: {message}\nhint: {help}");
            return Ok(None);
        }
    };
    let device = device.clone().autodiff();
    let lpips = Lpips::read(net, &WeightFile::open(&path)?, &device)?;
    Ok(Some(Box::new(move |a, b| lpips.forward(a, b).total)))
}

impl Network {
    fn read(weights: Weights, file: WeightFile, device: &Device) -> Result<Self, NetsError> {
        Ok(match weights {
            Weights::InceptionV3 => Self::InceptionV3(Arc::new(InceptionV3::read(&file, device)?)),
            Weights::MobileNetV2 => Self::MobileNetV2(Arc::new(MobileNetV2::read(&file, device)?)),
            Weights::Clip(vit) => Self::Clip(Arc::new(ClipImages::read(vit, file, device)?)),
            Weights::Lpips(net) => Self::Lpips(net, Arc::new(Lpips::read(net, &file, device)?)),
        })
    }

    /// Row by row; empty for a distance.
    fn extract(
        &self,
        feature: Feature,
        batch: &PictureBatch<'_>,
        settings: &Settings,
    ) -> Tensor<2> {
        let device = &settings.device;
        match self {
            Self::InceptionV3(network) => {
                let x = InceptionV3::prepare(batch, settings.config.resize, device);
                let features = network.forward(x);
                match feature {
                    Feature::InceptionSpatial => features.spatial,
                    Feature::InceptionLogits => network.logits_unbiased(features.pool3),
                    _ => features.pool3,
                }
            }
            Self::MobileNetV2(network) => network.forward(MobileNetV2::prepare(batch, device)),
            Self::Clip(network) => network.forward(network.prepare(batch, device)),
            Self::Lpips(..) => Tensor::zeros([0, 0], device),
        }
    }
}

/// The pictures in pieces that go through a network at once.
fn batches<'a>(
    pictures: &Pictures<'a>,
    config: &FeaturesConfig,
) -> Result<Vec<PictureBatch<'a>>, HostError> {
    if pictures.values.iter().any(|value| !value.is_finite()) {
        let message = "a value of the pictures is not finite".to_owned();
        return Err(contract(message, "pictures are numbers in −1..1"));
    }
    let [_, _, height, width] = pictures.shape.map(|length| length as usize);
    let picture = 3 * height * width;
    if picture == 0 {
        return match pictures.shape[0] {
            0 => Ok(Vec::new()),
            _ => Err(contract("the pictures have no pixels".to_owned(), "")),
        };
    }
    let pieces = pictures
        .values
        .chunks(picture * config.batch_size.max(1) as usize);
    pieces
        .map(|piece| {
            let shape = [piece.len() / picture, height, width];
            PictureBatch::new(piece, shape)
                .ok_or_else(|| other("the pictures do not fit their shape".to_owned()))
        })
        .collect()
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, HostError> {
    let data = tensor.into_data().convert::<f32>();
    data.try_to_vec::<f32>()
        .map_err(|error| other(format!("the features cannot be read: {error:?}")))
}

fn contract(message: String, help: &str) -> HostError {
    HostError {
        code: ErrorCode::Contract,
        message,
        help: help.to_owned(),
    }
}

fn other(message: String) -> HostError {
    HostError {
        code: ErrorCode::Other,
        message,
        help: "this is a mistake in the host".to_owned(),
    }
}

#[cfg(test)]
mod tests;
