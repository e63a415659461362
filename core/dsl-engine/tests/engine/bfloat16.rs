//! bfloat16 computation over float32 weights, where the device has it.

use burn::tensor::{DType, Device, TensorData};
use dsl_engine::trainer::Precision;
use dsl_engine::{Conditions, SampleSource, Trainer, parameter_data};
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
