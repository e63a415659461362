//! Adapters in PEFT's layout: a folder with `adapter_model.safetensors` and `adapter_config.json`.
//!
//! Keys are `base_model.model.<layer>.lora_A.weight` (`[rank, d_input]`) and `….lora_B.weight` (`[d_output, rank]`).

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};
use serde_json::{Value, json};

use super::{ForEachLinear, LoraAdapter};
use crate::error::NetsError;
use crate::weights::{
    FileTensor, WeightDType, WeightFile, transpose, write_atomically, write_tensors,
};

const PREFIX: &str = "base_model.model.";
const WEIGHTS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";

/// Attaches the adapter in `folder` to `network`; adapted layers are exactly those in the file.
pub(crate) fn load(network: &mut impl ForEachLinear, folder: &Path) -> Result<usize, NetsError> {
    let wrong = |reason: String| NetsError::Adapter {
        path: folder.to_owned(),
        reason,
    };
    let config = read_config(folder)?;
    let file = WeightFile::open(&folder.join(WEIGHTS))?;
    let mut halves: BTreeMap<String, [Option<FileTensor>; 2]> = BTreeMap::new();
    for key in file.keys() {
        let bare = key.strip_prefix(PREFIX).unwrap_or(&key);
        let (layer, half) = if let Some(layer) = bare.strip_suffix(".lora_A.weight") {
            (layer, 0)
        } else if let Some(layer) = bare.strip_suffix(".lora_B.weight") {
            (layer, 1)
        } else {
            return Err(wrong(format!(
                "`{key}` is not a LoRA matrix of a linear layer"
            )));
        };
        halves.entry(layer.to_owned()).or_default()[half] = Some(file.read(&key)?);
    }

    let total = halves.len();
    let mut failure = None;
    network.for_each_linear("", &mut |path, linear| {
        let Some(matrices) = halves.remove(path) else {
            return;
        };
        match adapter(
            matrices,
            &config,
            linear.weight.dims(),
            path,
            &linear.weight,
        ) {
            Ok(adapter) => linear.lora = Some(adapter),
            Err(reason) => failure = failure.take().or(Some(reason)),
        }
    });
    if let Some(reason) = failure {
        return Err(wrong(reason));
    }
    if let Some(path) = halves.keys().next() {
        return Err(wrong(format!("the network has no linear layer `{path}`")));
    }
    Ok(total)
}

/// What of `adapter_config.json` decides the numbers.
struct AdapterConfig {
    alpha: f64,
    use_rslora: bool,
}

fn read_config(folder: &Path) -> Result<AdapterConfig, NetsError> {
    let path = folder.join(CONFIG);
    let text = std::fs::read_to_string(&path).map_err(|e| NetsError::read(&path, e))?;
    let config: Value = serde_json::from_str(&text).map_err(|source| NetsError::Json {
        what: path.display().to_string(),
        source,
    })?;
    let wrong = |reason: String| NetsError::Adapter {
        path: path.clone(),
        reason,
    };
    if config["peft_type"] != json!("LORA") {
        return Err(wrong(format!(
            "`peft_type` is {}, only LORA can be read",
            config["peft_type"]
        )));
    }
    for field in ["rank_pattern", "alpha_pattern"] {
        if config[field]
            .as_object()
            .is_some_and(|patterns| !patterns.is_empty())
        {
            return Err(wrong(format!(
                "`{field}` is not supported: every layer needs the same rank and alpha"
            )));
        }
    }
    if config["use_dora"] == json!(true) {
        return Err(wrong("`use_dora` is not supported".to_owned()));
    }
    let alpha = config["lora_alpha"]
        .as_f64()
        .ok_or_else(|| wrong("`lora_alpha` is missing".to_owned()))?;
    Ok(AdapterConfig {
        alpha,
        use_rslora: config["use_rslora"] == json!(true),
    })
}

fn adapter(
    [a, b]: [Option<FileTensor>; 2],
    config: &AdapterConfig,
    [d_input, d_output]: [usize; 2],
    path: &str,
    beside: &Param<Tensor<2>>,
) -> Result<LoraAdapter, String> {
    let (Some(a), Some(b)) = (a, b) else {
        return Err(format!("`{path}` has only one of lora_A and lora_B"));
    };
    let rank = a.shape[0];
    if a.shape != [rank, d_input] || b.shape != [d_output, rank] || rank == 0 {
        return Err(format!(
            "`{path}` takes lora_A [rank, {d_input}] and lora_B [{d_output}, rank], the file has {:?} and {:?}",
            a.shape, b.shape
        ));
    }
    let device = beside.device();
    let param = |tensor: FileTensor| {
        let [rows, columns] = [tensor.shape[0], tensor.shape[1]];
        let values = transpose(&tensor.values, rows, columns);
        Param::from_data(TensorData::new(values, [columns, rows]), &device)
    };
    let divisor = if config.use_rslora {
        (rank as f64).sqrt()
    } else {
        rank as f64
    };
    Ok(LoraAdapter {
        lora_a: param(a),
        lora_b: param(b),
        scale: config.alpha / divisor,
        dropout: 0.0,
    })
}

/// Writes the adapters of `network` to `folder`.
pub(crate) fn save(network: &mut impl ForEachLinear, folder: &Path) -> Result<(), NetsError> {
    let mut tensors = Vec::new();
    let mut targets = Vec::new();
    let mut ranks = Vec::new();
    network.for_each_linear("", &mut |path, linear| {
        let Some(lora) = &linear.lora else { return };
        for (name, param) in [("lora_A", &lora.lora_a), ("lora_B", &lora.lora_b)] {
            let [rows, columns] = param.dims();
            let values: Vec<f32> = param.val().inner().into_data().iter::<f32>().collect();
            let tensor = FileTensor {
                shape: vec![columns, rows],
                values: transpose(&values, rows, columns),
            };
            tensors.push((format!("{PREFIX}{path}.{name}.weight"), tensor));
        }
        targets.push(path.to_owned());
        ranks.push((lora.lora_a.dims()[1], lora.scale));
    });
    let wrong = |reason: &str| NetsError::Adapter {
        path: folder.to_owned(),
        reason: reason.to_owned(),
    };
    let Some(&(rank, scale)) = ranks.first() else {
        return Err(wrong("the network has no adapter to write"));
    };
    if ranks.iter().any(|&other| other != (rank, scale)) {
        return Err(wrong(
            "adapters of different rank or scale cannot be written to one folder",
        ));
    }

    std::fs::create_dir_all(folder).map_err(|e| NetsError::write(folder, e))?;
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write_tensors(&folder.join(WEIGHTS), tensors, WeightDType::F32, &metadata)?;
    let config = json!({
        "peft_type": "LORA",
        "task_type": null,
        "r": rank,
        "lora_alpha": scale * rank as f64,
        "lora_dropout": 0.0,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "use_rslora": false,
        "use_dora": false,
        "rank_pattern": {},
        "alpha_pattern": {},
        "modules_to_save": null,
        "base_model_name_or_path": null,
        "inference_mode": true,
    });
    write_atomically(&folder.join(CONFIG), format!("{config:#}\n").as_bytes())
}
