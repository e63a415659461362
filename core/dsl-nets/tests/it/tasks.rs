//! What tests of tasks' modules share: small networks, inputs, conditions.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Int, Tensor};
use dsl_nets::{
    Conditioning, DenoiserConfig, GligenConditioning, ModelConfig, ParameterInit, UNet2DCondition,
    UNet2DConditionConfig, named_parameters,
};
use serde_json::{Value, json};

/// A UNet of three levels for 3 channels and text of 12 features, with these fields in the place of its own.
pub fn config(fields: Value) -> UNet2DConditionConfig {
    let mut all = json!({
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": [8, 16, 16],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 2,
        "cross_attention_dim": 12
    });
    for (field, value) in fields.as_object().unwrap() {
        all[field] = value.clone();
    }
    serde_json::from_value(all).unwrap()
}

pub fn model_config(fields: Value) -> ModelConfig {
    ModelConfig {
        denoiser: DenoiserConfig::Unet(config(fields)),
        text_encoder: crate::init::small_config().text_encoder,
        pipeline_text: None,
    }
}

/// The UNet with fresh values, which are the same in all of these networks where they have the same parameters.
pub fn unet(fields: Value, device: &Device) -> UNet2DCondition {
    UNet2DCondition::new(&config(fields), &ParameterInit::new(1, device)).unwrap()
}

/// With every kind of module that is added to one row of a batch at a time.
pub fn everything() -> Value {
    json!({
        "in_channels": 5,
        "attention_type": "gated",
        "task_modules": {
            "context": {"features": 5},
            "class_labels": 3,
            "concat_channels": 2,
            "camera_pose": {"numbers": 4},
            "feature_pyramid": {"in_channels": 2, "sft_norm": "none"}
        }
    })
}

pub fn wave<const D: usize>(shape: [usize; D], step: f32, device: &Device) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| (i as f32 * step).sin()).collect();
    Tensor::<1>::from_floats(values.as_slice(), device).reshape(shape)
}

/// x_t and timesteps of a batch of two.
pub fn inputs(size: [usize; 2], device: &Device) -> (Tensor<4>, Tensor<1>) {
    let x = wave([2, 3, size[0], size[1]], 0.37, device);
    (x, Tensor::from_floats([10.0, 700.0], device))
}

pub fn text(device: &Device) -> Conditioning {
    Conditioning::text(wave([2, 5, 12], 0.73, device))
}

/// Every condition that [`everything`] reads.
pub fn conditions(size: [usize; 2], device: &Device) -> Conditioning {
    let [height, width] = size;
    Conditioning {
        context: Some(wave([2, 2, 5], 0.51, device)),
        class_ids: Some(Tensor::<1, Int>::from_ints([1, 3], device)),
        concat: Some(wave([2, 2, height, width], 0.29, device)),
        camera_pose: Some(wave([2, 4], 0.83, device)),
        pyramid: Some(wave([2, 2, height, width], 0.17, device)),
        gligen: Some(GligenConditioning {
            boxes: wave([2, 3, 4], 0.11, device).abs(),
            masks: Tensor::from_floats([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]], device),
            positive_embeddings: wave([2, 3, 12], 0.41, device),
            images: None,
        }),
        ..text(device)
    }
}

/// `module` with `change` added to the parameters whose names it is not zero for, element by element.
pub fn moved<M: Module>(module: &M, change: impl Fn(&str, usize) -> f32) -> M {
    struct Move<F> {
        change: F,
        names: std::vec::IntoIter<String>,
    }
    impl<F: Fn(&str, usize) -> f32> ModuleMapper for Move<F> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let name = self.names.next().unwrap();
            let shape: [usize; D] = param.dims();
            let count = shape.iter().product();
            let by: Vec<f32> = (0..count).map(|i| (self.change)(&name, i)).collect();
            if by.iter().all(|by| *by == 0.0) {
                return param;
            }
            param.map(|value| {
                let trains = value.is_require_grad();
                let by = Tensor::<1>::from_floats(by.as_slice(), &value.device());
                let there = value.detach() + by.reshape(shape);
                there.detach().set_require_grad(trains)
            })
        }
    }
    let names: Vec<String> = named_parameters(module)
        .into_iter()
        .map(|parameter| parameter.path)
        .collect();
    module.clone().map(&mut Move {
        change,
        names: names.into_iter(),
    })
}

/// The network with small numbers in all layers of tasks' modules, those that start at zero among them.
pub fn loud(unet: &UNet2DCondition) -> UNet2DCondition {
    moved(unet, |path, i| match unet.is_task_parameter(path) {
        true => 0.05 * (i as f32 * 0.9 + path.len() as f32).sin(),
        false => 0.0,
    })
}

/// Values by path, in memory's layout.
pub fn by_path<M: Module>(module: &M) -> BTreeMap<String, Vec<f32>> {
    named_parameters(module)
        .into_iter()
        .map(|parameter| (parameter.path, parameter.values))
        .collect()
}
