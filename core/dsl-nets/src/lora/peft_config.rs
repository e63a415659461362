//! `adapter_config.json` of PEFT, and the same fields in the headers of diffusers' files.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::NetsError;

/// What decides the factor of each layer's adapter.
#[derive(Debug, Clone)]
pub(super) struct PeftConfig {
    alpha: Option<f64>,
    alpha_pattern: BTreeMap<String, f64>,
    use_rslora: bool,
}

impl PeftConfig {
    pub fn parse(fields: &Map<String, Value>, path: &Path) -> Result<Self, NetsError> {
        let field = |name: &str| fields.get(name).unwrap_or(&Value::Null);
        let wrong = |reason: String| NetsError::Adapter {
            path: path.to_owned(),
            reason,
        };
        let kind = field("peft_type");
        if !kind.is_null() && *kind != json!("LORA") {
            return Err(wrong(format!(
                "`peft_type` is {kind}, only LORA can be read"
            )));
        }
        for (name, neutral) in [("bias", json!("none")), ("use_dora", json!(false))] {
            let value = field(name);
            if !value.is_null() && *value != neutral {
                return Err(wrong(format!("`{name}` = {value} is not supported")));
            }
        }
        let patterns = field("alpha_pattern").as_object();
        Ok(Self {
            alpha: field("lora_alpha").as_f64(),
            alpha_pattern: patterns
                .into_iter()
                .flatten()
                .filter_map(|(name, alpha)| Some((name.clone(), alpha.as_f64()?)))
                .collect(),
            use_rslora: *field("use_rslora") == json!(true),
        })
    }

    /// The alpha of a layer, such that its factor is `alpha / rank`.
    pub fn alpha(&self, layer: &str, rank: usize) -> f64 {
        // A pattern is a layer's name, or its end; as a regular expression it is only tried where it is one.
        let matches = |pattern: &str| {
            layer == pattern
                || layer.ends_with(&format!(".{pattern}"))
                || regex::Regex::new(&format!(r"(.*\.)?({pattern})$"))
                    .is_ok_and(|pattern| pattern.find(layer).is_some_and(|m| m.start() == 0))
        };
        let special = self.alpha_pattern.iter().find(|(p, _)| matches(p));
        let alpha = special
            .map(|(_, alpha)| *alpha)
            .or(self.alpha)
            .unwrap_or(rank as f64);
        if self.use_rslora {
            alpha * (rank as f64).sqrt()
        } else {
            alpha
        }
    }

    /// An `adapter_config.json` for layers with their rank and alpha; what most of them have is the rule, the others exceptions.
    pub fn json(layers: &[(&str, usize, f64)]) -> Value {
        let mut counts: BTreeMap<(usize, u64), usize> = BTreeMap::new();
        for (_, rank, alpha) in layers {
            *counts.entry((*rank, alpha.to_bits())).or_default() += 1;
        }
        let usual = counts.into_iter().max_by_key(|(_, count)| *count);
        let (rank, alpha) =
            usual.map_or((1, 1.0), |((rank, alpha), _)| (rank, f64::from_bits(alpha)));
        let others = |differs: &dyn Fn(usize, f64) -> Option<Value>| -> Map<String, Value> {
            let each = layers
                .iter()
                .filter_map(|(path, r, a)| Some(((*path).to_owned(), differs(*r, *a)?)));
            each.collect()
        };
        let targets: Vec<&str> = layers.iter().map(|(path, ..)| *path).collect();
        json!({
            "peft_type": "LORA",
            "task_type": null,
            "r": rank,
            "lora_alpha": alpha,
            "lora_dropout": 0.0,
            "target_modules": targets,
            "bias": "none",
            "fan_in_fan_out": false,
            "init_lora_weights": true,
            "use_rslora": false,
            "use_dora": false,
            "rank_pattern": others(&|r, _| (r != rank).then(|| json!(r))),
            "alpha_pattern": others(&|_, a| (a != alpha).then(|| json!(a))),
            "modules_to_save": null,
            "base_model_name_or_path": null,
            "inference_mode": true,
        })
    }
}
