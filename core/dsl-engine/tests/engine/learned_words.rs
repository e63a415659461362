//! New words of a text encoder in an adversarial run: the discriminator reads them as they are, and only Eq. 3 moves them.

use burn::tensor::{DType, Device, Tensor, TensorData};
use dsl_engine::objective::{DslConfig, UpdateOrder};
use dsl_engine::{Conditions, TaskModulesOnlyConfig, TrainableConfig, Trainer, TrainerConfig};
use dsl_nets::Model;

use crate::support::{assert_near, dsl, gradients, tiny_unet, values, weights};
use crate::tasks::{Scenes, answer, drawn, error, start, steps};

/// A captioned UNet whose text encoder has two new words.
pub fn model() -> Model {
    tiny_unet(1).with_learned_tokens(2, &[3, 4]).unwrap()
}

/// Captions that all have both new words, 30 and 31, among known ones.
pub fn captions(rows: &[u64]) -> Conditions {
    let ids = rows.iter().flat_map(|row| [1, 30, 31, (row % 8) as i64]);
    Conditions::of_token_ids(TensorData::new(ids.collect::<Vec<i64>>(), [rows.len(), 4]))
}

fn set() -> Scenes {
    Scenes::new(6, captions)
}

fn config(change: impl FnOnce(&mut DslConfig)) -> TrainerConfig {
    let mut config = dsl(change);
    config.train.learning_rate = 0.1;
    config.trainable = TrainableConfig::TaskModules(TaskModulesOnlyConfig {});
    config
}

fn words(trainer: &Trainer) -> Vec<f32> {
    values(words_of(trainer.generator()))
}

fn words_of(model: &Model) -> Tensor<2> {
    model.learned_tokens.as_ref().unwrap().weight.val()
}

#[test]
fn words_move_by_eq_3_alone_after_the_first_move_of_the_discriminator() {
    let first = values(words_of(&model()));
    // Both at once: the discriminator moves by Eq. 2, whose gradient would reach the words if they were not detached, and
    // the generator has nothing to learn.
    let mut both = start(
        &config(|dsl| dsl.update.order = UpdateOrder::Simultaneous),
        model(),
    );
    let report = steps(&mut both, &set(), 1).remove(0);
    assert!(report.get("grad_norm/discriminator").unwrap() > 0.0);
    assert_eq!(report.get("gap"), Some(0.0));
    assert_eq!(words(&both), first);
    steps(&mut both, &set(), 1);
    assert_ne!(words(&both), first);

    // One after the other: the discriminator has moved before the words do.
    let mut turns = start(&config(|_| ()), model());
    let before = weights(turns.generator());
    steps(&mut turns, &set(), 1);
    let moved: Vec<String> = (before.iter().zip(weights(turns.generator())))
        .filter(|(before, after)| *before != after)
        .map(|(before, _)| before.0.clone())
        .collect();
    assert_eq!(moved, ["learned_tokens.weight"]);
    let discriminator = turns.discriminator().unwrap();
    assert!(!discriminator.is_at_identity());
}

#[test]
fn the_discriminator_reads_the_present_words_and_sends_nothing_back() {
    let mut trainer = start(
        &config(|dsl| dsl.update.order = UpdateOrder::Simultaneous),
        model(),
    );
    steps(&mut trainer, &set(), 3);
    let samples = set().batch(3, 1).remove(0);
    let noised = drawn(&trainer, &samples);
    let (device, told) = (Device::flex(), &samples.conditions);
    let (generator, discriminator) = (trainer.generator(), trainer.discriminator().unwrap());

    let of = |words: &Model| error(answer(discriminator, words, told, &noised), &noised);
    let (present, old) = (of(generator), of(&model()));

    // Eq. 3 by hand: the discriminator's answer is a constant, whatever it was made from.
    let eps_phi = Tensor::<4>::from_inner(answer(discriminator, generator, told, &noised));
    let graph = device.autodiff();
    let conditioning = told.conditioning(generator, &graph, DType::F32);
    let eps_g =
        (generator.denoiser).forward(noised.x_t(&graph), noised.timesteps(&graph), &conditioning);
    let loss = (eps_g - eps_phi).powi_scalar(2).mean();
    let of_loss = gradients(generator, &loss.backward());
    let paths: Vec<&str> = of_loss.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["learned_tokens.weight"]);
    let squares = of_loss[0].1.iter().map(|g| f64::from(*g).powi(2));
    let norm = squares.sum::<f64>().sqrt();

    let report = trainer
        .step(std::slice::from_ref(&samples), &set())
        .unwrap();
    let found = |name| report.get(name).unwrap();
    assert_near("error", found("err/discriminator"), present, 1e-5);
    assert!(
        (old - present).abs() > 1e-3 * present,
        "the first words would give {old}, the present ones {present}"
    );
    assert_near("norm", found("grad_norm/generator"), norm, 1e-4);
}

#[test]
fn words_resume_exactly() {
    crate::tasks::check_resume("words", &config(|_| ()), model, &set(), &[1, 2], 4);
}
