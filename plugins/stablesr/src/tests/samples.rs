//! What a sample depends on: its index and its seed alone.

use dsl_sdk::image::{Picture, Window};
use dsl_sdk::{Batch, ColumnData};

use super::set::*;
use crate::{DataConfig, Degradation, StableSrConfig};

/// All random changes, on the pictures inside.
fn lively() -> StableSrConfig {
    StableSrConfig {
        degradation: Degradation::RealEsrgan,
        prompt: Some(String::new()),
        ..StableSrConfig::default()
    }
}

fn joined(first: &Batch, second: &Batch) -> Batch {
    let mut joined = first.clone();
    for (column, other) in joined.columns.iter_mut().zip(&second.columns) {
        match (&mut column.data, &other.data) {
            (
                ColumnData::F32 { shape, values },
                ColumnData::F32 {
                    shape: more,
                    values: other,
                },
            ) => {
                shape[0] += more[0];
                values.extend(other);
            }
            (ColumnData::Text(texts), ColumnData::Text(other)) => texts.extend_from_slice(other),
            _ => panic!("columns differ"),
        }
    }
    joined
}

#[test]
fn a_batch_is_its_samples_one_after_the_other() {
    let dataset = split(&lively(), "train");
    for augment in [false, true] {
        let together = batch(&*dataset, &[3, 5], &[30, 50], augment);
        let (first, second) = (
            batch(&*dataset, &[3], &[30], augment),
            batch(&*dataset, &[5], &[50], augment),
        );
        assert_eq!(together, joined(&first, &second));
        let other_seed = batch(&*dataset, &[3], &[31], augment);
        assert_eq!(first == other_seed, !augment);
    }
}

#[test]
fn the_cache_and_the_number_of_threads_change_nothing() {
    let uncached = StableSrConfig {
        data: DataConfig {
            cache_mib: 0,
            ..DataConfig::default()
        },
        ..lively()
    };
    let indices: Vec<u64> = (0..12).map(|index| index * 33).collect();
    let expected = batch(&*split(&lively(), "train"), &indices, &indices, true);
    assert_eq!(
        expected,
        batch(&*split(&uncached, "train"), &indices, &indices, true)
    );
    let shared = split(&lively(), "train");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(expected, batch(&*shared, &indices, &indices, true)));
        }
    });
}

#[test]
fn the_cache_keeps_to_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    for index in 0..4 {
        write(folder.path(), &format!("{index}.png"), png(400, 400));
    }
    for (cache_mib, pictures) in [(0, 0), (1, 2), (100, 4)] {
        let mut config = config(folder.path());
        config.data.cache_mib = cache_mib;
        let located = crate::dataset::locate::locate(&config.data).unwrap();
        let host = dsl_sdk::Host::detached();
        let pairs = crate::LowResolutionPairs::new(located.train, &config, &host);
        for _ in 0..2 {
            batch(&pairs, &[0, 1, 2, 3], &[0; 4], false);
            assert_eq!(pairs.cached_bytes(), pictures * 400 * 400 * 3);
        }
    }
}

#[test]
fn columns_are_as_declared() {
    for config in [lively(), StableSrConfig::default()] {
        let dataset = split(&config, "test");
        let found = batch(&*dataset, &[0, 7], &[1, 2], true);
        let columns = dataset.columns();
        assert_eq!(columns.len(), found.columns.len());
        for (spec, column) in columns.iter().zip(&found.columns) {
            assert_eq!(
                (&spec.name, spec.dtype),
                (&column.name, column.data.dtype())
            );
            let shape: Vec<u64> = spec.shape.iter().map(|length| length.unwrap()).collect();
            assert_eq!(column.data.shape()[1..], shape);
            if let ColumnData::F32 { values, .. } = &column.data {
                assert!(values.iter().all(|value| (-1.0..=1.0).contains(value)));
            }
        }
    }
}

/// A target is a square of the picture, exactly; its place and its side follow from the seed.
#[test]
fn crops_and_mirroring() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.png", png(18, 17));
    let config = config(folder.path());
    let source = Picture::decode(&png(18, 17), "a", [255; 3]).unwrap();
    let mut views = Vec::new();
    for (left, top) in [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)] {
        for flip in [false, true] {
            let window = Window {
                left,
                top,
                width: 16,
                height: 16,
            };
            let mut values = Vec::new();
            source.append_chw(window, flip, &mut values);
            views.push(values);
        }
    }
    let dataset = split(&config, "train");
    let place = |seed, augment| {
        let found = batch(&*dataset, &[0], &[seed], augment);
        let (_, values) = found.f32("image").unwrap();
        let equal = |view: &Vec<f32>| view.iter().zip(values).all(|(a, b)| (a - b).abs() < 1e-6);
        views.iter().position(equal).expect("a known view")
    };
    let mut counts = [0; 12];
    for seed in 0..240 {
        counts[place(seed, true)] += 1;
    }
    assert!(counts.iter().all(|&count| count > 5), "{counts:?}");
    // The middle, as it is.
    assert_eq!(place(3, false), 2 * 4);
}

/// The README of the data says so of the crops as they are; here it is the middle of each.
#[test]
fn the_bicubic_baseline_of_the_pictures_inside_is_what_their_description_says() {
    let config = StableSrConfig {
        data: DataConfig {
            size: 96,
            ..DataConfig::default()
        },
        ..StableSrConfig::default()
    };
    let dataset = split(&config, "test");
    let indices: Vec<u64> = (0..dataset.len()).collect();
    assert_eq!((dataset.len(), split(&config, "train").len()), (100, 400));
    let all = batch(&*dataset, &indices, &indices, false);
    let ((_, truth), (_, low)) = (
        all.f32("image").unwrap(),
        all.f32("low_resolution").unwrap(),
    );
    let pixels = 3 * 96 * 96;
    let psnr = truth
        .chunks(pixels)
        .zip(low.chunks(pixels))
        .map(|(truth, low)| {
            let squares = truth.iter().zip(low).map(|(a, b)| f64::from(a - b).powi(2));
            10.0 * (4.0 * pixels as f64 / squares.sum::<f64>()).log10()
        });
    let mean = psnr.sum::<f64>() / 100.0;
    assert!((mean - 19.2).abs() < 0.05, "{mean}");
}
