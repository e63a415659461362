//! Pictures of several aspect ratios.

use dsl_sdk::buckets::{BucketMetric, BucketsConfig};
use dsl_sdk::image::Resize;
use dsl_sdk::{BatchRequest, Buckets, Dataset, Host, Task};

use super::set::{config, open, pattern, write};
use crate::{DataConfig, T2i, T2iConfig};

const SMALL: BucketsConfig = BucketsConfig {
    min: 8,
    max: 32,
    step: 8,
    no_upscale: false,
    metric: BucketMetric::Ratio,
};

fn train(config: DataConfig) -> Box<dyn Dataset> {
    open(config).unwrap().dataset("train").unwrap()
}

/// Squares, wide and high pictures, in the order of their names.
fn set(folder: &std::path::Path, buckets: BucketsConfig) -> DataConfig {
    for (name, width, height) in [
        ("a", 40, 40),
        ("b", 75, 30),
        ("c", 30, 60),
        ("d", 76, 30),
        ("e", 16, 16),
    ] {
        write(folder, &format!("{name}.png"), pattern(width, height));
        write(folder, &format!("{name}.txt"), name);
    }
    DataConfig {
        resolution: 16,
        buckets: Some(buckets),
        ..config(folder)
    }
}

/// Shape of the pictures of a batch, and what is told of their sizes.
fn asked(dataset: &dyn Dataset, indices: &[u64], augment: bool) -> (Vec<u64>, Vec<f32>) {
    let request = BatchRequest {
        indices,
        seeds: indices,
        augment,
    };
    let batch = dataset.batch(&request).unwrap();
    let (shape, values) = batch.f32("image").unwrap();
    assert_eq!(shape.iter().product::<u64>(), values.len() as u64);
    (shape.to_vec(), batch.f32("size_ids").unwrap().1.to_vec())
}

#[test]
fn pictures_go_to_the_bucket_of_their_proportions() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = train(set(folder.path(), SMALL));
    assert_eq!(dataset.columns()[0].shape, [Some(3), None, None]);
    let Buckets { shapes, of_sample } = dataset.buckets().unwrap();
    // Samples are drawn at the square, which comes first. The shapes are [3, height, width].
    assert_eq!(
        *shapes,
        [[3, 16, 16], [3, 24, 8], [3, 8, 24]].map(Vec::from)
    );
    assert_eq!(*of_sample, [0, 2, 1, 2, 0]);

    assert_eq!(asked(&*dataset, &[0, 4], true).0, [2, 3, 16, 16]);
    assert_eq!(asked(&*dataset, &[3, 1, 3], true).0, [3, 3, 8, 24]);
    assert_eq!(asked(&*dataset, &[2], true).0, [1, 3, 24, 8]);
    let request = BatchRequest {
        indices: &[0, 1],
        seeds: &[0, 0],
        augment: false,
    };
    let error = dataset.batch(&request).unwrap_err();
    assert!(error.message.contains("0 and 1"), "{}", error.message);
}

#[test]
fn the_square_leads_where_no_picture_is_one() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.png", pattern(75, 30));
    write(folder.path(), "a.txt", "a");
    let dataset = train(DataConfig {
        resolution: 16,
        buckets: Some(SMALL),
        ..config(folder.path())
    });
    let buckets = dataset.buckets().unwrap();
    assert_eq!(buckets.shapes, [[3, 16, 16], [3, 8, 24]].map(Vec::from));
    assert_eq!(buckets.of_sample, [1]);
}

/// What SDXL is told: height and width of the file, top and left of the crop in the picture as it was resized and mirrored,
/// height and width of the bucket.
#[test]
fn sizes_and_crops_in_buckets_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let of = |resize, flip| {
        train(DataConfig {
            resize,
            flip,
            ..set(folder.path(), SMALL)
        })
    };
    // 75 × 30 covers 24 × 8 as 24 × 10, and 30 × 60 covers 8 × 24 as 12 × 24.
    for augment in [false, true] {
        let dataset = of(Resize::CenterCrop, 0.0);
        let told = |index| asked(&*dataset, &[index], augment).1;
        assert_eq!(told(0), [40.0, 40.0, 0.0, 0.0, 16.0, 16.0]);
        assert_eq!(told(1), [30.0, 75.0, 1.0, 0.0, 8.0, 24.0]);
        assert_eq!(told(2), [60.0, 30.0, 0.0, 2.0, 24.0, 8.0]);
    }
    let lefts = |flip| -> Vec<f32> {
        let dataset = of(Resize::RandomCrop, flip);
        (0..40)
            .map(|seed| {
                let request = BatchRequest {
                    indices: &[2],
                    seeds: &[seed],
                    augment: true,
                };
                let batch = dataset.batch(&request).unwrap();
                let told = batch.f32("size_ids").unwrap().1.to_vec();
                assert_eq!([told[0], told[1], told[2]], [60.0, 30.0, 0.0]);
                assert_eq!(told[4..], [24.0, 8.0]);
                told[3]
            })
            .collect()
    };
    let (plain, mirrored) = (lefts(0.0), lefts(1.0));
    for (plain, mirrored) in plain.iter().zip(&mirrored) {
        assert_eq!(plain + mirrored, 4.0);
    }
    for left in 0..=4 {
        assert!(plain.contains(&(left as f32)), "{plain:?}");
    }
}

#[test]
fn without_enlarging_small_pictures_keep_their_pixels() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.png", pattern(19, 10));
    write(folder.path(), "a.txt", "a");
    let buckets = BucketsConfig {
        no_upscale: true,
        ..SMALL
    };
    let dataset = train(DataConfig {
        resolution: 16,
        buckets: Some(buckets),
        ..config(folder.path())
    });
    assert_eq!(dataset.buckets().unwrap().shapes[1], [3, 8, 16]);
    let request = BatchRequest {
        indices: &[0],
        seeds: &[0],
        augment: false,
    };
    let batch = dataset.batch(&request).unwrap();
    let picture = dsl_sdk::image::Picture::decode(&pattern(19, 10), "a", [255; 3]).unwrap();
    let window = dsl_sdk::image::Window::within(19, 10, 16, 8, 0.5, 0.5);
    let mut expected = Vec::new();
    picture.append_chw(window, false, &mut expected);
    assert_eq!(batch.f32("image").unwrap().1, expected);
}

#[test]
fn numbers_of_buckets_are_checked_before_anything_is_read() {
    for (buckets, resolution, expected) in [
        (
            BucketsConfig::default(),
            32,
            "`task.data.resolution` is 32, expected a multiple of `task.data.buckets.step`",
        ),
        (
            BucketsConfig { step: 8, ..SMALL },
            64,
            "`task.data.buckets.max`, which is 32",
        ),
    ] {
        let config = DataConfig {
            path: Some("/nowhere".into()),
            resolution,
            buckets: Some(buckets),
            ..DataConfig::default()
        };
        let error = open(config).unwrap_err();
        assert!(error.message.contains(expected), "{}", error.message);
    }
}

#[test]
fn a_header_that_cannot_be_read_names_its_picture_or_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let config = set(folder.path(), SMALL);
    write(folder.path(), "c.png", &pattern(30, 60)[..12]);
    let opened = T2i::open(
        T2iConfig {
            data: config.clone(),
        },
        Host::detached(),
    );
    let error = opened.unwrap_err();
    assert!(error.message.contains("c.png"), "{}", error.message);
    assert!(error.help.contains("task.data.on_error"), "{}", error.help);

    let dataset = train(DataConfig {
        on_error: crate::config::OnError::Skip,
        ..config
    });
    assert_eq!(dataset.buckets().unwrap().of_sample, [0, 1, 1, 0]);
}
