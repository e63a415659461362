//! Eq. 2, Eq. 3, optimiser steps and margins against values that PyTorch, diffusers and PEFT gave.
//!
//! Generator: the UNet that `meta.base` names. Discriminator: a copy with the adapters of the folder `lora`.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsAccumulator;
use burn::tensor::{Device, Gradients, Tensor};
use dsl_engine::objective::dsl::{
    DiscriminatorLoss, GeneratorLoss, discriminator_loss, generator_loss,
};
use dsl_engine::objective::dsm::dsm_loss;
use dsl_engine::objective::loss::Measure;
use dsl_engine::objective::{GeneratorConfig, HingeConfig, Reduction};
use dsl_engine::trainer::{AdamWConfig, Learner, Noised};
use dsl_engine::{
    Conditions, LossConfig, NoiseSchedule, NoiseScheduleConfig, PredictionType, Samples,
};
use dsl_nets::{Conditioning, Denoiser, LoraFile, named_parameters};
use serde_json::{Map, Value};

use crate::fixture::Fixture;
use crate::support::values;

/// Absolute tolerance of a weight after one AdamW step, as `meta.step_tolerance` says. AdamW's first step moves a weight
/// by the learning rate along the sign of its gradient, so a gradient within its own tolerance of 0 may go either way.
const STEP_TOLERANCE: f64 = 2e-6;

struct Case {
    fixture: Fixture,
    schedule: NoiseSchedule,
    prediction: PredictionType,
    lambda: f64,
    generator: Denoiser,
    discriminator: Denoiser,
}

/// One batch as both networks see it.
struct Batch {
    noised: Noised,
    conditioning: Conditioning,
}

impl Case {
    fn open() -> Self {
        let fixture = Fixture::open("dsl");
        let scheduler =
            std::fs::read_to_string(fixture.folder.join("scheduler/scheduler_config.json"))
                .unwrap();
        let scheduler: Map<String, Value> = serde_json::from_str(&scheduler).unwrap();
        let known = serde_json::to_value(NoiseScheduleConfig::default()).unwrap();
        let ours = scheduler.iter().filter(|(key, _)| known.get(key).is_some());
        let ours: Map<String, Value> = ours
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let schedule: NoiseScheduleConfig = serde_json::from_value(ours.into()).unwrap();
        let base = fixture.base();
        let adapters = LoraFile::read(&fixture.folder.join("lora")).unwrap();
        let adapted = adapters.attach(&base, 1.0).unwrap();
        Self {
            schedule: schedule.build().unwrap(),
            prediction: serde_json::from_value(scheduler["prediction_type"].clone()).unwrap(),
            lambda: fixture.number("/lambda"),
            generator: base.train(),
            discriminator: adapted.train(),
            fixture,
        }
    }

    /// The inputs `<prefix>.x0`, `.noise`, `.timestep`, `.encoder_hidden_states`, measured by `reduction`.
    fn batch(&self, prefix: &str, reduction: Reduction) -> Batch {
        let key = |name: &str| format!("{prefix}.{name}");
        let samples = Samples {
            x_0: self.fixture.data(&key("x0")),
            conditions: Conditions::default(),
            views: 1,
            domains: 1,
        };
        let timestep = self
            .fixture
            .values(&key("timestep"))
            .into_iter()
            .map(|t| t as u32)
            .collect();
        let loss = LossConfig {
            reduction,
            ..LossConfig::default()
        };
        let eps = self.fixture.data(&key("noise"));
        Batch {
            noised: Noised::new(
                &samples,
                timestep,
                eps,
                &self.schedule,
                self.prediction,
                &loss,
                &Device::flex(),
            ),
            conditioning: Conditioning::text(
                self.fixture
                    .tensor(&key("encoder_hidden_states"), &device()),
            ),
        }
    }

    fn eq_2(
        &self,
        eps_phi: Tensor<4>,
        eps_g: Tensor<4>,
        margin: f64,
        batch: &Batch,
    ) -> DiscriminatorLoss {
        let margin = Tensor::full([batch.noised.rows()], margin, &device());
        let (target, measure) = (batch.target(), batch.measure());
        discriminator_loss(
            eps_phi,
            target,
            eps_g,
            self.lambda,
            margin,
            &HingeConfig::default(),
            &measure,
        )
    }

    fn eq_3(&self, eps_g: Tensor<4>, eps_phi: Tensor<4>, batch: &Batch) -> GeneratorLoss {
        let margin = Tensor::zeros([batch.noised.rows()], &device());
        let (config, hinge) = (GeneratorConfig::default(), HingeConfig::default());
        generator_loss(
            eps_g,
            eps_phi,
            batch.target(),
            self.lambda,
            margin,
            &config,
            &hinge,
            &batch.measure(),
        )
    }

    /// Compares gradients with every tensor whose name starts with `prefix`.
    fn check_gradients(&self, prefix: &str, module: &Denoiser, gradients: &Gradients) {
        let found = by_file_key(module, Some(gradients));
        let mut checked = 0;
        for key in self.fixture.keys() {
            if let Some(name) = key.strip_prefix(prefix) {
                self.fixture.check("grad", &key, &found[name]);
                checked += 1;
            }
        }
        assert!(checked > 0, "nothing is called {prefix}…");
    }

    fn learner(&self, module: &Denoiser) -> Learner<Denoiser> {
        let adamw = AdamWConfig {
            beta_1: self.fixture.number("/adamw/betas/0"),
            beta_2: self.fixture.number("/adamw/betas/1"),
            adam_epsilon: self.fixture.number("/adamw/eps"),
            weight_decay: self.fixture.number("/adamw/weight_decay"),
        };
        Learner::new(module.clone(), &adamw, None)
    }

    fn update(&self, learner: &mut Learner<Denoiser>, loss: &Tensor<1>) {
        let mut gradients = GradientsAccumulator::new();
        learner.backward(loss, &mut gradients);
        learner
            .update(&mut gradients, self.fixture.number("/adamw/lr"), 1, "norm")
            .unwrap();
    }
}

impl Batch {
    fn forward(&self, network: &Denoiser) -> Tensor<4> {
        network.forward(
            self.noised.x_t(&device()),
            self.noised.timesteps(&device()),
            &self.conditioning,
        )
    }

    fn target(&self) -> Tensor<4> {
        self.noised.target(&device())
    }

    fn measure(&self) -> Measure {
        self.noised.measure(&device())
    }
}

fn device() -> Device {
    Device::flex().autodiff()
}

/// Parameters, or their gradients, under the names and in the layout of weight files.
fn by_file_key(module: &Denoiser, gradients: Option<&Gradients>) -> BTreeMap<String, Vec<f32>> {
    struct Collect<'a>(Option<&'a Gradients>, Vec<Vec<f32>>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.push(match self.0 {
                Some(gradients) => param.val().grad(gradients).map(values).unwrap_or_default(),
                None => values(param.val()),
            });
        }
    }
    let mut collected = Collect(gradients, Vec::new());
    module.visit(&mut collected);
    let parameters = named_parameters(module).into_iter().zip(collected.1);
    parameters
        .map(|(parameter, values)| {
            let turned = parameter.is_transposed || parameter.is_adapter();
            let key = parameter
                .path
                .replace(".lora.lora_a", ".lora_A.weight")
                .replace(".lora.lora_b", ".lora_B.weight");
            if turned && !values.is_empty() {
                let [rows, columns] = [parameter.shape[0], parameter.shape[1]];
                let order = (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c));
                (key, order.map(|i| values[i]).collect())
            } else {
                (key, values)
            }
        })
        .collect()
}

/// Both conventions of the norm, by the names that the fixture and the configuration give them.
fn reductions(fixture: &Fixture) -> Vec<(String, Reduction)> {
    let keys = fixture.keys();
    let norms = keys
        .iter()
        .filter_map(|key| key.strip_prefix("out.")?.strip_suffix(".G_per_sample"));
    let norms: Vec<_> = norms
        .map(|norm| {
            (
                norm.to_owned(),
                serde_json::from_value(norm.into()).unwrap(),
            )
        })
        .collect();
    assert!(!norms.is_empty());
    norms
}

#[test]
fn fixture_outputs_of_both_networks() {
    let case = Case::open();
    let batch = case.batch("in", Reduction::Mean);
    case.fixture
        .check("out", "out.x_t", &values(batch.noised.x_t(&device())));
    case.fixture
        .check("out", "out.eps_G", &values(batch.forward(&case.generator)));
    case.fixture.check(
        "out",
        "out.eps_phi",
        &values(batch.forward(&case.discriminator)),
    );
}

#[test]
fn eq_2_matches_the_fixture_for_every_norm_and_margin() {
    let case = Case::open();
    let mut checked = 0;
    for (norm, reduction) in reductions(&case.fixture) {
        let batch = case.batch("in", reduction);
        let prefix = format!("in.{norm}.");
        let keys = case.fixture.keys();
        for name in keys
            .iter()
            .filter_map(|key| key.strip_prefix(&prefix)?.strip_suffix(".margin"))
        {
            let (eps_phi, eps_g) = (
                batch.forward(&case.discriminator),
                batch.forward(&case.generator),
            );
            let margin = case.fixture.scalar(&format!("in.{norm}.{name}.margin"));
            let result = case.eq_2(eps_phi, eps_g, margin, &batch);
            let out = |what: &str| format!("out.{norm}.{name}.{what}");
            case.fixture.check(
                "loss",
                &format!("loss.{norm}.{name}.phi"),
                &values(result.loss.clone()),
            );
            case.fixture
                .check("out", &out("real"), &values(result.error));
            case.fixture
                .check("out", &out("energy"), &values(result.gap));
            case.fixture
                .check("out", &out("hinge"), &values(result.hinge));
            assert_eq!(
                values(result.active),
                case.fixture.values(&out("active")),
                "{norm} {name}"
            );

            let gradients = result.loss.backward();
            case.check_gradients(
                &format!("grad.{norm}.{name}.phi."),
                &case.discriminator,
                &gradients,
            );
            assert!(
                by_file_key(&case.generator, Some(&gradients))
                    .values()
                    .all(Vec::is_empty),
                "Eq. 2 sends gradients to the generator"
            );
            checked += 1;
        }
    }
    assert!(checked >= 2, "{checked} cases");
}

#[test]
fn eq_3_matches_the_fixture_for_every_norm() {
    let case = Case::open();
    for (norm, reduction) in reductions(&case.fixture) {
        let batch = case.batch("in", reduction);
        let (eps_g, eps_phi) = (
            batch.forward(&case.generator),
            batch.forward(&case.discriminator),
        );
        let result = case.eq_3(eps_g.clone(), eps_phi, &batch);
        case.fixture.check(
            "loss",
            &format!("loss.{norm}.G"),
            &values(result.loss.clone()),
        );
        case.fixture.check(
            "out",
            &format!("out.{norm}.G_per_sample"),
            &values(result.gap),
        );
        case.fixture.check(
            "out",
            &format!("out.{norm}.dsm_per_sample"),
            &values(result.error),
        );
        let dsm = dsm_loss(eps_g, batch.target(), &batch.measure());
        case.fixture.check(
            "out",
            &format!("out.{norm}.dsm_per_sample"),
            &values(dsm.error),
        );

        let gradients = result.loss.backward();
        case.check_gradients(&format!("grad.{norm}.G."), &case.generator, &gradients);
        assert!(
            by_file_key(&case.discriminator, Some(&gradients))
                .values()
                .all(Vec::is_empty),
            "Eq. 3 sends gradients to the discriminator"
        );
    }
}

/// Adapters whose B is 0: the hinge is active and has no gradient.
#[test]
fn a_fresh_adapter_matches_the_fixture() {
    struct ZeroB(Vec<String>);
    impl ModuleMapper for ZeroB {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.0.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.0.pop();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            match self.0.last() {
                Some(name) if name == "lora_b" => param.map(|tensor| tensor.zeros_like()),
                _ => param,
            }
        }
    }
    let case = Case::open();
    let fresh = case
        .discriminator
        .valid()
        .map(&mut ZeroB(Vec::new()))
        .train();
    assert!(fresh.is_at_identity());
    let batch = case.batch("in", Reduction::Mean);
    // The margin that the reference has written into its script; the loss shows it.
    let margin = 0.5;
    let result = case.eq_2(
        batch.forward(&fresh),
        batch.forward(&case.generator),
        margin,
        &batch,
    );
    case.fixture
        .check("loss", "loss.start.phi", &values(result.loss.clone()));
    // The reference adds the adapters' zeros in another order and may be off by rounding.
    let reference = case.fixture.values("out.start.energy");
    assert!(reference.iter().all(|energy| *energy < 1e-9));
    assert_eq!(values(result.gap), vec![0.0; reference.len()]);
    case.check_gradients("grad.start.phi.", &fresh, &result.loss.backward());
}

#[test]
fn one_step_of_adamw_matches_the_fixture() {
    let case = Case::open();
    let batch = case.batch("in", Reduction::Mean);
    let margin = case.fixture.scalar("in.step.margin");
    let (eps_g, eps_phi) = (
        batch.forward(&case.generator).detach(),
        batch.forward(&case.discriminator).detach(),
    );
    for (name, network) in [("phi", &case.discriminator), ("G", &case.generator)] {
        let mut learner = case.learner(network);
        let loss = |learner: &Learner<Denoiser>| {
            let output = batch.forward(learner.module());
            match name {
                "phi" => case.eq_2(output, eps_g.clone(), margin, &batch).loss,
                _ => case.eq_3(output, eps_phi.clone(), &batch).loss,
            }
        };
        case.fixture.check(
            "loss",
            &format!("loss.step.{name}.before"),
            &values(loss(&learner)),
        );
        case.check_gradients(
            &format!("grad.step.{name}."),
            network,
            &loss(&learner).backward(),
        );
        let before = loss(&learner);
        case.update(&mut learner, &before);
        case.fixture.check(
            "loss",
            &format!("loss.step.{name}.after"),
            &values(loss(&learner)),
        );
        check_step(&case.fixture, name, learner.module());
    }
}

fn check_step(fixture: &Fixture, name: &str, stepped: &Denoiser) {
    let found = by_file_key(stepped, None);
    let prefix = format!("out.step.{name}.");
    let mut checked = 0;
    for key in fixture.keys() {
        let Some(parameter) = key.strip_prefix(&prefix) else {
            continue;
        };
        let expected = fixture.values(&key);
        let gradient = fixture.values(&format!("grad.step.{name}.{parameter}"));
        let largest = gradient.iter().fold(0.0f32, |max, g| max.max(g.abs()));
        let noise = fixture.number("/tolerance_rel_to_max_abs/grad") * f64::from(largest);
        for (i, gradient) in gradient.iter().enumerate() {
            let (found, expected) = (found[parameter][i], expected[i]);
            let certain = f64::from(gradient.abs()) > noise;
            let turned = if certain {
                0.0
            } else {
                2.0 * fixture.number("/adamw/lr")
            };
            let error = f64::from((found - expected).abs());
            assert!(
                error <= STEP_TOLERANCE + turned,
                "{key}[{i}]: {found}, not {expected} (gradient {gradient:e})"
            );
            checked += usize::from(certain);
        }
    }
    assert!(checked > 0, "nothing is called {prefix}…");
}

/// The discriminator moves, then the generator learns from it on the same batch; three times and more.
#[test]
fn alternating_steps_match_the_fixture() {
    let case = Case::open();
    let (mut discriminator, mut generator) = (
        case.learner(&case.discriminator),
        case.learner(&case.generator),
    );
    let margin = case.fixture.scalar("in.step.margin");
    let (mut phi, mut g) = (Vec::new(), Vec::new());
    for i in 0..case.fixture.values("loss.alternate.phi").len() {
        let batch = case.batch(&format!("in.alternate.{i}"), Reduction::Mean);
        let eps_g = batch.forward(generator.module());
        let loss = case
            .eq_2(
                batch.forward(discriminator.module()),
                eps_g.clone(),
                margin,
                &batch,
            )
            .loss;
        phi.extend(values(loss.clone()));
        case.update(&mut discriminator, &loss);
        let loss = case
            .eq_3(eps_g, batch.forward(discriminator.module()), &batch)
            .loss;
        g.extend(values(loss.clone()));
        case.update(&mut generator, &loss);
    }
    case.fixture.check("loss", "loss.alternate.phi", &phi);
    case.fixture.check("loss", "loss.alternate.G", &g);
}

/// The mean over samples, not over batches: the last batch is short.
#[test]
fn the_margin_of_a_small_set_matches_the_fixture() {
    let case = Case::open();
    for (norm, reduction) in reductions(&case.fixture) {
        let batch = case.batch("in.margin", reduction);
        let error = batch
            .measure()
            .squared_distance(batch.forward(&case.generator), batch.target());
        let error = values(error);
        case.fixture
            .check("out", &format!("out.margin.{norm}.per_sample"), &error);
        let mean = error.iter().map(|&e| f64::from(e)).sum::<f64>() / error.len() as f64;
        case.fixture
            .check("out", &format!("out.margin.{norm}.margin"), &[mean as f32]);
    }
}
