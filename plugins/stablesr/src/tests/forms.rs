//! The layouts of a user's data.

use image::ImageFormat;

use super::set::*;
use crate::{Fit, Layout, PerClass, StableSrConfig};
use dsl_sdk::Task;

fn lengths(config: &StableSrConfig) -> (u64, Option<u64>) {
    let task = open(config).unwrap();
    let has_test = task.splits().contains(&"test".to_owned());
    (
        task.dataset("train").unwrap().len(),
        has_test.then(|| task.dataset("test").unwrap().len()),
    )
}

#[test]
fn folders_of_pictures_with_and_without_splits() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.png", "deep/b.png", "c.png"] {
        write(folder.path(), name, png(20, 20));
    }
    let plain = config(folder.path());
    assert_eq!(lengths(&plain), (3, None));
    assert!(open(&plain).unwrap().evaluator().unwrap().is_none());
    for name in [
        "DIV2K_train_HR/0001.png",
        "DIV2K_train_HR/0002.png",
        "DIV2K_valid_HR/0801.png",
    ] {
        write(folder.path(), name, png(20, 20));
    }
    assert_eq!(lengths(&plain), (2, Some(1)));
    let mut named = plain.clone();
    named.data.train_split = Some("deep".into());
    assert_eq!(lengths(&named), (1, Some(1)));
}

#[test]
fn classes_give_their_first_pictures_to_train_and_their_last_to_test() {
    let folder = tempfile::tempdir().unwrap();
    for class in ["Beach", "Forest", "Port"] {
        for index in 0..6 {
            // Known again by their size.
            let name = format!("{class}/{}_{index}.jpg", class.to_lowercase());
            let side = 16 + 4 * index;
            write(
                folder.path(),
                &name,
                encoded(pattern(side, side), ImageFormat::Jpeg),
            );
        }
    }
    let mut config = config(folder.path());
    config.data.layout = Layout::ClassFolders;
    assert_eq!(lengths(&config), (15, Some(3)));
    config.data.layout = Layout::Auto;
    config.data.classes = vec!["Port".into(), "Beach".into()];
    config.data.per_class = PerClass {
        train: Some(2),
        test: Some(1),
    };
    assert_eq!(lengths(&config), (4, Some(2)));
    let located = crate::dataset::locate::locate(&config.data).unwrap();
    let names: Vec<String> = (located
        .train
        .entries
        .iter()
        .chain(&located.test.unwrap().entries))
    .map(|entry| format!("{:?}", entry.target))
    .collect();
    for (name, end) in names.iter().zip([
        "port_0", "port_1", "beach_0", "beach_1", "port_5", "beach_5",
    ]) {
        assert!(name.contains(end), "{name} {end}");
    }
    config.data.per_class.test = Some(0);
    assert_eq!(lengths(&config), (4, None));
}

#[test]
fn pairs_are_cut_at_the_same_place() {
    let folder = tempfile::tempdir().unwrap();
    // A target made of squares of 4 × 4 pixels of the colours of its partner: any cut that fits gives the same.
    let small = pattern(9, 7);
    let large = image::imageops::resize(&small, 36, 28, image::imageops::FilterType::Nearest);
    write(
        folder.path(),
        "inputs/x.png",
        encoded(small, ImageFormat::Png),
    );
    write(
        folder.path(),
        "gts/x.webp",
        encoded(large, ImageFormat::WebP),
    );
    let config = config(folder.path());
    let dataset = split(&config, "train");
    for seed in 0..30 {
        let found = batch(&*dataset, &[0], &[seed], true);
        let ((_, target), (shape, small)) = (
            found.f32("image").unwrap(),
            found.f32("low_resolution_small").unwrap(),
        );
        assert_eq!(shape, [1, 3, 4, 4]);
        for (at, value) in target.iter().enumerate() {
            let (channel, y, x) = (at / 256, at / 16 % 16, at % 16);
            assert!((value - small[channel * 16 + y / 4 * 4 + x / 4]).abs() < 1e-6);
        }
    }
    // Under names of splits as well.
    let split = tempfile::tempdir().unwrap();
    for name in ["train", "test"] {
        write(split.path(), &format!("{name}/inputs/x.png"), png(4, 4));
        write(split.path(), &format!("{name}/gts/x.png"), png(16, 16));
    }
    assert_eq!(lengths(&super::set::config(split.path())), (1, Some(1)));
}

#[test]
fn whole_pictures_are_brought_to_the_size() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "wide.png", png(60, 40));
    write(folder.path(), "tiny.png", png(9, 8));
    let mut config = config(folder.path());
    config.data.fit = Fit::Resize;
    let found = batch(&*split(&config, "train"), &[0, 1], &[0, 0], false);
    assert_eq!(found.f32("image").unwrap().0, [2, 3, 16, 16]);
}
