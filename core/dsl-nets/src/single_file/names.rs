//! The names of the original code for diffusers' ones.

use crate::weights::Renamed;

/// The original name of a UNet's layer or parameter, if it has one; of two possible ones the first.
pub(crate) fn ldm_unet_name(path: &str, layers_per_block: usize) -> Option<String> {
    ldm_unet_names(path, layers_per_block).into_iter().next()
}

/// The original names that a UNet's layer or parameter may have.
pub(super) fn ldm_unet_names(path: &str, layers_per_block: usize) -> Vec<String> {
    let renames = [
        ("conv_in", &["input_blocks.0.0"][..]),
        ("conv_norm_out", &["out.0"]),
        ("conv_out", &["out.2"]),
        ("time_embedding.linear_1", &["time_embed.0"]),
        ("time_embedding.linear_2", &["time_embed.2"]),
        ("add_embedding.linear_1", &["label_emb.0.0"]),
        ("add_embedding.linear_2", &["label_emb.0.2"]),
        ("class_embedding.linear_1", &["label_emb.0.0"]),
        ("class_embedding.linear_2", &["label_emb.0.2"]),
        ("mid_block.resnets.0", &["middle_block.0"]),
        ("mid_block.attentions.0", &["middle_block.1"]),
        ("mid_block.resnets.1", &["middle_block.2"]),
    ];
    for (ours, originals) in renames {
        if let Some(rest) = below(path, ours) {
            let rest = in_resnet(rest, ours.contains("resnets"));
            return originals.iter().map(|o| format!("{o}{rest}")).collect();
        }
    }
    let mut parts = path.splitn(5, '.');
    let mut next = || parts.next().unwrap_or_default();
    let (side, block, kind, index) = (next(), next().parse(), next(), next().parse());
    let rest = parts
        .next()
        .map_or(String::new(), |rest| format!(".{rest}"));
    let (Ok(block), Ok(index)) = (block, index) else {
        return vec![path.to_owned()];
    };
    let (block, index): (usize, usize) = (block, index);
    let per_block = layers_per_block + 1;
    match (side, kind) {
        ("down_blocks", "resnets") => {
            let place = per_block * block + index + 1;
            vec![format!("input_blocks.{place}.0{}", in_resnet(&rest, true))]
        }
        ("down_blocks", "attentions") => {
            let place = per_block * block + index + 1;
            vec![format!("input_blocks.{place}.1{rest}")]
        }
        ("down_blocks", "downsamplers") => {
            let place = per_block * (block + 1);
            vec![format!(
                "input_blocks.{place}.0{}",
                rest.replacen(".conv", ".op", 1)
            )]
        }
        ("up_blocks", "resnets") => {
            let place = per_block * block + index;
            vec![format!("output_blocks.{place}.0{}", in_resnet(&rest, true))]
        }
        ("up_blocks", "attentions") => {
            let place = per_block * block + index;
            vec![format!("output_blocks.{place}.1{rest}")]
        }
        // After attention where the block has one, else in its place.
        ("up_blocks", "upsamplers") => {
            let place = per_block * block + layers_per_block;
            vec![
                format!("output_blocks.{place}.2{rest}"),
                format!("output_blocks.{place}.1{rest}"),
            ]
        }
        _ => vec![path.to_owned()],
    }
}

/// What follows `prefix` in a path: nothing, or a dot and more.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('.')).then_some(rest)
}

fn in_resnet(rest: &str, is_resnet: bool) -> String {
    const LAYERS: [(&str, &str); 6] = [
        (".norm1", ".in_layers.0"),
        (".conv1", ".in_layers.2"),
        (".time_emb_proj", ".emb_layers.1"),
        (".norm2", ".out_layers.0"),
        (".conv2", ".out_layers.3"),
        (".conv_shortcut", ".skip_connection"),
    ];
    if is_resnet {
        for (ours, original) in LAYERS {
            if let Some(rest) = below(rest, ours) {
                return format!("{original}{rest}");
            }
        }
    }
    rest.to_owned()
}

/// The original name of an autoencoder's parameter.
pub(super) fn ldm_vae_name(path: &str, blocks: usize) -> String {
    let mut name = path
        .replace(".conv_norm_out.", ".norm_out.")
        .replace(".conv_shortcut.", ".nin_shortcut.")
        .replace(".mid_block.resnets.0.", ".mid.block_1.")
        .replace(".mid_block.resnets.1.", ".mid.block_2.")
        .replace(".mid_block.attentions.0.", ".mid.attn_1.");
    for (ours, original) in [
        (".attn_1.group_norm.", ".attn_1.norm."),
        (".attn_1.to_q.", ".attn_1.q."),
        (".attn_1.to_k.", ".attn_1.k."),
        (".attn_1.to_v.", ".attn_1.v."),
        (".attn_1.to_out.0.", ".attn_1.proj_out."),
        (".downsamplers.0.conv.", ".downsample.conv."),
        (".upsamplers.0.conv.", ".upsample.conv."),
        (".resnets.", ".block."),
        (".down_blocks.", ".down."),
    ] {
        name = name.replace(ours, original);
    }
    // The original counts the decoder's blocks from the full size down.
    if let Some(rest) = name.strip_prefix("decoder.up_blocks.")
        && let Some((block, rest)) = rest.split_once('.')
        && let Ok(block) = block.parse::<usize>()
        && block < blocks
    {
        return format!("decoder.up.{}.{rest}", blocks - 1 - block);
    }
    name
}

/// What becomes of a tensor of OpenCLIP's text tower.
pub(super) fn open_clip(key: &str, layers: usize, projected: bool) -> Option<Renamed> {
    let plain = [
        (
            "token_embedding.weight",
            "text_model.embeddings.token_embedding.weight",
        ),
        (
            "positional_embedding",
            "text_model.embeddings.position_embedding.weight",
        ),
        ("ln_final.weight", "text_model.final_layer_norm.weight"),
        ("ln_final.bias", "text_model.final_layer_norm.bias"),
    ];
    if let Some((_, ours)) = plain.iter().find(|(original, _)| *original == key) {
        return Some(Renamed::As((*ours).to_owned()));
    }
    if key == "text_projection" {
        let name = "text_projection.weight".to_owned();
        return projected.then_some(Renamed::Transposed(name));
    }
    let rest = key.strip_prefix("transformer.resblocks.")?;
    let (layer, rest) = rest.split_once('.')?;
    if layer.parse::<usize>().ok()? >= layers {
        return None;
    }
    let at = |name: &str| format!("text_model.encoder.layers.{layer}.{name}");
    if let Some(kind) = rest.strip_prefix("attn.in_proj_") {
        let names = ["q", "k", "v"].map(|p| at(&format!("self_attn.{p}_proj.{kind}")));
        return Some(Renamed::Rows(names.to_vec()));
    }
    let ours = [
        ("attn.out_proj.", "self_attn.out_proj."),
        ("ln_1.", "layer_norm1."),
        ("ln_2.", "layer_norm2."),
        ("mlp.c_fc.", "mlp.fc1."),
        ("mlp.c_proj.", "mlp.fc2."),
    ];
    ours.iter().find_map(|(original, ours)| {
        let kind = rest.strip_prefix(original)?;
        Some(Renamed::As(at(&format!("{ours}{kind}"))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_stable_diffusion() {
        let check = |ours: &str, original: &str| {
            let names = ldm_unet_names(ours, 2);
            assert!(names.iter().any(|n| n == original), "{ours}: {names:?}");
        };
        check(
            "down_blocks.1.resnets.0.conv1.weight",
            "input_blocks.4.0.in_layers.2.weight",
        );
        check(
            "down_blocks.1.attentions.1.proj_in.bias",
            "input_blocks.5.1.proj_in.bias",
        );
        check(
            "down_blocks.0.downsamplers.0.conv.weight",
            "input_blocks.3.0.op.weight",
        );
        check(
            "mid_block.resnets.1.norm2.bias",
            "middle_block.2.out_layers.0.bias",
        );
        check(
            "up_blocks.0.upsamplers.0.conv.bias",
            "output_blocks.2.1.conv.bias",
        );
        check(
            "up_blocks.1.upsamplers.0.conv.bias",
            "output_blocks.5.2.conv.bias",
        );
        check("conv_out.weight", "out.2.weight");
        check("conv_norm_out.weight", "out.0.weight");
        check(
            "position_net.linears.0.weight",
            "position_net.linears.0.weight",
        );
        assert_eq!(
            ldm_vae_name("decoder.up_blocks.0.resnets.1.conv_shortcut.weight", 4),
            "decoder.up.3.block.1.nin_shortcut.weight"
        );
        assert_eq!(
            ldm_vae_name("encoder.mid_block.attentions.0.to_out.0.bias", 4),
            "encoder.mid.attn_1.proj_out.bias"
        );
        assert_eq!(
            ldm_vae_name("decoder.conv_norm_out.bias", 4),
            "decoder.norm_out.bias"
        );
    }
}
