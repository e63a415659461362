//! How much memory training takes, measured by an allocator that counts. One test at a time: they share the count.

use std::sync::{Mutex, MutexGuard};

use burn::tensor::{Device, TensorData};
use dsl_engine::objective::{DslConfig, DsmConfig, ShareBase};
use dsl_engine::rng::{Stream, Streams};
use dsl_engine::trainer::Precision;
use dsl_engine::{
    Conditions, EngineError, NoiseScheduleConfig, ObjectiveConfig, PredictionType, SampleSource,
    Samples, TrainConfig, TrainableConfig, Trainer, TrainerConfig,
};
use dsl_nets::{LoraConfig, Model, ModelConfig};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Noise in place of pictures.
struct Pictures {
    size: usize,
}

impl SampleSource for Pictures {
    fn len(&self) -> u64 {
        4
    }

    fn samples(&self, indices: &[u64]) -> Result<Samples, EngineError> {
        let shape = [indices.len(), 3, self.size, self.size];
        let pixels = Streams::new(5).normal(Stream::new("pictures"), 0, indices[0], shape);
        let tokens: Vec<i64> = (0..indices.len() * 8).map(|i| i as i64 % 30).collect();
        Ok(Samples {
            x_0: TensorData::new(pixels, shape),
            conditions: Conditions::of_token_ids(TensorData::new(tokens, [indices.len(), 8])),
            views: 1,
            domains: 1,
        })
    }
}

fn unet(channels: [usize; 2]) -> Model {
    let config: ModelConfig = serde_json::from_value(serde_json::json!({
        "denoiser": {
            "kind": "unet",
            "in_channels": 3,
            "out_channels": 3,
            "block_out_channels": channels,
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
            "layers_per_block": 2,
            "norm_num_groups": 8,
            "attention_head_dim": 4,
            "cross_attention_dim": 32
        },
        "text_encoder": {
            "vocab_size": 30,
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 8
        }
    }))
    .unwrap();
    config.init(1, &Device::flex()).unwrap()
}

fn config(dsl: DslConfig) -> TrainerConfig {
    TrainerConfig {
        objective: ObjectiveConfig::Dsl(dsl),
        loss: Default::default(),
        train: TrainConfig {
            batch_size: 2,
            ..TrainConfig::default()
        },
        noise_schedule: NoiseScheduleConfig::default(),
        prediction_type: PredictionType::Epsilon,
        trainable: TrainableConfig::Lora(LoraConfig::default().into()),
    }
}

fn step(trainer: &mut Trainer, set: &Pictures) {
    trainer.step(&[set.samples(&[0, 1]).unwrap()], set).unwrap();
}

#[test]
fn generator_and_discriminator_share_one_base_in_memory() {
    let _alone = alone();
    let set = Pictures { size: 8 };
    let mut held = [0.0; 3];
    let mut base = 0.0;
    // The first one also takes the working memory that threads keep.
    let runs = [ShareBase::Auto, ShareBase::Auto, ShareBase::Never];
    for (held, share) in held.iter_mut().zip(runs) {
        let before = PeakAlloc.current_usage() as f64;
        let mut dsl = DslConfig::default();
        dsl.discriminator.share_base = share;
        let model = unet([64, 128]);
        let mut trainer = Trainer::new(config(dsl), model, &Device::flex()).unwrap();
        step(&mut trainer, &set);
        step(&mut trainer, &set);
        *held = PeakAlloc.current_usage() as f64 - before;
        let denoiser = dsl_nets::parameters::parameter_infos(&trainer.generator().denoiser);
        let frozen = denoiser.iter().filter(|p| !p.require_grad);
        base = 4.0
            * frozen
                .map(|p| p.shape.iter().product::<usize>())
                .sum::<usize>() as f64;
    }
    let [_, shared, apart] = held;
    println!("base {base}, shared {shared}, apart {apart}");
    assert!(base > 8e6, "{base}");
    assert!(
        (apart - shared - base).abs() < 0.05 * base,
        "{shared} with one base, {apart} with two, of {base} bytes each"
    );
    assert!(shared < 1.4 * base, "{shared} bytes for a base of {base}");
}

#[test]
fn recomputed_blocks_take_less_memory() {
    let _alone = alone();
    let set = Pictures { size: 64 };
    let peak = |checkpointing: bool| {
        let mut config = config(DslConfig::default());
        config.train.gradient_checkpointing = checkpointing;
        let mut trainer = Trainer::new(config, unet([16, 32]), &Device::flex()).unwrap();
        step(&mut trainer, &set);
        let before = PeakAlloc.current_usage() as f64;
        PeakAlloc.reset_peak_usage();
        step(&mut trainer, &set);
        PeakAlloc.peak_usage() as f64 - before
    };
    let (kept, recomputed) = (peak(false), peak(true));
    println!("kept {kept}, recomputed {recomputed}");
    assert!(recomputed < 0.6 * kept, "{recomputed} of {kept} bytes");
}

#[test]
fn frozen_weights_change_their_type_one_after_the_other() {
    let _alone = alone();
    let set = Pictures { size: 8 };
    let mut config = config(DslConfig::default());
    config.objective = ObjectiveConfig::Dsm(DsmConfig {});
    config.train.precision = Precision::Bf16;
    let run = || {
        let before = PeakAlloc.current_usage() as f64;
        let mut trainer = Trainer::new(config.clone(), unet([64, 128]), &Device::flex()).unwrap();
        let read = PeakAlloc.current_usage() as f64 - before;
        PeakAlloc.reset_peak_usage();
        step(&mut trainer, &set);
        let peak = PeakAlloc.peak_usage() as f64 - before;
        let held = PeakAlloc.current_usage() as f64 - before;
        [peak / read, held / read]
    };
    // The first one also takes the working memory that threads keep.
    run();
    let [peak, held] = run();
    println!("peak {peak}, held {held} of what was read");
    // All of both forms would be one and a half.
    assert!(peak < 1.3, "{peak}");
    assert!(held < 0.75, "{held}");
}
