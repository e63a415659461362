//! What a batch is conditioned on, as plain data: made on any thread, given to the networks by the trainer.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use dsl_nets::{AddedConditioning, Conditioning, GligenConditioning, Model, VolumeConditioning};

/// Conditions of one micro-batch; what a task does not have is absent. Rows are those of the samples.
///
/// Dropped conditions are already replaced by the unconditional ones. See [`Conditioning`] for what networks make of them.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    /// Token ids of the captions, `[rows, tokens]`, int64; for networks with a text encoder of their own.
    pub token_ids: Option<TensorData>,
    /// Captions for the text encoders of a pipeline that are part of the model.
    pub pipeline_texts: Option<PipelineTexts>,
    /// Texts that frozen encoders have seen before.
    pub features: Option<Features>,
    /// Vectors or tokens that no text encoder made, `[rows, tokens, features]`, float32.
    pub context: Option<TensorData>,
    /// Classes, `[rows]`, int64; the number of classes stands for none.
    pub class_ids: Option<TensorData>,
    /// Further channels of the input, `[rows, channels, height, width]`, float32.
    pub concat: Option<TensorData>,
    /// Numbers of a camera, `[rows, numbers]`, float32.
    pub camera_pose: Option<TensorData>,
    /// The picture of a feature pyramid, `[rows, channels, height, width]`, float32.
    pub pyramid: Option<TensorData>,
    /// Boxes with phrases.
    pub boxes: Option<Boxes>,
    /// Cameras of a view volume.
    pub volume: Option<Volume>,
    /// The camera that networks learn to estimate.
    pub camera: Option<Camera>,
}

/// Conditioning made by frozen text encoders, as plain data.
#[derive(Debug, Clone)]
pub struct Features {
    /// Text features for cross-attention, `[rows, tokens, cross_attention_dim]`, float32.
    pub encoder_hidden_states: TensorData,
    /// What SDXL adds to the timestep embedding.
    pub added: Option<AddedFeatures>,
}

/// Texts for a pipeline's text encoders, as plain data.
#[derive(Debug, Clone)]
pub struct PipelineTexts {
    /// `[rows, tokens]`, int64, one for each encoder.
    pub token_ids: Vec<TensorData>,
    /// 0 for rows whose features are replaced by zeros, 1 for all others, `[rows]`, float32; absent where none are.
    pub kept: Option<TensorData>,
    /// As in [`AddedFeatures`], for SDXL.
    pub time_ids: Option<TensorData>,
}

/// SDXL's part of [`Features`], see [`dsl_nets::AddedConditioning`].
#[derive(Debug, Clone)]
pub struct AddedFeatures {
    /// Pooled text features, `[rows, projection_dim]`, float32.
    pub text_embeds: TensorData,
    /// Original height and width, top and left of the crop, target height and width, in pixels: `[rows, 6]`, float32.
    pub time_ids: TensorData,
}

/// Boxes with phrases, see [`dsl_nets::GligenConditioning`].
#[derive(Debug, Clone)]
pub struct Boxes {
    /// Left, top, right, bottom in 0..1: `[rows, boxes, 4]`, float32.
    pub boxes: TensorData,
    /// 1 for a box, 0 for an empty slot: `[rows, boxes]`, float32.
    pub masks: TensorData,
    /// What the boxes hold.
    pub phrases: Phrases,
}

/// Phrases of all slots.
#[derive(Debug, Clone)]
pub enum Phrases {
    /// For a text encoder that may train: each phrase once, and which one a slot has.
    TokenIds {
        /// `[phrases, tokens]`, int64.
        token_ids: TensorData,
        /// Row of `token_ids` for each slot, `[rows, boxes]`, int64.
        slots: TensorData,
    },
    /// Pooled features by a frozen text encoder, `[rows, boxes, features]`, float32.
    Features(TensorData),
}

/// Cameras of all views of each object, see [`dsl_nets::VolumeConditioning`].
#[derive(Debug, Clone)]
pub struct Volume {
    /// `[objects, views, 3, 4]`, float32.
    pub projections: TensorData,
    /// 1 or 0 for each object, `[objects]`, float32.
    pub kept: TensorData,
}

/// The camera of each object's conditioning picture, see [`dsl_nets::CameraEstimate`].
#[derive(Debug, Clone)]
pub struct Camera {
    /// In radians, `[objects]`, float32.
    pub elevation: TensorData,
    /// `[objects]`, float32.
    pub inverse_focal: TensorData,
    /// Weight of each of the two squared errors in the generator's loss.
    pub weight: f64,
}

impl Conditions {
    /// Captions for a model's own text encoder, `[rows, tokens]`.
    pub fn of_token_ids(token_ids: TensorData) -> Self {
        Self {
            token_ids: Some(token_ids),
            ..Self::default()
        }
    }

    /// Whether there is nothing that a network is told beside the timestep.
    pub fn is_empty(&self) -> bool {
        let Self {
            token_ids,
            pipeline_texts,
            features,
            context,
            class_ids,
            concat,
            camera_pose,
            pyramid,
            boxes,
            volume,
            // What is estimated is not told.
            camera: _,
        } = self;
        token_ids.is_none()
            && pipeline_texts.is_none()
            && features.is_none()
            && context.is_none()
            && class_ids.is_none()
            && concat.is_none()
            && camera_pose.is_none()
            && pyramid.is_none()
            && boxes.is_none()
            && volume.is_none()
    }

    /// As networks take them, on `device` (and its graph). Texts that were not encoded before go through `model`'s text
    /// encoder; whatever enters a network beside x_t is in the number format `dtype`.
    pub fn conditioning(&self, model: &Model, device: &Device, dtype: DType) -> Conditioning {
        let mut conditioning = match (&self.features, &self.pipeline_texts, &self.token_ids) {
            (Some(features), ..) => features.conditioning(device, dtype),
            (_, Some(texts), _) => texts.conditioning(model, device, dtype),
            (.., Some(ids)) => model.encode_text(ids_on(ids, device)),
            _ => Conditioning::none(),
        };
        conditioning.context = self.context.as_ref().map(|x| on(x, device, dtype));
        conditioning.class_ids =
            (self.class_ids.as_ref()).map(|ids| Tensor::<1, Int>::from_data(ids.clone(), device));
        conditioning.concat = self.concat.as_ref().map(|x| on(x, device, dtype));
        conditioning.camera_pose = self.camera_pose.as_ref().map(|x| on(x, device, dtype));
        conditioning.pyramid = self.pyramid.as_ref().map(|x| on(x, device, dtype));
        conditioning.gligen = self.boxes.as_ref().and_then(|boxes| {
            Some(GligenConditioning {
                boxes: on(&boxes.boxes, device, dtype),
                masks: on(&boxes.masks, device, dtype),
                positive_embeddings: boxes.phrases.features(model, device, dtype)?,
                images: None,
            })
        });
        conditioning.volume = self.volume.as_ref().map(|volume| VolumeConditioning {
            // Positions in a volume need all of their digits.
            projections: on(&volume.projections, device, DType::F32),
            kept: on(&volume.kept, device, dtype),
        });
        conditioning
    }
}

impl Features {
    /// As networks take it, on `device` (and its graph), the text in the number format `dtype`.
    pub fn conditioning(&self, device: &Device, dtype: DType) -> Conditioning {
        let mut conditioning = Conditioning::text(on(&self.encoder_hidden_states, device, dtype));
        conditioning.added = self.added.as_ref().map(|added| AddedConditioning {
            text_embeds: on(&added.text_embeds, device, dtype),
            time_ids: Tensor::from_data(added.time_ids.clone(), device),
        });
        conditioning
    }
}

impl PipelineTexts {
    /// What `model`'s text encoders make of them, as networks take it, on `device` (and its graph); none without encoders.
    pub fn conditioning(&self, model: &Model, device: &Device, dtype: DType) -> Conditioning {
        let ids: Vec<_> = (self.token_ids.iter())
            .map(|ids| ids_on(ids, device))
            .collect();
        let Some(output) = model.encode_pipeline_text(&ids) else {
            return Conditioning::none();
        };
        let (mut states, mut pooled) = (output.encoder_hidden_states, output.text_embeds);
        if let Some(kept) = &self.kept {
            let kept: Tensor<1> = on(kept, device, states.dtype());
            let rows = kept.dims()[0];
            states = states * kept.clone().reshape([rows, 1, 1]);
            pooled = pooled.map(|pooled| pooled * kept.reshape([rows, 1]));
        }
        let mut conditioning = Conditioning::text(states.cast(dtype));
        conditioning.added =
            (pooled.zip(self.time_ids.as_ref())).map(|(pooled, time_ids)| AddedConditioning {
                text_embeds: pooled.cast(dtype),
                time_ids: Tensor::from_data(time_ids.clone(), device),
            });
        conditioning
    }
}

impl Phrases {
    /// `[rows, boxes, features]`; nothing where a text encoder is needed and there is none.
    fn features(&self, model: &Model, device: &Device, dtype: DType) -> Option<Tensor<3>> {
        match self {
            Self::Features(features) => Some(on(features, device, dtype)),
            Self::TokenIds { token_ids, slots } => {
                let [rows, boxes] = slots.shape().dims();
                let pooled = model.encode_phrases(ids_on(token_ids, device))?;
                let features = pooled.dims()[1];
                let slots = Tensor::<2, Int>::from_data(slots.clone(), device);
                let slots = slots.reshape([rows * boxes]);
                Some(pooled.select(0, slots).reshape([rows, boxes, features]))
            }
        }
    }
}

fn on<const D: usize>(data: &TensorData, device: &Device, dtype: DType) -> Tensor<D> {
    Tensor::<D>::from_data(data.clone(), device).cast(dtype)
}

fn ids_on(ids: &TensorData, device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(ids.clone(), device)
}
