//! The hinge: what is compared with the margin, and how the generator may feel it.

use burn::tensor::{Device, Tensor};
use dsl_engine::objective::dsl::{DiscriminatorLoss, Margins, discriminator_loss, generator_loss};
use dsl_engine::objective::loss::Measure;
use dsl_engine::objective::{
    GeneratorConfig, GeneratorHinge, HingeConfig, HingeGranularity, HingeGroup, Reduction,
};

use crate::support::{
    Points, assert_near, constant_margin, dsl, normal, series, train, trainer, values,
};

const SHAPE: [usize; 4] = [4, 2, 3, 3];
const ELEMENTS: usize = 18;
const LAMBDA: f64 = 0.05;

fn device() -> Device {
    Device::flex().autodiff()
}

fn eq_2(margin: [f32; 4], hinge: &HingeConfig, measure: &Measure) -> DiscriminatorLoss {
    let [phi, target, g] = ["phi", "target", "g"].map(|name| normal(name, SHAPE, &device()));
    discriminator_loss(
        phi,
        target,
        g,
        LAMBDA,
        Tensor::from_floats(margin, &device()),
        hinge,
        measure,
    )
}

/// Squared differences per element: of phi to the target, and of phi to g.
fn squares() -> (Vec<f64>, Vec<f64>) {
    let [phi, target, g] =
        ["phi", "target", "g"].map(|name| values(normal(name, SHAPE, &device())));
    let to = |other: &[f32]| {
        phi.iter()
            .zip(other)
            .map(|(a, b)| f64::from(a - b).powi(2))
            .collect()
    };
    (to(&target), to(&g))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn row_means(values: &[f64]) -> Vec<f64> {
    values.chunks(ELEMENTS).map(mean).collect()
}

#[test]
fn each_granularity_takes_the_maximum_at_its_place() {
    let (regression, energy) = squares();
    let energies = row_means(&energy);
    // A margin per row, so that some rows lie inside and others do not.
    let margins = [0.8, 1.1, 0.9, 1.2].map(|factor| mean(&energy) * factor);
    let hinges: Vec<f64> = energies
        .iter()
        .zip(margins)
        .map(|(e, m)| (m - e).max(0.0))
        .collect();
    let elements: Vec<f64> = energy
        .iter()
        .enumerate()
        .map(|(i, e)| (margins[i / ELEMENTS] - e).max(0.0))
        .collect();
    let expected = [
        (HingeGranularity::Sample, hinges.clone()),
        (
            HingeGranularity::Batch,
            vec![(mean(&margins) - mean(&energies)).max(0.0)],
        ),
        (HingeGranularity::Element, row_means(&elements)),
    ];
    for (granularity, units) in expected {
        let hinge = HingeConfig {
            granularity,
            group: HingeGroup::Object,
        };
        let found = eq_2(
            margins.map(|m| m as f32),
            &hinge,
            &Measure::plain(Reduction::Mean),
        );
        let loss = mean(&regression) + LAMBDA * mean(&units);
        assert_near(
            &format!("{granularity:?}"),
            f64::from(values(found.loss)[0]),
            loss,
            1e-5,
        );
        let (hinge, active) = (values(found.hinge), values(found.active));
        assert_eq!(hinge.len(), units.len());
        for ((hinge, active), unit) in hinge.iter().zip(active).zip(units) {
            assert!(
                (f64::from(*hinge) - unit).abs() < 1e-5,
                "{granularity:?}: {hinge}, not {unit}"
            );
            assert_eq!(active, if unit > 0.0 { 1.0 } else { 0.0 });
        }
        for (found, expected) in values(found.gap).iter().zip(&energies) {
            assert_near("gap", f64::from(*found), *expected, 1e-5);
        }
    }
}

/// With the margin scaled by the number of elements, sums decide as means do, and the loss is as many times larger.
#[test]
fn sum_and_mean_make_the_same_decisions() {
    let energies = row_means(&squares().1);
    let mut sorted = energies.clone();
    sorted.sort_by(f64::total_cmp);
    let margin = ((sorted[1] + sorted[2]) / 2.0) as f32;
    for granularity in [HingeGranularity::Sample, HingeGranularity::Batch] {
        let hinge = HingeConfig {
            granularity,
            ..HingeConfig::default()
        };
        let by_mean = eq_2([margin; 4], &hinge, &Measure::plain(Reduction::Mean));
        let by_sum = eq_2(
            [margin * ELEMENTS as f32; 4],
            &hinge,
            &Measure::plain(Reduction::Sum),
        );
        let active = values(by_mean.active);
        assert_eq!(active, values(by_sum.active));
        if granularity == HingeGranularity::Sample {
            assert_eq!(
                active.iter().sum::<f32>(),
                2.0,
                "two samples inside, two outside"
            );
        }
        let [mean, sum] = [by_mean.loss, by_sum.loss].map(|loss| f64::from(values(loss)[0]));
        assert_near("loss", sum, mean * ELEMENTS as f64, 1e-5);
    }
}

/// Rows 0 and 1 are views of one object, rows 2 and 3 of another.
#[test]
fn views_are_compared_together_or_each_by_itself() {
    let energies = row_means(&squares().1);
    let objects = [mean(&energies[..2]), mean(&energies[2..])];
    assert!(energies[0] != energies[1]);
    // Between an object's mean and its farther view: the object is inside, that view is not.
    let farther = energies[0].max(energies[1]);
    let margin = (objects[0] + farther) / 2.0;
    let measure = || Measure::new(Reduction::Mean, None, None, 2);
    let check = |group, energies: &[f64]| {
        let hinge = HingeConfig {
            group,
            ..HingeConfig::default()
        };
        let found = eq_2([margin as f32; 4], &hinge, &measure());
        let expected: Vec<f32> = energies
            .iter()
            .map(|e| if *e < margin { 1.0 } else { 0.0 })
            .collect();
        assert_eq!(values(found.active), expected, "{group:?}");
        let hinge = values(found.hinge)
            .iter()
            .map(|&h| f64::from(h))
            .sum::<f64>()
            / energies.len() as f64;
        assert_near(
            "hinge",
            hinge,
            mean(
                &energies
                    .iter()
                    .map(|e| (margin - e).max(0.0))
                    .collect::<Vec<_>>(),
            ),
            1e-4,
        );
        assert_eq!(values(found.gap).len(), 4, "the gap is logged per row");
        expected
    };
    assert_eq!(check(HingeGroup::Object, &objects)[0], 1.0);
    assert!(check(HingeGroup::View, &energies)[..2].contains(&0.0));
}

#[test]
fn weights_multiply_regression_and_hinge_alike() {
    let (regression, energy) = squares();
    let weights = [0.5, 2.0, 1.0, 0.25];
    let weight = Tensor::<1>::from_floats(weights.map(|w| w as f32), &device());
    let found = eq_2(
        [9.0; 4],
        &HingeConfig::default(),
        &Measure::new(Reduction::Mean, None, Some(weight), 1),
    );
    let rows = row_means(&regression)
        .into_iter()
        .zip(row_means(&energy))
        .zip(weights);
    let terms: Vec<f64> = rows
        .map(|((r, e), w)| w * (r + LAMBDA * (9.0 - e)))
        .collect();
    assert_near("loss", f64::from(values(found.loss)[0]), mean(&terms), 1e-5);
    // The decision itself is about unweighted distances.
    assert_eq!(values(found.active), [1.0; 4]);
}

/// Readings of Eq. 9: `1 + lambda` or `1 - lambda` times the pull where the hinge is active, 1 elsewhere.
#[test]
fn the_generator_can_feel_the_hinge() {
    let energies = row_means(&squares().1);
    let margin = mean(&energies) as f32;
    let gradient = |hinge: GeneratorHinge| {
        let [phi, target, g] = ["phi", "target", "g"].map(|name| normal(name, SHAPE, &device()));
        let (g, margin) = (g.require_grad(), Tensor::full([4], margin, &device()));
        let config = GeneratorConfig {
            dsm_weight: 0.0,
            hinge,
        };
        let measure = Measure::plain(Reduction::Mean);
        let loss = generator_loss(
            g.clone(),
            phi,
            target,
            LAMBDA,
            margin,
            &config,
            &HingeConfig::default(),
            &measure,
        );
        values(g.grad(&loss.loss.backward()).unwrap())
    };
    let plain = gradient(GeneratorHinge::Off);
    for (hinge, sign) in [
        (GeneratorHinge::Toward, 1.0),
        (GeneratorHinge::Literal, -1.0),
    ] {
        for (i, (found, plain)) in gradient(hinge).iter().zip(&plain).enumerate() {
            let inside = energies[i / ELEMENTS] < f64::from(margin);
            let factor = if inside { 1.0 + sign * LAMBDA } else { 1.0 };
            assert!(
                (f64::from(*found) - f64::from(*plain) * factor).abs() < 1e-7,
                "{hinge:?}"
            );
        }
    }
}

#[test]
fn a_margin_may_differ_by_range_of_timesteps() {
    let margins = Margins {
        bins: vec![1.0, 2.0, 4.0],
        num_train_timesteps: 1000,
    };
    assert_eq!(
        margins.at(&[0, 333, 334, 666, 667, 999]),
        [1.0, 1.0, 2.0, 2.0, 4.0, 4.0]
    );
    assert_near("mean", margins.mean(), 7.0 / 3.0, 1e-12);
    assert_eq!(Margins::scalar(3.0).at(&[0, 999]), [3.0, 3.0]);
}

/// `loss/discriminator = err/discriminator + lambda * loss/hinge`, from which lambda can be told.
#[test]
fn lambda_rises_linearly_after_the_discriminator_is_made() {
    let set = Points::new(40);
    let mut trainer = trainer(dsl(|dsl| {
        constant_margin(dsl, 3.0);
        dsl.lambda = 0.4;
        dsl.lambda_warmup_steps = 4;
        dsl.warmup_dsm_steps = 2;
    }));
    let reports = train(&mut trainer, &set, 8).split_off(2);
    let (loss, error) = (
        series(&reports, "loss/discriminator"),
        series(&reports, "err/discriminator"),
    );
    let hinge = series(&reports, "loss/hinge");
    for (i, expected) in [0.1, 0.2, 0.3, 0.4, 0.4, 0.4].into_iter().enumerate() {
        assert_near("lambda", (loss[i] - error[i]) / hinge[i], expected, 1e-4);
    }
}
