//! Attention across views and over domains, in a whole network.

use burn::tensor::{DType, Device};
use dsl_nets::{Denoiser, NetsError, ParameterInit, named_parameters};
use serde_json::{Value, json};

use crate::fixture::{assert_close, values};
use crate::views::{
    check_checkpointed, check_gradients, config, inputs, network, reordered, stirred, wave,
};

fn multi_view(domains: usize, attention: &str) -> Value {
    json!({"multi_view": {"views": 3, "domains": domains, "attention": attention}})
}

#[test]
fn fresh_layers_leave_the_base_as_it_is() {
    let device = Device::flex();
    // Sizes that do not halve evenly.
    let (x, t, c) = inputs(6, [11, 20], &device);
    let base = network(json!({}), &device);
    let expected = values(base.forward(x.clone(), t.clone(), &c));
    for attention in ["dense", "row_wise"] {
        let added = network(multi_view(1, attention), &device);
        let layers = named_parameters(&added)
            .iter()
            .filter(|parameter| parameter.path.contains("attn_mv.to_q"))
            .count();
        // Two in the down path, one in the middle, four in the up path.
        assert_eq!(layers, 7);
        assert_eq!(values(added.forward(x.clone(), t.clone(), &c)), expected);
    }
}

#[test]
fn views_see_each_other() {
    let device = Device::flex();
    let (x, t, c) = inputs(6, [8, 12], &device);
    for attention in ["dense", "row_wise"] {
        let net = stirred(&network(multi_view(1, attention), &device));
        let run = |x| net.forward(x, t.clone(), &c);
        let before = run(x.clone());
        // Another first view of the first object: its other views notice, the second object does not.
        let other = wave([1, 3, 8, 12], 0.31, &device);
        let after = run(x.clone().slice_assign(burn::tensor::s![0..1], other));
        let changed = (after - before.clone())
            .abs()
            .reshape([6, 3 * 96])
            .max_dim(1);
        let changed: Vec<_> = values(changed).iter().map(|by| *by > 0.0).collect();
        assert_eq!(changed, [true, true, true, false, false, false]);
        // No view is special, and no object.
        let order = [4, 5, 3, 1, 2, 0];
        let expected = values(reordered(before, &order));
        let found = values(run(reordered(x.clone(), &order)));
        assert_close(attention, &found, &expected, 1e-5);
    }
}

#[test]
fn domains_are_told_apart() {
    let device = Device::flex();
    let (x, t, c) = inputs(12, [8, 8], &device);
    let fresh = network(multi_view(2, "row_wise"), &device);
    let net = stirred(&fresh);
    let swapped = [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8];
    let run =
        |net: &Denoiser, order: &[i32]| net.forward(reordered(x.clone(), order), t.clone(), &c);
    let same: Vec<i32> = (0..12).collect();
    let difference = |net: &Denoiser| {
        let moved = run(net, &swapped) - reordered(run(net, &same), &swapped);
        values(moved.abs().max())[0]
    };
    // Fresh embeddings are zeros, and attention does not know an order.
    assert!(difference(&fresh) < 1e-4);
    assert!(difference(&net) > 1e-2);
}

#[test]
fn domains_of_a_view_attend_to_each_other() {
    let device = Device::flex();
    let (x, t, c) = inputs(6, [8, 8], &device);
    // Fresh: nothing crosses views, so that what is seen elsewhere came through the joint attention.
    let net = network(multi_view(2, "row_wise"), &device);
    let before = net.forward(x.clone(), t.clone(), &c);
    let other = wave([1, 3, 8, 8], 0.31, &device);
    let after = net.forward(x.slice_assign(burn::tensor::s![1..2], other), t, &c);
    let changed = (after - before).abs().reshape([6, 3 * 64]).max_dim(1);
    let changed: Vec<_> = values(changed).iter().map(|by| *by > 0.0).collect();
    assert_eq!(changed, [false, true, false, false, true, false]);
}

#[test]
fn gradients_are_differences() {
    let device = Device::flex().autodiff();
    let (x, t, c) = inputs(6, [6, 5], &device);
    let net = stirred(&network(multi_view(2, "row_wise"), &device));
    let block = "mid_block.attentions.0.transformer_blocks.0";
    let paths = [
        format!("{block}.attn_mv.to_q.weight"),
        format!("{block}.attn_mv.to_out.0.bias"),
        format!("{block}.norm_mv.weight"),
        format!("{block}.attn1.to_v.weight"),
        "domain_embedding".to_owned(),
    ];
    let at: Vec<_> = paths.iter().map(|path| (path.as_str(), 7)).collect();
    let x = x.cast(DType::F64);
    check_gradients(&net, &c, &at, |net, c| {
        net.forward(x.clone(), t.clone(), c).powi_scalar(2).mean()
    });
}

#[test]
fn blocks_that_are_computed_twice_have_the_same_gradients() {
    let device = Device::flex().autodiff();
    let (x, t, c) = inputs(6, [6, 5], &device);
    let net = stirred(&network(multi_view(2, "dense"), &device));
    check_checkpointed(&net, x, t, &c);
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    for (task_modules, wrong) in [
        (
            json!({"multi_view": {"views": 0, "domains": 1, "attention": "dense"}}),
            "task_modules.multi_view.views",
        ),
        (
            json!({"multi_view": {"views": 2, "domains": 0, "attention": "dense"}}),
            "task_modules.multi_view.domains",
        ),
        (
            json!({"camera_regression": {}}),
            "task_modules.camera_regression",
        ),
    ] {
        let error = config(task_modules)
            .init(&ParameterInit::new(0, &Device::flex()))
            .unwrap_err();
        let NetsError::InvalidConfig { field, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(field, wrong);
    }
}
