//! bfloat16 computation over float32 weights, where the device has it.

use burn::tensor::{DType, Device};
use dsl_engine::trainer::Precision;
use dsl_engine::{SampleSource, Trainer, parameter_data};

use crate::support::{
    BATCH, Pictures, Points, assert_near, dsl, dsm, mlp, series, tiny_unet, train, trainer,
};

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
