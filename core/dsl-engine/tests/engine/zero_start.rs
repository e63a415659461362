//! The first step: a fresh copy answers as its original, so there is nothing for the generator to learn yet.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use dsl_engine::objective::dsl::{discriminator_loss, generator_loss};
use dsl_engine::objective::loss::Measure;
use dsl_engine::objective::{GeneratorConfig, HingeConfig, Reduction, UpdateOrder};
use dsl_nets::{Conditioning, LoraConfig, NamedParameter, named_parameters};

use crate::support::{Points, dsl, full_twin, normal, tiny_unet, train, trainer, values, weights};

#[test]
fn a_fresh_adapter_gives_the_generator_a_gradient_of_exactly_zero() {
    let device = Device::flex().autodiff();
    let model = tiny_unet(1);
    let generator = model.denoiser.clone().train();
    let discriminator = model
        .denoiser
        .with_lora(&LoraConfig::default(), 5)
        .unwrap()
        .train();
    let x_t = normal("x_t", [2, 3, 8, 8], &device);
    let target = normal("eps", [2, 3, 8, 8], &device);
    let timesteps = Tensor::from_floats([20.0, 800.0], &device);
    let text = normal("text", [1, 2, 6, 12], &device).reshape([2, 6, 12]);
    let conditioning = Conditioning::text(text);
    let eps_g = generator.forward(x_t.clone(), timesteps.clone(), &conditioning);
    // A graph serves one backward pass.
    let eps_phi = || discriminator.forward(x_t.clone(), timesteps.clone(), &conditioning);
    let margin = Tensor::full([2], 1.0, &device);
    let measure = Measure::plain(Reduction::Mean);
    let hinge = HingeConfig::default();

    let loss = generator_loss(
        eps_g.clone(),
        eps_phi(),
        target.clone(),
        0.05,
        margin.clone(),
        &GeneratorConfig::default(),
        &hinge,
        &measure,
    );
    assert_eq!(values(loss.loss.clone()), [0.0]);
    let gradients = crate::support::gradients(&generator, &loss.loss.backward());
    assert!(!gradients.is_empty());
    assert!(
        gradients
            .iter()
            .all(|(path, g)| g.iter().all(|g| *g == 0.0) || panic!("{path}"))
    );

    // The hinge is active everywhere and pulls nowhere: only the regression moves the adapters, and only their B.
    let gradient = |lambda: f64| {
        let (target, eps_g) = (target.clone(), eps_g.clone());
        let loss = discriminator_loss(
            eps_phi(),
            target,
            eps_g,
            lambda,
            margin.clone(),
            &hinge,
            &measure,
        );
        assert_eq!(values(loss.active), [1.0, 1.0]);
        crate::support::gradients(&discriminator, &loss.loss.backward())
    };
    let (with_hinge, without) = (gradient(0.05), gradient(0.0));
    assert_eq!(with_hinge, without);
    for (path, gradient) in &without {
        assert!(
            path.ends_with("lora_a") || path.ends_with("lora_b"),
            "{path} is frozen"
        );
        assert_eq!(
            gradient.iter().any(|g| *g != 0.0),
            path.ends_with("lora_b"),
            "{path}"
        );
    }
}

/// Weight decay must not move a generator that has nothing to learn.
#[test]
fn in_simultaneous_order_the_generator_waits_one_step() {
    let set = Points::new(16);
    for full in [false, true] {
        let config = dsl(|dsl| {
            dsl.update.order = UpdateOrder::Simultaneous;
            if full {
                full_twin(dsl);
            }
        });
        assert!(config.train.optimizer.weight_decay > 0.0);
        let mut trainer = trainer(config);
        let start = weights(trainer.generator());
        let report = train(&mut trainer, &set, 1).remove(0);
        assert_eq!(weights(trainer.generator()), start);
        for (name, value) in [
            ("loss/generator", 0.0),
            ("gap", 0.0),
            ("grad_norm/generator", 0.0),
        ] {
            assert_eq!(report.get(name), Some(value), "{name}");
        }
        assert_eq!(report.get("hinge/active_fraction"), Some(1.0));
        assert!(report.get("grad_norm/discriminator").unwrap() > 0.0);

        let report = train(&mut trainer, &set, 1).remove(0);
        assert!(report.get("loss/generator").unwrap() > 0.0);
        assert_ne!(weights(trainer.generator()), start);
    }
}

#[test]
fn in_the_default_order_the_generator_learns_from_the_first_step() {
    let set = Points::new(16);
    let mut trainer = trainer(dsl(|_| ()));
    let start = weights(trainer.generator());
    let report = train(&mut trainer, &set, 1).remove(0);
    assert!(
        report.get("loss/generator").unwrap() > 0.0
            && report.get("grad_norm/generator").unwrap() > 0.0
    );
    assert_ne!(weights(trainer.generator()), start);
    let moved: Vec<NamedParameter> = named_parameters(trainer.discriminator().unwrap());
    assert!(
        moved
            .iter()
            .any(|p| p.path.ends_with("lora_b") && p.values.iter().any(|v| *v != 0.0))
    );
}
