//! A volume of all noised views in a whole network.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use dsl_nets::{
    Conditioning, Denoiser, NetsError, ParameterInit, VolumeConditioning, WeightDType, WeightFile,
    named_parameters, weights,
};
use serde_json::{Value, json};

use crate::fixture::{assert_close, values};
use crate::views::{
    check_checkpointed, check_gradients, config, inputs, network, reordered, stirred, wave,
};

const VIEWS: usize = 3;

fn task_modules(change: Value) -> Value {
    let mut volume = json!({
        "views": VIEWS,
        "half_side": 0.5,
        "depth_range": [0.7, 2.3],
        "resolution": 8,
        "depths": 8,
        "channels": [8, 8, 16]
    });
    for (key, value) in change.as_object().unwrap() {
        volume[key] = value.clone();
    }
    json!({"view_volume": volume})
}

/// Cameras around the objects at distance 1.5, all of them seeing the whole cube.
fn cameras(objects: usize, device: &Device) -> Tensor<4> {
    let mut values = Vec::new();
    for view in 0..objects * VIEWS {
        let (sin, cos) = (view as f32 * 1.3 + 0.2).sin_cos();
        let forward = [-cos, -sin, 0.0];
        for (axis, shift) in [
            ([-sin, cos, 0.0], 0.5),
            ([0.0, 0.0, -1.0], 0.5),
            ([0.0; 3], 1.0),
        ] {
            values.extend((0..3).map(|i| axis[i] + shift * forward[i]));
            values.push(shift * 1.5);
        }
    }
    Tensor::from_data(TensorData::new(values, [objects, VIEWS, 3, 4]), device)
}

fn with_volume(text: &Conditioning, kept: &[f32], device: &Device) -> Conditioning {
    Conditioning {
        volume: Some(VolumeConditioning {
            projections: cameras(kept.len(), device),
            kept: Tensor::from_floats(kept, device),
        }),
        ..text.clone()
    }
}

#[test]
fn fresh_layers_leave_the_base_as_it_is() {
    let device = Device::flex();
    // Sizes that do not halve evenly.
    let (x, t, c) = inputs(2 * VIEWS, [12, 10], &device);
    let expected = values(network(json!({}), &device).forward(x.clone(), t.clone(), &c));
    let net = network(task_modules(json!({})), &device);
    let queries: Vec<_> = named_parameters(&net)
        .into_iter()
        .filter(|parameter| parameter.path.ends_with("to_q.weight"))
        .filter(|parameter| parameter.path.contains("depth_attentions"))
        .map(|parameter| parameter.path.replace(".to_q.weight", ""))
        .collect();
    let places = [
        "mid_block.depth_attentions.0",
        "up_blocks.1.depth_attentions.0",
        "up_blocks.1.depth_attentions.1",
        "up_blocks.2.depth_attentions.0",
        "up_blocks.2.depth_attentions.1",
    ];
    assert_eq!(queries, places);
    let c = with_volume(&c, &[1.0, 0.0], &device);
    assert_eq!(values(net.forward(x, t, &c)), expected);
}

/// Which rows change when the second view of the first object is another one.
fn rows_that_notice(net: &Denoiser, kept: &[f32], device: &Device) -> Vec<bool> {
    let (x, t, c) = inputs(2 * VIEWS, [24, 40], device);
    let c = with_volume(&c, kept, device);
    let before = net.forward(x.clone(), t.clone(), &c);
    let other = wave([1, 3, 24, 40], 0.31, device);
    let after = net.forward(x.slice_assign(burn::tensor::s![1..2], other), t, &c);
    let changed = (after - before)
        .abs()
        .reshape([2 * VIEWS, 3 * 960])
        .max_dim(1);
    values(changed).iter().map(|by| *by > 0.0).collect()
}

#[test]
fn views_of_an_object_see_each_other_through_its_volume() {
    let device = Device::flex();
    let net = stirred(&network(task_modules(json!({})), &device));
    let (yes, no) = (true, false);
    assert_eq!(
        rows_that_notice(&net, &[1.0, 1.0], &device),
        [yes, yes, yes, no, no, no]
    );
    // Without a volume each row is alone.
    assert_eq!(
        rows_that_notice(&net, &[0.0, 1.0], &device),
        [no, yes, no, no, no, no]
    );
}

#[test]
fn no_object_is_special() {
    let device = Device::flex();
    let net = stirred(&network(task_modules(json!({})), &device));
    let (x, t, c) = inputs(2 * VIEWS, [8, 12], &device);
    let mut c = with_volume(&c, &[1.0, 0.0], &device);
    let before = net.forward(x.clone(), t.clone(), &c);
    let volume = c.volume.as_mut().unwrap();
    volume.projections = reordered(volume.projections.clone(), &[1, 0]);
    volume.kept = volume.kept.clone().flip([0]);
    let order = [3, 4, 5, 0, 1, 2];
    let found = values(net.forward(reordered(x, &order), t, &c));
    assert_close("objects", &found, &values(reordered(before, &order)), 1e-5);
}

#[test]
fn the_volume_follows_the_cameras_and_the_timestep() {
    let device = Device::flex();
    let net = stirred(&network(task_modules(json!({})), &device));
    let Denoiser::Unet(unet) = &net else {
        unreachable!("views::network builds a UNet");
    };
    let (x, t, _) = inputs(VIEWS, [8, 12], &device);
    let volume = unet.view_volume.as_ref().unwrap();
    let run = |t: Tensor<1>, order: &[i32], kept: f32| {
        let cameras = VolumeConditioning {
            projections: cameras(1, &device).select(1, Tensor::<1, Int>::from_ints(order, &device)),
            kept: Tensor::from_floats([kept], &device),
        };
        volume.forward(x.clone(), t, &cameras, None)
    };
    let features = run(t.clone(), &[0, 1, 2], 1.0);
    let dims: Vec<_> = features.iter().map(Tensor::dims).collect();
    assert_eq!(dims, [[3, 8, 8, 8, 12], [3, 8, 4, 4, 6], [3, 16, 2, 2, 3]]);
    let other_cameras = run(t.clone(), &[2, 0, 1], 1.0);
    let later = run(t.clone() + 300.0, &[0, 1, 2], 1.0);
    for (i, level) in features.iter().enumerate() {
        for other in [&other_cameras[i], &later[i]] {
            let difference = (level.clone() - other.clone()).abs().max();
            assert!(values(difference)[0] > 1e-3);
        }
    }
    for level in run(t, &[0, 1, 2], 0.0) {
        assert!(values(level).iter().all(|value| *value == 0.0));
    }
}

#[test]
fn gradients_are_differences() {
    let device = Device::flex().autodiff();
    let (x, t, c) = inputs(VIEWS, [6, 5], &device);
    let c = with_volume(&c, &[1.0], &device);
    let net = stirred(&network(task_modules(json!({})), &device));
    let at = [
        ("view_volume.time_embedding.linear_1.bias", 3),
        ("view_volume.view_encoder.conv_in.weight", 13),
        ("view_volume.view_encoder.blocks.1.embedding.time.weight", 7),
        ("view_volume.volume_unet.conv_in.weight", 40),
        (
            "view_volume.volume_unet.levels.1.downsampler.conv.weight",
            13,
        ),
        ("view_volume.volume_unet.upsamplers.0.weight", 5),
        ("view_volume.frustum_unet.upsamplers.1.bias", 3),
        ("mid_block.depth_attentions.0.proj_context", 7),
        ("up_blocks.1.depth_attentions.1.to_q.weight", 7),
        ("up_blocks.2.depth_attentions.0.to_out.weight", 7),
    ];
    let x = x.cast(DType::F64);
    check_gradients(&net, &c, &at, |net, c| {
        net.forward(x.clone(), t.clone(), c).powi_scalar(2).mean()
    });
}

#[test]
fn files_hold_all_of_it() {
    let device = Device::flex();
    let net = stirred(&network(task_modules(json!({})), &device));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unet.safetensors");
    weights::save(&net, &path, WeightDType::F32, &BTreeMap::new()).unwrap();
    let file = WeightFile::open(&path).unwrap();
    let key = "view_volume.volume_unet.levels.1.downsampler.conv.weight";
    assert_eq!(file.shape(key).unwrap(), [8, 8, 3, 3, 3]);
    let fresh = network(task_modules(json!({})), &device);
    let again = weights::load_complete(fresh, &file, &[]).unwrap();
    let (x, t, c) = inputs(VIEWS, [8, 8], &device);
    let c = with_volume(&c, &[1.0], &device);
    let [expected, found] = [net, again].map(|net| values(net.forward(x.clone(), t.clone(), &c)));
    assert_eq!(found, expected);
}

#[test]
fn cameras_are_asked_for() {
    let device = Device::flex();
    let net = network(task_modules(json!({})), &device);
    let (_, _, c) = inputs(VIEWS, [8, 8], &device);
    let error = net.check_conditioning(&c).unwrap_err();
    let NetsError::MissingConditioning { part, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(part, "volume");
    net.check_conditioning(&with_volume(&c, &[1.0], &device))
        .unwrap();
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    for (change, field) in [
        (json!({"views": 0}), "views"),
        (json!({"resolution": 1}), "resolution"),
        (json!({"depths": 1}), "depths"),
        (json!({"half_side": 0.0}), "half_side"),
        (json!({"depth_range": [2.0, 1.0]}), "depth_range"),
        (json!({"depth_range": [0.0, 1.0]}), "depth_range"),
        (json!({"channels": [8, 8]}), "channels"),
        (json!({"channels": [8, 0, 8]}), "channels"),
    ] {
        check_refused(task_modules(change), field);
    }
    let mut both = task_modules(json!({}));
    both["multi_view"] = json!({"views": VIEWS, "domains": 2, "attention": "dense"});
    check_refused(both, "views");
}

#[track_caller]
fn check_refused(task_modules: Value, wrong: &str) {
    let error = config(task_modules)
        .init(&ParameterInit::new(0, &Device::flex()))
        .unwrap_err();
    let NetsError::InvalidConfig { field, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(field, format!("task_modules.view_volume.{wrong}"));
}

#[test]
fn blocks_that_are_computed_twice_have_the_same_gradients() {
    let device = Device::flex().autodiff();
    let net = stirred(&network(task_modules(json!({})), &device));
    let (x, t, c) = inputs(2 * VIEWS, [12, 10], &device);
    check_checkpointed(&net, x, t, &with_volume(&c, &[1.0, 0.0], &device));
}
