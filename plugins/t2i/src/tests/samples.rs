//! What a sample depends on: its index and its seed alone.

use dsl_sdk::captions::CaptionChoice;
use dsl_sdk::image::{Picture, Resize};
use dsl_sdk::{BatchRequest, Dataset, Task};

use super::set::*;
use crate::DataConfig;

/// Every random change at once.
fn lively() -> DataConfig {
    DataConfig {
        resize: Resize::RandomCrop,
        flip: 0.5,
        caption: CaptionChoice::Random,
        resolution: 16,
        ..DataConfig::default()
    }
}

fn train(config: DataConfig) -> Box<dyn Dataset> {
    open(config).unwrap().dataset("train").unwrap()
}

#[test]
fn a_batch_is_its_samples_one_after_the_other() {
    let dataset = train(lively());
    for augment in [false, true] {
        let together = rows(&*dataset, &[3, 5, 3], &[30, 50, 31], augment).unwrap();
        let apart: Rows = [(3, 30), (5, 50), (3, 31)]
            .iter()
            .flat_map(|&(index, seed)| rows(&*dataset, &[index], &[seed], augment).unwrap())
            .collect();
        assert_eq!(together, apart);
    }
}

#[test]
fn the_cache_and_the_number_of_threads_change_nothing() {
    let (cached, uncached) = (
        train(lively()),
        train(DataConfig {
            cache_mib: 0,
            ..lively()
        }),
    );
    let indices: Vec<u64> = (0..40).map(|index| index * 36 % 1441).collect();
    let first = rows(&*cached, &indices, &indices, true).unwrap();
    assert_eq!(first, rows(&*cached, &indices, &indices, true).unwrap());
    assert_eq!(first, rows(&*uncached, &indices, &indices, true).unwrap());
    let fresh = train(lively());
    std::thread::scope(|scope| {
        let (fresh, indices, first) = (&*fresh, &indices, &first);
        for part in 0..4 {
            scope.spawn(move || {
                for start in (0..40).step_by(10) {
                    let range = (start + part * 10) % 40..(start + part * 10) % 40 + 10;
                    let part = rows(
                        fresh,
                        &indices[range.clone()],
                        &indices[range.clone()],
                        true,
                    )
                    .unwrap();
                    assert_eq!(part, first[range]);
                }
            });
        }
    });
}

#[test]
fn the_cache_keeps_to_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    for index in 0..6 {
        write(folder.path(), &format!("{index}.png"), pattern(40, 40));
        write(folder.path(), &format!("{index}.txt"), "x");
    }
    let images = |cache_mib| {
        let config = DataConfig {
            resolution: 400,
            cache_mib,
            ..config(folder.path())
        };
        let location = crate::dataset::locate::locate(&config).unwrap().train;
        let source =
            crate::dataset::source::Source::open(&location, &config, &dsl_sdk::Host::detached())
                .unwrap();
        crate::dataset::CaptionedImages::new(source, &config, &dsl_sdk::Host::detached()).unwrap()
    };
    for (cache_mib, pictures) in [(0, 0), (1, 2), (100, 6)] {
        let images = images(cache_mib);
        for _ in 0..2 {
            rows(&images, &[0, 1, 2, 3, 4, 5], &[0; 6], false).unwrap();
            assert_eq!(images.cached_bytes(), pictures * 400 * 400 * 3);
        }
    }
}

#[test]
fn seeds_choose_crop_mirror_and_caption() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.png", pattern(24, 16));
    let line = r#"{"file_name": "a.png", "text": ["one", "two"]}"#;
    write(folder.path(), "metadata.jsonl", line);
    let config = DataConfig {
        resize: Resize::RandomCrop,
        flip: 0.5,
        resolution: 16,
        ..config(folder.path())
    };
    let dataset = train(config.clone());
    let drawn: Rows = (0..200)
        .flat_map(|seed| rows(&*dataset, &[0], &[seed], true).unwrap())
        .collect();

    // The picture needs no resampling, so every sample must be one of 9 places × 2 sides, exactly.
    let source = Picture::decode(&pattern(24, 16), "a", [255; 3]).unwrap();
    let mut expected = Vec::new();
    for left in 0..=8 {
        for flip in [false, true] {
            let window = dsl_sdk::image::Window {
                left,
                top: 0,
                width: 16,
                height: 16,
            };
            let mut values = Vec::new();
            source.append_chw(window, flip, &mut values);
            expected.push(values);
        }
    }
    let mut counts = vec![0; expected.len()];
    for (values, _) in &drawn {
        counts[expected
            .iter()
            .position(|candidate| candidate == values)
            .expect("a known view")] += 1;
    }
    assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
    let twos = drawn.iter().filter(|(_, caption)| caption == "two").count();
    assert!((60..=140).contains(&twos), "{twos} of 200");

    let still: Rows = (0..5)
        .flat_map(|seed| rows(&*dataset, &[0], &[seed], false).unwrap())
        .collect();
    assert!(
        still
            .iter()
            .all(|row| *row == (expected[8].clone(), "one".to_owned())),
        "without augmentation: the middle"
    );

    // One setting does not change the numbers of another.
    let unflipped = train(DataConfig {
        flip: 0.0,
        ..config
    });
    for (seed, (values, caption)) in drawn.iter().enumerate() {
        let (plain, same) = rows(&*unflipped, &[0], &[seed as u64], true)
            .unwrap()
            .remove(0);
        let place = expected
            .iter()
            .position(|candidate| candidate == values)
            .unwrap();
        assert_eq!((&plain, &same), (&expected[place / 2 * 2], caption));
    }
}

#[test]
fn values_stay_in_range_and_fill_it() {
    let task = open(DataConfig {
        resolution: 24,
        ..DataConfig::default()
    })
    .unwrap();
    let (mut low, mut high) = (f32::MAX, f32::MIN);
    for value in all(&task, "test")
        .into_iter()
        .flat_map(|(values, _)| values)
    {
        (low, high) = (low.min(value), high.max(value));
    }
    assert_eq!((low, high), (-1.0, 1.0));
}

/// What SDXL is told: the file's size, where the crop lies in the picture as it was fitted and mirrored, the sample's size.
#[test]
fn sizes_and_crops_are_told() {
    let folder = tempfile::tempdir().unwrap();
    // 32 × 16 pixels: fitted to 16, the height fills the sample and the width is cut from 32.
    write(folder.path(), "train/a.png", pattern(32, 16));
    write(folder.path(), "train/a.txt", "a");
    let sizes = |augment: bool, flip: f64, seed: u64| {
        let config = DataConfig {
            resize: Resize::RandomCrop,
            resolution: 16,
            flip,
            ..config(folder.path())
        };
        let request = BatchRequest {
            indices: &[0],
            seeds: &[seed],
            augment,
        };
        let batch = train(config).batch(&request).unwrap();
        let (shape, values) = batch.f32("size_ids").unwrap();
        assert_eq!(shape, [1, 6]);
        values.to_vec()
    };
    assert_eq!(sizes(false, 0.0, 0), [16.0, 32.0, 0.0, 8.0, 16.0, 16.0]);
    let lefts =
        |flip: f64| -> Vec<f32> { (0..20).map(|seed| sizes(true, flip, seed)[3]).collect() };
    let (plain, mirrored) = (lefts(0.0), lefts(1.0));
    for (plain, mirrored) in plain.iter().zip(&mirrored) {
        assert_eq!(plain + mirrored, 16.0);
    }
    assert!(plain.iter().any(|left| *left != plain[0]));
}
