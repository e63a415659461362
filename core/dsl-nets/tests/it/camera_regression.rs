//! The camera that a network estimates from its middle block.

use burn::tensor::{DType, Device, Tensor};
use dsl_nets::{CameraRegressor, Denoiser, Linear};
use serde_json::{Value, json};

use crate::fixture::{assert_close, values};
use crate::unet::gradients_by_key;
use crate::views::{check_checkpointed, check_gradients, inputs, network, nudged, stirred, wave};

fn task_modules(domains: usize) -> Value {
    json!({
        "multi_view": {"views": 3, "domains": domains, "attention": "row_wise"},
        "camera_regression": {}
    })
}

fn regressors(net: &Denoiser) -> [&CameraRegressor; 2] {
    let Denoiser::Unet(unet) = net else {
        unreachable!("views::network builds a UNet");
    };
    let regression = unet.camera_regression.as_ref().unwrap();
    [&regression.elevation_regressor, &regression.focal_regressor]
}

#[test]
fn there_is_an_estimate_for_each_object() {
    let device = Device::flex();
    let net = stirred(&network(task_modules(2), &device));
    let (x, t, c) = inputs(12, [8, 8], &device);
    let (prediction, estimate) = net.forward_with_camera(x.clone(), t.clone(), &c);
    assert_eq!(
        values(prediction.clone()),
        values(net.forward(x.clone(), t.clone(), &c))
    );
    let estimate = estimate.unwrap();
    let [elevation, focal] = [estimate.elevation, estimate.inverse_focal].map(values);
    assert_eq!([elevation.len(), focal.len()], [2, 2]);
    assert!(elevation[0] != elevation[1] && elevation[0] != focal[0]);

    // Each object alone gives what it gives beside the other.
    for object in 0..2 {
        let rows = object * 6..object * 6 + 6;
        let (alone, estimate) = net.forward_with_camera(
            x.clone().slice([rows.clone()]),
            t.clone().slice([rows.clone()]),
            &dsl_nets::Conditioning::text(
                c.encoder_hidden_states
                    .clone()
                    .unwrap()
                    .slice([rows.clone()]),
            ),
        );
        let found = values(estimate.unwrap().elevation);
        assert_close("elevation", &found, &elevation[object..=object], 1e-5);
        let expected = values(prediction.clone().slice([rows]));
        assert_close("prediction", &values(alone), &expected, 1e-5);
    }
    let plain = network(json!({}), &device);
    assert!(plain.forward_with_camera(x, t, &c).1.is_none());
}

#[test]
fn a_regressor_is_what_its_layers_say() {
    let device = Device::flex();
    let net = stirred(&network(task_modules(2), &device));
    let pooled = wave([5, 32], 0.77, &device);
    let linear = |layer: &Linear, x: Tensor<2>| {
        x.matmul(layer.weight.val()) + layer.bias.as_ref().unwrap().val().unsqueeze()
    };
    let silu = |x: Tensor<2>| x.clone() / (x.neg().exp() + 1.0);
    for regressor in regressors(&net) {
        assert_eq!(regressor.blocks.len(), 3);
        let mut hidden = silu(linear(&regressor.linear_in, pooled.clone()));
        for block in &regressor.blocks {
            let inner = silu(linear(&block.linear_1, hidden.clone()));
            hidden = silu(hidden + linear(&block.linear_2, inner));
        }
        let expected = values(linear(&regressor.linear_out, hidden));
        assert_close(
            "estimates",
            &values(regressor.forward(pooled.clone())),
            &expected,
            1e-5,
        );
    }
}

#[test]
fn estimates_send_no_gradient_into_the_network() {
    let device = Device::flex().autodiff();
    let net = stirred(&network(task_modules(2), &device));
    let (x, t, c) = inputs(6, [8, 8], &device);
    let (_, estimate) = net.forward_with_camera(x.clone(), t.clone(), &c);
    let estimate = estimate.unwrap();
    let loss = estimate.elevation.sum() + estimate.inverse_focal.powi_scalar(2).sum();
    for (key, gradient) in gradients_by_key(&net, &loss.backward()) {
        let head = key.starts_with("camera_regression.") && key.contains("_regressor.");
        assert_eq!(!gradient.is_empty(), head, "{key}");
    }
    // The prediction does, through the estimates, into the networks that make them.
    let loss = net.forward(x, t, &c).powi_scalar(2).mean();
    let by_key = gradients_by_key(&net, &loss.backward());
    for key in [
        "camera_regression.elevation_regressor.linear_in.weight",
        "camera_regression.focal_regressor.linear_out.bias",
        "camera_regression.camera_embedding.linear_1.weight",
    ] {
        assert!(by_key[key].iter().any(|g| *g != 0.0), "{key}");
    }
}

#[test]
fn estimates_reach_the_up_blocks() {
    let device = Device::flex();
    let net = stirred(&network(task_modules(1), &device));
    let (x, t, c) = inputs(3, [8, 8], &device);
    let path = "camera_regression.elevation_regressor.linear_out.bias";
    let other = nudged(&net, path, 0, 0.5);
    let run = |net: &Denoiser| net.forward_with_camera(x.clone(), t.clone(), &c);
    let [(a, first), (b, second)] = [run(&net), run(&other)];
    let [first, second] = [first, second].map(Option::unwrap);
    let moved = values(second.elevation - first.elevation);
    assert_close("elevation", &moved, &[0.5], 1e-4);
    assert_eq!(
        values(second.inverse_focal),
        values(first.inverse_focal),
        "the middle block does not see what is estimated from it"
    );
    assert!(values((a - b).abs().max())[0] > 1e-4);
}

#[test]
fn gradients_are_differences() {
    let device = Device::flex().autodiff();
    let (x, t, c) = inputs(6, [6, 5], &device);
    let net = stirred(&network(task_modules(2), &device));
    let at = [
        ("camera_regression.elevation_regressor.linear_in.weight", 9),
        ("camera_regression.elevation_regressor.linear_out.bias", 0),
        (
            "camera_regression.focal_regressor.blocks.2.linear_2.weight",
            5,
        ),
    ];
    let x = x.cast(DType::F64);
    check_gradients(&net, &c, &at, |net, c| {
        let (_, estimate) = net.forward_with_camera(x.clone(), t.clone(), c);
        let estimate = estimate.unwrap();
        (estimate.elevation - 0.3).powi_scalar(2).sum()
            + (estimate.inverse_focal - 0.1).powi_scalar(2).sum()
    });
    let at = [("camera_regression.camera_embedding.linear_2.weight", 3)];
    check_gradients(&net, &c, &at, |net, c| {
        net.forward(x.clone(), t.clone(), c).powi_scalar(2).mean()
    });
}

#[test]
fn blocks_that_are_computed_twice_have_the_same_gradients() {
    let device = Device::flex().autodiff();
    let net = stirred(&network(task_modules(2), &device));
    let (x, t, c) = inputs(12, [8, 8], &device);
    check_checkpointed(&net, x, t, &c);
}
