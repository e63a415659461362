//! The task as a host uses it, on the furniture inside and on sets made on disk.

use std::path::Path;

use dsl_sdk::serde_json::json;
use dsl_sdk::{Host, PluginError, Task};
use dsl_views::testing::{
    self, bad_meshes_refused, batch, picture_file, refused, set_refused, shaped,
};
use dsl_views::{INPUT_VIEW, POSE, TRAIN, VIEWS};

use crate::config::SyncDreamerConfig;
use crate::dataset::PROJECTIONS;
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

/// A set on the disk, opened.
fn at(folder: &Path) -> Result<SyncDreamer, PluginError> {
    let mut config = small();
    config.data.path = Some(folder.display().to_string());
    SyncDreamer::open(config, Host::detached())
}

#[test]
fn shapes_and_ranges_are_as_declared() {
    let task = open(SyncDreamerConfig::default());
    testing::has_furniture(&task);
    let batch = batch(&*task.dataset(TRAIN).unwrap(), &[3, 40], &[1, 2], true);
    shaped(
        &batch,
        &[
            (VIEWS, &[2, 16, 3, 16, 16]),
            (INPUT_VIEW, &[2, 3, 16, 16]),
            (POSE, &[2, 16, 4]),
            (PROJECTIONS, &[2, 16, 3, 4]),
        ],
    );
    // On white, with something in every view.
    let (_, views) = batch.f32(VIEWS).unwrap();
    for view in views.chunks_exact(3 * 16 * 16) {
        assert_eq!(view[0], 1.0);
        assert!(view.iter().filter(|value| **value < 0.9).count() > 30);
    }
    assert_eq!(task.describe().target, VIEWS);
}

#[test]
fn a_sample_depends_on_index_and_seed_alone() {
    let mut forgetful = small();
    forgetful.data.cache_mib = 0;
    testing::samples_follow_from_index_and_seed(&open(small()), &open(forgetful));
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
    let task = at(folder.path()).unwrap();
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
    bad_meshes_refused(at);
    let refused = |make: &dyn Fn(&Path), expected: &str| set_refused(at, make, expected);
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
    let wrong = |key: &str, edit: &dyn Fn(&mut SyncDreamerConfig)| {
        let mut config = small();
        edit(&mut config);
        let opened = SyncDreamer::open(config, Host::detached());
        refused(opened, &format!("`task.{key}`"));
    };
    wrong("data.image_size", &|config| config.data.image_size = 8);
    wrong("data.views", &|config| config.data.views = 1);
    wrong("data.supersampling", &|config| {
        config.data.supersampling = 0
    });
    wrong("data.input_elevations", &|config| {
        config.data.input_elevations = [10.0, -10.0];
    });
    wrong("dropout.all", &|config| config.dropout.all = -0.5);
    wrong("dropout.input_view", &|config| {
        config.dropout.input_view = -0.5
    });
    wrong("dropout.pose", &|config| config.dropout.pose = f64::NAN);
    wrong("dropout.volume", &|config| config.dropout.volume = 1.5);
    wrong("evaluation.objects", &|config| {
        config.evaluation.objects = 0
    });
    wrong("data.train_split", &|config| {
        config.data.train_split = "../x".to_owned();
    });
    wrong("data.test_split", &|config| {
        config.data.test_split = Some("train".to_owned());
    });
}

#[test]
fn a_users_picture_becomes_conditions() {
    let task = open(small());
    testing::takes_a_picture(&task, 16);
    let folder = tempfile::tempdir().unwrap();
    let path = picture_file(folder.path());
    let conditions = task
        .conditions(&json!({"image": path, "elevation": "0"}))
        .unwrap();
    let (_, pose) = conditions.f32(POSE).unwrap();
    assert!((pose[0] + 30_f32.to_radians()).abs() < 1e-6);
    let samples = batch(&*task.dataset(TRAIN).unwrap(), &[0], &[0], false);
    assert_eq!(
        conditions.f32(PROJECTIONS).unwrap(),
        samples.f32(PROJECTIONS).unwrap()
    );
    let steep = task.conditions(&json!({"image": path, "elevation": 100}));
    refused(steep, "`elevation` is 100");
}

#[test]
fn scores_are_those_of_known_differences() {
    let task = open(small());
    testing::measures_known_differences(&task);
    testing::refuses_to_measure_what_does_not_fit(&task);
}

#[test]
fn pictures_have_a_row_of_truth_where_it_is_known() {
    testing::shows_samples(&open(SyncDreamerConfig::default()), 17, 1);
}
