//! Shapes of the networks in a checkpoint, read off its tensors.

use super::Generation;
use crate::autoencoder_kl::{
    AutoencoderDownBlockType, AutoencoderKLConfig, AutoencoderUpBlockType,
};
use crate::clip::{ClipActivation, ClipConfig, ClipTextConfig};
use crate::error::NetsError;
use crate::unet_2d_condition::{
    AdditionEmbedType, DownBlockType, OneOrMany, UNet2DConditionConfig, UpBlockType,
};
use crate::weights::{WeightFile, WeightSet};

/// One axis of a tensor that must be there.
fn axis(set: &WeightSet, key: &str, axis: usize) -> Result<usize, NetsError> {
    let shape = set.shape(key).unwrap_or_default();
    shape.get(axis).copied().ok_or_else(|| {
        let reason = format!("the shape of the network cannot be read off it: no `{key}`");
        WeightFile::damaged(set.name(), reason)
    })
}

/// How many numbers in a row stand after `prefix`.
fn count(set: &WeightSet, prefix: &str) -> usize {
    let number =
        |key: &str| -> Option<usize> { key.strip_prefix(prefix)?.split('.').next()?.parse().ok() };
    set.keys().filter_map(number).max().map_or(0, |n| n + 1)
}

pub(super) fn unet(
    set: &WeightSet,
    generation: Generation,
) -> Result<UNet2DConditionConfig, NetsError> {
    let places = count(set, "input_blocks.");
    let halving = (1..places).find(|i| set.contains(&format!("input_blocks.{i}.0.op.weight")));
    let layers = halving.unwrap_or(places).saturating_sub(1);
    if layers == 0 {
        let reason = "its `input_blocks` are not those of a UNet".to_owned();
        return Err(WeightFile::damaged(set.name(), reason));
    }
    let blocks = places / (layers + 1);
    let first = |block: usize| (layers + 1) * block + 1;
    let channels = (0..blocks)
        .map(|b| {
            axis(
                set,
                &format!("input_blocks.{}.0.out_layers.3.weight", first(b)),
                0,
            )
        })
        .collect::<Result<Vec<_>, _>>()?;
    let depth = |b: usize| {
        let prefix = format!("input_blocks.{}.1.transformer_blocks.", first(b));
        count(set, &prefix)
    };
    let middle = count(set, "middle_block.1.transformer_blocks.");
    let depths: Vec<usize> = (0..blocks).map(depth).collect();
    let down_block_types = depths.iter().map(|depth| match depth {
        0 => DownBlockType::DownBlock2D,
        _ => DownBlockType::CrossAttnDownBlock2D,
    });
    let up_block_types = depths.iter().rev().map(|depth| match depth {
        0 => UpBlockType::UpBlock2D,
        _ => UpBlockType::CrossAttnUpBlock2D,
    });
    let context = "middle_block.1.transformer_blocks.0.attn2.to_k.weight";
    let heads: Vec<usize> = channels.iter().map(|c| (c / 64).max(1)).collect();
    let mut layers_of_transformers = depths.clone();
    for (block, depth) in layers_of_transformers.iter_mut().enumerate() {
        // What a block without attention says counts for the middle only, which follows the last one.
        if *depth == 0 {
            *depth = if block + 1 == blocks { middle } else { 1 };
        }
    }
    let one = layers_of_transformers.iter().all(|depth| *depth == 1);
    let added = set.contains("label_emb.0.0.weight");
    let config = UNet2DConditionConfig {
        in_channels: axis(set, "input_blocks.0.0.weight", 1)?,
        out_channels: axis(set, "out.2.weight", 0)?,
        down_block_types: down_block_types.collect(),
        up_block_types: up_block_types.collect(),
        layers_per_block: OneOrMany::One(layers),
        norm_num_groups: 32,
        cross_attention_dim: OneOrMany::One(axis(set, context, 1)?),
        transformer_layers_per_block: match one {
            true => OneOrMany::One(1),
            false => OneOrMany::Many(layers_of_transformers),
        },
        attention_head_dim: match generation {
            Generation::Sd1 => OneOrMany::One(8),
            _ => OneOrMany::Many(heads),
        },
        use_linear_projection: set
            .shape("middle_block.1.proj_in.weight")
            .is_some_and(|shape| shape.len() == 2),
        addition_embed_type: added.then_some(AdditionEmbedType::TextTime),
        addition_time_embed_dim: added.then_some(256),
        projection_class_embeddings_input_dim: match added {
            true => Some(axis(set, "label_emb.0.0.weight", 1)?),
            false => None,
        },
        sample_size: Some(match generation {
            Generation::Sdxl => 128,
            _ => 64,
        }),
        block_out_channels: channels,
        ..UNet2DConditionConfig::default()
    };
    Ok(config)
}

pub(super) fn vae(
    set: &WeightSet,
    generation: Generation,
) -> Result<AutoencoderKLConfig, NetsError> {
    let blocks = count(set, "encoder.down.");
    let channels = (0..blocks)
        .map(|b| axis(set, &format!("encoder.down.{b}.block.0.conv2.weight"), 0))
        .collect::<Result<Vec<_>, _>>()?;
    let (scaling_factor, sample_size) = match generation {
        Generation::Sdxl => (0.13025, 1024),
        _ => (0.18215, 512),
    };
    Ok(AutoencoderKLConfig {
        in_channels: axis(set, "encoder.conv_in.weight", 1)?,
        out_channels: axis(set, "decoder.conv_out.weight", 0)?,
        down_block_types: vec![AutoencoderDownBlockType::DownEncoderBlock2D; blocks],
        up_block_types: vec![AutoencoderUpBlockType::UpDecoderBlock2D; blocks],
        layers_per_block: count(set, "encoder.down.0.block."),
        latent_channels: axis(set, "decoder.conv_in.weight", 1)?,
        use_quant_conv: set.contains("quant_conv.weight"),
        use_post_quant_conv: set.contains("post_quant_conv.weight"),
        mid_block_add_attention: set.contains("encoder.mid.attn_1.q.weight"),
        block_out_channels: channels,
        scaling_factor,
        sample_size,
        ..AutoencoderKLConfig::default()
    })
}

/// CLIP-L, under transformers' names.
pub(super) fn clip(set: &WeightSet) -> Result<ClipConfig, NetsError> {
    let table = "text_model.embeddings.token_embedding.weight";
    let hidden_size = axis(set, table, 1)?;
    Ok(ClipConfig {
        text: ClipTextConfig {
            vocab_size: axis(set, table, 0)?,
            hidden_size,
            intermediate_size: axis(set, "text_model.encoder.layers.0.mlp.fc1.weight", 0)?,
            num_hidden_layers: count(set, "text_model.encoder.layers."),
            num_attention_heads: (hidden_size / 64).max(1),
            max_position_embeddings: axis(
                set,
                "text_model.embeddings.position_embedding.weight",
                0,
            )?,
            projection_dim: hidden_size,
            hidden_act: ClipActivation::QuickGelu,
            ..ClipTextConfig::default()
        },
        with_projection: false,
    })
}

/// OpenCLIP's text tower; where the last layer is skipped, there is no projection either.
pub(super) fn open_clip(set: &WeightSet, skip_last: bool) -> Result<ClipConfig, NetsError> {
    let hidden_size = axis(set, "token_embedding.weight", 1)?;
    let layers = count(set, "transformer.resblocks.");
    Ok(ClipConfig {
        text: ClipTextConfig {
            vocab_size: axis(set, "token_embedding.weight", 0)?,
            hidden_size,
            intermediate_size: axis(set, "transformer.resblocks.0.mlp.c_fc.weight", 0)?,
            num_hidden_layers: layers.saturating_sub(usize::from(skip_last)),
            num_attention_heads: (hidden_size / 64).max(1),
            max_position_embeddings: axis(set, "positional_embedding", 0)?,
            projection_dim: match skip_last {
                true => hidden_size,
                false => axis(set, "text_projection", 1)?,
            },
            hidden_act: ClipActivation::Gelu,
            ..ClipTextConfig::default()
        },
        with_projection: !skip_last,
    })
}
