//! What a denoiser is told beside x_t and the timestep.

use burn::tensor::Tensor;

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
            }),
            class_labels: self.class_labels.clone().map(|x| change.apply(x)),
        }
    }

    /// Number of samples, from whichever part there is.
    fn batch(&self) -> Option<usize> {
        let text = self.encoder_hidden_states.as_ref().map(|x| x.dims()[0]);
        let added = self.added.as_ref().map(|x| x.time_ids.dims()[0]);
        text.or(added)
            .or_else(|| self.gligen.as_ref().map(|x| x.masks.dims()[0]))
            .or_else(|| self.class_labels.as_ref().map(|x| x.dims()[0]))
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
            }),
        })
        .collect();
    let all = all?;
    let cat = |part: fn(&GligenConditioning) -> Tensor<3>| {
        Tensor::cat(all.iter().map(part).collect::<Vec<_>>(), 0)
    };
    Some(GligenConditioning {
        boxes: cat(|gligen| gligen.boxes.clone()),
        masks: Tensor::cat(all.iter().map(|gligen| gligen.masks.clone()).collect(), 0),
        positive_embeddings: cat(|gligen| gligen.positive_embeddings.clone()),
    })
}

/// One change for tensors of every rank.
trait Change {
    fn apply<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D>;
}

struct Detach;

impl Change for Detach {
    fn apply<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        tensor.detach()
    }
}

struct Inner;

impl Change for Inner {
    fn apply<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        tensor.inner()
    }
}
