//! The task as a host uses it, on the furniture inside and on sets made on disk.

use std::path::Path;

use dsl_sdk::serde_json::json;
use dsl_sdk::{Artefacts, Batch, BatchRequest, Column, Dataset, Host, PluginError, Task};
use tempfile::TempDir;

use crate::config::SyncDreamerConfig;
use crate::dataset::{INPUT_VIEW, POSE, PROJECTIONS, VIEWS};
use crate::task::SyncDreamer;

fn small() -> SyncDreamerConfig {
    let mut config = SyncDreamerConfig::default();
    (
        config.data.image_size,
        config.data.views,
        config.data.supersampling,
    ) = (16, 4, 2);
    config
}

fn open(config: SyncDreamerConfig) -> SyncDreamer {
    SyncDreamer::open(config, Host::detached()).unwrap()
}

fn batch(dataset: &dyn Dataset, indices: &[u64], seeds: &[u64], augment: bool) -> Batch {
    dataset
        .batch(&BatchRequest {
            indices,
            seeds,
            augment,
        })
        .unwrap()
}

/// A set on the disk, opened.
fn at(folder: &TempDir) -> Result<SyncDreamer, PluginError> {
    let mut config = small();
    config.data.path = Some(folder.path().display().to_string());
    SyncDreamer::open(config, Host::detached())
}

#[test]
fn shapes_and_ranges_are_as_declared() {
    let task = open(SyncDreamerConfig::default());
    let dataset = task.dataset("train").unwrap();
    assert_eq!(
        (dataset.len(), task.dataset("test").unwrap().len()),
        (49, 12)
    );
    let batch = batch(&*dataset, &[3, 40], &[1, 2], true);
    for (name, shape) in [
        (VIEWS, vec![2, 16, 3, 16, 16]),
        (INPUT_VIEW, vec![2, 3, 16, 16]),
        (POSE, vec![2, 16, 4]),
        (PROJECTIONS, vec![2, 16, 3, 4]),
    ] {
        let (found, values) = batch.f32(name).unwrap();
        assert_eq!(found, shape, "{name}");
        assert_eq!(values.len() as u64, shape.iter().product::<u64>(), "{name}");
    }
    let (_, views) = batch.f32(VIEWS).unwrap();
    assert!(views.iter().all(|value| (-1.0..=1.0).contains(value)));
    // On white, with something in every view.
    for view in views.chunks_exact(3 * 32 * 32) {
        assert_eq!(view[0], 1.0);
        assert!(view.iter().filter(|value| **value < 0.9).count() > 30);
    }
    assert_eq!(task.describe().target, VIEWS);
}

#[test]
fn a_sample_depends_on_index_and_seed_alone() {
    let task = open(small());
    let dataset = task.dataset("train").unwrap();
    let both = batch(&*dataset, &[5, 9], &[7, 7], true);
    // Another dataset of the same split: its memory holds other things.
    let mut config = small();
    config.data.cache_mib = 0;
    let other = open(config).dataset("train").unwrap();
    let second = batch(&*other, &[9], &[7], true);
    for name in [VIEWS, INPUT_VIEW, POSE] {
        let (_, all) = both.f32(name).unwrap();
        let (_, one) = second.f32(name).unwrap();
        assert_eq!(&all[all.len() / 2..], one, "{name}");
    }
    let differ = |seed: u64| batch(&*dataset, &[9], &[seed], true) != second;
    assert!(differ(8) || differ(9));
    assert_eq!(
        batch(&*dataset, &[9], &[1], false),
        batch(&*dataset, &[9], &[2], false)
    );
}

#[test]
fn the_input_view_is_seen_from_the_first_azimuth() {
    // At the targets' elevation the input view is the first target, whatever the start.
    let mut config = small();
    config.data.input_elevations = [30.0, 30.0];
    let dataset = open(config).dataset("train").unwrap();
    let mut firsts = Vec::new();
    for seed in 0..6 {
        let batch = batch(&*dataset, &[2], &[seed], true);
        let (_, views) = batch.f32(VIEWS).unwrap();
        let (_, input) = batch.f32(INPUT_VIEW).unwrap();
        assert_eq!(&views[..input.len()], input);
        let (_, pose) = batch.f32(POSE).unwrap();
        assert_eq!(pose[..4], [0.0, 0.0, 1.0, 0.0]);
        firsts.push(input.to_vec());
    }
    firsts.dedup();
    assert!(firsts.len() > 1, "the start is drawn");
}

/// Views whose colour says which they are.
fn rendered(folder: &Path, uid: &str) {
    for kind in ["target", "input"] {
        let place = folder.join(kind).join(uid);
        std::fs::create_dir_all(&place).unwrap();
        for view in 0..4_u8 {
            let blue = if kind == "input" { 255 } else { 0 };
            let picture =
                image::RgbaImage::from_pixel(20, 20, image::Rgba([0, 60 * view, blue, 255]));
            picture.save(place.join(format!("{view:03}.png"))).unwrap();
        }
    }
    use std::f64::consts::{FRAC_PI_2, PI};
    let meta = json!({"elevations": [0.1, 0.2, 0.3, 0.4], "azimuths": [0.0, FRAC_PI_2, PI, 3.0 * FRAC_PI_2]});
    std::fs::write(
        folder.join("input").join(uid).join("meta.json"),
        meta.to_string(),
    )
    .unwrap();
}

#[test]
fn rendered_views_are_read() {
    let folder = tempfile::tempdir().unwrap();
    rendered(folder.path(), "a/chair");
    rendered(folder.path(), "b");
    std::fs::write(folder.path().join("test.json"), r#"["b"]"#).unwrap();
    let task = at(&folder).unwrap();
    assert_eq!(task.splits(), ["train", "test"]);
    let dataset = task.dataset("train").unwrap();
    assert_eq!(dataset.len(), 1);
    for seed in 0..4 {
        let batch = batch(&*dataset, &[0], &[seed], true);
        let (_, views) = batch.f32(VIEWS).unwrap();
        let (_, input) = batch.f32(INPUT_VIEW).unwrap();
        let (_, pose) = batch.f32(POSE).unwrap();
        let green = |values: &[f32]| ((values[256] + 1.0) * 127.5 / 60.0).round() as usize;
        let start = green(input);
        for view in 0..4 {
            assert_eq!(green(&views[3 * 256 * view..]), (start + view) % 4);
        }
        let elevation = 0.1 * (start + 1) as f32 - 30_f32.to_radians();
        assert!((pose[0] - elevation).abs() < 1e-5);
    }
}

#[test]
fn bad_sets_are_refused() {
    let refused = |make: &dyn Fn(&Path), expected: &str| {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path());
        let error = at(&folder).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    };
    let write = |name: &'static str, text: &'static str| {
        move |folder: &Path| {
            rendered(folder, "a");
            let path = folder.join(name);
            if text.is_empty() {
                std::fs::remove_file(path).unwrap();
            } else {
                std::fs::write(path, text).unwrap();
            }
        }
    };
    refused(&|_| (), ".glb");
    refused(
        &|folder| std::fs::write(folder.join("a.obj"), "v 0 0 0\n").unwrap(),
        "no faces",
    );
    let nan = "v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n";
    refused(
        &|folder| std::fs::write(folder.join("a.obj"), nan).unwrap(),
        "a.obj",
    );
    refused(&write("target/a/002.png", "no picture"), "002.png");
    refused(&write("target/a/003.png", ""), "003.png");
    refused(&write("input/a/meta.json", ""), "meta.json");
    refused(&write("input/a/meta.json", "{}"), "no `elevations`");
    refused(
        &write("input/a/meta.json", r#"{"elevations": [0.1]}"#),
        "1 elevations, but 4 views",
    );
    refused(
        &write("input/a/meta.json", r#"{"elevations": [10, 20, 30, 40]}"#),
        "radians",
    );
    let turned = r#"{"elevations": [0, 0, 0, 0], "azimuths": [0, 3, 2, 1]}"#;
    refused(&write("input/a/meta.json", turned), "azimuth 1");
    let pickle = |folder: &Path| {
        rendered(folder, "a");
        let place = folder.join("input/a");
        std::fs::rename(place.join("meta.json"), place.join("meta.pkl")).unwrap();
    };
    refused(&pickle, "convert it");
}

#[test]
fn wrong_settings_name_their_key() {
    let refused = |edit: &dyn Fn(&mut SyncDreamerConfig), key: &str| {
        let mut config = small();
        edit(&mut config);
        let error = SyncDreamer::open(config, Host::detached()).expect_err(key);
        assert!(
            error.message.contains(&format!("`task.{key}`")),
            "{}",
            error.message
        );
    };
    refused(&|config| config.data.image_size = 8, "data.image_size");
    refused(&|config| config.data.views = 1, "data.views");
    refused(
        &|config| config.data.supersampling = 0,
        "data.supersampling",
    );
    refused(
        &|config| config.data.input_elevations = [10.0, -10.0],
        "data.input_elevations",
    );
    refused(
        &|config| config.data.input_elevations = [f64::NAN, 0.0],
        "data.input_elevations",
    );
    refused(&|config| config.dropout.volume = 1.5, "dropout.volume");
    refused(
        &|config| config.evaluation.objects = 0,
        "evaluation.objects",
    );
    refused(
        &|config| config.data.train_split = "../x".to_owned(),
        "data.train_split",
    );
    refused(
        &|config| config.data.path = Some("/nowhere".to_owned()),
        "data.path",
    );
}

#[test]
fn a_users_picture_becomes_conditions() {
    let task = open(small());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    let picture = image::RgbaImage::from_fn(40, 30, |x, _| {
        image::Rgba([200, 0, 0, if x < 20 { 255 } else { 0 }])
    });
    picture.save(&path).unwrap();
    let conditions = task
        .conditions(&json!({"image": path, "elevation": "0"}))
        .unwrap();
    let (shape, values) = conditions.f32(INPUT_VIEW).unwrap();
    assert_eq!(shape, [1, 3, 16, 16]);
    // 12.5 of 16 pixels high, on white.
    assert!(values[0] == 1.0 && (values[8 * 16 + 8] - (200.0 / 127.5 - 1.0)).abs() < 1e-5);
    let (_, pose) = conditions.f32(POSE).unwrap();
    assert!((pose[0] + 30_f32.to_radians()).abs() < 1e-6);
    let samples = batch(&*task.dataset("test").unwrap(), &[0], &[0], false);
    assert_eq!(
        conditions.f32(PROJECTIONS).unwrap(),
        samples.f32(PROJECTIONS).unwrap()
    );
    let error = |inputs| task.conditions(&inputs).unwrap_err().to_string();
    assert!(error(json!({})).contains("`image` is missing"));
    assert!(error(json!({"image": path, "azimuth": 3})).contains("`azimuth`"));
    assert!(error(json!({"image": path, "elevation": 100})).contains("100"));
    assert!(error(json!({"image": "/nowhere.png"})).contains("/nowhere.png"));
    std::fs::write(&path, "text").unwrap();
    assert!(error(json!({"image": path})).contains("a.png"));
}

/// A batch as an evaluator gets it, `generated` made of the truth.
fn evaluated(task: &SyncDreamer, change: impl Fn(f32) -> f32) -> Batch {
    let mut batch = batch(&*task.dataset("test").unwrap(), &[0, 1], &[0, 0], false);
    let (shape, values) = batch.f32(VIEWS).unwrap();
    let generated = Column::f32(
        "generated",
        shape.to_vec(),
        values.iter().map(|&value| change(value)).collect(),
    );
    batch.columns.push(generated);
    batch
}

#[test]
fn scores_are_those_of_known_differences() {
    let task = open(small());
    let mut evaluator = task.evaluator().unwrap().unwrap();
    let mut measure = |change: &dyn Fn(f32) -> f32| {
        evaluator.update(&evaluated(&task, change), 0).unwrap();
        let mut artefacts = Artefacts::default();
        let metrics = evaluator.finish(&mut artefacts).unwrap();
        assert!(artefacts.get("views.png").is_some());
        move |name: &str| {
            metrics
                .iter()
                .find(|metric| metric.name == name)
                .unwrap()
                .value
        }
    };
    let perfect = measure(&|value| value);
    assert_eq!((perfect("psnr"), perfect("ssim")), (100.0, 1.0));
    assert!(
        (8.0..30.0).contains(&perfect("psnr/input_view")),
        "{}",
        perfect("psnr/input_view")
    );
    assert_eq!(perfect("psnr_gain"), 100.0 - perfect("psnr/input_view"));
    // A tenth of the range towards grey: 20 dB where nothing is clamped.
    let shifted = measure(&|value| {
        if value > 0.0 {
            value - 0.2
        } else {
            value + 0.2
        }
    });
    assert!((shifted("psnr") - 20.0).abs() < 1e-3);
    assert!(shifted("ssim") < 1.0);
    assert!(
        evaluator
            .finish(&mut Artefacts::default())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn evaluators_refuse_what_does_not_fit() {
    let task = open(small());
    let mut evaluator = task.evaluator().unwrap().unwrap();
    let mut batch = evaluated(&task, |value| value);
    batch.columns.last_mut().unwrap().data =
        Column::f32("", vec![2, 3, 3, 16, 16], vec![0.0; 2 * 3 * 768]).data;
    assert!(evaluator.update(&batch, 0).is_err());
    batch.columns.pop();
    assert!(
        evaluator
            .update(&batch, 0)
            .unwrap_err()
            .message
            .contains("generated")
    );
}

#[test]
fn pictures_have_a_row_of_truth_where_it_is_known() {
    let task = open(SyncDreamerConfig::default());
    let mut batch = evaluated(&task, |value| -value);
    if let Some(folder) = std::env::var_os("DSL_PICTURES") {
        let sheet = dsl_render::Sheet::new(&crate::sheet::blocks(&batch).unwrap());
        std::fs::write(Path::new(&folder).join("syncdreamer.png"), sheet.png()).unwrap();
    }
    let picture = task.picture(&batch).unwrap().unwrap();
    assert_eq!(
        (picture.width(), picture.height()),
        (17 * 66 + 2, 4 * 66 + 2 + 10)
    );
    batch.columns.retain(|column| column.name != VIEWS);
    let picture = task.picture(&batch).unwrap().unwrap();
    assert_eq!(picture.height(), 2 * 66 + 2 + 10);
}
