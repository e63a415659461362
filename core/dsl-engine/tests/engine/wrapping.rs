//! The second stage of StableSR: what wraps a frozen decoder, trained on small pictures.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use dsl_engine::{
    Checkpoints, EngineError, StepReport, Stream, Streams, WrappingBatch, WrappingConfig,
    WrappingTrainer,
};
use dsl_nets::{AutoencoderKL, AutoencoderKLConfig, ParameterInit};
use serde_json::json;

use crate::support::{series, values, weights};

const SIDE: usize = 24;

/// Three sizes: the middle one is wrapped.
fn shape() -> AutoencoderKLConfig {
    serde_json::from_value(json!({
        "block_out_channels": [4, 8, 8],
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "latent_channels": 2,
        "scaling_factor": 0.5
    }))
    .unwrap()
}

fn autoencoder(seed: u64) -> AutoencoderKL {
    AutoencoderKL::new(&shape(), &ParameterInit::new(seed, &Device::flex())).unwrap()
}

/// Settings of a small stage; the perceptual distance of the tests is a squared difference.
fn config(change: impl FnOnce(&mut WrappingConfig)) -> WrappingConfig {
    let mut config = WrappingConfig {
        learning_rate: 2e-3,
        gan_start: 4,
        discriminator_channels: 4,
        ..WrappingConfig::default()
    };
    config.wrapping.dense_blocks = 1;
    config.wrapping.growth = 4;
    change(&mut config);
    config
}

fn trainer(config: WrappingConfig, of: u64) -> WrappingTrainer {
    let distance = |a: Tensor<4>, b: Tensor<4>| {
        (a - b)
            .square()
            .flatten::<2>(1, 3)
            .mean_dim(1)
            .squeeze_dim(1)
    };
    let (perceptual, device) = (Some(Box::new(distance) as _), Device::flex());
    WrappingTrainer::new(config, autoencoder(of), &shape(), perceptual, &device).unwrap()
}

/// Two pictures of waves, what is left of them in blocks of 4 × 4, and noisy latents.
fn batch(step: u64) -> Vec<WrappingBatch> {
    let picture = |index: u64, block: usize| {
        let at = move |i: usize| {
            let [y, x] = [i / SIDE % SIDE, i % SIDE].map(|p| (p / block * block) as f32);
            let phase = (index % 4) as f32 + (i / (SIDE * SIDE)) as f32;
            (0.5 * x + phase).sin() * (0.4 * y).cos()
        };
        TensorData::new(
            (0..3 * SIDE * SIDE).map(at).collect::<Vec<f32>>(),
            [1, 3, SIDE, SIDE],
        )
    };
    (2 * step..2 * step + 2)
        .map(|index| WrappingBatch {
            target: picture(index, 1),
            low_resolution: picture(index, 4),
            latents: TensorData::new(
                Streams::new(3).normal(Stream::NOISE, 0, index % 4, [1, 2, 6, 6]),
                [1, 2, 6, 6],
            ),
        })
        .collect()
}

fn train(trainer: &mut WrappingTrainer, steps: u64) -> Vec<StepReport> {
    (0..steps)
        .map(|_| trainer.step(&batch(trainer.step_count())).unwrap())
        .collect()
}

#[test]
fn twenty_steps_bring_pictures_nearer_and_leave_the_autoencoder_as_it_was() {
    let before = weights(&autoencoder(1));
    let mut trainer = trainer(config(|_| ()), 1);
    let reports = train(&mut trainer, 20);
    let l1 = series(&reports, "loss/l1");
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (first, last) = (mean(&l1[..2]), mean(&l1[18..]));
    assert!(last < 0.9 * first, "{first} to {last}");
    assert!(series(&reports, "loss/perceptual").iter().all(|v| *v > 0.0));
    assert_eq!(weights(trainer.autoencoder()), before);

    // Switched off, it is the decoder alone; switched on, it is not.
    let device = Device::flex();
    let plain = autoencoder(1);
    let part = &batch(0)[0];
    let tensor = |data: &TensorData| Tensor::<4>::from_data(data.clone(), &device);
    let (_, features) = plain.encode_with_features(tensor(&part.low_resolution));
    let decode = |w| {
        let latents = tensor(&part.latents);
        values(trainer.wrapping().decode(&plain, latents, &features, w))
    };
    assert_eq!(decode(0.0), values(plain.decode(tensor(&part.latents))));
    assert_ne!(decode(0.5), decode(0.0));
}

#[test]
fn the_discriminator_joins_at_its_step() {
    let mut trainer = trainer(config(|_| ()), 1);
    let fresh = weights(&trainer.discriminator());
    let names = [
        "loss/gan",
        "loss/patch_discriminator",
        "gan/adaptive_weight",
    ];
    for report in train(&mut trainer, 3) {
        assert!(names.iter().all(|name| report.get(name).is_none()));
    }
    assert_eq!(weights(&trainer.discriminator()), fresh);
    let report = train(&mut trainer, 1).remove(0);
    assert!(names.iter().all(|name| report.get(name).is_some()));
    assert_ne!(weights(&trainer.discriminator()), fresh);
}

/// The weight is computed from the last layer alone; here a whole backward pass finds it.
#[test]
fn the_adaptive_weight_is_that_of_whole_gradients_in_the_last_layer() {
    let mut trainer = trainer(config(|config| config.gan_start = 1), 1);
    let device = Device::flex().autodiff();
    let part = batch(0).remove(0);
    let tensor = |data: &TensorData| Tensor::<4>::from_data(data.clone(), &device);
    let (wrapping, judge) = (trainer.wrapping().train(), trainer.discriminator().train());
    let whole = autoencoder(1).train();
    let norm = |loss: &dyn Fn(Tensor<4>) -> Tensor<1>| {
        let (_, features) = whole.encode_with_features(tensor(&part.low_resolution));
        let latents = whole.unscale_latents(tensor(&part.latents));
        let picture = wrapping.decode(&whole, latents, &features, 1.0);
        let gradients = loss(picture).backward();
        let gradient = whole.decoder.conv_out.weight.val().grad(&gradients);
        f64::from(gradient.unwrap().square().sum().into_scalar::<f32>()).sqrt()
    };
    let target = || tensor(&part.target);
    let rebuilt = norm(&|x| {
        let difference = x - target();
        difference.clone().abs().mean() + difference.square().mean()
    });
    let judged = norm(&|x| judge.forward(x).mean().neg());
    let expected = rebuilt / (judged + 1e-4);
    let report = trainer.step(std::slice::from_ref(&part)).unwrap();
    let found = report.get("gan/adaptive_weight").unwrap();
    assert!(
        (found - expected).abs() < 1e-4 * expected,
        "{found}, not {expected}"
    );
}

#[test]
fn a_stage_that_was_stopped_goes_on_exactly() {
    let state = |trainer: &WrappingTrainer| {
        (
            weights(&trainer.wrapping()),
            weights(&trainer.discriminator()),
        )
    };
    let mut whole = trainer(config(|_| ()), 1);
    let expected = train(&mut whole, 8);
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 1);
    let mut stopped = trainer(config(|_| ()), 1);
    let mut found = train(&mut stopped, 5);
    checkpoints.save_wrapping(&stopped).unwrap();

    let checkpoint = checkpoints.load_latest().unwrap().checkpoint;
    // Another seed, so that nothing is right by chance.
    let mut resumed = trainer(config(|config| config.seed = 9), 1);
    resumed.restore(&checkpoint).unwrap();
    assert_eq!(resumed.step_count(), 5);
    found.extend(train(&mut resumed, 3));
    assert_eq!(found, expected);
    assert_eq!(state(&resumed), state(&whole));

    let refused = trainer(config(|_| ()), 2).restore(&checkpoint);
    assert!(matches!(refused, Err(EngineError::Mismatch { .. })));
}

#[test]
fn pictures_that_do_not_fit_are_refused() {
    let mut trainer = trainer(config(|_| ()), 1);
    let fresh = weights(&trainer.wrapping());
    let mut small = batch(0);
    small[1].latents = TensorData::zeros::<f32, _>([1, 2, 6, 5]);
    let mut other = batch(0);
    other[0].low_resolution = TensorData::zeros::<f32, _>([1, 3, 6, 6]);
    let mut bad = batch(0);
    bad[1].target = TensorData::full([1, 3, SIDE, SIDE], f32::NAN);
    for (batch, message) in [
        (small, "[1, 2, 6, 6]"),
        (other, "[1, 3, 6, 6]"),
        (Vec::new(), "no pictures"),
        (bad, "loss/l1"),
    ] {
        let error = trainer.step(&batch).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    assert_eq!(weights(&trainer.wrapping()), fresh);
    assert_eq!(trainer.step_count(), 0);
}
