//! One training step by each objective, with the networks that the t2i plugin recommends, on 16 pictures of 32×32.
//!
//! `cargo bench -p dsl-engine --bench step`. The last lines are the ratio of the two, taken in turns, per
//! number of workers.
//! The DSL step is the default one: the discriminator is a frozen copy with adapters of rank 8, and moves first. The
//! margin pass, which comes every few epochs, is not part of it.

use std::time::Instant;

use burn::tensor::{Device, TensorData};
use divan::Bencher;
use dsl_engine::objective::{DslConfig, DsmConfig};
use dsl_engine::{
    Conditions, EngineError, LossConfig, LossSpace, NoiseScheduleConfig, ObjectiveConfig,
    PredictionType, SampleSource, Samples, Stream, Streams, TrainConfig, Trainer, TrainerConfig,
};
use dsl_nets::{DenoiserConfig, Model, ModelConfig, TextEncoderConfig};
use serde::Deserialize;

/// What the plugin recommends; the networks are those of `dsl-host run --plugin t2i`.
const DEFAULTS: &str = include_str!("../../../plugins/t2i/defaults.json");
const BATCH: usize = 16;
const WORKERS: [usize; 2] = [1, 2];

/// Pairs of steps that a ratio is made of.
const PAIRS: usize = 21;

fn main() {
    divan::main();
    for workers in WORKERS {
        ratio(workers);
    }
}

/// The ratio of DSL and DSM steps taken in turns, so that a slow moment of the machine falls on both.
fn ratio(workers: usize) {
    let pictures = Pictures;
    let [mut dsm, mut dsl] = [
        ObjectiveConfig::Dsm(DsmConfig {}),
        ObjectiveConfig::Dsl(DslConfig::default()),
    ]
    .map(|objective| trainer(objective, workers));
    let timed = |trainer: &mut Trainer| {
        let begun = Instant::now();
        step(trainer, &pictures, workers);
        begun.elapsed().as_secs_f64()
    };
    timed(&mut dsm);
    timed(&mut dsl);
    let pairs: Vec<[f64; 2]> = (0..PAIRS)
        .map(|_| [timed(&mut dsm), timed(&mut dsl)])
        .collect();
    let quantile = |of: &dyn Fn(&[f64; 2]) -> f64, quarter: usize| {
        let mut values: Vec<f64> = pairs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[(values.len() - 1) * quarter / 4]
    };
    let of_pair = |[dsm, dsl]: &[f64; 2]| dsl / dsm;
    println!(
        "workers {workers}, {PAIRS} pairs in turns: DSM step {:.3} s, DSL step {:.3} s, ratio {:.2} (quartiles {:.2}, {:.2})",
        quantile(&|pair| pair[0], 2),
        quantile(&|pair| pair[1], 2),
        quantile(&of_pair, 2),
        quantile(&of_pair, 1),
        quantile(&of_pair, 3),
    );
}

#[divan::bench(args = WORKERS, sample_count = 15, sample_size = 1)]
fn dsm(bencher: Bencher, workers: usize) {
    steps(bencher, workers, ObjectiveConfig::Dsm(DsmConfig {}));
}

#[divan::bench(args = WORKERS, sample_count = 15, sample_size = 1)]
fn dsl(bencher: Bencher, workers: usize) {
    steps(bencher, workers, ObjectiveConfig::Dsl(DslConfig::default()));
}

fn steps(bencher: Bencher, workers: usize, objective: ObjectiveConfig) {
    let pictures = Pictures;
    let mut trainer = trainer(objective, workers);
    // Makes the discriminator and measures its margin; and the first step of all finds memory cold.
    step(&mut trainer, &pictures, workers);
    bencher.bench_local(|| step(&mut trainer, &pictures, workers));
}

fn step(trainer: &mut Trainer, pictures: &Pictures, workers: usize) {
    let part = (BATCH / workers) as u64;
    let first = trainer.step_count() * BATCH as u64;
    let batch: Vec<Samples> = (0..workers as u64)
        .map(|i| {
            let start = first + i * part;
            pictures
                .samples(&(start..start + part).collect::<Vec<u64>>())
                .expect("made here")
        })
        .collect();
    trainer.step(&batch, pictures).expect("a finite step");
}

/// The part of the plugin's recommendations that shapes the networks.
#[derive(Deserialize)]
struct Defaults {
    model: ModelDefaults,
}

#[derive(Deserialize)]
struct ModelDefaults {
    denoiser: DenoiserConfig,
    text_encoder: TextEncoderConfig,
    prediction_type: PredictionType,
    noise_schedule: NoiseScheduleConfig,
}

fn trainer(objective: ObjectiveConfig, workers: usize) -> Trainer {
    let Defaults { model } =
        serde_json::from_str(DEFAULTS).expect("the plugin's own test reads this file");
    let networks = ModelConfig {
        denoiser: model.denoiser,
        text_encoder: Some(model.text_encoder),
        pipeline_text: None,
    };
    let device = Device::flex();
    let weights: Model = networks
        .init(0, &device)
        .expect("the networks fit together");
    let config = TrainerConfig {
        objective,
        loss: LossConfig {
            space: LossSpace::Native,
            ..LossConfig::default()
        },
        train: TrainConfig {
            batch_size: BATCH,
            workers,
            // One margin pass at the start, and no other.
            steps_per_epoch: Some(1_000_000),
            ..TrainConfig::default()
        },
        noise_schedule: model.noise_schedule,
        prediction_type: model.prediction_type,
        trainable: dsl_engine::TrainableConfig::All,
    };
    Trainer::new(config, weights, &device).expect("settings that go together")
}

/// Pictures of noise with captions of random tokens: what is in them does not change how long a step takes.
struct Pictures;

impl Pictures {
    const SHAPE: [usize; 4] = [1, 3, 32, 32];
    const TOKENS: usize = 16;
}

impl SampleSource for Pictures {
    fn len(&self) -> u64 {
        BATCH as u64
    }

    fn samples(&self, indices: &[u64]) -> Result<Samples, EngineError> {
        let streams = Streams::new(0);
        let [_, channels, height, width] = Self::SHAPE;
        let pixels: Vec<f32> = indices
            .iter()
            .flat_map(|&i| streams.normal(Stream::new("pictures"), 0, i, Self::SHAPE))
            .map(f32::tanh)
            .collect();
        let tokens: Vec<i64> = indices
            .iter()
            .flat_map(|&i| (0..Self::TOKENS as u64).map(move |k| ((31 * i + 17 * k) % 200) as i64))
            .collect();
        Ok(Samples {
            x_0: TensorData::new(pixels, [indices.len(), channels, height, width]),
            conditions: Conditions::of_token_ids(TensorData::new(
                tokens,
                [indices.len(), Self::TOKENS],
            )),
            views: 1,
            domains: 1,
        })
    }
}
