//! bfloat16 computation over float32 weights, where the device has it.

use burn::tensor::{DType, Device, TensorData};
use dsl_engine::trainer::Precision;
use dsl_engine::{
    Checkpoints, Conditions, LoraTrainableConfig, SampleSource, TrainableConfig, Trainer,
    parameter_data,
};
use dsl_nets::LoraConfig;
use serde_json::json;

use crate::support::{
    BATCH, Pictures, Points, assert_near, dsl, dsm, full_twin, mlp, series, tiny_unet, train,
    trainer,
};
use crate::tasks::{Scenes, boxes, of_objects, start, steps, unet, wave};

#[test]
fn bfloat16_trains_float32_weights_or_is_refused() {
    let set = Points::new(40);
    for mut config in [dsm(), dsl(|_| ())] {
        config.train.ema.decay = Some(0.9);
        let mut exact = trainer(config.clone());
        config.train.precision = Precision::Bf16;
        if !Device::flex().supports_dtype(DType::BF16) {
            let message = Trainer::new(config, mlp(3), &Device::flex())
                .err()
                .unwrap()
                .to_string();
            assert!(message.contains("train.precision"), "{message}");
            continue;
        }
        let mut coarse = trainer(config);
        let (expected, found) = (train(&mut exact, &set, 4), train(&mut coarse, &set, 4));
        let (expected, found) = [expected, found]
            .map(|reports| series(&reports, "err/generator"))
            .into();
        assert_ne!(expected, found);
        for (expected, found) in expected.iter().zip(found) {
            assert_near("err/generator", found, *expected, 0.05);
        }
        for data in parameter_data(coarse.generator())
            .iter()
            .chain(&parameter_data(&coarse.sampling_model()))
        {
            assert_eq!(data.dtype(), DType::F32);
        }
        let predictions = coarse.noise_predictions(&set.batch(0, BATCH, 1)[0], 0);
        assert_eq!(predictions.generator.dtype(), DType::F32);
    }
}

#[test]
fn a_captioned_unet_trains_in_bfloat16() {
    if !Device::flex().supports_dtype(DType::BF16) {
        return;
    }
    let set = Pictures(2);
    let mut config = dsl(|_| ());
    config.train.precision = Precision::Bf16;
    config.prediction_type = dsl_engine::PredictionType::VPrediction;
    let mut trainer = Trainer::new(config, tiny_unet(1), &Device::flex()).unwrap();
    let samples = set.samples(&[0, 1]).unwrap();
    for _ in 0..2 {
        let report = trainer.step(std::slice::from_ref(&samples), &set).unwrap();
        assert!(
            report.values.iter().all(|(_, value)| value.is_finite()),
            "{report:?}"
        );
    }
    assert_eq!(
        trainer.noise_predictions(&samples, 0).generator.dtype(),
        DType::F32
    );
}

/// Everything that one row is told.
fn of_rows(rows: &[u64]) -> Conditions {
    let classes: Vec<i64> = rows.iter().map(|row| *row as i64 % 4).collect();
    Conditions {
        context: Some(wave(rows, &[2, 5], 0.51)),
        class_ids: Some(TensorData::new(classes, [rows.len()])),
        concat: Some(wave(rows, &[2, 8, 8], 0.29)),
        camera_pose: Some(wave(rows, &[4], 0.83)),
        pyramid: Some(wave(rows, &[2, 8, 8], 0.17)),
        ..boxes(rows)
    }
}

#[test]
fn every_condition_is_read_in_bfloat16() {
    if !Device::flex().supports_dtype(DType::BF16) {
        return;
    }
    let of_one = json!({
        "in_channels": 5,
        "attention_type": "gated",
        "task_modules": {
            "context": {"features": 5},
            "class_labels": 3,
            "concat_channels": 2,
            "camera_pose": {"numbers": 4},
            "feature_pyramid": {"in_channels": 2}
        }
    });
    let of_views = json!({
        "task_modules": {
            "multi_view": {"views": 4, "domains": 1, "attention": "dense"},
            "view_volume": {
                "views": 4, "half_side": 0.5, "depth_range": [1.0, 3.0], "resolution": 8, "depths": 8, "channels": [8, 8]
            },
            "camera_regression": {}
        }
    });
    let views = Scenes {
        rows: 4,
        ..Scenes::new(2, of_objects)
    };
    for (fields, set) in [(of_one, Scenes::new(4, of_rows)), (of_views, views)] {
        for mut config in [dsm(), dsl(full_twin)] {
            let mut exact = start(&config, unet(fields.clone()));
            config.train.precision = Precision::Bf16;
            let mut coarse = start(&config, unet(fields.clone()));
            let [expected, found] =
                [&mut exact, &mut coarse].map(|trainer| steps(trainer, &set, 2));
            assert_ne!(expected, found);
            for (expected, found) in expected.iter().zip(&found) {
                for (name, value) in &found.values {
                    assert!(value.is_finite(), "{name}: {value}");
                }
                let names = ["err/generator", "loss/camera_elevation"];
                for name in names {
                    let Some(expected) = expected.get(name) else {
                        continue;
                    };
                    assert_near(name, found.get(name).unwrap(), expected, 0.05);
                }
            }
            let samples = set.samples(&[0, 1]).unwrap();
            let [expected, found] =
                [&exact, &coarse].map(|trainer| trainer.noise_predictions(&samples, 0));
            assert_eq!(found.generator.dtype(), DType::F32);
            assert_ne!(expected.generator, found.generator);
        }
    }
}

/// The types of a module's weights: how many are float32, and how many bfloat16.
fn types<M: burn::module::Module>(module: &M) -> [usize; 2] {
    let of = |dtype: DType| {
        let data = parameter_data(module).into_iter();
        data.filter(|data| data.dtype() == dtype).count()
    };
    [of(DType::F32), of(DType::BF16)]
}

#[test]
fn frozen_weights_are_held_in_bfloat16_and_every_step_is_as_it_was() {
    if !Device::flex().supports_dtype(DType::BF16) {
        return;
    }
    let set = Pictures(4);
    let samples = set.samples(&[0, 1, 2, 3]).unwrap();
    let lora = TrainableConfig::Lora(LoraTrainableConfig {
        rank: 2,
        ..LoraTrainableConfig::default()
    });
    for gradient_checkpointing in [false, true] {
        let config = |own_task_modules: bool| {
            let mut config = dsl(|dsl| {
                // Without any such modules this changes nothing but how the base is held.
                dsl.discriminator.train_task_modules = own_task_modules;
                dsl.warmup_dsm_steps = 1;
            });
            config.train.precision = Precision::Bf16;
            config.train.ema.decay = Some(0.9);
            config.train.gradient_checkpointing = gradient_checkpointing;
            config.trainable = lora.clone();
            config
        };
        let start = |config| Trainer::new(config, tiny_unet(1), &Device::flex()).unwrap();
        let [mut whole, mut held] = [true, false].map(|own| start(config(own)));
        let sha256 = held.frozen_sha256().map(str::to_owned);
        assert_eq!(types(held.generator())[1], 0, "before the first step");
        for _ in 0..4 {
            let [whole, held] = [&mut whole, &mut held]
                .map(|trainer| trainer.step(std::slice::from_ref(&samples), &set).unwrap());
            assert_eq!(whole.values, held.values);
        }
        assert_eq!(
            whole.noise_predictions(&samples, 0).generator,
            held.noise_predictions(&samples, 0).generator
        );
        let adapters = held.parameter_counts()[0];
        assert_eq!(types(whole.generator())[1], 0);
        let [exact, coarse] = types(held.generator());
        let all = parameter_data(held.generator()).len();
        assert!(coarse > 20 && exact + coarse == all, "{exact} {coarse}");
        let trained: usize = (parameter_data(held.generator()).iter())
            .filter(|data| data.dtype() == DType::F32)
            .map(TensorData::num_elements)
            .sum();
        assert_eq!(
            trained, adapters,
            "what trains, and nothing else, has all its digits"
        );
        // Beside its own adapters it has those of the generator in its base.
        let [exact, coarse] = types(&held.generator().denoiser);
        let of_discriminator = types(held.discriminator().unwrap());
        assert_eq!(of_discriminator, [2 * exact, coarse]);

        // What is handed out is float32, and a base is told by the weights that were read.
        assert_eq!(types(&held.sampling_model())[1], 0);
        assert_eq!(held.frozen_sha256().map(str::to_owned), sha256);
        assert_eq!(whole.frozen_sha256().map(str::to_owned), sha256);
    }
}

#[test]
fn a_resumed_run_with_a_frozen_base_in_bfloat16_is_as_one_that_never_stopped() {
    if !Device::flex().supports_dtype(DType::BF16) {
        return;
    }
    let set = Pictures(4);
    let samples = set.samples(&[0, 1, 2, 3]).unwrap();
    let mut config = dsl(|dsl| dsl.warmup_dsm_steps = 1);
    config.train.precision = Precision::Bf16;
    config.train.ema.decay = Some(0.9);
    config.trainable = TrainableConfig::Lora(LoraConfig::default().into());
    let start = || Trainer::new(config.clone(), tiny_unet(1), &Device::flex()).unwrap();
    let step = |trainer: &mut Trainer| trainer.step(std::slice::from_ref(&samples), &set).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), 1);
    let mut whole = start();
    for _ in 0..3 {
        step(&mut whole);
    }
    checkpoints.save(&whole).unwrap();
    let mut resumed = start();
    resumed
        .restore(&checkpoints.load_latest().unwrap().checkpoint)
        .unwrap();
    for _ in 0..3 {
        assert_eq!(step(&mut whole).values, step(&mut resumed).values);
    }
    assert_eq!(types(whole.generator()), types(resumed.generator()));
    assert_eq!(
        types(whole.discriminator().unwrap()),
        types(resumed.discriminator().unwrap())
    );
}
