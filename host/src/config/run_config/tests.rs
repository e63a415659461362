//! The host's own configuration: defaults, names that stay, values that do not go together, the schema file.

use serde_json::{Value, json};

use super::{BaseModel, RunConfig, resolve, schema, schema_text};
use crate::config::{ConfigErrors, PluginParts, Resolved};

/// A plugin without settings that recommends a small network.
fn plugin() -> PluginParts {
    PluginParts {
        id: "plain".into(),
        config_schema: json!({"type": "object", "properties": {"data": {"type": "object", "properties": {
            "path": {"type": ["string", "null"], "default": null}}}}}),
        default_config: json!({"data": {"path": null}}),
        host_defaults: json!({"model": {"denoiser": {"kind": "mlp"}}}),
    }
}

fn with(sets: &[&str]) -> Result<Resolved<RunConfig>, ConfigErrors> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    resolve(&plugin(), None, &sets)
}

#[track_caller]
fn check(sets: &[&str], message: &str, hint: &str) {
    let found = match with(sets) {
        Ok(resolved) => panic!("no error, but {:#}", resolved.value),
        Err(errors) => errors.to_string(),
    };
    assert!(found.starts_with(&format!("error: {message}\n")), "{found}");
    assert!(found.ends_with(&format!("hint: {hint}")), "{found}");
}

#[test]
fn defaults_fit_their_own_schema_and_resolve_to_themselves() {
    let resolved = with(&[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, resolved.value.to_string()).unwrap();
    let again = resolve(&plugin(), Some(&path), &[]).unwrap();
    assert_eq!(resolved.value, again.value);
    assert_eq!(resolved.config, again.config);
}

#[test]
fn the_names_that_stay_are_there() {
    let value = with(&[]).unwrap().value;
    for pointer in [
        "/task/data/path",
        "/model/base",
        "/objective/kind",
        "/objective/lambda",
        "/objective/margin",
        "/objective/discriminator",
        "/train/steps",
        "/train/batch_size",
        "/train/learning_rate",
        "/train/seed",
        "/checkpoint/every_steps",
        "/checkpoint/keep",
        "/device",
    ] {
        assert!(value.pointer(pointer).is_some(), "{pointer} in {value:#}");
    }
}

#[test]
fn the_paper_s_values_are_the_defaults() {
    let value = with(&[]).unwrap().value;
    assert_eq!(value["objective"]["kind"], "dsl");
    assert_eq!(value["objective"]["lambda"], 0.05);
    assert_eq!(value["objective"]["margin"]["every_epochs"], 5);
    assert_eq!(value["objective"]["discriminator"]["lora"]["rank"], 8);
}

#[test]
fn documented_values_are_taken() {
    for sets in [
        &["objective.kind=dsm"][..],
        &["objective.kind=dsl", "objective.lambda=0"],
        &["device=cuda:0"],
        &["device=vulkan:0"],
        &["device=tch"],
        &["train.ema.decay=0.999", "objective.discriminator.base=ema"],
        &[
            "objective.margin.source=constant",
            "objective.margin.value=1",
        ],
        &["loss.weighting={kind: min_snr}"],
        &[
            "model.denoiser={kind: unet, block_out_channels: [32, 64], layers_per_block: 1}",
            "model.denoiser.down_block_types=[DownBlock2D, CrossAttnDownBlock2D]",
            "model.denoiser.up_block_types=[CrossAttnUpBlock2D, UpBlock2D]",
            "model.denoiser.cross_attention_dim=96",
        ],
    ] {
        if let Err(errors) = with(sets) {
            panic!("{sets:?}: {errors}");
        }
    }
}

#[test]
fn the_base_model_is_bundled_none_or_a_path() {
    let base = |text: &str| {
        with(&[&format!("model.base={text}")])
            .unwrap()
            .config
            .model
            .base
    };
    assert_eq!(base("bundled"), BaseModel::Bundled);
    assert_eq!(base("none"), BaseModel::None);
    assert_eq!(
        base("12"),
        BaseModel::Path(std::env::current_dir().unwrap().join("12"))
    );
    let expected = std::env::current_dir()
        .unwrap()
        .join("weights/base.safetensors");
    assert_eq!(base("weights/base.safetensors"), BaseModel::Path(expected));
}

#[test]
fn lambda_is_below_one() {
    let message = "`objective.lambda` must be less than 1.0, found the integer 1";
    let found = with(&["objective.lambda=1"]).unwrap_err().to_string();
    assert!(found.starts_with(&format!("error: {message}\n")), "{found}");
}

#[test]
fn values_that_do_not_go_together_are_refused() {
    check(
        &["train.gradient_accumulation_steps=3"],
        "a batch of 16 cannot be cut into 3 micro-batches of 1 equal parts",
        "choose a multiple of `train.gradient_accumulation_steps` times `train.workers`",
    );
    check(
        &["model.base=none", "model.denoiser=null"],
        "training from scratch (`model.base: none`) needs the shape of a network",
        "set `model.denoiser`, for example `{kind: unet}` or `{kind: mlp}`",
    );
    check(
        &["sampling.sampler.num_inference_steps=2000"],
        "2000 sampling steps are more than the 1000 noise levels of training",
        "use at most 1000, or raise `model.noise_schedule.num_train_timesteps`",
    );
    check(
        &["objective.discriminator.base=ema"],
        "the discriminator is to start from the generator's moving average, and there is none",
        "set `train.ema.decay`, for example 0.999, or `objective.discriminator.base: initial`",
    );
    check(
        &["sampling.sampler.eta=0.5"],
        "`eta` cannot be combined with `kind: dpmpp_2m`: only `ddim` has this setting",
        "leave `eta` at 0, or use `kind: ddim`",
    );
    check(
        &["objective.margin.source=constant"],
        "`margin.source: constant` needs a margin",
        "set `objective.margin.value`, for example 1.0",
    );
}

#[test]
fn a_clash_is_marked_at_the_value_that_the_user_wrote() {
    let errors = with(&["objective.discriminator.base=ema"]).unwrap_err();
    let place = errors.errors()[0].place.as_ref().unwrap();
    assert_eq!(
        (place.source().name.as_str(), place.marked()),
        ("--set", "ema")
    );
}

#[test]
fn an_unknown_device_is_told_by_the_schema() {
    let found = with(&["device=gpu"]).unwrap_err().to_string();
    let expected = "error: `device` must be of a form such as `cpu`, `cuda:0`, `vulkan:0` or `tch`, found the string \"gpu\"\n";
    assert!(found.starts_with(expected), "{found}");
}

#[test]
fn every_key_of_the_host_is_described() {
    fn undescribed(node: &Value, at: &str, out: &mut Vec<String>) {
        for (key, property) in node["properties"].as_object().into_iter().flatten() {
            let is_tag = property.get("const").is_some();
            if !is_tag && property.get("description").is_none() && property.get("$ref").is_none() {
                out.push(format!("{at}.{key}"));
            }
        }
        for branch in node["oneOf"].as_array().into_iter().flatten() {
            undescribed(branch, at, out);
        }
    }
    let schema = schema(None).unwrap();
    let mut found = Vec::new();
    undescribed(&schema, "", &mut found);
    for (name, definition) in schema["definitions"].as_object().unwrap() {
        undescribed(definition, name, &mut found);
    }
    assert_eq!(found, Vec::<String>::new());
}

/// `UPDATE_SCHEMAS=1 cargo test` writes the file anew.
#[test]
fn the_schema_file_of_the_host_is_up_to_date() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/host.schema.json");
    let text = schema_text(&schema(None).unwrap());
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "schemas/host.schema.json is stale: run `UPDATE_SCHEMAS=1 cargo test --workspace` and commit it"
    );
}
