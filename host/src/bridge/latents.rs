//! Pictures and captions as a pipeline's frozen encoders see them, each encoded once.
//!
//! Every picture and every caption is encoded by itself, so that the numbers do not depend on what else was in its batch,
//! and thus not on what had been encoded before a run was stopped.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, anyhow, bail};
use burn::tensor::{Device, Int, Tensor, TensorData};
use dsl_engine::{AddedFeatures, Features, Stream, Streams};
use dsl_nets::{AutoencoderKL, AutoencoderKLConfig, Tiling};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::feature_cache::{FeatureCache, Stored, hex};
use super::pipeline::{PipelineFolder, PipelineKind, TextPart};
use super::text;
use super::wrapping::Wrapping;
use crate::failure;

/// Where autoencoder and text encoders of a pipeline are, and what is kept of their work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LatentsConfig {
    /// Folder for what the encoders made, which runs share. null: `dsl-host/features` in the user's cache folder
    /// (`$XDG_CACHE_HOME`, else `~/.cache`).
    pub cache: Option<PathBuf>,
    /// When pictures and captions are encoded.
    pub encode: EncodeWhen,
    /// Whether a latent is drawn from the autoencoder's distribution anew each time (else its mean is taken, as
    /// validation and margins always do).
    pub sample: bool,
    /// Whether the autoencoder works on overlapping tiles: less memory for big pictures, faint seams.
    pub vae_tiling: bool,
}

impl Default for LatentsConfig {
    fn default() -> Self {
        Self {
            cache: None,
            encode: EncodeWhen::default(),
            sample: true,
            vae_tiling: false,
        }
    }
}

/// When pictures and captions are encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EncodeWhen {
    /// All that the run will read, before its first step; the encoders then leave memory.
    #[default]
    BeforeTraining,
    /// With the first batch that has them; the encoders stay in memory. For runs that never see a picture twice.
    WhenRead,
}

impl LatentsConfig {
    fn folder(&self) -> Result<PathBuf> {
        if let Some(folder) = &self.cache {
            return Ok(folder.clone());
        }
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        set("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")))
            .map(|cache| cache.join("dsl-host").join("features"))
            .ok_or_else(|| {
                failure::usage(anyhow!(
                    "there is no folder for encoded pictures: neither XDG_CACHE_HOME nor HOME is set\n\
                     hint: set `model.latents.cache`"
                ))
            })
    }
}

/// Sizes that SDXL is told of a picture, in pixels.
pub type SizeIds = [f32; 6];

/// Encodes and decodes for one pipeline.
pub struct LatentCoder {
    pipeline: PipelineFolder,
    device: Device,
    cache: FeatureCache,
    tiling: Option<Tiling>,
    vae_key: String,
    text_key: String,
    vae: Mutex<Option<AutoencoderKL>>,
    text: Mutex<Option<Vec<TextPart>>>,
}

impl LatentCoder {
    /// Nothing is loaded before it is needed.
    ///
    /// # Errors
    /// A pipeline whose files cannot be read; no folder for the cache.
    pub fn new(pipeline: PipelineFolder, config: &LatentsConfig, device: &Device) -> Result<Self> {
        let tiling = config.vae_tiling.then(|| Tiling::new(&pipeline.vae));
        Ok(Self {
            cache: FeatureCache::new(config.folder()?),
            vae_key: format!(
                "vae {} tiling {}",
                pipeline.vae_sha256()?,
                config.vae_tiling
            ),
            text_key: format!("text {:?} {}", pipeline.kind, pipeline.text_sha256()?),
            tiling,
            pipeline,
            device: device.clone(),
            vae: Mutex::new(None),
            text: Mutex::new(None),
        })
    }

    /// How the pipeline's text is encoded.
    pub fn kind(&self) -> PipelineKind {
        self.pipeline.kind
    }

    /// The pipeline's folder.
    pub fn folder(&self) -> &Path {
        &self.pipeline.folder
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &PipelineFolder {
        &self.pipeline
    }

    /// Shape of the latents of pictures of a shape.
    ///
    /// # Errors
    /// A usage error for pictures that the autoencoder does not take.
    pub fn latent_shape(&self, [channels, height, width]: [usize; 3]) -> Result<[usize; 3]> {
        let vae = &self.pipeline.vae;
        let scale = vae.scale_between_picture_and_latents();
        if channels != vae.in_channels || height % scale != 0 || width % scale != 0 {
            return Err(failure::usage(anyhow!(
                "the data has samples of shape {channels}×{height}×{width}, and the pipeline's autoencoder takes {} \
                 channels and sizes that are multiples of {scale}\n\
                 hint: for t2i, set `task.data.resolution`, and with buckets `task.data.buckets.step`",
                vae.in_channels
            )));
        }
        Ok([vae.latent_channels, height / scale, width / scale])
    }

    /// Size of a picture whose latents have a size.
    pub fn picture_size(&self, [height, width]: [usize; 2]) -> [usize; 2] {
        let scale = self.pipeline.vae.scale_between_picture_and_latents();
        [height * scale, width * scale]
    }

    /// Scaled latents of pictures: drawn from the autoencoder's distribution where there are `seeds`, its mean else.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, channels, height, width]`, float32 in −1..1
    ///
    /// # Errors
    /// Encoders that cannot be loaded; a cache that cannot be written.
    pub fn encode_pictures(
        &self,
        pictures: &TensorData,
        seeds: Option<&[u64]>,
    ) -> Result<TensorData> {
        let shape: Vec<usize> = pictures.shape().to_vec();
        let [rows, channels, height, width] = shape[..] else {
            bail!("pictures have the shape {shape:?}");
        };
        let [latent_channels, h, w] = self.latent_shape([channels, height, width])?;
        let bytes = pictures.as_bytes();
        let mut values = Vec::with_capacity(rows * latent_channels * h * w);
        for (row, bytes) in bytes
            .chunks_exact((bytes.len() / rows.max(1)).max(1))
            .enumerate()
        {
            let mut sum = Sha256::new();
            sum.update(format!("{} {:?}\n", self.vae_key, &shape[1..]).as_bytes());
            sum.update(bytes);
            let entry = self.cache.get_or_make(&hex(sum), &["moments"], || {
                let picture = TensorData::from_bytes_vec(
                    bytes.to_vec(),
                    [1, channels, height, width],
                    pictures.dtype(),
                );
                self.moments(picture)
            })?;
            let [moments] = &entry[..] else {
                bail!("an encoded picture has {} parts", entry.len());
            };
            let count = latent_channels * h * w;
            if moments.values.len() != 2 * count {
                bail!("an encoded picture has the shape {:?}", moments.shape);
            }
            let (mean, logvar) = moments.values.split_at(count);
            let latent: Vec<f32> = match seeds {
                None => mean.to_vec(),
                Some(seeds) => {
                    let noise = Streams::new(seeds.get(row).copied().unwrap_or(0)).normal(
                        Stream::new("latents"),
                        0,
                        0,
                        [1, latent_channels, h, w],
                    );
                    let drawn = mean.iter().zip(logvar).zip(noise);
                    drawn
                        .map(|((mean, logvar), noise)| {
                            mean + (0.5 * logvar.clamp(-30.0, 20.0)).exp() * noise
                        })
                        .collect()
                }
            };
            values.extend(scaled(&self.pipeline.vae, &latent, h * w));
        }
        Ok(TensorData::new(values, [rows, latent_channels, h, w]))
    }

    fn moments(&self, picture: TensorData) -> Result<Vec<Stored>> {
        let mut vae = lock(&self.vae);
        let vae = loaded(&mut vae, || self.pipeline.load_vae(&self.device))?;
        let picture = Tensor::<4>::from_data(picture, &self.device);
        let moments = match &self.tiling {
            Some(tiling) => {
                let gaussian = vae.encode_tiled(picture, tiling);
                Tensor::cat(vec![gaussian.mean, gaussian.logvar], 1)
            }
            None => vae.moments(picture),
        };
        let [_, channels, h, w] = moments.dims();
        Ok(vec![Stored {
            name: "moments",
            shape: vec![channels, h, w],
            values: moments.into_data().iter::<f32>().collect(),
        }])
    }

    /// Pictures of scaled latents, one at a time, values around −1..1.
    ///
    /// # Errors
    /// An autoencoder that cannot be loaded.
    pub fn decode(&self, latents: Tensor<4>) -> Result<Tensor<4>> {
        let mut vae = lock(&self.vae);
        let vae = loaded(&mut vae, || self.pipeline.load_vae(&self.device))?;
        let latents = vae.unscale_latents(latents);
        let pictures = latents
            .split(1, 0)
            .into_iter()
            .map(|latent| match &self.tiling {
                Some(tiling) => vae.decode_tiled(latent, tiling),
                None => vae.decode(latent),
            })
            .collect();
        Ok(Tensor::cat(pictures, 0))
    }

    /// As [`Self::decode`], with what `wrapping` takes from pictures of the same size, values in −1..1.
    ///
    /// # Errors
    /// As [`Self::decode`]; pictures of another size.
    pub fn decode_wrapped(
        &self,
        latents: Tensor<4>,
        pictures: Tensor<4>,
        wrapping: &Wrapping,
    ) -> Result<Tensor<4>> {
        let ([rows, _, h, w], found) = (latents.dims(), pictures.dims());
        let [height, width] = self.picture_size([h, w]);
        let expected = [rows, self.pipeline.vae.in_channels, height, width];
        if found != expected {
            bail!("the conditioning pictures have the shape {found:?}, expected {expected:?}");
        }
        let mut vae = lock(&self.vae);
        let vae = loaded(&mut vae, || self.pipeline.load_vae(&self.device))?;
        let latents = vae.unscale_latents(latents).split(1, 0).into_iter();
        let pictures = latents
            .zip(pictures.split(1, 0))
            .map(|(latent, picture)| {
                let (module, weight) = (&wrapping.module, wrapping.weight);
                match &self.tiling {
                    Some(tiling) => module.decode_tiled(vae, latent, picture, weight, tiling),
                    None => {
                        let (_, features) = vae.encode_with_features(picture);
                        module.decode(vae, latent, &features, weight)
                    }
                }
            })
            .collect();
        Ok(Tensor::cat(pictures, 0))
    }

    /// Shape of the autoencoder.
    pub fn autoencoder_config(&self) -> &AutoencoderKLConfig {
        &self.pipeline.vae
    }

    /// The autoencoder, read anew.
    ///
    /// # Errors
    /// An autoencoder that cannot be loaded.
    pub fn load_autoencoder(&self) -> Result<AutoencoderKL> {
        self.pipeline.load_vae(&self.device)
    }

    /// Features of texts; `sizes` is what SDXL is told of each picture.
    ///
    /// # Errors
    /// Encoders that cannot be loaded; a text that cannot be tokenized; a cache that cannot be written.
    pub fn encode_texts(&self, texts: &[&str], sizes: &[SizeIds]) -> Result<Features> {
        let mut states = Vec::new();
        let mut pooled = Vec::new();
        let mut shape = [0, 0];
        let mut pooled_size = 0;
        for text in texts {
            let mut sum = Sha256::new();
            sum.update(format!("{}\n", self.text_key).as_bytes());
            sum.update(text.as_bytes());
            let names: &[&'static str] = match self.pipeline.kind {
                PipelineKind::StableDiffusion => &["states"],
                PipelineKind::StableDiffusionXl => &["states", "pooled"],
            };
            let mut entry = self
                .cache
                .get_or_make(&hex(sum), names, || self.text_features(text))?;
            if text.is_empty() && self.pipeline.zeros_for_empty_prompt {
                for stored in &mut entry {
                    stored.values.fill(0.0);
                }
            }
            for stored in entry {
                match (stored.name, &stored.shape[..]) {
                    ("states", &[tokens, features]) => {
                        shape = [tokens, features];
                        states.extend(stored.values);
                    }
                    (_, &[features]) => {
                        pooled_size = features;
                        pooled.extend(stored.values);
                    }
                    (name, shape) => bail!("an encoded text has `{name}` of shape {shape:?}"),
                }
            }
        }
        let rows = texts.len();
        let added = (self.pipeline.kind == PipelineKind::StableDiffusionXl).then(|| {
            let ids: Vec<f32> = sizes.iter().flatten().copied().collect();
            AddedFeatures {
                text_embeds: TensorData::new(pooled, [rows, pooled_size]),
                time_ids: TensorData::new(ids, [rows, 6]),
            }
        });
        Ok(Features {
            encoder_hidden_states: TensorData::new(states, [rows, shape[0], shape[1]]),
            added,
        })
    }

    fn text_features(&self, text: &str) -> Result<Vec<Stored>> {
        let mut parts = lock(&self.text);
        let parts = loaded(&mut parts, || self.pipeline.load_text(&self.device))?;
        let mut states = Vec::new();
        let mut pooled = None;
        for part in parts.iter() {
            let tokens = part.tokenizer.encode(text)?;
            text::note_length(text, &tokens);
            let ids = tokens.ids;
            let tokens = ids.len();
            let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, tokens]), &self.device);
            let output = part.model.forward(ids);
            states.push(match self.pipeline.kind {
                PipelineKind::StableDiffusion => output.last_hidden_state,
                PipelineKind::StableDiffusionXl => output.penultimate(),
            });
            // That of the last encoder is the one that counts.
            pooled = output.text_embeds;
        }
        let states = Tensor::cat(states, 2);
        let [_, tokens, features] = states.dims();
        let mut entry = vec![Stored {
            name: "states",
            shape: vec![tokens, features],
            values: states.into_data().iter::<f32>().collect(),
        }];
        if self.pipeline.kind == PipelineKind::StableDiffusionXl {
            let Some(pooled) = pooled else {
                bail!("the pipeline's second text encoder has no projection");
            };
            entry.push(Stored {
                name: "pooled",
                shape: vec![pooled.dims()[1]],
                values: pooled.into_data().iter::<f32>().collect(),
            });
        }
        Ok(entry)
    }

    /// The pooled state of texts before any projection, as GLIGEN takes phrases: features of each, and all values.
    ///
    /// # Errors
    /// As [`Self::encode_texts`].
    pub fn encode_phrases(&self, texts: &[&str]) -> Result<(usize, Vec<f32>)> {
        let mut values = Vec::new();
        let mut size = 0;
        for text in texts {
            let mut sum = Sha256::new();
            sum.update(format!("{} phrase\n", self.text_key).as_bytes());
            sum.update(text.as_bytes());
            let entry = self.cache.get_or_make(&hex(sum), &["phrase"], || {
                let mut parts = lock(&self.text);
                let parts = loaded(&mut parts, || self.pipeline.load_text(&self.device))?;
                let Some(part) = parts.first() else {
                    bail!("the pipeline has no text encoder");
                };
                let ids = part.tokenizer.encode(text)?.ids;
                let tokens = ids.len();
                let ids = TensorData::new(ids, [1, tokens]);
                let ids = Tensor::<2, Int>::from_data(ids, &self.device);
                let pooled = part.model.forward(ids).pooled;
                Ok(vec![Stored {
                    name: "phrase",
                    shape: vec![pooled.dims()[1]],
                    values: pooled.into_data().iter::<f32>().collect(),
                }])
            })?;
            for stored in entry {
                size = stored.values.len();
                values.extend(stored.values);
            }
        }
        Ok((size, values))
    }

    /// Drops what is loaded; it is loaded again when it is needed.
    pub fn release(&self) {
        *lock(&self.vae) = None;
        *lock(&self.text) = None;
    }
}

/// `(z − shift) · factor`, or `(z − mean) · factor / std` by channel, as [`AutoencoderKL::scale_latents`] without the network.
fn scaled<'a>(
    vae: &'a AutoencoderKLConfig,
    latent: &'a [f32],
    positions: usize,
) -> impl Iterator<Item = f32> + 'a {
    let factor = vae.scaling_factor;
    latent.iter().enumerate().map(move |(i, &z)| {
        let channel = i / positions.max(1);
        let z = f64::from(z);
        let scaled = match (&vae.latents_mean, &vae.latents_std) {
            (Some(mean), Some(std)) => (z - mean[channel]) * factor / std[channel],
            _ => (z - vae.shift_factor.unwrap_or(0.0)) * factor,
        };
        scaled as f32
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic elsewhere left is a network, whole or not there.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn loaded<T>(slot: &mut Option<T>, load: impl FnOnce() -> Result<T>) -> Result<&T> {
    if slot.is_none() {
        *slot = Some(load()?);
    }
    slot.as_ref().ok_or_else(|| anyhow!("nothing was loaded"))
}

#[cfg(test)]
mod tests;
