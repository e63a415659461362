//! What the plugins' tests share: questions that every task for views of objects has to answer, each put to the task as a
//! host would put it. With the feature `testing`, for tests alone.
//!
//! # Panics
//! All functions do, where the answer is not what it should be.

use std::path::{Path, PathBuf};

use dsl_sdk::serde_json::{Value, json};
use dsl_sdk::{Artefacts, Batch, BatchRequest, Column, Dataset, Evaluator, PluginError, Task};

use crate::columns::{GENERATED, INPUT_VIEW, VIEWS};
use crate::splits::{TEST, TRAIN};

/// A batch that has to be there.
pub fn batch(dataset: &dyn Dataset, indices: &[u64], seeds: &[u64], augment: bool) -> Batch {
    let request = BatchRequest {
        indices,
        seeds,
        augment,
    };
    dataset.batch(&request).unwrap()
}

/// Nothing is opened, and the error says why.
#[track_caller]
pub fn refused<T>(opened: Result<T, PluginError>, expected: &str) {
    let error = opened.err().expect(expected).to_string();
    assert!(error.contains(expected), "{error}");
}

/// Columns have these shapes, and as many values.
#[track_caller]
pub fn shaped(batch: &Batch, expected: &[(&str, &[u64])]) {
    let names: Vec<&str> = (batch.columns.iter())
        .map(|column| column.name.as_str())
        .collect();
    let expected_names: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, expected_names);
    for (name, shape) in expected {
        let (found, values) = batch.f32(name).unwrap();
        assert_eq!(found, *shape, "{name}");
        assert_eq!(values.len() as u64, shape.iter().product::<u64>(), "{name}");
    }
}

/// The furniture inside is split, and views have values in −1..1.
pub fn has_furniture<T: Task>(task: &T) {
    assert_eq!(task.splits(), [TRAIN, TEST]);
    let [train, test] = [TRAIN, TEST].map(|split| task.dataset(split).unwrap());
    assert_eq!((train.len(), test.len()), (49, 12));
    let batch = batch(&*train, &[3, 40], &[1, 2], true);
    let (_, views) = batch.f32(VIEWS).unwrap();
    assert!(views.iter().all(|value| (-1.0..=1.0).contains(value)));
}

/// A sample depends on index and seed alone: on neither its neighbours nor on what is in memory, and without augmentation not
/// on the seed. `forgetful` is the same task with `cache_mib` 0.
pub fn samples_follow_from_index_and_seed<T: Task>(task: &T, forgetful: &T) {
    let dataset = task.dataset(TRAIN).unwrap();
    let both = batch(&*dataset, &[5, 9], &[7, 7], true);
    let second = batch(&*forgetful.dataset(TRAIN).unwrap(), &[9], &[7], true);
    for column in &second.columns {
        let (_, all) = both.f32(&column.name).unwrap();
        let (_, one) = second.f32(&column.name).unwrap();
        assert_eq!(&all[all.len() / 2..], one, "{}", column.name);
    }
    assert!((8..12).any(|seed| batch(&*dataset, &[9], &[seed], true) != second));
    let plain = |seed: u64| batch(&*dataset, &[9], &[seed], false);
    assert_eq!(plain(1), plain(2));
}

/// What `open` says of a set that `make` wrote.
#[track_caller]
pub fn set_refused<T>(
    open: impl Fn(&Path) -> Result<T, PluginError>,
    make: impl FnOnce(&Path),
    expected: &str,
) {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    refused(open(folder.path()), expected);
}

/// Folders without objects, and meshes that cannot be drawn, are refused when a task is opened.
pub fn bad_meshes_refused<T>(open: impl Fn(&Path) -> Result<T, PluginError>) {
    set_refused(&open, |_| (), ".glb");
    let nan = "v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n";
    for (text, expected) in [("v 0 0 0\n", "no faces"), (nan, "a.obj")] {
        let write = |folder: &Path| std::fs::write(folder.join("a.obj"), text).unwrap();
        set_refused(&open, write, expected);
    }
    refused(open(Path::new("/nowhere")), "`task.data.path`");
}

/// A picture as a user has it: the left half is dark red, the right half is transparent.
pub fn picture_file(folder: &Path) -> PathBuf {
    let path = folder.join("a.png");
    let picture = image::RgbaImage::from_fn(40, 30, |x, _| {
        image::Rgba([200, 0, 0, if x < 20 { 255 } else { 0 }])
    });
    picture.save(&path).unwrap();
    path
}

/// The input view of [`picture_file`]: in the middle, on white.
pub fn cut_out(conditions: &Batch, size: u32) {
    let (shape, values) = conditions.f32(INPUT_VIEW).unwrap();
    let side = u64::from(size);
    assert_eq!(shape, [1, 3, side, side]);
    let size = size as usize;
    let middle = values[size / 2 * size + size / 2];
    assert!(values[0] == 1.0 && (middle - (200.0 / 127.5 - 1.0)).abs() < 1e-5);
}

/// A user's picture becomes the input view; errors name the input and the file.
pub fn takes_a_picture<T: Task>(task: &T, size: u32) {
    let folder = tempfile::tempdir().unwrap();
    let path = picture_file(folder.path());
    cut_out(&task.conditions(&json!({"image": path})).unwrap(), size);
    let error = |inputs: Value| task.conditions(&inputs).unwrap_err();
    assert!(error(json!({})).message.contains("`image` is missing"));
    let unknown = error(json!({"image": path, "azimuth": 3}));
    assert!(unknown.message.contains("`azimuth`"), "{unknown}");
    let text = folder.path().join("text.png");
    std::fs::write(&text, "text").unwrap();
    let nowhere = Path::new("/nowhere.png");
    for path in [nowhere, text.as_path()] {
        let error = error(json!({"image": path}));
        let file = path.display().to_string();
        for part in ["`image`", file.as_str()] {
            assert!(error.message.contains(part), "{error}");
        }
    }
}

/// A batch as an evaluator gets it, with generated views made of the truth.
pub fn evaluated<T: Task>(task: &T, change: impl Fn(f32) -> f32) -> Batch {
    let mut batch = batch(&*task.dataset(TEST).unwrap(), &[0, 1], &[0, 0], false);
    let (shape, values) = batch.f32(VIEWS).unwrap();
    let generated = values.iter().map(|&value| change(value)).collect();
    let generated = Column::f32(GENERATED, shape.to_vec(), generated);
    batch.columns.push(generated);
    batch
}

/// Metrics by name of generated views made of the truth.
pub fn measured<T: Task, F: Fn(f32) -> f32>(
    task: &T,
    evaluator: &mut dyn Evaluator,
    change: F,
) -> impl Fn(&str) -> f64 + use<T, F> {
    evaluator.update(&evaluated(task, change), 0).unwrap();
    let mut artefacts = Artefacts::default();
    let metrics = evaluator.finish(&mut artefacts).unwrap();
    assert!(artefacts.get("views.png").is_some());
    move |name: &str| {
        let found = metrics.iter().find(|metric| metric.name == name);
        found.unwrap_or_else(|| panic!("no metric {name}")).value
    }
}

/// PSNR and SSIM are those of known differences, and are gone when they were told.
pub fn measures_known_differences<T: Task>(task: &T) {
    let mut evaluator = task.evaluator().unwrap().unwrap();
    let perfect = measured(task, &mut *evaluator, |value| value);
    assert_eq!((perfect("psnr"), perfect("ssim")), (100.0, 1.0));
    let given = perfect("psnr/input_view");
    assert!((8.0..30.0).contains(&given), "{given}");
    assert_eq!(perfect("psnr_gain"), 100.0 - given);
    // A tenth of the range towards grey: 20 dB where nothing is clamped.
    let shifted = measured(task, &mut *evaluator, |value| {
        value - 0.2_f32.copysign(value)
    });
    assert!((shifted("psnr") - 20.0).abs() < 1e-3);
    assert!(shifted("ssim") < 1.0);
    let after = evaluator.finish(&mut Artefacts::default()).unwrap();
    assert!(after.is_empty());
}

/// Generated views that do not fit the truth, or are missing, are refused.
pub fn refuses_to_measure_what_does_not_fit<T: Task>(task: &T) {
    let mut evaluator = task.evaluator().unwrap().unwrap();
    let mut batch = evaluated(task, |value| value);
    let side = batch.f32(VIEWS).unwrap().0[3];
    let count = (2 * 3 * side * side) as usize;
    let one = Column::f32(GENERATED, vec![2, 1, 3, side, side], vec![0.0; count]);
    *batch.columns.last_mut().unwrap() = one;
    assert!(evaluator.update(&batch, 0).is_err());
    batch.columns.pop();
    let error = evaluator.update(&batch, 0).unwrap_err();
    assert!(error.message.contains(GENERATED), "{error}");
}

/// A picture of two samples has rows of truth where it is known, each view enlarged to 64 pixels. With the environment
/// variable `DSL_PICTURES` the picture is left there under the task's name.
pub fn shows_samples<T: Task>(task: &T, columns: u32, rows: u32) {
    let mut batch = evaluated(task, |value| -value);
    let shown = |batch: &Batch| task.picture(batch).unwrap().unwrap();
    let picture = shown(&batch);
    if let Some(folder) = std::env::var_os("DSL_PICTURES") {
        let path = Path::new(&folder).join(format!("{}.png", T::ID));
        let (width, height) = (picture.width(), picture.height());
        let color = image::ExtendedColorType::Rgb8;
        image::save_buffer(path, picture.rgb(), width, height, color).unwrap();
    }
    let size = |rows: u32| (66 * columns + 2, 66 * 2 * rows + 2 + 10);
    assert_eq!((picture.width(), picture.height()), size(2 * rows));
    batch.columns.retain(|column| column.name != VIEWS);
    let picture = shown(&batch);
    assert_eq!((picture.width(), picture.height()), size(rows));
}
