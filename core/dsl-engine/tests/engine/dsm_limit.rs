//! Where DSL is DSM: a hinge without weight, and a discriminator that knows the noise.

use burn::tensor::{Device, Tensor};
use dsl_engine::objective::dsl::{discriminator_loss, generator_loss};
use dsl_engine::objective::dsm::dsm_loss;
use dsl_engine::objective::loss::Measure;
use dsl_engine::objective::{GeneratorConfig, HingeConfig, HingeGranularity, Reduction};
use dsl_engine::{SampleSource, Trainer};

use crate::support::{
    Pictures, Points, constant_margin, dsl, dsm, full_twin, normal, series, tiny_unet, train,
    trainer, values, weights,
};
const SHAPE: [usize; 4] = [3, 2, 4, 4];

fn margin(value: f64) -> Tensor<1> {
    Tensor::full([SHAPE[0]], value, &device())
}

fn device() -> Device {
    Device::flex().autodiff()
}

#[test]
fn without_lambda_eq_2_is_dsm_bit_for_bit() {
    let target = normal("target", SHAPE, &device());
    let eps_g = normal("eps_g", SHAPE, &device());
    for granularity in [
        HingeGranularity::Sample,
        HingeGranularity::Batch,
        HingeGranularity::Element,
    ] {
        let hinge = HingeConfig {
            granularity,
            ..HingeConfig::default()
        };
        let measure = Measure::plain(Reduction::Mean);
        let eps_phi = normal("eps_phi", SHAPE, &device()).require_grad();
        let dsl = discriminator_loss(
            eps_phi.clone(),
            target.clone(),
            eps_g.clone(),
            0.0,
            margin(9.0),
            &hinge,
            &measure,
        );
        assert!(
            values(dsl.hinge.clone()).iter().all(|&h| h > 0.0),
            "the hinge is logged"
        );
        assert!(values(dsl.active.clone()).iter().all(|&a| a == 1.0));
        let dsm = dsm_loss(eps_phi.clone(), target.clone(), &measure);
        assert_eq!(values(dsl.loss.clone()), values(dsm.loss.clone()));
        let [of_dsl, of_dsm] =
            [dsl.loss, dsm.loss].map(|loss| values(eps_phi.grad(&loss.backward()).unwrap()));
        assert_eq!(of_dsl, of_dsm, "{granularity:?}");
    }
}

/// The whole run: the discriminator goes the way that a generator trained by DSM goes.
#[test]
fn without_lambda_the_discriminator_trains_as_dsm_does_bit_for_bit() {
    let set = Points::new(40);
    let mut dsm = dsm();
    dsm.train.lr_schedule =
        serde_json::from_value(serde_json::json!({"kind": "cosine", "warmup_steps": 3})).unwrap();
    let mut dsl = dsl(|dsl| {
        dsl.lambda = 0.0;
        full_twin(dsl);
    });
    dsl.train = dsm.train.clone();
    let (mut dsm, mut dsl) = (trainer(dsm), trainer(dsl));
    let (of_dsm, of_dsl) = (train(&mut dsm, &set, 12), train(&mut dsl, &set, 12));
    assert_eq!(
        weights(&dsm.generator().denoiser),
        weights(dsl.discriminator().unwrap())
    );
    assert_ne!(
        weights(&dsm.generator().denoiser),
        weights(&dsl.generator().denoiser)
    );
    assert_eq!(
        series(&of_dsm, "loss/generator"),
        series(&of_dsl, "loss/discriminator")
    );
    assert_eq!(
        series(&of_dsm, "grad_norm/generator"),
        series(&of_dsl, "grad_norm/discriminator")
    );
    assert!(
        series(&of_dsl, "loss/hinge")
            .iter()
            .all(|&hinge| hinge > 0.0)
    );
}

#[test]
fn a_discriminator_that_knows_the_noise_gives_the_loss_and_gradient_of_dsm() {
    let target = normal("target", SHAPE, &device());
    let eps_g = normal("eps_g", SHAPE, &device()).require_grad();
    let weight = Tensor::<1>::from_floats([1.0, 0.25, 3.0], &device());
    for measure in [
        Measure::plain(Reduction::Sum),
        Measure::new(Reduction::Mean, None, Some(weight), 1),
    ] {
        let (config, hinge) = (GeneratorConfig::default(), HingeConfig::default());
        let oracle = target.clone();
        let dsl = generator_loss(
            eps_g.clone(),
            oracle,
            target.clone(),
            0.05,
            margin(1.0),
            &config,
            &hinge,
            &measure,
        );
        let dsm = dsm_loss(eps_g.clone(), target.clone(), &measure);
        assert_eq!(values(dsl.loss.clone()), values(dsm.loss.clone()));
        let [of_dsl, of_dsm] =
            [dsl.loss, dsm.loss].map(|loss| values(eps_g.grad(&loss.backward()).unwrap()));
        assert_eq!(of_dsl, of_dsm);
    }
}

/// `dsm_weight` adds the same loss once more.
#[test]
fn a_dsm_share_adds_its_gradient() {
    let (target, eps_phi) = (
        normal("target", SHAPE, &device()),
        normal("eps_phi", SHAPE, &device()),
    );
    let eps_g = normal("eps_g", SHAPE, &device()).require_grad();
    let measure = Measure::plain(Reduction::Mean);
    let gradient = |dsm_weight: f64| {
        let config = GeneratorConfig {
            dsm_weight,
            ..GeneratorConfig::default()
        };
        let hinge = HingeConfig::default();
        let (eps_g, eps_phi, target) = (eps_g.clone(), eps_phi.clone(), target.clone());
        let loss = generator_loss(
            eps_g.clone(),
            eps_phi,
            target,
            0.05,
            margin(1.0),
            &config,
            &hinge,
            &measure,
        )
        .loss;
        values(eps_g.grad(&loss.backward()).unwrap())
    };
    let (plain, mixed) = (gradient(0.0), gradient(0.5));
    let dsm = dsm_loss(eps_g.clone(), target, &measure).loss;
    let dsm = values(eps_g.grad(&dsm.backward()).unwrap());
    for ((plain, mixed), dsm) in plain.iter().zip(&mixed).zip(&dsm) {
        assert!((mixed - (plain + 0.5 * dsm)).abs() < 1e-6);
    }
}

#[test]
fn warmup_is_dsm_until_the_discriminator_is_made() {
    let set = Points::new(40);
    let mut dsm = trainer(dsm());
    let mut dsl = trainer(dsl(|dsl| dsl.warmup_dsm_steps = 4));
    let (of_dsm, of_dsl) = (train(&mut dsm, &set, 4), train(&mut dsl, &set, 4));
    assert_eq!(of_dsm, of_dsl);
    assert!(dsl.discriminator().is_none());
    let start = weights(&dsl.generator().denoiser);
    assert_eq!(start, weights(&dsm.generator().denoiser));

    let report = train(&mut dsl, &set, 1).remove(0);
    assert!(report.get("loss/discriminator").is_some() && report.get("margin").unwrap() > 0.0);
    let base = crate::support::base_weights(dsl.discriminator().unwrap());
    assert_eq!(
        base, start,
        "the base is the generator at the end of the warm-up"
    );
}

/// Pictures with captions: generator, text encoder and adapters all take part.
#[test]
fn a_captioned_unet_trains_by_both_objectives() {
    let set = Pictures(4);
    for config in [dsm(), dsl(|dsl| constant_margin(dsl, 1.0))] {
        let is_dsl = config.objective.kind() == "dsl";
        let mut trainer = Trainer::new(config, tiny_unet(1), &Device::flex()).unwrap();
        let before = weights(trainer.generator());
        for _ in 0..2 {
            let report = trainer
                .step(&[set.samples(&[0, 1, 2, 3]).unwrap()], &set)
                .unwrap();
            assert!(report.get("loss/generator").unwrap() > 0.0);
            assert_eq!(report.get("loss/discriminator").is_some(), is_dsl);
        }
        let after = weights(trainer.generator());
        let unmoved: Vec<&str> = (before.iter().zip(&after).filter(|(a, b)| a == b))
            .map(|(a, _)| a.0.as_str())
            .collect();
        assert!(unmoved.is_empty(), "{unmoved:?}");
    }
}
