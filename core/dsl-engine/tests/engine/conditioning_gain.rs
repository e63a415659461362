//! The conditioning gain: how much worse a generator is under conditions that are not its sample's.

use burn::module::Module;
use burn::tensor::{Device, TensorData};
use dsl_engine::rng::Stream;
use dsl_engine::{
    Conditions, EngineError, SampleSource, Samples, TaskModulesOnlyConfig, TrainableConfig,
    Trainer, TrainerConfig, ValidationConfig,
};
use dsl_nets::Model;

use crate::support::{Pictures, Points, assert_near, dsm, state, tiny_unet, trainer};
use crate::tasks::{Scenes, answer, boxes, gligen, noised, start, steps, text, unet};

const GAIN: &str = "validation/conditioning_gain";

fn bank(samples: u64) -> ValidationConfig {
    ValidationConfig {
        samples,
        bins: 2,
        ..ValidationConfig::default()
    }
}

fn validated(trainer: &Trainer, set: &dyn SampleSource, name: &str) -> Option<f64> {
    let report = trainer.validate(&bank(set.len()), set).unwrap();
    let mut values = report.values.into_iter();
    values.find(|(found, _)| found == name).map(|found| found.1)
}

/// Sum of the errors on the validation bank of `model` under the conditions of the samples that `other` names.
fn errors(
    trainer: &Trainer,
    set: &dyn SampleSource,
    model: &Model,
    other: impl Fn(u64) -> u64,
) -> f64 {
    let count = set.len();
    let strata = (trainer.streams()).stratified_timesteps(
        Stream::VALIDATION,
        1,
        count as usize,
        trainer.noise_schedule().num_train_timesteps(),
    );
    let one = |i: u64| {
        let samples = set.samples(&[i]).unwrap();
        let eps = trainer.streams().normal(
            Stream::VALIDATION.part("noise"),
            1,
            i,
            samples.x_0.shape().dims(),
        );
        let noised = noised(trainer, &samples, vec![strata[i as usize]], eps);
        let told = set.samples(&[other(i)]).unwrap().conditions;
        let answer = answer(&model.denoiser, model, &told, &noised);
        crate::tasks::error(answer, &noised)
    };
    (0..count).map(one).sum()
}

/// The config of these tests: batches that do not divide the sets.
fn config() -> TrainerConfig {
    let mut config = dsm();
    config.train.batch_size = 2;
    config
}

/// Texts that a small network cannot overhear.
fn loud_text(rows: &[u64]) -> Conditions {
    let mut conditions = text(rows);
    if let Some(features) = &mut conditions.features {
        let states = &mut features.encoder_hidden_states;
        let louder = states.iter::<f32>().map(|value| 10.0 * value);
        *states = TensorData::new(louder.collect::<Vec<f32>>(), states.shape().clone());
    }
    conditions
}

#[test]
fn the_gain_is_the_error_under_the_conditions_of_another_sample() {
    // An odd and an even number, batches of two: others come from other batches.
    for set in [Scenes::new(5, loud_text), Scenes::new(4, loud_text)] {
        let mut trainer = start(&config(), unet(serde_json::json!({})));
        steps(&mut trainer, &set, 6);
        let (count, model) = (set.count, trainer.sampling_model());
        let right = errors(&trainer, &set, &model, |i| i);
        let wrong = errors(&trainer, &set, &model, |i| (i + count / 2) % count);
        let gain = validated(&trainer, &set, GAIN).unwrap();
        assert_near("gain", gain, wrong / right, 1e-6);
        assert!((gain - 1.0).abs() > 1e-4, "{gain}");
        let error = validated(&trainer, &set, "validation/err/generator").unwrap();
        assert_near("error", error, right / count as f64, 1e-5);
    }
}

#[test]
fn captions_of_a_text_encoder_that_trains_have_a_gain() {
    let set = Pictures(4);
    let mut config = config();
    config.train.ema.decay = Some(0.5);
    let mut trainer = start(&config, tiny_unet(1));
    let samples = set.samples(&[0, 1]).unwrap();
    for _ in 0..2 {
        trainer.step(std::slice::from_ref(&samples), &set).unwrap();
    }
    // The network that is validated is the one that is used.
    let model = trainer.sampling_model();
    let right = errors(&trainer, &set, &model, |i| i);
    let wrong = errors(&trainer, &set, &model, |i| (i + 2) % 4);
    let gain = validated(&trainer, &set, GAIN).unwrap();
    assert_near("gain", gain, wrong / right, 1e-5);
    assert!((gain - 1.0).abs() > 1e-4, "{gain}");
}

/// Points with classes that no perceptron reads.
struct Labelled(Points);

impl SampleSource for Labelled {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn samples(&self, indices: &[u64]) -> Result<Samples, EngineError> {
        let classes: Vec<i64> = indices.iter().map(|i| *i as i64 % 8).collect();
        Ok(Samples {
            conditions: Conditions {
                class_ids: Some(TensorData::new(classes, [indices.len()])),
                ..Conditions::default()
            },
            ..self.0.samples(indices)?
        })
    }
}

#[test]
fn a_network_that_does_not_read_its_conditions_has_a_gain_of_exactly_1() {
    let labelled = Labelled(Points::new(5));
    assert_eq!(validated(&trainer(config()), &labelled, GAIN), Some(1.0));
    // Boxes behind closed gates are not read either; open gates read them.
    let set = Scenes::new(4, boxes);
    let mut trainer = start(&config(), gligen());
    assert_eq!(validated(&trainer, &set, GAIN), Some(1.0));
    steps(&mut trainer, &set, 3);
    assert_ne!(validated(&trainer, &set, GAIN), Some(1.0));
}

#[test]
fn without_conditions_there_is_no_gain() {
    let set = Points::new(5);
    let trainer = trainer(config());
    let report = trainer.validate(&bank(5), &set).unwrap();
    assert!(!report.values.is_empty());
    let gains = report
        .values
        .iter()
        .filter(|(name, _)| name.contains("gain") || name.contains("others"));
    assert_eq!(gains.count(), 0, "{:?}", report.values);
    // One sample has no other.
    let alone = Scenes::new(1, text);
    let trainer = start(&config(), unet(serde_json::json!({})));
    assert_eq!(validated(&trainer, &alone, GAIN), None);
}

/// All captions have the new words, so that those of another sample tell nothing: they are compared with what they began as.
#[test]
fn learned_words_are_compared_with_their_first_values() {
    let set = Scenes::new(4, crate::learned_words::captions);
    let mut config = config();
    config.train.learning_rate = 0.1;
    config.trainable = TrainableConfig::TaskModules(TaskModulesOnlyConfig {});
    let mut trainer = start(&config, crate::learned_words::model());
    assert_eq!(validated(&trainer, &set, GAIN), Some(1.0));
    steps(&mut trainer, &set, 4);
    let model = trainer.sampling_model();
    let first = Model {
        learned_tokens: crate::learned_words::model().learned_tokens,
        ..model.clone()
    };
    let gain = validated(&trainer, &set, GAIN).unwrap();
    let right = errors(&trainer, &set, &model, |i| i);
    let wrong = errors(&trainer, &set, &first, |i| i);
    assert_near("gain", gain, wrong / right, 1e-5);
    assert!((gain - 1.0).abs() > 1e-4, "{gain}");

    // A resumed run compares with the same.
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = dsl_engine::Checkpoints::new(folder.path(), 1);
    checkpoints.save(&trainer).unwrap();
    let mut resumed = start(&config, crate::learned_words::model());
    resumed
        .restore(&checkpoints.load_latest().unwrap().checkpoint)
        .unwrap();
    assert_eq!(validated(&resumed, &set, GAIN), Some(gain));
}

#[test]
fn validation_changes_nothing_of_the_training() {
    let set = Scenes::new(5, boxes);
    let [mut watched, mut alone] = [0; 2].map(|_| start(&config(), gligen()));
    let mut reports = [Vec::new(), Vec::new()];
    for _ in 0..2 {
        watched.validate(&bank(5), &set).unwrap();
        reports[0].extend(steps(&mut watched, &set, 1));
        reports[1].extend(steps(&mut alone, &set, 1));
    }
    assert_eq!(reports[0], reports[1]);
    assert!(state(&watched) == state(&alone));
    // And the other way round: the bank is the same one after more steps.
    let twin = Trainer::new(config(), alone.generator().valid(), &Device::flex()).unwrap();
    assert_eq!(
        twin.validate(&bank(5), &set).unwrap(),
        alone.validate(&bank(5), &set).unwrap()
    );
}
