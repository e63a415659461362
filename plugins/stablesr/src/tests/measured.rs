//! What the evaluator computes.

use dsl_sdk::{Artefacts, Batch, Column, ColumnData, ErrorCode, Requirements, Task};

use super::set::*;
use crate::{ColorFix, EvaluationConfig, StableSrConfig};

const SIDE: usize = 16;

/// Pictures of one value each, but for a small ramp along rows, so that no two are equal by accident.
fn pictures(name: &str, values: &[f32]) -> Column {
    let picture =
        |value: f32| (0..3 * SIDE * SIDE).map(move |at| value + (at % SIDE) as f32 * 2.0 / 255.0);
    Column {
        name: name.into(),
        data: ColumnData::F32 {
            shape: vec![values.len() as u64, 3, SIDE as u64, SIDE as u64],
            values: values.iter().flat_map(|&value| picture(value)).collect(),
        },
    }
}

/// `levels` of 255 above −1.
fn level(levels: u8) -> f32 {
    f32::from(levels) * 2.0 / 255.0 - 1.0
}

fn inputs(truth: &[u8], generated: &[u8], low: &[u8]) -> Batch {
    let column = |name: &str, levels: &[u8]| {
        pictures(
            name,
            &levels.iter().map(|&at| level(at)).collect::<Vec<_>>(),
        )
    };
    Batch {
        columns: vec![
            column("image", truth),
            column("generated", generated),
            column("low_resolution", low),
        ],
    }
}

fn metrics(color_fix: ColorFix, batches: &[Batch]) -> Vec<(String, f64)> {
    let config = StableSrConfig {
        color_fix,
        ..StableSrConfig::default()
    };
    let mut evaluator = open(&config).unwrap().evaluator().unwrap().unwrap();
    for batch in batches {
        evaluator.update(batch, 0).unwrap();
    }
    let mut artefacts = Artefacts::default();
    let metrics = evaluator.finish(&mut artefacts).unwrap();
    if let Some(png) = artefacts.get("samples.png") {
        assert!(png.starts_with(b"\x89PNG"));
    }
    assert_eq!(artefacts.get("samples.png").is_some(), !batches.is_empty());
    // It is then as new.
    assert!(evaluator.finish(&mut artefacts).unwrap().is_empty());
    metrics
        .into_iter()
        .map(|metric| (metric.name, metric.value))
        .collect()
}

fn value(metrics: &[(String, f64)], name: &str) -> f64 {
    metrics
        .iter()
        .find(|(found, _)| found == name)
        .expect(name)
        .1
}

/// An offset of k levels everywhere is 20 log10(255 / k) decibels.
#[test]
fn psnr_by_hand() {
    let decibels = |levels: f64| 20.0 * (255.0 / levels).log10();
    let batches = [
        inputs(&[100, 100], &[101, 102], &[104, 110]),
        inputs(&[50], &[53], &[45]),
    ];
    let found = metrics(ColorFix::None, &batches);
    let generated = (decibels(1.0) + decibels(2.0) + decibels(3.0)) / 3.0;
    let bicubic = (decibels(4.0) + decibels(10.0) + decibels(5.0)) / 3.0;
    for (name, expected) in [
        ("psnr", generated),
        ("psnr/bicubic", bicubic),
        ("psnr_gain", generated - bicubic),
    ] {
        assert!((value(&found, name) - expected).abs() < 1e-9, "{name}");
    }
    assert_eq!(found.len(), 5, "no LPIPS without a host: {found:?}");
}

/// Of pictures that differ by an offset, only the means count: `(2 a b + C1) / (a² + b² + C1)` in every window. The ramp makes
/// the means differ from window to window, so it is left out here.
#[test]
fn ssim_by_hand() {
    let flat = |name: &str, levels: u8| {
        let mut column = pictures(name, &[0.0]);
        if let ColumnData::F32 { values, .. } = &mut column.data {
            values.fill(level(levels));
        }
        column
    };
    let batch = Batch {
        columns: vec![
            flat("image", 100),
            flat("generated", 120),
            flat("low_resolution", 60),
        ],
    };
    let found = metrics(ColorFix::None, &[batch]);
    let expected = |b: f64| {
        let (a, c1) = (100.0, (0.01_f64 * 255.0).powi(2));
        (2.0 * a * b + c1) / (a * a + b * b + c1)
    };
    assert!((value(&found, "ssim") - expected(120.0)).abs() < 1e-9);
    assert!((value(&found, "ssim/bicubic") - expected(60.0)).abs() < 1e-9);
}

/// The generated picture is the truth but for its colour, which the low-resolution one knows.
#[test]
fn colours_are_corrected_before_anything_is_measured() {
    let batch = inputs(&[100], &[140], &[100]);
    let plain = value(
        &metrics(ColorFix::None, std::slice::from_ref(&batch)),
        "ssim",
    );
    for fix in [ColorFix::Adain, ColorFix::Wavelet] {
        let found = metrics(fix, std::slice::from_ref(&batch));
        // Equal after the correction: no finite PSNR, and so no gain.
        assert!((value(&found, "ssim") - 1.0).abs() < 1e-12 && plain < 0.99);
        assert!(
            found.iter().all(|(name, _)| !name.starts_with("psnr")),
            "{found:?}"
        );
    }
}

#[test]
fn without_samples_there_is_nothing() {
    assert!(metrics(ColorFix::Wavelet, &[]).is_empty());
}

#[test]
fn what_is_asked_for() {
    let requirements = |samples| {
        let config = StableSrConfig {
            evaluation: EvaluationConfig {
                samples,
                lpips: false,
            },
            ..StableSrConfig::default()
        };
        let evaluator = open(&config).unwrap().evaluator().unwrap();
        evaluator.map(|evaluator| evaluator.requirements())
    };
    let expected = |count| Requirements::Samples {
        split: "test".into(),
        count,
    };
    assert_eq!(requirements(7), Some(expected(7)));
    assert_eq!(requirements(1000), Some(expected(100)));
    assert_eq!(requirements(0), None);
}

#[test]
fn columns_that_do_not_fit_are_named() {
    let task = open(&StableSrConfig::default()).unwrap();
    let mut evaluator = task.evaluator().unwrap().unwrap();
    let whole = inputs(&[1, 2], &[1, 2], &[1, 2]);
    for (missing, name) in ["image", "generated", "low_resolution"].iter().enumerate() {
        let mut batch = whole.clone();
        batch.columns.remove(missing);
        assert_eq!(
            evaluator.update(&batch, 0).unwrap_err().code,
            ErrorCode::Contract,
            "{name}"
        );
        let mut batch = whole.clone();
        batch.columns[missing] = pictures(name, &[0.0]);
        assert!(evaluator.update(&batch, 0).is_err(), "{name}");
    }
    evaluator.update(&whole, 0).unwrap();
}

/// Real pictures through the whole way, with bicubic ones in the place of generated ones. `SHOW=folder` keeps the picture.
#[test]
fn the_baseline_gains_nothing_over_itself() {
    let task = open(&StableSrConfig::default()).unwrap();
    let dataset = task.dataset("test").unwrap();
    let indices: Vec<u64> = (0..100).step_by(9).collect();
    let mut batch = batch(&*dataset, &indices, &indices, false);
    let low = batch.column("low_resolution").unwrap().clone();
    batch.columns.push(Column {
        name: "generated".into(),
        data: low,
    });
    let mut evaluator = task.evaluator().unwrap().unwrap();
    evaluator.update(&batch, 0).unwrap();
    let mut artefacts = Artefacts::default();
    let metrics = evaluator.finish(&mut artefacts).unwrap();
    let gain = metrics
        .iter()
        .find(|metric| metric.name == "psnr_gain")
        .unwrap();
    assert!(gain.value.abs() < 1e-9);
    if let Some(folder) = std::env::var_os("SHOW") {
        let file = std::path::Path::new(&folder).join("stablesr-samples.png");
        std::fs::write(file, artefacts.get("samples.png").unwrap()).unwrap();
    }
}
