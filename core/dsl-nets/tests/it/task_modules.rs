//! What tasks add to a UNet: equal to the base where it should be, and known by name.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor};
use dsl_nets::{
    Conditioning, Denoiser, LoraConfig, NetsError, TaskModuleKind, UNet2DCondition,
    UNet2DConditionConfig, named_parameters,
};
use serde_json::json;

use crate::fixture::values;
use crate::tasks::{
    by_path, conditions, config, everything, inputs, loud, moved, text, unet, wave,
};
use crate::unet::gradients_by_key;

const SIZE: [usize; 2] = [8, 8];

fn predict(unet: &UNet2DCondition, size: [usize; 2], conditioning: &Conditioning) -> Vec<f32> {
    let (x, t) = inputs(size, &Device::flex());
    values(unet.forward(x, t, conditioning))
}

#[test]
fn tokens_of_a_context_follow_those_of_text() {
    let device = Device::flex();
    let task = unet(
        json!({"task_modules": {"context": {"features": 5}}}),
        &device,
    );
    let context = wave([2, 2, 5], 0.51, &device);
    let of_context = task.context_embedding.as_ref().unwrap();
    let tokens = of_context.forward(context.clone());
    let base = unet(json!({}), &device);
    let both = text(&device).encoder_hidden_states.unwrap();
    let both = Conditioning::text(Tensor::cat(vec![both, tokens.clone()], 1));
    let with_text = Conditioning {
        context: Some(context.clone()),
        ..text(&device)
    };
    assert_eq!(
        predict(&task, SIZE, &with_text),
        predict(&base, SIZE, &both)
    );
    // Text is not asked for.
    let alone = Conditioning {
        context: Some(context),
        ..Conditioning::none()
    };
    assert_eq!(
        predict(&task, SIZE, &alone),
        predict(&base, SIZE, &Conditioning::text(tokens))
    );
}

#[test]
fn a_network_without_text_attends_to_a_token_of_zeros() {
    let device = Device::flex();
    let task = unet(json!({"task_modules": {"no_text": true}}), &device);
    let base = unet(json!({}), &device);
    let zeros = Conditioning::text(Tensor::zeros([2, 1, 12], &device));
    assert_eq!(
        predict(&task, SIZE, &Conditioning::none()),
        predict(&base, SIZE, &zeros)
    );
}

#[test]
fn a_condition_that_is_missing_is_named() {
    let device = Device::flex();
    let task = unet(everything(), &device);
    let all = conditions(SIZE, &device);
    task.check_conditioning(&all).unwrap();
    type Take = fn(&mut Conditioning);
    let takes: [(&str, Take); 5] = [
        ("context", |all| all.context = None),
        ("class_ids", |all| all.class_ids = None),
        ("concat", |all| all.concat = None),
        ("camera_pose", |all| all.camera_pose = None),
        ("pyramid", |all| all.pyramid = None),
    ];
    for (name, take) in takes {
        let mut without = all.clone();
        take(&mut without);
        match task.check_conditioning(&without) {
            Err(NetsError::MissingConditioning { part, .. }) => assert_eq!(part, name),
            other => panic!("{name}: {other:?}"),
        }
    }
    // Boxes are never asked for, and text is not where there is a context.
    let without = Conditioning {
        gligen: None,
        encoder_hidden_states: None,
        ..all
    };
    task.check_conditioning(&without).unwrap();
    let error = unet(json!({}), &device).check_conditioning(&Conditioning::none());
    assert!(error.unwrap_err().to_string().contains("no_text"));
}

#[test]
fn only_the_classes_of_a_batch_receive_gradients() {
    let device = Device::flex().autodiff();
    let task = unet(json!({"task_modules": {"class_labels": 3}}), &device);
    let all = conditions(SIZE, &device);
    let conditioning = Conditioning {
        class_ids: all.class_ids,
        ..text(&device)
    };
    let (x, t) = inputs(SIZE, &device);
    let loss = task.forward(x, t, &conditioning).powi_scalar(2).mean();
    let grads = gradients_by_key(&task, &loss.backward());
    let rows: Vec<bool> = grads["class_label_embedding.table.weight"]
        .chunks(32)
        .map(|row| row.iter().any(|g| *g != 0.0))
        .collect();
    // Classes 1 and 3; the latter stands for none of them.
    assert_eq!(rows, [false, true, false, true]);
}

/// Modules that start as if they were not there.
#[test]
fn fresh_modules_with_an_identity_leave_the_base_as_it_is() {
    let device = Device::flex();
    let base = predict(&unet(json!({}), &device), SIZE, &text(&device));
    let all = conditions(SIZE, &device);
    for fields in [
        json!({"in_channels": 5, "task_modules": {"concat_channels": 2}}),
        json!({"task_modules": {"camera_pose": {"numbers": 4}}}),
        json!({"task_modules": {"feature_pyramid": {"in_channels": 2, "sft_norm": "none"}}}),
        json!({"attention_type": "gated"}),
    ] {
        let task = unet(fields.clone(), &device);
        assert_eq!(predict(&task, SIZE, &all), base, "{fields}");
        assert_ne!(predict(&loud(&task), SIZE, &all), base, "{fields}");
        let modules = task.task_modules();
        assert!(
            modules.iter().all(|m| m.has_identity() && m.at_identity),
            "{fields}"
        );
        let modules = loud(&task).task_modules();
        assert!(
            modules.iter().all(|m| m.has_identity() && !m.at_identity),
            "{fields}"
        );
    }
    // The released form of the feature transforms normalises.
    let fields = json!({"task_modules": {"feature_pyramid": {"in_channels": 2}}});
    let task = unet(fields, &device);
    assert_ne!(predict(&task, SIZE, &all), base);
    let module = &task.task_modules()[0];
    assert!(!module.at_identity);
}

#[test]
fn a_pyramid_has_a_map_for_every_level_of_any_size() {
    let device = Device::flex();
    let fields =
        json!({"task_modules": {"feature_pyramid": {"in_channels": 2, "model_channels": 12}}});
    let task = unet(fields, &device);
    let pyramid = task.feature_pyramid.as_ref().unwrap();
    for (size, expected) in [
        ([24, 40], [[24, 40], [12, 20], [6, 10]]),
        ([7, 5], [[7, 5], [4, 3], [2, 2]]),
    ] {
        let picture = wave([2, 2, size[0], size[1]], 0.17, &device);
        let maps = pyramid.forward(picture.clone(), Tensor::from_floats([10.0, 700.0], &device));
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        let expected: Vec<_> = expected.map(|[h, w]| [2, 12, h, w]).to_vec();
        assert_eq!(shapes, expected);
        assert_eq!(
            predict(&task, size, &conditions(size, &device)).len(),
            2 * 3 * size[0] * size[1]
        );
        // It knows the timestep, at every level.
        let later = pyramid.forward(picture, Tensor::from_floats([500.0, 700.0], &device));
        for (a, b) in maps.into_iter().zip(later) {
            let [a, b] = [a, b].map(|map| map.split(1, 0).into_iter().map(values));
            let same: Vec<bool> = a.zip(b).map(|(a, b)| a == b).collect();
            assert_eq!(same, [false, true]);
        }
    }
}

#[test]
fn every_residual_block_is_transformed() {
    let device = Device::flex().autodiff();
    let fields =
        json!({"task_modules": {"feature_pyramid": {"in_channels": 2, "sft_norm": "none"}}});
    let task = unet(fields, &device);
    let (x, t) = inputs([7, 5], &device);
    let loss = task
        .forward(x, t, &conditions([7, 5], &device))
        .powi_scalar(2)
        .mean();
    let grads = gradients_by_key(&task, &loss.backward());
    let shifts: Vec<_> = grads
        .iter()
        .filter(|(path, _)| path.ends_with("sft.conv_beta.weight"))
        .collect();
    // One in each of three down blocks, two in the middle, two in each of three up blocks.
    assert_eq!(shifts.len(), 3 + 2 + 6);
    for (path, grad) in shifts {
        assert!(grad.iter().any(|g| *g != 0.0), "{path}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    for (fields, message) in [
        (
            json!({"task_modules": {"concat_channels": 2}}),
            "in_channels = 3 must be out_channels = 3 and these channels together",
        ),
        (
            json!({"task_modules": {"class_labels": 0}}),
            "task_modules.class_labels",
        ),
        (
            json!({"task_modules": {"context": {"features": 0}}}),
            "task_modules.context.features",
        ),
        (
            json!({"task_modules": {"feature_pyramid": {"in_channels": 2, "model_channels": 10}}}),
            "a multiple of norm_num_groups = 4",
        ),
        (
            json!({"cross_attention_dim": [12, 12, 16], "task_modules": {"no_text": true}}),
            "all blocks",
        ),
    ] {
        let error = config(fields).validate().unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_configuration_survives_its_file_and_a_plain_one_says_nothing_of_tasks() {
    let task = config(everything());
    let text = task.to_diffusers_json();
    assert_eq!(
        UNet2DConditionConfig::from_diffusers_json(&text).unwrap(),
        task
    );
    assert!(
        !config(json!({}))
            .to_diffusers_json()
            .contains("task_modules")
    );
}

#[test]
fn the_list_of_modules_is_what_the_base_does_not_have() {
    let device = Device::flex();
    let task = unet(everything(), &device);
    let base = unet(json!({}), &device);
    let modules = task.task_modules();
    let kinds: Vec<_> = modules.iter().map(|module| module.kind).collect();
    assert_eq!(
        kinds,
        [
            TaskModuleKind::GroundingTokens,
            TaskModuleKind::Context,
            TaskModuleKind::ClassLabels,
            TaskModuleKind::ConcatChannels,
            TaskModuleKind::CameraPose,
            TaskModuleKind::FeaturePyramid,
        ]
    );
    let paths =
        |unet: &UNet2DCondition| -> BTreeSet<String> { by_path(unet).into_keys().collect() };
    let mut more: BTreeSet<String> = &paths(&task) - &paths(&base);
    more.insert("conv_in.weight".to_owned());
    let listed: BTreeSet<String> = modules.iter().flat_map(|m| m.parameters.clone()).collect();
    assert_eq!(listed, more);
    for path in paths(&task) {
        assert_eq!(
            task.is_task_parameter(&path),
            more.contains(&path),
            "{path}"
        );
    }
    let count = |unet| -> usize { by_path(unet).values().map(Vec::len).sum() };
    let elements: usize = modules.iter().map(|module| module.elements).sum();
    assert_eq!(elements, count(&task) - count(&base));
    assert!(base.task_modules().is_empty() && !base.is_task_parameter("conv_in.weight"));
    let has_identity: Vec<bool> = modules.iter().map(|module| module.has_identity()).collect();
    assert_eq!(has_identity, [true, false, false, true, true, true]);
}

#[test]
fn adapters_reach_the_attention_of_tasks_and_belong_to_none() {
    let device = Device::flex();
    let base = Denoiser::Unet(unet(everything(), &device));
    let adapted = base.with_lora(&LoraConfig::default(), 0).unwrap();
    let adapters: Vec<String> = named_parameters(&adapted)
        .into_iter()
        .filter(|parameter| parameter.is_adapter())
        .map(|parameter| parameter.path)
        .collect();
    let has = |part: &str| adapters.iter().any(|path| path.contains(part));
    assert!(has("fuser.attn.to_q") && has("feature_pyramid.mid_block.attentions.0.attn.to_v"));
    assert!(!has("fuser.ff") && !has("conv"));
    assert!(adapters.iter().all(|path| !adapted.is_task_parameter(path)));
    assert_eq!(adapted.task_modules(), base.task_modules());
}

/// Derivatives of all kinds of modules, each along one direction, by central differences.
#[test]
fn gradients_are_those_of_finite_differences() {
    let device = Device::flex().autodiff();
    let task = loud(&unet(everything(), &device));
    let all = conditions(SIZE, &device);
    let (x, t) = inputs(SIZE, &device);
    let target = wave([2, 3, 8, 8], 0.61, &device);
    let forward = |unet: &UNet2DCondition| unet.forward(x.clone(), t.clone(), &all);
    let loss = (forward(&task) * target.clone()).sum();
    let grads = memory_gradients(&task, &loss.backward());
    let weights = values(target);
    for path in [
        "context_embedding.proj.weight",
        "class_label_embedding.table.weight",
        "conv_in.weight",
        "camera_pose_embedding.linear_1.weight",
        "feature_pyramid.conv_in.weight",
        "feature_pyramid.time_embedding.linear_1.weight",
        "feature_pyramid.mid_block.attentions.0.attn.to_q.weight",
        "feature_pyramid.out_blocks.2.conv2.weight",
        "down_blocks.0.resnets.0.sft.conv_shared.weight",
        "mid_block.resnets.1.sft.conv_gamma.weight",
        "up_blocks.1.resnets.1.sft.conv_beta.weight",
    ] {
        // Uphill, where the difference is largest beside rounding; small, because of the kinks of `relu`.
        const STEP: f32 = 1e-3;
        let grad = &grads.iter().find(|(name, _)| name == path).unwrap().1;
        let steepest = grad.iter().fold(0.0f32, |max, g| max.max(g.abs()));
        let at = |step: f32| {
            let there = moved(&task, |name, i| {
                if name == path {
                    step * grad[i] / steepest
                } else {
                    0.0
                }
            });
            let outputs = values(forward(&there)).into_iter().zip(&weights);
            outputs
                .map(|(y, w)| f64::from(y) * f64::from(*w))
                .sum::<f64>()
        };
        let found = (at(STEP) - at(-STEP)) / f64::from(2.0 * STEP);
        let expected: f64 = grad
            .iter()
            .map(|g| f64::from(*g).powi(2) / f64::from(steepest))
            .sum();
        assert!(
            (found - expected).abs() < 0.03 * expected + 5e-3,
            "{path}: {found} by differences, {expected} by the backward pass"
        );
        assert!(expected > 0.05, "{path}: {expected} tells nothing");
    }
}

/// Gradients in memory's layout.
fn memory_gradients<M: Module>(module: &M, grads: &Gradients) -> Vec<(String, Vec<f32>)> {
    struct Collector<'a>(&'a Gradients, Vec<Vec<f32>>);
    impl ModuleVisitor for Collector<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1
                .push(param.val().grad(self.0).map(values).unwrap_or_default());
        }
    }
    let mut collector = Collector(grads, Vec::new());
    module.visit(&mut collector);
    let names = named_parameters(module).into_iter();
    names
        .map(|parameter| parameter.path)
        .zip(collector.1)
        .collect()
}

#[test]
fn checkpointed_gradients_are_those_of_the_whole_graph() {
    let device = Device::flex().autodiff();
    let task = Denoiser::Unet(loud(&unet(everything(), &device)));
    let all = conditions([7, 5], &device);
    let (x, t) = inputs([7, 5], &device);
    let plain = task
        .forward(x.clone(), t.clone(), &all)
        .powi_scalar(2)
        .mean();
    let plain = memory_gradients(&task, &plain.backward());

    let (output, _, tape) = task.forward_checkpointed(&task, x, t, &all, false);
    let gradients = output.powi_scalar(2).mean().backward();
    let mut found = memory_gradients(&task, &gradients);
    tape.unwrap().backward(&gradients, &mut |gradients| {
        for (sum, (_, more)) in found.iter_mut().zip(memory_gradients(&task, gradients)) {
            if sum.1.is_empty() {
                sum.1 = more;
            } else if !more.is_empty() {
                panic!("{} was given twice", sum.0);
            }
        }
    });
    for ((path, expected), (_, found)) in plain.iter().zip(&found) {
        assert!(!expected.is_empty(), "{path}");
        assert_eq!(expected, found, "{path}");
    }
}
