//! Measures forward and backward passes on the CPU.
//!
//! `cargo run --release -p dsl-nets --example step_time -- [model.json [batch]]`: a whole model ([`ModelConfig`] as JSON) on
//! pictures of 32×32, or without arguments the operations that it consists of. Prints the median and the best of five, and the
//! time of all threads together, which says more on a busy machine.

use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Distribution, Int, Tensor, activation, module, ops::ConvOptions};
use dsl_nets::{LoraConfig, ModelConfig, ops};

fn time(what: &str, mut f: impl FnMut()) {
    f();
    let cpu = cpu_ms();
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!(
        "{what:40} {:8.2} ms (best {:.2}; cpu {:.1})",
        times[2],
        times[0],
        (cpu_ms() - cpu) / 5.0
    );
}

/// Time that all threads of this process have computed, in ticks of 10 ms.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) * 10.0
}

fn main() {
    let mut args = std::env::args().skip(1);
    let config = args.next();
    let batch: usize = args.next().map_or(16, |b| b.parse().unwrap());
    let plain = Device::flex();
    let device = Device::flex().autodiff();
    let random = |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Default, &device);
    match config {
        Some(path) => {
            let config: ModelConfig =
                serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            let model = config.init(0, &device).unwrap();
            println!(
                "{} parameters ({} denoiser)",
                model.num_params(),
                model.denoiser.num_params()
            );
            let x = random([batch, 3, 32, 32]);
            let t = Tensor::<1>::random([batch], Distribution::Uniform(0.0, 999.0), &device);
            let ids =
                Tensor::<2, Int>::random([batch, 16], Distribution::Uniform(0.0, 200.0), &device);
            time("DSM: forward + backward", || {
                let c = model.encode_text(ids.clone());
                let loss = (model.denoiser.forward(x.clone(), t.clone(), &c) - x.clone())
                    .powi_scalar(2)
                    .mean();
                let _grads = loss.backward();
            });
            time("forward only, with graph", || {
                let c = model.encode_text(ids.clone());
                let _ = model.denoiser.forward(x.clone(), t.clone(), &c).into_data();
            });
            let inner = model.valid();
            let (xi, ti) = (x.clone().inner(), t.clone().inner());
            time("forward only, without graph", || {
                let c = inner.encode_text(ids.clone().inner());
                let _ = inner
                    .denoiser
                    .forward(xi.clone(), ti.clone(), &c)
                    .into_data();
            });
            let lora = model.denoiser.with_lora(&LoraConfig::default(), 0).unwrap();
            time("LoRA: forward + backward", || {
                let c = model.encode_text(ids.clone()).detach();
                let loss = (lora.forward(x.clone(), t.clone(), &c) - x.clone())
                    .powi_scalar(2)
                    .mean();
                let _grads = loss.backward();
            });
        }
        None => {
            let fb = |what: &str, shape: [usize; 4], f: &dyn Fn(Tensor<4>) -> Tensor<4>| {
                let x = random(shape).require_grad();
                time(what, || {
                    let _ = f(x.clone()).sum().backward();
                });
            };
            let s = [16, 32, 32, 32];
            fb("silu burn", s, &activation::silu);
            fb("silu x*sigmoid", s, &|x| x.clone() * activation::sigmoid(x));
            let (w, b) = (
                Tensor::<1>::ones([32], &device).require_grad(),
                Tensor::<1>::zeros([32], &device).require_grad(),
            );
            fb("group norm", s, &|x| {
                ops::group_norm(x, 8, w.clone(), b.clone(), 1e-5)
            });
            for (c, hw) in [(32, 32), (64, 16), (128, 8)] {
                let k = random([c, c, 3, 3]).require_grad();
                fb(&format!("conv3x3 {c} {hw}"), [16, c, hw, hw], &|x| {
                    ops::conv2d(x, k.clone(), None, 1, 1)
                });
                let k = k.detach();
                fb(&format!("conv3x3 {c} {hw} frozen"), [16, c, hw, hw], &|x| {
                    ops::conv2d(x, k.clone(), None, 1, 1)
                });
                let x = Tensor::<4>::random([16, c, hw, hw], Distribution::Default, &plain);
                let k = k.inner();
                time("  forward", || {
                    let _ = ops::conv2d(x.clone(), k.clone(), None, 1, 1);
                });
            }
            let k = random([32, 64, 1, 1]).require_grad();
            fb("conv1x1 64->32 32", [16, 64, 32, 32], &|x| {
                module::conv2d(
                    x,
                    k.clone(),
                    None,
                    ConvOptions::new([1; 2], [0; 2], [1; 2], 1),
                )
            });
            let k2 = Tensor::<2>::random([64, 32], Distribution::Default, &device).require_grad();
            fb("conv1x1 as linear", [16, 64, 32, 32], &|x| {
                ops::linear(x.flatten::<3>(2, 3).swap_dims(1, 2), k2.clone(), None)
                    .swap_dims(1, 2)
                    .reshape([16, 32, 32, 32])
            });
            for (l, d) in [(256, 16), (64, 32)] {
                fb(&format!("attention 4 heads {l} {d}"), [16, 4, l, d], &|x| {
                    ops::attention(x.clone(), x.clone(), x)
                });
                fb(&format!("attention burn {l} {d}"), [16, 4, l, d], &|x| {
                    module::attention(x.clone(), x.clone(), x, None, None, Default::default())
                });
            }
            fb("geglu", [16, 1, 256, 512], &|x| {
                ops::geglu(x.reshape([16, 256, 512])).unsqueeze()
            });
            let (w, b) = (
                Tensor::<1>::ones([64], &device).require_grad(),
                Tensor::<1>::zeros([64], &device).require_grad(),
            );
            fb("layer norm", [16, 1, 256, 64], &|x| {
                ops::layer_norm(x, w.clone(), b.clone(), 1e-5)
            });
            fb("upsample", [16, 64, 16, 16], &|x| {
                ops::interpolate_nearest(x, [32, 32])
            });
        }
    }
}
