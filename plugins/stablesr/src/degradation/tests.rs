//! The whole degradation.

use super::*;
use crate::draws::rng;

fn textured(side: usize) -> Raster {
    let value = |at: usize| {
        let (x, y) = ((at % side) as f32, (at / side % side) as f32);
        let c = (at / (side * side)) as f32;
        0.5 + 0.2 * (x * 0.35 + c).sin() + 0.2 * (y * 0.21 - x * 0.05).cos()
    };
    Raster {
        width: side,
        height: side,
        values: (0..3 * side * side).map(value).collect(),
    }
}

fn low(config: &RealEsrganConfig, seed: u64) -> Raster {
    let mut rng = rng(seed, 0);
    degrade(textured(48), Degradation::RealEsrgan, config, &mut rng)
        .unwrap()
        .1
}

fn mean_error(a: &Raster, b: &Raster) -> f64 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    let squares = a.values.iter().zip(&b.values);
    let sum: f64 = squares.map(|(a, b)| f64::from(a - b).powi(2)).sum();
    sum / a.values.len() as f64
}

/// Nothing but the way to the small size.
fn nothing() -> RealEsrganConfig {
    let mut config = RealEsrganConfig {
        sharpen: None,
        clean_probability: 0.0,
        final_sinc_probability: 0.0,
        ..RealEsrganConfig::default()
    };
    let keep = ResizeShares {
        up: 0.0,
        down: 0.0,
        keep: 1.0,
    };
    config.first = FirstStage {
        blur_probability: 0.0,
        resize: keep,
        gaussian_probability: 1.0,
        gaussian_sigma: [0.0, 0.0],
        jpeg_quality: [100, 100],
        ..config.first
    };
    config.second = SecondStage {
        blur_probability: 0.0,
        resize: keep,
        gaussian_probability: 1.0,
        gaussian_sigma: [0.0, 0.0],
        jpeg_quality: [100, 100],
        ..config.second
    };
    config
}

#[test]
fn the_seed_decides_everything() {
    let config = RealEsrganConfig::default();
    for seed in 0..20 {
        let found = low(&config, seed);
        assert_eq!(found, low(&config, seed));
        assert_ne!(found, low(&config, seed + 1));
    }
}

#[test]
fn a_low_resolution_picture_is_one_of_8_bits_and_a_quarter_as_wide() {
    for degradation in [Degradation::Bicubic, Degradation::RealEsrgan] {
        for seed in 0..10 {
            let mut rng = rng(seed, 0);
            let config = RealEsrganConfig::default();
            let (target, low) = degrade(textured(48), degradation, &config, &mut rng).unwrap();
            assert_eq!((target.width, target.height), (48, 48));
            assert_eq!((low.width, low.height), (12, 12));
            for value in low.values {
                let level = value * 255.0;
                assert!((0.0..=1.0).contains(&value) && (level - level.round()).abs() < 1e-4);
            }
        }
    }
}

#[test]
fn with_every_part_off_only_resizing_is_left() {
    let target = textured(48);
    for seed in 0..10 {
        let found = low(&nothing(), seed);
        let errors = DRAWN.map(|way| mean_error(&found, &resize(&target, 12, 12, way)));
        // What is left of JPEG at its best, twice.
        assert!(
            errors.into_iter().fold(1.0, f64::min).sqrt() < 2.5 / 255.0,
            "{errors:?}"
        );
    }
}

#[test]
fn a_clean_sample_is_only_made_smaller() {
    let config = RealEsrganConfig {
        clean_probability: 1.0,
        sharpen: None,
        ..RealEsrganConfig::default()
    };
    let target = textured(48);
    let ways = DRAWN.map(|way| resize(&target, 12, 12, way).rounded());
    let found: Vec<_> = (0..30)
        .map(|seed| ways.iter().position(|way| *way == low(&config, seed)))
        .collect();
    for way in 0..3 {
        assert!(found.contains(&Some(way)), "{found:?}");
    }
    assert!(!found.contains(&None));
}

/// Each part alone makes the picture differ more from that of no part.
#[test]
fn each_part_does_something() {
    type Change = fn(&mut RealEsrganConfig);
    let changes: [(&str, Change); 7] = [
        ("blur", |config| config.first.blur_probability = 1.0),
        ("blur", |config| config.second.blur_probability = 1.0),
        ("noise", |config| config.first.gaussian_sigma = [15.0, 15.0]),
        ("photons", |config| config.second.gaussian_probability = 0.0),
        ("JPEG", |config| config.second.jpeg_quality = [30, 30]),
        ("sinc", |config| config.final_sinc_probability = 1.0),
        ("sharpen", |config| {
            config.sharpen = Some(SharpenConfig {
                threshold: 0.0,
                ..SharpenConfig::default()
            })
        }),
    ];
    let plain = nothing();
    for (name, change) in changes {
        let mut config = plain.clone();
        change(&mut config);
        let changed = (0..10)
            .filter(|&seed| low(&config, seed) != low(&plain, seed))
            .count();
        assert!(changed >= 8, "{name}: {changed} of 10");
    }
}

#[test]
fn kernels_are_drawn_as_the_shares_say() {
    let mut stage = FirstStage {
        sinc_probability: 0.0,
        kernel_size: [8, 12],
        ..FirstStage::default()
    };
    let mut rng = rng(5, 0);
    let none = KernelShares {
        isotropic: 0.0,
        anisotropic: 0.0,
        generalized_isotropic: 0.0,
        generalized_anisotropic: 0.0,
        plateau_isotropic: 0.0,
        plateau_anisotropic: 0.0,
    };
    // One standard deviation and one exponent, so that kernels of a kind are equal but for their side.
    stage.sigma = [1.0, 1.0];
    stage.generalized_beta = [2.0, 2.0];
    stage.plateau_beta = [1.5, 1.5];
    let spread = Spread::isotropic(1.0);
    type Expected = fn(usize, Spread) -> Kernel;
    let cases: [(KernelShares, Expected); 3] = [
        (
            KernelShares {
                isotropic: 1.0,
                ..none
            },
            |side, spread| Kernel::gaussian(side, spread, 1.0),
        ),
        (
            KernelShares {
                generalized_isotropic: 1.0,
                ..none
            },
            |side, spread| Kernel::gaussian(side, spread, 2.0),
        ),
        (
            KernelShares {
                plateau_isotropic: 1.0,
                ..none
            },
            |side, spread| Kernel::plateau(side, spread, 1.5),
        ),
    ];
    for (kernels, expected) in cases {
        stage.kernels = kernels;
        // The odd sides of 8 to 12.
        let expected = [9, 11].map(|side| expected(side, spread));
        let mut seen = [0; 2];
        for _ in 0..40 {
            let found = kernel(&stage, &mut rng);
            seen[expected
                .iter()
                .position(|kernel| *kernel == found)
                .expect("a known kernel")] += 1;
        }
        assert!(seen.iter().all(|&count| count > 5), "{seen:?}");
    }
    stage.sinc_probability = 1.0;
    let gaussian = Kernel::gaussian(9, spread, 1.0);
    assert!((0..10).all(|_| kernel(&stage, &mut rng) != gaussian));
}

#[test]
fn half_of_the_exponents_lie_below_one() {
    let mut rng = rng(6, 0);
    let draws: Vec<f64> = (0..2000).map(|_| exponent([0.5, 4.0], &mut rng)).collect();
    let below = draws.iter().filter(|beta| **beta < 1.0).count();
    // 4.5 standard deviations of 2,000 draws.
    assert!(below.abs_diff(1000) < 101 && draws.iter().all(|beta| (0.5..4.0).contains(beta)));
    assert!((0..20).all(|_| (1.0..1.5).contains(&exponent([1.0, 1.5], &mut rng))));
}

#[test]
fn sharpening_overshoots_at_edges_and_leaves_what_is_flat() {
    let mut edge = textured(64).map(|_| 0.3);
    for (at, value) in edge.values.iter_mut().enumerate() {
        if at % 64 >= 32 {
            *value = 0.7;
        }
    }
    let config = SharpenConfig {
        radius: 9,
        ..SharpenConfig::default()
    };
    let sharp = sharpened(&edge, &config);
    let row = &sharp.values[32 * 64..33 * 64];
    assert!(row[31] < 0.25 && row[32] > 0.75, "{row:?}");
    assert!((row[0] - 0.3).abs() < 1e-6 && (row[63] - 0.7).abs() < 1e-6);
    // A step of 5 levels is below the threshold of 10.
    let faint = edge.clone().map(|value| 0.5 + (value - 0.5) * 0.05);
    assert_eq!(sharpened(&faint, &config), faint);
    let weightless = SharpenConfig {
        weight: 0.0,
        ..config
    };
    assert_eq!(sharpened(&edge, &weightless), edge);
}
