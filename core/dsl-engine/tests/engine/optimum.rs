//! What Eq. 2 and 3 lead to, point by point and together, against their closed forms.
//!
//! With `Delta = eps - g` and `0 <= lambda < 1`, Eq. 2 is least at
//!
//! | where | `d*` | least value | derivative of Eq. 3 by `g` there |
//! |---|---|---|---|
//! | `|Delta|^2 < (1 - lambda)^2 m` | `eps + lambda / (1 - lambda) Delta` | `lambda m - lambda |Delta|^2 / (1 - lambda)` | `-2 Delta / (1 - lambda)` |
//! | in between | `g + sqrt(m) Delta / |Delta|` | `(sqrt(m) - |Delta|)^2` | `-2 sqrt(m) Delta / |Delta|` |
//! | `|Delta|^2 >= m` | `eps` | 0 | `-2 Delta` |

use burn::tensor::{Device, Tensor, TensorData};
use dsl_engine::objective::dsl::{discriminator_loss, generator_loss};
use dsl_engine::objective::loss::Measure;
use dsl_engine::objective::{GeneratorConfig, HingeConfig, Reduction};

use crate::support::values;

/// One sample of two elements.
#[derive(Debug, Clone, Copy)]
struct Point {
    eps: [f32; 2],
    g: [f32; 2],
    lambda: f64,
    margin: f64,
}

fn tensor(values: [f32; 2]) -> Tensor<4> {
    Tensor::from_data(
        TensorData::new(values.to_vec(), [1, 2, 1, 1]),
        &Device::flex().autodiff(),
    )
}

fn pair(tensor: Tensor<4>) -> [f32; 2] {
    values(tensor).try_into().unwrap()
}

impl Point {
    /// Eq. 2 and its derivative by `d`.
    fn eq_2(self, d: [f32; 2]) -> (f32, [f32; 2]) {
        let d = tensor(d).require_grad();
        let margin = Tensor::full([1], self.margin, &Device::flex().autodiff());
        let measure = Measure::plain(Reduction::Sum);
        let (eps, g) = (tensor(self.eps), tensor(self.g));
        let loss = discriminator_loss(
            d.clone(),
            eps,
            g,
            self.lambda,
            margin,
            &HingeConfig::default(),
            &measure,
        )
        .loss;
        let gradient = d.grad(&loss.backward()).unwrap();
        (values(loss)[0], pair(gradient.inner()))
    }

    /// The derivative of Eq. 3 by `g`.
    fn eq_3_gradient(self, d: [f32; 2]) -> [f32; 2] {
        let g = tensor(self.g).require_grad();
        let margin = Tensor::full([1], self.margin, &Device::flex().autodiff());
        let (config, hinge) = (GeneratorConfig::default(), HingeConfig::default());
        let measure = Measure::plain(Reduction::Sum);
        let (d, eps) = (tensor(d), tensor(self.eps));
        let loss = generator_loss(
            g.clone(),
            d,
            eps,
            self.lambda,
            margin,
            &config,
            &hinge,
            &measure,
        )
        .loss;
        pair(g.grad(&loss.backward()).unwrap().inner())
    }

    /// Gradient descent with steps that shrink: at the hinge's edge the gradient jumps.
    fn minimise(self) -> [f32; 2] {
        let mut d = self.g.map(|g| g + 0.01);
        for step in 0..1000 {
            let rate = 0.2 / (1.0 + 0.1 * step as f32);
            let (_, gradient) = self.eq_2(d);
            d = [d[0] - rate * gradient[0], d[1] - rate * gradient[1]];
        }
        d
    }

    /// `(d*, least value, derivative of Eq. 3)` by the table.
    fn table(self) -> ([f32; 2], f32, [f32; 2]) {
        let (lambda, m) = (self.lambda as f32, self.margin as f32);
        let delta = [self.eps[0] - self.g[0], self.eps[1] - self.g[1]];
        let squared = delta[0] * delta[0] + delta[1] * delta[1];
        let (length, along) = (squared.sqrt(), |scale: f32| delta.map(|x| scale * x));
        let from_g = |scale: f32| [self.g[0] + scale * delta[0], self.g[1] + scale * delta[1]];
        if squared < (1.0 - lambda).powi(2) * m {
            let scale = 1.0 / (1.0 - lambda);
            (
                from_g(scale),
                lambda * m - lambda * squared * scale,
                along(-2.0 * scale),
            )
        } else if squared < m {
            let scale = m.sqrt() / length;
            (
                from_g(scale),
                (m.sqrt() - length).powi(2),
                along(-2.0 * scale),
            )
        } else {
            (self.eps, 0.0, along(-2.0))
        }
    }
}

#[track_caller]
fn assert_pair(what: &str, found: [f32; 2], expected: [f32; 2], tolerance: f32) {
    for (found, expected) in found.iter().zip(&expected) {
        assert!(
            (found - expected).abs() < tolerance,
            "{what}: {found}, not {expected}"
        );
    }
}

#[test]
fn gradient_descent_finds_the_optimum_of_the_table() {
    // (eps, g, lambda, margin); the first three are also given as numbers below.
    let points = [
        ([1.0, 0.0], [0.6, 0.0], 0.05, 1.0),
        ([1.0, 0.0], [0.6, 0.0], 0.05, 0.17),
        ([1.0, 0.0], [0.6, 0.0], 0.05, 0.1),
        ([0.3, -0.9], [-0.5, 0.2], 0.05, 4.0),
        ([0.3, -0.9], [-0.5, 0.2], 0.3, 2.5),
        ([0.3, -0.9], [-0.5, 0.2], 0.3, 1.0),
        ([0.3, -0.9], [-0.5, 0.2], 0.0, 4.0),
    ];
    let mut found = Vec::new();
    for (eps, g, lambda, margin) in points {
        let point = Point {
            eps,
            g,
            lambda,
            margin,
        };
        let d = point.minimise();
        let (optimum, least, gradient) = point.table();
        let what = format!("{point:?}");
        assert_pair(&what, d, optimum, 2e-3);
        assert!(
            (point.eq_2(optimum).0 - least).abs() < 1e-5,
            "{what}: {} != {least}",
            point.eq_2(optimum).0
        );
        // Nothing near it is lower.
        for (dx, dy) in [(0.01, 0.0), (-0.01, 0.0), (0.0, 0.01), (0.0, -0.01)] {
            assert!(
                point.eq_2([optimum[0] + dx, optimum[1] + dy]).0 > least,
                "{what}"
            );
        }
        assert_pair(&what, point.eq_3_gradient(optimum), gradient, 1e-5);
        found.push(d[0]);
    }
    for (found, expected) in found.iter().zip([1.02105, 1.01231, 1.0]) {
        assert!((found - expected).abs() < 2e-3, "{found}, not {expected}");
    }
}

/// Both networks at once, as free functions, with the hinge active: `u = d - eps`, `v = g - eps` follow a linear system
/// of eigenvalues `-(2 - lambda) +- sqrt((2 - lambda)^2 - 4)`, which is stable for `lambda < 2`.
#[test]
fn joint_updates_are_stable_exactly_for_lambda_below_two() {
    const RATE: f64 = 0.02;
    for lambda in [0.0, 0.05, 0.5, 1.5, 2.5] {
        let (mut d, mut g) = ([1.0f32, -0.4], [0.2f32, 0.9]);
        let mut exact = [[1.0f64, -0.4], [0.2, 0.9]];
        let length =
            |d: [f32; 2], g: [f32; 2]| d.iter().chain(&g).map(|x| x * x).sum::<f32>().sqrt();
        let start = length(d, g);
        for step in 0..700 {
            let point = Point {
                eps: [0.0; 2],
                g,
                lambda,
                margin: 1e12,
            };
            let (of_d, of_g) = (point.eq_2(d).1, point.eq_3_gradient(d));
            let [u, v] = exact;
            for i in 0..2 {
                d[i] -= RATE as f32 * of_d[i];
                g[i] -= RATE as f32 * of_g[i];
                exact[0][i] = u[i] + RATE * (-2.0 * (1.0 - lambda) * u[i] - 2.0 * lambda * v[i]);
                exact[1][i] = v[i] + RATE * (2.0 * u[i] - 2.0 * v[i]);
            }
            if step < 100 {
                assert_pair(
                    &format!("lambda {lambda}"),
                    d,
                    exact[0].map(|x| x as f32),
                    1e-4,
                );
                assert_pair(
                    &format!("lambda {lambda}"),
                    g,
                    exact[1].map(|x| x as f32),
                    1e-4,
                );
            }
        }
        let growth = length(d, g) / start;
        assert_eq!(
            growth > 1.0,
            lambda > 2.0,
            "lambda {lambda}: grew {growth}-fold"
        );
        assert!(
            !(0.01..100.0).contains(&growth),
            "lambda {lambda}: grew {growth}-fold"
        );
    }
}
