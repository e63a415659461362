//! Names of adapted layers in the files of different programs.
//!
//! A key is a layer's name with an ending that says which matrix it is. Names are dotted paths with the network's name before
//! them, or, in kohya's files, paths with underscores for dots. Those cannot be taken apart again, `to_out_0` may be one name or
//! three: they are looked up in the table of all layers that the network has.

use std::collections::BTreeMap;

use crate::single_file::ldm_unet_name;

/// Which of a layer's tensors a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A, `[rank, d_input]`.
    Down,
    /// B, `[d_output, rank]`.
    Up,
    /// The number by which `B A` is multiplied, times the rank.
    Alpha,
}

/// The network that an adapter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoraComponent {
    /// The denoiser.
    Unet,
    /// The only text encoder, or the first.
    TextEncoder,
    /// SDXL's second text encoder.
    TextEncoder2,
}

impl LoraComponent {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Unet, Self::TextEncoder, Self::TextEncoder2];

    /// Its folder in a pipeline, which is its prefix in diffusers' files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unet => "unet",
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
        }
    }
}

/// A layer's name in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LayerName {
    /// A path with dots.
    Dotted(String),
    /// A path with underscores for dots.
    Flat(String),
}

/// Endings of keys: PEFT's, diffusers' three, kohya's.
const ENDINGS: [(&str, Part); 11] = [
    (".lora_A.weight", Part::Down),
    (".lora_B.weight", Part::Up),
    (".lora_A.default.weight", Part::Down),
    (".lora_B.default.weight", Part::Up),
    (".lora.down.weight", Part::Down),
    (".lora.up.weight", Part::Up),
    (".lora_linear_layer.down.weight", Part::Down),
    (".lora_linear_layer.up.weight", Part::Up),
    (".lora_down.weight", Part::Down),
    (".lora_up.weight", Part::Up),
    (".alpha", Part::Alpha),
];

/// What a key names; nothing when it is no LoRA tensor that can be used here.
pub(super) fn parse(key: &str) -> Option<(LoraComponent, LayerName, Part)> {
    let (module, part) = ENDINGS
        .iter()
        .find_map(|(ending, part)| Some((key.strip_suffix(ending)?.to_owned(), *part)))
        .or_else(|| old_processor(key))?;
    let module = module.strip_prefix("base_model.model.").unwrap_or(&module);
    let flat = [
        ("lora_unet_", LoraComponent::Unet),
        ("lora_te_", LoraComponent::TextEncoder),
        ("lora_te1_", LoraComponent::TextEncoder),
        ("lora_te2_", LoraComponent::TextEncoder2),
    ];
    for (prefix, component) in flat {
        if let Some(name) = module.strip_prefix(prefix) {
            return Some((component, LayerName::Flat(name.to_owned()), part));
        }
    }
    let dotted = [
        ("unet.", LoraComponent::Unet),
        ("diffusion_model.", LoraComponent::Unet),
        ("text_encoder.", LoraComponent::TextEncoder),
        ("text_encoder_2.", LoraComponent::TextEncoder2),
        ("text_model.", LoraComponent::TextEncoder),
    ];
    for (prefix, component) in dotted {
        if let Some(name) = module.strip_prefix(prefix) {
            return Some((component, LayerName::Dotted(name.to_owned()), part));
        }
    }
    // A text encoder's as some versions of transformers name them; no other network begins so.
    if module.starts_with("encoder.layers.") {
        let name = LayerName::Dotted(module.to_owned());
        return Some((LoraComponent::TextEncoder, name, part));
    }
    // A file of the denoiser alone.
    let name = LayerName::Dotted(module.to_owned());
    Some((LoraComponent::Unet, name, part))
}

/// diffusers before 0.19: `attn1.processor.to_q_lora.down.weight`.
fn old_processor(key: &str) -> Option<(String, Part)> {
    let (module, part) = if let Some(module) = key.strip_suffix("_lora.down.weight") {
        (module, Part::Down)
    } else {
        (key.strip_suffix("_lora.up.weight")?, Part::Up)
    };
    let (attention, projection) = module.rsplit_once(".processor.")?;
    let projection = match projection {
        "to_out" => "to_out.0",
        other => other,
    };
    Some((format!("{attention}.{projection}"), part))
}

/// The layers of a network under every name that a file may have for them.
pub(super) struct LayerTable {
    names: BTreeMap<LayerName, String>,
}

impl LayerTable {
    /// `layers` are the paths in the network; those of a UNet are also known by the names of the original code.
    pub fn new(layers: &[String], component: LoraComponent, layers_per_block: usize) -> Self {
        let mut names = BTreeMap::new();
        let mut add = |name: &str, path: &String| {
            names
                .entry(LayerName::Dotted(name.to_owned()))
                .or_insert_with(|| path.clone());
            names
                .entry(LayerName::Flat(name.replace('.', "_")))
                .or_insert_with(|| path.clone());
        };
        for path in layers {
            add(path, path);
            if component != LoraComponent::Unet {
                // Some versions leave the class's first field out.
                if let Some(bare) = path.strip_prefix("text_model.") {
                    add(bare, path);
                }
            } else if let Some(original) = ldm_unet_name(path, layers_per_block) {
                add(&original, path);
            }
        }
        Self { names }
    }

    /// The layer's path in the network.
    pub fn path(&self, name: &LayerName) -> Option<&String> {
        self.names.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, component: LoraComponent, name: &str, part: Part) {
        let (found, layer, found_part) = parse(key).unwrap();
        let (LayerName::Dotted(layer) | LayerName::Flat(layer)) = layer;
        assert_eq!((found, layer.as_str(), found_part), (component, name, part));
    }

    #[test]
    fn every_spelling_is_understood() {
        use LoraComponent::{TextEncoder, TextEncoder2, Unet};
        check(
            "unet.a.attn1.to_q.lora.down.weight",
            Unet,
            "a.attn1.to_q",
            Part::Down,
        );
        check(
            "unet.a.attn1.to_q.lora_B.weight",
            Unet,
            "a.attn1.to_q",
            Part::Up,
        );
        check(
            "a.attn1.to_q.lora_A.weight",
            Unet,
            "a.attn1.to_q",
            Part::Down,
        );
        check(
            "unet.a.attn1.processor.to_out_lora.up.weight",
            Unet,
            "a.attn1.to_out.0",
            Part::Up,
        );
        check(
            "base_model.model.a.ff.lora_A.default.weight",
            Unet,
            "a.ff",
            Part::Down,
        );
        check("lora_unet_a_b.alpha", Unet, "a_b", Part::Alpha);
        check("lora_te2_a_b.lora_up.weight", TextEncoder2, "a_b", Part::Up);
        check(
            "text_encoder.text_model.x.q_proj.lora_linear_layer.down.weight",
            TextEncoder,
            "text_model.x.q_proj",
            Part::Down,
        );
        assert!(parse("lora_unet_a_b.dora_scale").is_none());
    }

    #[test]
    fn flat_names_are_looked_up_and_never_split() {
        let layers = [
            "down_blocks.0.attentions.0.proj_in",
            "a.to_out.0",
            "a_to.out.0",
        ];
        let layers = layers.map(str::to_owned);
        let table = LayerTable::new(&layers, LoraComponent::Unet, 2);
        let flat = |name: &str| table.path(&LayerName::Flat(name.to_owned())).cloned();
        assert_eq!(
            flat("down_blocks_0_attentions_0_proj_in").as_ref(),
            Some(&layers[0])
        );
        assert_eq!(flat("input_blocks_1_1_proj_in").as_ref(), Some(&layers[0]));
        assert_eq!(flat("a_to_out_0").as_ref(), Some(&layers[1]));
        assert_eq!(flat("b"), None);
    }
}
