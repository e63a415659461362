//! Networks that read several views of an object: what their tests have in common.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use dsl_nets::{
    CameraEstimate, Conditioning, Denoiser, DenoiserConfig, ParameterInit, named_parameters,
};
use serde_json::{Value, json};

use crate::fixture::values;
use crate::unet::gradients_by_key;

/// A UNet of three levels, of which the second and third have transformers.
pub fn config(task_modules: Value) -> DenoiserConfig {
    serde_json::from_value(json!({
        "kind": "unet",
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": [8, 16, 16],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 2,
        "cross_attention_dim": 12,
        "task_modules": task_modules
    }))
    .unwrap()
}

pub fn network(task_modules: Value, device: &Device) -> Denoiser {
    config(task_modules)
        .init(&ParameterInit::new(11, device))
        .unwrap()
}

/// Values between -1 and 1 without a pattern, other ones for another `step`.
pub fn wave<const D: usize>(dims: [usize; D], step: f32, device: &Device) -> Tensor<D> {
    let count = dims.iter().product::<usize>();
    let values: Vec<f32> = (0..count).map(|i| (i as f32 * step).sin()).collect();
    Tensor::from_data(TensorData::new(values, dims), device)
}

/// `x_t`, a timestep for each row, and text that is the same for all rows.
pub fn inputs(
    rows: usize,
    [height, width]: [usize; 2],
    device: &Device,
) -> (Tensor<4>, Tensor<1>, Conditioning) {
    (
        wave([rows, 3, height, width], 0.7391, device),
        Tensor::full([rows], 300.0, device),
        Conditioning::text(wave([1, 5, 12], 0.73, device).expand([rows, 5, 12])),
    )
}

/// The rows of a batch in another order.
pub fn reordered<const D: usize>(x: Tensor<D>, order: &[i32]) -> Tensor<D> {
    let order = Tensor::<1, Int>::from_ints(order, &x.device());
    x.select(0, order)
}

/// The network after some training: no parameter is as fresh ones are.
pub fn stirred(network: &Denoiser) -> Denoiser {
    struct Stir;
    impl ModuleMapper for Stir {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| {
                let (dims, device) = (tensor.dims(), tensor.device());
                let trains = tensor.is_require_grad();
                let tensor = (tensor + wave(dims, 1.23, &device) * 0.05).detach();
                if trains {
                    tensor.require_grad()
                } else {
                    tensor
                }
            })
        }
    }
    network.clone().map(&mut Stir)
}

/// The network with one number of a parameter changed.
pub fn nudged(network: &Denoiser, path: &str, index: usize, by: f64) -> Denoiser {
    struct Nudge(ParamId, usize, f64);
    impl ModuleMapper for Nudge {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if param.id != self.0 {
                return param;
            }
            param.map(|tensor| {
                let (dims, device, dtype) = (tensor.dims(), tensor.device(), tensor.dtype());
                let mut change = vec![0.0; dims.iter().product()];
                change[self.1] = self.2;
                let change = TensorData::new(change, dims);
                (tensor + Tensor::from_data(change, (&device, dtype))).detach()
            })
        }
    }
    let id = named_parameters(network)
        .into_iter()
        .find(|parameter| parameter.path == path)
        .unwrap_or_else(|| panic!("no parameter {path}"))
        .id;
    network.clone().map(&mut Nudge(id, index, by))
}

/// Gradients of `loss` at numbers of some parameters, against differences of its values; in float64, where a difference has
/// digits enough. `loss` gets the network and the text.
#[track_caller]
pub fn check_gradients(
    network: &Denoiser,
    conditioning: &Conditioning,
    at: &[(&str, usize)],
    loss: impl Fn(&Denoiser, &Conditioning) -> Tensor<1>,
) {
    struct ToF64;
    impl ModuleMapper for ToF64 {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor.cast(DType::F64).detach().require_grad())
        }
    }
    const STEP: f64 = 1e-5;
    let network = &network.clone().map(&mut ToF64);
    let text = conditioning.encoder_hidden_states.clone();
    let conditioning = Conditioning {
        encoder_hidden_states: text.map(|text| text.cast(DType::F64)),
        ..conditioning.clone()
    };
    let loss = |network: &Denoiser| loss(network, &conditioning);
    let gradients = gradients_by_key(network, &loss(network).backward());
    let parameters = named_parameters(network);
    let mut wrong = Vec::new();
    for &(path, index) in at {
        let [above, below] = [STEP, -STEP].map(|by| {
            let loss = loss(&nudged(network, path, index, by)).into_data();
            loss.iter::<f64>().sum::<f64>()
        });
        let difference = (above - below) / (2.0 * STEP);
        let parameter = parameters.iter().find(|parameter| parameter.path == path);
        let parameter = parameter.expect("it was nudged");
        // Files hold the weight of a linear layer the other way round.
        let place = if parameter.is_transposed {
            let [rows, columns] = [parameter.shape[0], parameter.shape[1]];
            index % columns * rows + index / columns
        } else {
            index
        };
        let gradient = f64::from(gradients[path][place]);
        let close = (gradient - difference).abs() < 1e-3 * difference.abs();
        if !close || difference.abs() < 1e-10 {
            wrong.push(format!("{path}[{index}]: {gradient} and {difference}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A pass that computes its blocks twice has the gradients of one that keeps everything, bit for bit: of a loss of the
/// prediction, and of the estimate of the camera where there is one.
pub fn check_checkpointed(net: &Denoiser, x: Tensor<4>, t: Tensor<1>, c: &Conditioning) {
    let loss = |prediction: Tensor<4>, estimate: &Option<CameraEstimate>| {
        let of_prediction = prediction.powi_scalar(2).mean();
        match estimate {
            Some(estimate) => {
                let of_camera = estimate.elevation.clone() - estimate.inverse_focal.clone() * 2.0;
                of_prediction + of_camera.powi_scalar(2).mean()
            }
            None => of_prediction,
        }
    };
    let (prediction, estimate) = net.forward_with_camera(x.clone(), t.clone(), c);
    let expected = gradients_by_key(net, &loss(prediction.clone(), &estimate).backward());

    let (again, estimated, tape) = net.forward_checkpointed(net, x, t, c, false);
    assert_eq!(values(again.clone()), values(prediction));
    let elevation = |estimate: &Option<CameraEstimate>| {
        (estimate.as_ref()).map(|estimate| values(estimate.elevation.clone()))
    };
    assert_eq!(elevation(&estimated), elevation(&estimate));
    let mut found: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    let mut collect = |gradients: &mut _| {
        for (key, gradient) in gradients_by_key(net, gradients) {
            if !gradient.is_empty() {
                assert!(found.insert(key.clone(), gradient).is_none(), "{key} twice");
            }
        }
    };
    let mut gradients = loss(again, &estimated).backward();
    tape.unwrap().backward(&gradients, &mut collect);
    collect(&mut gradients);
    let expected = expected
        .into_iter()
        .filter(|(_, values)| !values.is_empty());
    let expected: BTreeMap<_, _> = expected.collect();
    let [these, those] = [&expected, &found].map(|all| all.keys().collect::<Vec<_>>());
    assert_eq!(these, those);
    for (key, gradient) in &expected {
        assert!(*gradient == found[key], "{key}");
    }
}
