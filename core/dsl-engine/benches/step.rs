//! One training step by each objective, with the networks that the t2i plugin recommends, on 16 pictures of 32×32.
//!
//! `cargo bench -p dsl-engine --bench step`. The last lines are the ratio of the two medians, per number of workers.
//! The DSL step is the default one: the discriminator is a frozen copy with adapters of rank 8, and moves first. The
//! margin pass, which comes every few epochs, is not part of it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use burn::tensor::{Device, TensorData};
use divan::Bencher;
use dsl_engine::objective::{DslConfig, DsmConfig};
use dsl_engine::{
    EngineError, LossConfig, LossSpace, NoiseScheduleConfig, ObjectiveConfig, PredictionType,
    SampleSource, Samples, Stream, Streams, TrainConfig, Trainer, TrainerConfig,
};
use dsl_nets::{DenoiserConfig, Model, ModelConfig, TextEncoderConfig};
use serde::Deserialize;

/// What the plugin recommends; the networks are those of `dsl-host run --plugin t2i`.
const DEFAULTS: &str = include_str!("../../../plugins/t2i/defaults.json");
const BATCH: usize = 16;
const WORKERS: [usize; 2] = [1, 2];

/// Times of all steps: objective, workers, time.
static TIMES: Mutex<Vec<(&str, usize, Duration)>> = Mutex::new(Vec::new());

fn main() {
    divan::main();
    for workers in WORKERS {
        if let (Some(dsm), Some(dsl)) = (median("dsm", workers), median("dsl", workers)) {
            println!(
                "workers {workers}: DSM step {:.3} s, DSL step {:.3} s, ratio {:.2}",
                dsm.as_secs_f64(),
                dsl.as_secs_f64(),
                dsl.as_secs_f64() / dsm.as_secs_f64()
            );
        }
    }
}

#[divan::bench(args = WORKERS, sample_count = 15, sample_size = 1)]
fn dsm(bencher: Bencher, workers: usize) {
    steps(bencher, "dsm", workers, ObjectiveConfig::Dsm(DsmConfig {}));
}

#[divan::bench(args = WORKERS, sample_count = 15, sample_size = 1)]
fn dsl(bencher: Bencher, workers: usize) {
    steps(
        bencher,
        "dsl",
        workers,
        ObjectiveConfig::Dsl(DslConfig::default()),
    );
}

fn steps(bencher: Bencher, name: &'static str, workers: usize, objective: ObjectiveConfig) {
    let pictures = Pictures;
    let mut trainer = trainer(objective, workers);
    // Makes the discriminator and measures its margin; and the first step of all finds memory cold.
    step(&mut trainer, &pictures, workers);
    bencher.bench_local(|| {
        let begun = Instant::now();
        step(&mut trainer, &pictures, workers);
        let time = begun.elapsed();
        if let Ok(mut times) = TIMES.lock() {
            times.push((name, workers, time));
        }
    });
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

fn median(name: &str, workers: usize) -> Option<Duration> {
    let times = TIMES.lock().ok()?;
    let mut found: Vec<Duration> = times
        .iter()
        .filter(|(a, b, _)| *a == name && *b == workers)
        .map(|(_, _, time)| *time)
        .collect();
    found.sort();
    found.get(found.len() / 2).copied()
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
            token_ids: Some(TensorData::new(tokens, [indices.len(), Self::TOKENS])),
            views: 1,
        })
    }
}
