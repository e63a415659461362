//! A base's weights in a network with a task's modules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use dsl_nets::{
    Denoiser, DenoiserConfig, MlpConfig, Model, ModelConfig, NetsError, TaskModuleKind,
    TaskModulesConfig, WeightDType, WeightFile, WeightSet, load_unet_extending,
};
use serde_json::json;

use crate::fixture::values;
use crate::tasks::{by_path, conditions, config, everything, inputs, loud, model_config, text};

fn saved(model: &Model, folder: &Path) -> WeightFile {
    let path = save(model, folder);
    WeightFile::open(&path).unwrap()
}

fn save(model: &Model, folder: &Path) -> PathBuf {
    let path = folder.join("base.safetensors");
    model
        .save(&path, WeightDType::F32, &BTreeMap::new())
        .unwrap();
    path
}

/// The task's modules of [`everything`], as a configuration of their own.
fn modules() -> TaskModulesConfig {
    config(everything()).task_modules
}

fn extended() -> ModelConfig {
    let base = model_config(json!({}));
    ModelConfig {
        denoiser: base
            .denoiser
            .with_task_modules(modules())
            .unwrap()
            .with_grounding()
            .unwrap(),
        ..base
    }
}

#[test]
fn a_base_is_extended_by_what_a_task_adds() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let base = model_config(json!({})).init(7, &device).unwrap();
    assert_eq!(extended().denoiser, model_config(everything()).denoiser);
    let fresh = extended().init(8, &device).unwrap();
    let file = saved(&base, folder.path());
    let (model, extension) = fresh.clone().load_extending(&file).unwrap();
    assert_eq!(
        extension.kinds,
        [
            TaskModuleKind::GroundingTokens,
            TaskModuleKind::Context,
            TaskModuleKind::ClassLabels,
            TaskModuleKind::ConcatChannels,
            TaskModuleKind::CameraPose,
            TaskModuleKind::FeaturePyramid,
        ]
    );
    assert_eq!(extension.widened, ["denoiser.conv_in.weight"]);
    let [of_base, of_fresh, of_model] = [&base, &fresh, &model].map(by_path);
    for (path, values) in &of_model {
        if path == "denoiser.conv_in.weight" {
            // [8, 5, 3, 3] of [8, 3, 3, 3].
            for (row, base) in values.chunks(45).zip(of_base[path].chunks(27)) {
                assert_eq!((&row[..27], &row[27..]), (base, &[0.0; 18][..]));
            }
        } else if extension.fresh.contains(path) {
            assert!(model.is_task_parameter(path), "{path}");
            assert_eq!(values, &of_fresh[path], "{path}");
        } else {
            assert_eq!(values, &of_base[path], "{path}");
        }
    }

    // A file of the extended model has everything.
    let Denoiser::Unet(unet) = &model.denoiser else {
        panic!("a UNet became something else")
    };
    let trained = Model {
        denoiser: Denoiser::Unet(loud(unet)),
        ..model
    };
    let file = saved(&trained, folder.path());
    let (read, extension) = fresh.load_extending(&file).unwrap();
    assert!(extension.is_empty() && extension.fresh.is_empty() && extension.widened.is_empty());
    assert_eq!(by_path(&read), by_path(&trained));
}

#[test]
fn an_extended_base_computes_what_it_did() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let base = model_config(json!({})).init(7, &device).unwrap();
    let path = save(&base, folder.path());
    let mut modules = modules();
    (modules.context, modules.class_labels) = (None, None);
    let task = model_config(json!({}))
        .denoiser
        .with_task_modules(modules)
        .unwrap();
    let DenoiserConfig::Unet(task_config) = &task else {
        panic!("a UNet became something else")
    };
    let (x, t) = inputs([8, 8], &device);
    let expected = values(base.denoiser.forward(x.clone(), t.clone(), &text(&device)));
    let all = conditions([8, 8], &device);

    let task = task
        .init(&dsl_nets::ParameterInit::new(3, &device))
        .unwrap();
    let file = WeightFile::open(&path).unwrap();
    // Keys of the whole model are not those of the denoiser alone.
    assert!(task.clone().load_extending(&file).is_err());
    let (task, _) = dsl_nets::weights::load_extending(task, &file, &[("denoiser.", "")], |path| {
        dsl_nets::TaskShare::in_unet(path, 2)
    })
    .unwrap();
    assert_eq!(values(task.forward(x.clone(), t.clone(), &all)), expected);

    // Straight from a UNet's own file, through parameters that have no values yet.
    let alone = folder.path().join("unet.safetensors");
    dsl_nets::weights::save(&base.denoiser, &alone, WeightDType::F32, &BTreeMap::new()).unwrap();
    let set = WeightSet::open(&alone).unwrap();
    let dtype = WeightDType::F32;
    let (unet, extension) = load_unet_extending(task_config, set, dtype, 3, &device).unwrap();
    assert_eq!(extension.kinds.len(), 3);
    assert_eq!(values(unet.forward(x, t, &all)), expected);
}

#[test]
fn what_a_base_lacks_is_one_message() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let refused = |base: &Model| -> String {
        let file = saved(base, folder.path());
        let error = extended()
            .init(8, &device)
            .unwrap()
            .load_extending(&file)
            .unwrap_err();
        assert!(matches!(error, NetsError::BaseLacks { .. }), "{error}");
        error.to_string()
    };
    // Nothing to read texts with.
    let mut base = model_config(json!({})).init(7, &device).unwrap();
    base.text_encoder = None;
    let message = refused(&base);
    assert!(
        message.contains("text_encoder.") && !message.contains("fuser"),
        "{message}"
    );
    // A smaller network.
    let base = model_config(json!({"block_out_channels": [8, 16, 32]}));
    let message = refused(&base.init(7, &device).unwrap());
    assert!(message.contains("of another shape"), "{message}");
    // Other channels, which are not those of the condition.
    let base = model_config(json!({"in_channels": 1}));
    let message = refused(&base.init(7, &device).unwrap());
    assert!(
        message.contains("conv_in.weight` (expected [8, 5, 3, 3], found [8, 1, 3, 3])"),
        "{message}"
    );
    // Another number of classes.
    let base = model_config(json!({"task_modules": {"class_labels": 5}}));
    let message = refused(&base.init(7, &device).unwrap());
    assert!(message.contains("class_label_embedding"), "{message}");
    // A part of a module: a pyramid without the transforms that read it.
    let fields =
        json!({"task_modules": {"feature_pyramid": {"in_channels": 2, "sft_norm": "none"}}});
    let mut base = model_config(fields).init(7, &device).unwrap();
    if let Denoiser::Unet(unet) = &mut base.denoiser {
        unet.mid_block.resnets[0].sft = None;
    }
    let message = refused(&base);
    assert!(message.contains("mid_block.resnets.0.sft"), "{message}");
}

#[test]
fn input_channels_grow_by_those_of_the_condition_alone() {
    let inputs = |fields, modules: TaskModulesConfig| match model_config(fields)
        .denoiser
        .with_task_modules(modules)
    {
        Ok(DenoiserConfig::Unet(unet)) => unet.in_channels,
        other => panic!("{other:?}"),
    };
    let concat = |concat_channels| TaskModulesConfig {
        concat_channels,
        ..TaskModulesConfig::default()
    };
    assert_eq!(inputs(json!({}), concat(0)), 3);
    assert_eq!(inputs(json!({}), concat(3)), 6);
    // A base with such channels, whether it says so or not.
    assert_eq!(inputs(json!({"in_channels": 6}), concat(3)), 6);
    let said = json!({"in_channels": 6, "task_modules": {"concat_channels": 3}});
    assert_eq!(inputs(said.clone(), concat(3)), 6);
    assert_eq!(inputs(said.clone(), concat(1)), 4);
    assert_eq!(inputs(said, concat(0)), 3);
    let mlp = DenoiserConfig::Mlp(MlpConfig::default());
    assert!(mlp.with_task_modules(concat(0)).is_ok());
    assert!(mlp.with_task_modules(concat(1)).is_err() && mlp.with_grounding().is_err());
}
