//! Peak memory of fine-tuning adapters on a UNet of Stable Diffusion 1.5's shape, by DSM and by DSL:
//! `cargo bench -p dsl-host -p dsl-engine --bench lora_memory -- [32|64]`.
//!
//! One sample of 4 × 32 × 32 or 4 × 64 × 64 latents (pictures of 256 × 256 or 512 × 512) with 77 text tokens; 860 million random
//! weights that stay frozen, shared by both networks; adapters of rank 16 on the attention projections of each. Each case is a
//! process of its own, which takes two steps: the second has AdamW's moments. Its peak is the process's, program and all.
//! Linux only: elsewhere the system does not say.

use std::process::{Command, Stdio};
use std::time::Instant;

use burn::tensor::{Device, TensorData};
use dsl_engine::objective::{DslConfig, DsmConfig};
use dsl_engine::{
    Conditions, EngineError, Features, LossConfig, NoiseScheduleConfig, ObjectiveConfig,
    PredictionType, SampleSource, Samples, Stream, Streams, TrainConfig, TrainableConfig, Trainer,
    TrainerConfig,
};
use dsl_nets::{DenoiserConfig, LoraConfig, ModelConfig, OneOrMany, UNet2DConditionConfig};
use dsl_test_support::ProcessMemory;

const STEPS: u64 = 2;
const TOKENS: usize = 77;
const TEXT_FEATURES: usize = 768;
const PARAMETERS: usize = 859_520_964;

fn main() {
    // As the program does: what is freed stays with it, and counts.
    dsl_engine::keep_freed_memory();
    // Cargo adds flags of its own.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let size = |word: Option<&String>| -> usize {
        word.map_or(32, |word| word.parse().expect("the side of the latents"))
    };
    match &words[..] {
        [case, side] => measure(case, size(Some(side))),
        _ => compare(size(words.first())),
    }
}

/// What a process found: peaks in bytes, of all of it, of its last step, and of what came before the first; and the seconds of
/// the last step.
type Found = [f64; 4];

/// All cases, each by DSM and by DSL.
fn compare(side: usize) {
    println!(
        "latents 4×{side}×{side}: peak in MB (last step, before the first), seconds of the last step"
    );
    for case in ["f32,checkpointed", "f32", "bf16,checkpointed", "bf16"] {
        let [dsm, dsl] = ["dsm", "dsl"].map(|objective| {
            let found = in_process(&format!("{case},{objective}"), side);
            let [peak, step, start] = [0, 1, 2].map(|i| found[i] / 1e6);
            let seconds = found[3];
            println!(
                "{case:18} {objective}: {peak:6.0} ({step:6.0}, {start:6.0}), {seconds:6.1} s"
            );
            found
        });
        let [of_all, of_step] = [0, 1].map(|i| dsl[i] / dsm[i]);
        println!("{case:18} dsl / dsm: {of_all:.3} (last step {of_step:.3})");
    }
}

/// Runs one case in a process of its own.
fn in_process(case: &str, side: usize) -> Found {
    let program = std::env::current_exe().expect("a program has a file");
    let output = Command::new(program)
        .args([case, &side.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{case} failed");
    let text = String::from_utf8(output.stdout).expect("it prints numbers");
    let numbers = text.split_whitespace().map(|word| word.parse());
    let numbers: Vec<f64> = numbers.collect::<Result<_, _>>().expect("numbers");
    Found::try_from(numbers).expect("four numbers")
}

/// Trains, and prints what was [found](Found).
fn measure(case: &str, side: usize) {
    let words: Vec<&str> = case.split(',').collect();
    let device = Device::flex();
    let denoiser = UNet2DConditionConfig {
        cross_attention_dim: OneOrMany::One(TEXT_FEATURES),
        ..UNet2DConditionConfig::default()
    };
    let networks = ModelConfig {
        denoiser: DenoiserConfig::Unet(denoiser),
        text_encoder: None,
        pipeline_text: None,
    };
    let model = networks.init(0, &device).expect("networks that fit");
    assert_eq!(burn::module::Module::num_params(&model), PARAMETERS);
    let lora = LoraConfig {
        rank: 16,
        alpha: 16.0,
        ..LoraConfig::default()
    };
    let mut dsl = DslConfig::default();
    dsl.discriminator.lora = lora.clone();
    let config = TrainerConfig {
        objective: match words.contains(&"dsl") {
            true => ObjectiveConfig::Dsl(dsl),
            false => ObjectiveConfig::Dsm(DsmConfig {}),
        },
        loss: LossConfig::default(),
        train: TrainConfig {
            batch_size: 1,
            precision: match words.contains(&"bf16") {
                true => dsl_engine::trainer::Precision::Bf16,
                false => dsl_engine::trainer::Precision::F32,
            },
            gradient_checkpointing: words.contains(&"checkpointed"),
            // One margin pass at the start, and no other.
            steps_per_epoch: Some(1_000_000),
            ..TrainConfig::default()
        },
        noise_schedule: NoiseScheduleConfig::default(),
        prediction_type: PredictionType::Epsilon,
        trainable: TrainableConfig::Lora(lora.into()),
    };
    let mut trainer = Trainer::new(config, model, &device).expect("settings that go together");
    let peak = || {
        let memory = ProcessMemory::now();
        memory
            .expect("Linux says how much memory a process has")
            .peak
    };
    let start = peak();
    let latents = Latents { side };
    let (mut most, mut seconds) = (start, 0.0);
    for step in 0..STEPS {
        most = most.max(peak());
        // From here on the peak is the step's own. Where the system does not allow that, it is the process's.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        let begun = Instant::now();
        let batch = [latents.samples(&[step]).expect("made here")];
        trainer.step(&batch, &latents).expect("a finite step");
        seconds = begun.elapsed().as_secs_f64();
    }
    println!("{} {} {start} {seconds}", most.max(peak()), peak());
}

/// Noise in place of pictures, with noise in place of what a text encoder makes: memory depends on neither.
struct Latents {
    side: usize,
}

impl SampleSource for Latents {
    fn len(&self) -> u64 {
        1
    }

    fn samples(&self, indices: &[u64]) -> Result<Samples, EngineError> {
        let streams = Streams::new(0);
        let rows = indices.len();
        let noise = |name, shape: &[usize]| {
            let dims = [rows, shape[0], shape[1], shape.get(2).copied().unwrap_or(1)];
            let values = streams.normal(Stream::new(name), 0, indices[0], dims);
            TensorData::new(values, [&[rows], shape].concat())
        };
        let features = Features {
            encoder_hidden_states: noise("text", &[TOKENS, TEXT_FEATURES]),
            added: None,
        };
        let conditions = Conditions {
            features: Some(features),
            ..Conditions::default()
        };
        Ok(Samples::new(
            noise("latents", &[4, self.side, self.side]),
            conditions,
        ))
    }
}
