//! What a denoiser is told beside x_t and the timestep.

use burn::tensor::{Int, Tensor};

/// Conditioning of one batch; both networks of an objective receive the same one.
///
/// A network reads the parts that it was built for: see the error that [`Denoiser::check_conditioning`] gives for one that
/// is missing.
///
/// [`Denoiser::check_conditioning`]: crate::Denoiser::check_conditioning
#[derive(Debug, Clone, Default)]
pub struct Conditioning {
    /// Text features for cross-attention, `[batch, tokens, cross_attention_dim]`.
    pub encoder_hidden_states: Option<Tensor<3>>,
    /// What SDXL adds to the timestep embedding.
    pub added: Option<AddedConditioning>,
    /// Boxes of a GLIGEN network; without them its gated layers are skipped.
    pub gligen: Option<GligenConditioning>,
    /// Features added to the timestep embedding by a network with `class_embed_type: projection` (unCLIP),
    /// `[batch, projection_class_embeddings_input_dim]`.
    pub class_labels: Option<Tensor<2>>,
    /// Vectors or tokens that no text encoder made, `[batch, tokens, features]`; zeros stand for none.
    pub context: Option<Tensor<3>>,
    /// Classes, `[batch]`, in `0..classes`; `classes` itself stands for none of them.
    pub class_ids: Option<Tensor<1, Int>>,
    /// Further channels of the input, `[batch, channels, height, width]`; zeros stand for none.
    pub concat: Option<Tensor<4>>,
    /// Numbers of a camera, `[batch, numbers]`; zeros stand for none.
    pub camera_pose: Option<Tensor<2>>,
    /// The picture of a feature pyramid, `[batch, channels, height, width]`; zeros stand for none.
    pub pyramid: Option<Tensor<4>>,
    /// Cameras of a view volume.
    pub volume: Option<VolumeConditioning>,
}

/// SDXL's micro-conditioning (Podell et al. 2023, section 2.2).
#[derive(Debug, Clone)]
pub struct AddedConditioning {
    /// Pooled features of the second text encoder, `[batch, projection_dim]`.
    pub text_embeds: Tensor<2>,
    /// Original height and width, top and left of the crop, target height and width, in pixels: `[batch, 6]`.
    pub time_ids: Tensor<2>,
}

/// Phrases with their boxes (Li et al. 2023, GLIGEN).
#[derive(Debug, Clone)]
pub struct GligenConditioning {
    /// Left, top, right, bottom in 0..1: `[batch, boxes, 4]`.
    pub boxes: Tensor<3>,
    /// 1 for a box, 0 for a slot without one: `[batch, boxes]`.
    pub masks: Tensor<2>,
    /// Pooled text features of each box's phrase, `[batch, boxes, cross_attention_dim]`.
    pub positive_embeddings: Tensor<3>,
    /// Pictures of what the boxes hold, which networks with `attention_type: gated-text-image` read. Without them every box has
    /// its phrase and no picture, for which these networks have learned a feature.
    pub images: Option<GligenImages>,
}

/// Pictures of what boxes hold, for those that have one.
#[derive(Debug, Clone)]
pub struct GligenImages {
    /// 1 for a box with a phrase, 0 for one without, `[batch, boxes]`.
    pub phrases_masks: Tensor<2>,
    /// 1 for a box with a picture, 0 for one without, `[batch, boxes]`.
    pub image_masks: Tensor<2>,
    /// Features of each box's picture, as the pipeline projects those of its image encoder into the space of phrases:
    /// `[batch, boxes, cross_attention_dim]`.
    pub image_embeddings: Tensor<3>,
}

impl GligenConditioning {
    /// The pictures; for boxes without any, that there are none.
    fn images_or_none(&self) -> GligenImages {
        self.images.clone().unwrap_or_else(|| GligenImages {
            phrases_masks: self.masks.clone(),
            image_masks: self.masks.zeros_like(),
            image_embeddings: self.positive_embeddings.zeros_like(),
        })
    }
}

/// Cameras of all views of each object (Liu et al. 2023, SyncDreamer).
#[derive(Debug, Clone)]
pub struct VolumeConditioning {
    /// Takes a homogeneous point to `(x d, y d, d)`: x and y in 0..1 over the picture from its top left corner, d the depth.
    /// `[objects, views, 3, 4]`
    pub projections: Tensor<4>,
    /// 1 where an object's volume is used, 0 where it is replaced by zeros: `[objects]`.
    pub kept: Tensor<1>,
}

/// What a network takes the camera of its conditioning picture to be (Li et al. 2024, Era3D).
#[derive(Debug, Clone)]
pub struct CameraEstimate {
    /// In radians, `[objects]`.
    pub elevation: Tensor<1>,
    /// 24 mm over the focal length, 0 for an orthographic camera, `[objects]`.
    pub inverse_focal: Tensor<1>,
}

impl Conditioning {
    /// No conditioning at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Text features, `[batch, tokens, cross_attention_dim]`.
    pub fn text(encoder_hidden_states: Tensor<3>) -> Self {
        Self {
            encoder_hidden_states: Some(encoder_hidden_states),
            ..Self::default()
        }
    }

    /// The same values, cut from the graph that made them.
    pub fn detach(&self) -> Self {
        self.map(&Detach)
    }

    /// The same values without autodiff, for sampling and evaluation.
    pub fn inner(&self) -> Self {
        self.map(&Inner)
    }

    /// Several batches one after the other, as guidance needs them: `[first's batch + second's batch + .., ..]`.
    ///
    /// Conditioning that not all of them have is left out. Boxes are the exception: a batch without them gets empty slots,
    /// as the unconditional half of GLIGEN's guidance does.
    pub fn concat(parts: &[&Self]) -> Self {
        Self {
            encoder_hidden_states: concat_all(parts, |part| part.encoder_hidden_states.clone()),
            added: concat_all(parts, |part| {
                part.added.as_ref().map(|a| a.text_embeds.clone())
            })
            .zip(concat_all(parts, |part| {
                part.added.as_ref().map(|a| a.time_ids.clone())
            }))
            .map(|(text_embeds, time_ids)| AddedConditioning {
                text_embeds,
                time_ids,
            }),
            gligen: concat_boxes(parts),
            class_labels: concat_all(parts, |part| part.class_labels.clone()),
            context: concat_all(parts, |part| part.context.clone()),
            class_ids: concat_ids(parts),
            concat: concat_all(parts, |part| part.concat.clone()),
            camera_pose: concat_all(parts, |part| part.camera_pose.clone()),
            pyramid: concat_all(parts, |part| part.pyramid.clone()),
            volume: concat_all(parts, |part| {
                part.volume.as_ref().map(|v| v.projections.clone())
            })
            .zip(concat_all(parts, |part| {
                part.volume.as_ref().map(|v| v.kept.clone())
            }))
            .map(|(projections, kept)| VolumeConditioning { projections, kept }),
        }
    }

    fn map(&self, change: &impl Change) -> Self {
        Self {
            encoder_hidden_states: self.encoder_hidden_states.clone().map(|x| change.apply(x)),
            added: self.added.clone().map(|added| AddedConditioning {
                text_embeds: change.apply(added.text_embeds),
                time_ids: change.apply(added.time_ids),
            }),
            gligen: self.gligen.clone().map(|gligen| GligenConditioning {
                boxes: change.apply(gligen.boxes),
                masks: change.apply(gligen.masks),
                positive_embeddings: change.apply(gligen.positive_embeddings),
                images: gligen.images.map(|images| GligenImages {
                    phrases_masks: change.apply(images.phrases_masks),
                    image_masks: change.apply(images.image_masks),
                    image_embeddings: change.apply(images.image_embeddings),
                }),
            }),
            class_labels: self.class_labels.clone().map(|x| change.apply(x)),
            context: self.context.clone().map(|x| change.apply(x)),
            class_ids: self.class_ids.clone().map(|x| change.apply_ids(x)),
            concat: self.concat.clone().map(|x| change.apply(x)),
            camera_pose: self.camera_pose.clone().map(|x| change.apply(x)),
            pyramid: self.pyramid.clone().map(|x| change.apply(x)),
            volume: self.volume.clone().map(|volume| VolumeConditioning {
                projections: change.apply(volume.projections),
                kept: change.apply(volume.kept),
            }),
        }
    }

    /// Number of samples, from whichever part there is.
    fn batch(&self) -> Option<usize> {
        let text = self.encoder_hidden_states.as_ref().map(|x| x.dims()[0]);
        let added = self.added.as_ref().map(|x| x.time_ids.dims()[0]);
        text.or(added)
            .or_else(|| self.gligen.as_ref().map(|x| x.masks.dims()[0]))
            .or_else(|| self.class_labels.as_ref().map(|x| x.dims()[0]))
            .or_else(|| self.context.as_ref().map(|x| x.dims()[0]))
            .or_else(|| self.class_ids.as_ref().map(|x| x.dims()[0]))
            .or_else(|| self.concat.as_ref().map(|x| x.dims()[0]))
            .or_else(|| self.camera_pose.as_ref().map(|x| x.dims()[0]))
            .or_else(|| self.pyramid.as_ref().map(|x| x.dims()[0]))
    }
}

fn concat_all<const D: usize>(
    parts: &[&Conditioning],
    part: impl Fn(&Conditioning) -> Option<Tensor<D>>,
) -> Option<Tensor<D>> {
    let tensors: Option<Vec<_>> = parts.iter().map(|p| part(p)).collect();
    tensors
        .filter(|tensors| !tensors.is_empty())
        .map(|tensors| Tensor::cat(tensors, 0))
}

fn concat_ids(parts: &[&Conditioning]) -> Option<Tensor<1, Int>> {
    let ids: Option<Vec<_>> = parts.iter().map(|part| part.class_ids.clone()).collect();
    ids.filter(|ids| !ids.is_empty())
        .map(|ids| Tensor::cat(ids, 0))
}

fn concat_boxes(parts: &[&Conditioning]) -> Option<GligenConditioning> {
    let like = parts.iter().find_map(|part| part.gligen.as_ref())?;
    let ([_, boxes, _], [_, _, features]) = (like.boxes.dims(), like.positive_embeddings.dims());
    let device = like.boxes.device();
    let all: Option<Vec<GligenConditioning>> = parts
        .iter()
        .map(|part| match &part.gligen {
            Some(gligen) => Some(gligen.clone()),
            None => part.batch().map(|batch| GligenConditioning {
                boxes: Tensor::zeros([batch, boxes, 4], &device),
                masks: Tensor::zeros([batch, boxes], &device),
                positive_embeddings: Tensor::zeros([batch, boxes, features], &device),
                images: None,
            }),
        })
        .collect();
    let all = all?;
    Some(GligenConditioning {
        boxes: cat(&all, |gligen| gligen.boxes.clone()),
        masks: cat(&all, |gligen| gligen.masks.clone()),
        positive_embeddings: cat(&all, |gligen| gligen.positive_embeddings.clone()),
        images: all.iter().any(|gligen| gligen.images.is_some()).then(|| {
            let images: Vec<_> = all.iter().map(GligenConditioning::images_or_none).collect();
            GligenImages {
                phrases_masks: cat(&images, |images| images.phrases_masks.clone()),
                image_masks: cat(&images, |images| images.image_masks.clone()),
                image_embeddings: cat(&images, |images| images.image_embeddings.clone()),
            }
        }),
    })
}

fn cat<T, const D: usize>(parts: &[T], part: impl Fn(&T) -> Tensor<D>) -> Tensor<D> {
    Tensor::cat(parts.iter().map(part).collect(), 0)
}

/// One change for tensors of every rank.
trait Change {
    fn apply<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D>;

    /// Whole numbers have no graph, but a device that may have one.
    fn apply_ids(&self, ids: Tensor<1, Int>) -> Tensor<1, Int>;
}

struct Detach;

impl Change for Detach {
    fn apply<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        tensor.detach()
    }

    fn apply_ids(&self, ids: Tensor<1, Int>) -> Tensor<1, Int> {
        ids
    }
}

struct Inner;

impl Change for Inner {
    fn apply<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        tensor.inner()
    }

    fn apply_ids(&self, ids: Tensor<1, Int>) -> Tensor<1, Int> {
        ids.inner()
    }
}
