//! The margin: the mean error over the training set, measured apart from training.

use burn::tensor::{Device, TensorData};
use dsl_engine::objective::dsl::Margins;
use dsl_engine::objective::{DslConfig, HingeGroup, MarginSource, TimestepStrategy};
use dsl_engine::rng::Stream;
use dsl_engine::trainer::Noised;
use dsl_engine::{SampleSource, Trainer, TrainerConfig};
use dsl_nets::Conditioning;

use crate::support::{
    BATCH, Points, assert_near, constant_margin, dsl, dsl_of, full_twin, mlp, series, train,
    trainer, values, zeroed,
};

/// The margins that a trainer measures whose generator has not been trained.
fn measure(config: &TrainerConfig, set: &Points) -> Margins {
    trainer(config.clone())
        .margin_pass(&dsl_of(config), set)
        .unwrap()
        .margins
}

fn scalar(config: &TrainerConfig, set: &Points) -> f64 {
    let margins = measure(config, set);
    assert_eq!(margins.bins.len(), 1);
    margins.bins[0]
}

/// Noise of the margin pass, two numbers per row.
fn drawn_noise(trainer: &Trainer, draw: u64, rows: usize) -> Vec<f32> {
    trainer
        .streams()
        .normal(Stream::MARGIN.part("noise"), draw, 0, [rows, 2, 1, 1])
}

/// A generator that always answers 0 has the error `|eps|^2`, whatever the timestep.
#[test]
fn a_known_set_and_a_known_generator_give_the_exact_margin() {
    let set = Points::new(11);
    for batch_size in [1, 2, 3, 11, 64] {
        let mut config = dsl(|dsl| dsl.margin.draws = 2);
        config.train.batch_size = batch_size;
        let trainer = Trainer::new(config.clone(), zeroed(mlp(3)), &Device::flex()).unwrap();
        let report = trainer.margin_pass(&dsl_of(&config), &set).unwrap();
        let error = |eps: &[f32]| f64::from((eps[0] * eps[0] + eps[1] * eps[1]) / 2.0);
        let errors: Vec<f64> = (0..2)
            .flat_map(|draw| {
                drawn_noise(&trainer, draw, 11)
                    .chunks(2)
                    .map(error)
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(
            report.margins.bins,
            [errors.iter().sum::<f64>() / 22.0],
            "batch of {batch_size}"
        );
        assert_eq!(report.samples, 11);
    }
}

/// Sample by sample, with timesteps and noise as the pass draws them.
#[test]
fn the_margin_is_the_mean_of_the_errors_of_single_samples() {
    let set = Points::new(23);
    for timesteps in [TimestepStrategy::Stratified, TimestepStrategy::Uniform] {
        let config = dsl(|dsl| dsl.margin.timesteps = timesteps);
        let trainer = trainer(config.clone());
        let (count, schedule) = (23, trainer.noise_schedule());
        let t = match timesteps {
            TimestepStrategy::Uniform => {
                trainer
                    .streams()
                    .uniform_timesteps(Stream::MARGIN, 0, 0, count, 1000)
            }
            TimestepStrategy::Stratified => {
                trainer
                    .streams()
                    .stratified_timesteps(Stream::MARGIN, 0, count, 1000)
            }
        };
        let noise = drawn_noise(&trainer, 0, count);
        let model = trainer.sampling_model();
        let device = Device::flex();
        let error = |i: usize| {
            let eps = TensorData::new(noise[2 * i..][..2].to_vec(), [1, 2, 1, 1]);
            let samples = set.samples(&[i as u64]).unwrap();
            let (native, loss) = (config.prediction_type, &config.loss);
            let noised = Noised::new(&samples, vec![t[i]], eps, schedule, native, loss, &device);
            let answer = model.denoiser.forward(
                noised.x_t(&device),
                noised.timesteps(&device),
                &Conditioning::none(),
            );
            f64::from(values((answer - noised.eps(&device)).powi_scalar(2).mean())[0])
        };
        let expected = (0..count).map(error).sum::<f64>() / count as f64;
        assert_near("margin", scalar(&config, &set), expected, 1e-6);
    }
}

#[test]
fn the_margin_does_not_depend_on_the_batch_size() {
    let set = Points::new(50);
    let margins = [1, 7, 16, 50].map(|batch_size| {
        let mut config = dsl(|_| ());
        config.train.batch_size = batch_size;
        scalar(&config, &set)
    });
    for margin in margins {
        assert_near("margin", margin, margins[0], 1e-6);
    }
}

#[test]
fn a_large_set_is_represented_by_a_fixed_part() {
    let set = Points::new(60);
    let config = dsl(|dsl| dsl.margin.max_samples = 20);
    let trainer = trainer(config.clone());
    let report = trainer.margin_pass(&dsl_of(&config), &set).unwrap();
    assert_eq!(report.samples, 20);
    assert_eq!(report, trainer.margin_pass(&dsl_of(&config), &set).unwrap());
    let whole = scalar(&dsl(|_| ()), &set);
    assert!((report.margins.bins[0] / whole - 1.0).abs() < 0.5 && report.margins.bins[0] != whole);
}

#[test]
fn the_source_says_which_error_is_meant() {
    let set = Points::new(24);
    let with = |source| dsl(move |dsl| dsl.margin.source = source);
    let mut trainer = trainer(with(MarginSource::GenError));
    let pass = |trainer: &Trainer, source| {
        trainer
            .margin_pass(&dsl_of(&with(source)), &set)
            .unwrap()
            .margins
            .bins[0]
    };
    train(&mut trainer, &set, 5);
    let gap = pass(&trainer, MarginSource::Gap);
    let (of_g, of_phi) = (
        pass(&trainer, MarginSource::GenError),
        pass(&trainer, MarginSource::DiscError),
    );
    assert!(gap > 0.0 && gap < 0.5 * of_g, "{gap} {of_g}");
    // |d - eps| and |g - eps| differ by at most |d - g|.
    assert!(of_g != of_phi && (of_g.sqrt() - of_phi.sqrt()).abs() <= gap.sqrt());
    // A fresh copy has no gap, so that margin is 0.
    let mut fresh = crate::support::trainer(with(MarginSource::Gap));
    assert_eq!(train(&mut fresh, &set, 1)[0].get("margin"), Some(0.0));
}

#[test]
fn the_scale_multiplies_and_bins_divide() {
    let set = Points::new(40);
    let plain = scalar(&dsl(|_| ()), &set);
    assert_near(
        "scaled",
        scalar(&dsl(|dsl| dsl.margin.scale = 1.1), &set),
        1.1 * plain,
        1e-12,
    );

    let config = dsl(|dsl| dsl.margin.bins = 4);
    let margins = measure(&config, &set);
    assert_eq!((margins.bins.len(), margins.num_train_timesteps), (4, 1000));
    // Stratified draws put ten of the forty samples into each quarter.
    assert_near("mean", margins.mean(), plain, 1e-12);
    assert!(
        margins
            .bins
            .iter()
            .any(|bin| (bin / plain - 1.0).abs() > 0.02),
        "{margins:?}"
    );

    // More ranges than draws: an empty one takes the overall mean.
    let few = Points::new(3);
    let margins = measure(&dsl(|dsl| dsl.margin.bins = 50), &few);
    let overall = scalar(&dsl(|_| ()), &few);
    assert_eq!(
        margins.bins.iter().filter(|bin| **bin == overall).count(),
        47
    );
}

#[test]
fn views_count_as_one_object_or_each() {
    let set = Points::new(24).with_views(2);
    assert_eq!(set.len(), 12);
    let by = |group: HingeGroup| scalar(&dsl(|dsl| dsl.hinge.group = group), &set);
    // Objects have equally many views, so the means agree.
    assert_near("views", by(HingeGroup::View), by(HingeGroup::Object), 1e-6);
    let mut trainer = trainer(dsl(|_| ()));
    let report = train(&mut trainer, &set, 1).remove(0);
    assert_eq!(report.images, 2 * BATCH);
    assert!(report.get("margin").unwrap() > 0.0);
}

/// Steps (from 1) after which the reported margin differs from the one before.
fn changes(change: impl FnOnce(&mut DslConfig), steps: u64) -> (Vec<f64>, Vec<usize>) {
    let set = Points::new(2 * BATCH);
    let mut trainer = trainer(dsl(change));
    let margins = series(&train(&mut trainer, &set, steps), "margin");
    let changed = margins
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| pair[0] != pair[1]);
    let changed = changed.map(|(i, _)| i + 2).collect();
    (margins, changed)
}

#[test]
fn passes_come_before_the_first_step_and_every_few_epochs_or_steps() {
    // An epoch is two steps.
    let (margins, changed) = changes(|dsl| dsl.margin.every_epochs = 3, 14);
    assert!(margins[0] > 0.0);
    assert_eq!(changed, [7, 13]);
    assert_eq!(
        changes(|dsl| dsl.margin.every_steps = Some(5), 12).1,
        [6, 11]
    );
    // The count starts when DSL does.
    let set = Points::new(2 * BATCH);
    let mut late = trainer(dsl(|dsl| {
        dsl.margin.every_steps = Some(4);
        dsl.warmup_dsm_steps = 3;
    }));
    let margins = series(&train(&mut late, &set, 9)[3..], "margin");
    assert!(margins[0] == margins[3] && margins[3] != margins[4] && margins[4] == margins[5]);
}

#[test]
fn without_a_pass_at_the_start_the_margin_is_zero_until_one_is_due() {
    let (margins, _) = changes(
        |dsl| {
            dsl.margin.at_start = false;
            dsl.margin.every_steps = Some(3);
        },
        4,
    );
    assert_eq!(margins[..3], [0.0; 3]);
    assert!(margins[3] > 0.0);
}

#[test]
fn an_average_keeps_a_share_of_the_old_margin() {
    let every = |share: f64, at_start: bool| {
        changes(
            |dsl| {
                // The generator does not depend on the margin when lambda is 0.
                dsl.lambda = 0.0;
                dsl.margin.every_steps = Some(2);
                dsl.margin.ema = share;
                dsl.margin.at_start = at_start;
            },
            5,
        )
        .0
    };
    let (plain, averaged) = (every(0.0, true), every(0.75, true));
    assert_eq!(
        plain[0], averaged[0],
        "the first pass has nothing to average with"
    );
    assert_near(
        "second",
        averaged[2],
        0.75 * plain[0] + 0.25 * plain[2],
        1e-12,
    );
    assert_near(
        "third",
        averaged[4],
        0.75 * averaged[2] + 0.25 * plain[4],
        1e-12,
    );

    let averaged = every(0.75, false);
    assert_eq!(
        (averaged[0], averaged[2]),
        (0.0, plain[2]),
        "a margin that was never measured is not averaged with"
    );
    assert_near(
        "after",
        averaged[4],
        0.75 * plain[2] + 0.25 * plain[4],
        1e-12,
    );
}

#[test]
fn a_constant_margin_is_never_measured() {
    let (margins, changed) = changes(
        |dsl| {
            constant_margin(dsl, 0.7);
            dsl.margin.every_steps = Some(1);
        },
        3,
    );
    assert_eq!(margins[0], 0.7);
    assert!(changed.is_empty());
}

/// A pass draws from streams of its own: training sees the same numbers whether or not one ran.
#[test]
fn a_margin_pass_leaves_the_randomness_of_training_alone() {
    let set = Points::new(BATCH);
    let run = |change: &dyn Fn(&mut DslConfig)| {
        let mut trainer = trainer(dsl(|dsl| {
            full_twin(dsl);
            change(dsl);
        }));
        let reports = train(&mut trainer, &set, 14);
        [
            "loss/discriminator",
            "loss/generator",
            "grad_norm/generator",
        ]
        .map(|name| series(&reports, name))
    };
    let constant = |every_epochs: u64| {
        move |dsl: &mut DslConfig| {
            constant_margin(dsl, 1.0);
            dsl.margin.every_epochs = every_epochs;
        }
    };
    assert_eq!(run(&constant(5)), run(&constant(1000)));
    // With a measured margin that has no weight, passes do run, and nothing else may show it.
    let measured = |every_epochs: u64| {
        move |dsl: &mut DslConfig| {
            dsl.lambda = 0.0;
            dsl.margin.every_epochs = every_epochs;
        }
    };
    assert_eq!(run(&measured(1)), run(&measured(1000)));

    // Nor does a pass that somebody asks for in between.
    let (mut with, mut without) = (trainer(dsl(|_| ())), trainer(dsl(|_| ())));
    for _ in 0..3 {
        with.margin_pass(&dsl_of(&dsl(|_| ())), &set).unwrap();
        with.noise_predictions(&set.batch(0, BATCH, 1)[0], 0);
        assert_eq!(train(&mut with, &set, 1), train(&mut without, &set, 1));
    }
}

/// A broken network is told, not turned into a margin.
#[test]
fn a_margin_that_is_not_a_number_is_an_error() {
    struct Broken;
    impl SampleSource for Broken {
        fn len(&self) -> u64 {
            2
        }
        fn samples(&self, indices: &[u64]) -> Result<dsl_engine::Samples, dsl_engine::EngineError> {
            let x_0 = TensorData::new(vec![f32::NAN; 2 * indices.len()], [indices.len(), 2, 1, 1]);
            Ok(dsl_engine::Samples {
                x_0,
                conditions: dsl_engine::Conditions::default(),
                views: 1,
                domains: 1,
            })
        }
    }
    let config = dsl(|_| ());
    let message = trainer(config.clone())
        .margin_pass(&dsl_of(&config), &Broken)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("step 1") && message.contains("`margin`"),
        "{message}"
    );
}
