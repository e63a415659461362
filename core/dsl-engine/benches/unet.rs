//! Training steps of two UNets (forward, mean squared error, backward, AdamW), one time per line, for comparison with
//! PyTorch: `benches/pytorch/unet.py` runs this program and the same networks in turns and prints the ratios.
//!
//! `cargo bench -p dsl-engine --bench unet -- [reference|small] [steps] [batch]`

use std::time::Instant;

use burn::module::Module;
use burn::optim::GradientsAccumulator;
use burn::tensor::{Device, Tensor, TensorData};
use dsl_engine::trainer::{AdamWConfig, Learner};
use dsl_nets::{Conditioning, DenoiserConfig, ParameterInit};

/// 9.9 million parameters, cross-attention on two levels.
const REFERENCE: &str = r#"{
    "kind": "unet", "sample_size": 32, "in_channels": 3, "out_channels": 3,
    "block_out_channels": [64, 128, 128], "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "cross_attention_dim": 128, "attention_head_dim": 4, "norm_num_groups": 32
}"#;
const TOKENS: usize = 77;

fn main() {
    dsl_kernels::keep_freed_memory();
    // Cargo adds flags of its own.
    let mut words = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"));
    let size = words.next().unwrap_or_else(|| "reference".into());
    let steps: usize = words
        .next()
        .map_or(10, |word| word.parse().expect("a number of steps"));
    let batch: usize = words
        .next()
        .map_or(8, |word| word.parse().expect("a batch size"));
    let config: DenoiserConfig = match size.as_str() {
        "reference" => serde_json::from_str(REFERENCE),
        "small" => {
            let defaults = include_str!("../../../plugins/t2i/defaults.json");
            let defaults: serde_json::Value =
                serde_json::from_str(defaults).expect("tested by the plugin");
            serde_json::from_value(defaults["model"]["denoiser"].clone())
        }
        other => panic!("no network called {other}: reference, small"),
    }
    .expect("a network of today's shape");

    let device = Device::flex().autodiff();
    let width = config.cross_attention_dim().expect("attends to text");
    let network = config
        .init(&ParameterInit::new(0, &device))
        .expect("fields that fit together");
    let x = values([batch, 3, 32, 32], &device);
    let target = values([batch, 3, 32, 32], &device);
    let text = Conditioning::text(values([batch, TOKENS, width], &device));
    let timesteps = Tensor::<1>::from_data(
        TensorData::new(
            (0..batch).map(|i| (i * 100 % 1000) as f32).collect(),
            [batch],
        ),
        &device,
    );
    eprintln!("{size}: {} parameters", network.num_params());
    let mut learner = Learner::new(network, &AdamWConfig::default(), None);
    // The first steps find memory cold.
    for step in 0..steps + 2 {
        let start = Instant::now();
        dsl_kernels::together(|| {
            let predicted = learner
                .module()
                .forward(x.clone(), timesteps.clone(), &text);
            let error = predicted - target.clone();
            let loss = (error.clone() * error).mean();
            let mut gradients = GradientsAccumulator::new();
            learner.backward(&loss, &mut gradients);
            learner
                .update(&mut gradients, 1e-4, step as u64, "network")
                .expect("finite gradients");
        });
        let time = start.elapsed();
        if step >= 2 {
            println!("{:.6}", time.as_secs_f64());
        }
    }
}

fn values<const D: usize>(dims: [usize; D], device: &Device) -> Tensor<D> {
    let values: Vec<f32> = (0..dims.iter().product::<usize>())
        .map(|i| ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0)
        .collect();
    Tensor::from_data(TensorData::new(values, dims), device)
}
