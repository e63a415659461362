//! The task as a host uses it, on the furniture inside and on sets made on disk.

use std::path::Path;

use dsl_sdk::serde_json::json;
use dsl_sdk::{Host, Injection, PluginError, Task};
use dsl_views::testing::{
    self, bad_meshes_refused, batch, measured, picture_file, refused, set_refused, shaped,
};
use dsl_views::{INPUT_VIEW, POSE, TRAIN, VIEWS};

use crate::config::{Background, ElevationPer, Era3dConfig};
use crate::dataset::{ELEVATION, INVERSE_FOCAL, MASK};
use crate::task::Era3d;

fn small() -> Era3dConfig {
    let mut config = Era3dConfig::default();
    (config.data.image_size, config.data.supersampling) = (16, 2);
    config
}

fn open(config: Era3dConfig) -> Era3d {
    Era3d::open(config, Host::detached()).unwrap()
}

/// A set on the disk, opened.
fn at(folder: &Path) -> Result<Era3d, PluginError> {
    let mut config = small();
    config.data.path = Some(folder.display().to_string());
    Era3d::open(config, Host::detached())
}

#[test]
fn shapes_and_ranges_are_as_declared() {
    let task = open(Era3dConfig::default());
    testing::has_furniture(&task);
    let batch = batch(&*task.dataset(TRAIN).unwrap(), &[3, 40], &[1, 2], true);
    shaped(
        &batch,
        &[
            (VIEWS, &[2, 12, 3, 16, 16]),
            (INPUT_VIEW, &[2, 3, 16, 16]),
            (POSE, &[2, 12, 4]),
            (ELEVATION, &[2]),
            (INVERSE_FOCAL, &[2]),
            (MASK, &[2, 6, 16, 16]),
        ],
    );
    let kinds: Vec<&str> = task
        .describe()
        .injections
        .iter()
        .map(Injection::kind)
        .collect();
    assert_eq!(
        kinds,
        [
            "concat_channels",
            "cross_attention",
            "multi_view",
            "camera_regression"
        ]
    );
}

#[test]
fn normals_are_unit_vectors_that_face_the_viewer_at_the_front() {
    let mut config = Era3dConfig::default();
    config.data.image_size = 32;
    let dataset = open(config).dataset("train").unwrap();
    let batch = batch(&*dataset, &[0, 7], &[0, 0], false);
    let ((_, views), (_, mask)) = (batch.f32(VIEWS).unwrap(), batch.f32(MASK).unwrap());
    let plane = 32 * 32;
    for object in 0..2 {
        // The first view looks along the axes of the normals, the fourth from behind.
        for (view, sign) in [(0, 1.0), (3, -1.0)] {
            let normals = &views[(object * 12 + view) * 3 * plane..];
            let mut seen = 0;
            for pixel in 0..plane {
                if mask[(object * 6 + view) * plane + pixel] < 1.0 {
                    continue;
                }
                let [x, y, z] = [0, 1, 2].map(|axis| normals[axis * plane + pixel]);
                assert!((x * x + y * y + z * z - 1.0).abs() < 1e-4);
                // A mean over a pixel's samples may turn away a little.
                assert!(z * sign > -0.1, "{z}");
                seen += 1;
            }
            assert!(seen > 50);
        }
    }
}

#[test]
fn a_sample_depends_on_index_and_seed_alone() {
    let mut forgetful = small();
    forgetful.data.cache_mib = 0;
    testing::samples_follow_from_index_and_seed(&open(small()), &open(forgetful));
}

#[test]
fn backgrounds_are_those_asked_for() {
    for (background, corners) in [
        (Background::Random, vec![-1.0, 0.0, 1.0]),
        (Background::White, vec![1.0]),
        (Background::Black, vec![-1.0]),
        (Background::Gray, vec![0.0]),
    ] {
        let mut config = small();
        config.data.background = background;
        let dataset = open(config).dataset("train").unwrap();
        let mut found = Vec::new();
        for seed in 0..20 {
            let batch = batch(&*dataset, &[1], &[seed], true);
            let corner = |name: &str| batch.f32(name).unwrap().1[0];
            // The same behind normal maps and colours.
            let (_, views) = batch.f32(VIEWS).unwrap();
            assert_eq!(corner(VIEWS), views[6 * 3 * 256]);
            found.push(corner(VIEWS));
        }
        found.sort_by(f32::total_cmp);
        found.dedup();
        assert_eq!(found, corners, "{background:?}");
    }
}

#[test]
fn elevations_are_of_objects_or_of_views() {
    for (per, least, most) in [(ElevationPer::Object, 1, 2), (ElevationPer::View, 5, 40)] {
        let mut config = small();
        config.data.elevation_per = per;
        let dataset = open(config).dataset("train").unwrap();
        let mut found: Vec<u32> = (0..40)
            .map(|seed| {
                batch(&*dataset, &[1], &[seed], true)
                    .f32(ELEVATION)
                    .unwrap()
                    .1[0]
                    .to_bits()
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        // Frames at elevation 0 are there with both.
        assert!(
            (least..=most).contains(&found.len()),
            "{per:?}: {}",
            found.len()
        );
    }
}

/// Sixteen azimuths with an orthographic and a perspective frame each; colours say which frame it is.
fn rendered(folder: &Path, uid: &str) {
    for part in ["image", "normal", "camera"] {
        std::fs::create_dir_all(folder.join(uid).join(part)).unwrap();
    }
    for frame in 0..32_u8 {
        let (step, pinhole) = (frame / 2, frame % 2 == 1);
        let path = |part: &str, ending: &str| {
            folder
                .join(uid)
                .join(part)
                .join(format!("{frame:03}.{ending}"))
        };
        let color = image::Rgba([0, 15 * step, if pinhole { 255 } else { 0 }, 255]);
        image::RgbaImage::from_pixel(20, 20, color)
            .save(path("image", "png"))
            .unwrap();
        // The normal of a surface towards −Y, the front with +Z up.
        let normal = image::Rgba([128, 0, 128, 255]);
        image::RgbaImage::from_pixel(20, 20, normal)
            .save(path("normal", "png"))
            .unwrap();
        let mut camera = json!({"camera": "ortho", "azimuth_degrees": 22.5 * f64::from(step), "elevation_degrees": 0.0});
        if pinhole {
            camera["camera"] = "persp".into();
            camera["focal_mm"] = 50.into();
            camera["elevation_degrees"] = 10.into();
        }
        std::fs::write(path("camera", "json"), camera.to_string()).unwrap();
    }
}

#[test]
fn rendered_views_are_read() {
    let folder = tempfile::tempdir().unwrap();
    rendered(folder.path(), "set/a");
    let task = at(folder.path()).unwrap();
    assert_eq!(task.splits(), ["train"]);
    let dataset = task.dataset("train").unwrap();
    let mut pinholes = 0;
    for seed in 0..20 {
        let batch = batch(&*dataset, &[0], &[seed], true);
        let ((_, views), (_, input)) = (batch.f32(VIEWS).unwrap(), batch.f32(INPUT_VIEW).unwrap());
        let step = |values: &[f32]| ((values[256] + 1.0) * 127.5 / 15.0).round() as usize;
        let pinhole = input[512] > 0.0;
        pinholes += i32::from(pinhole);
        let expected = if pinhole {
            (10_f32.to_radians(), 24.0 / 50.0)
        } else {
            (0.0, 0.0)
        };
        let found = (
            batch.f32(ELEVATION).unwrap().1[0],
            batch.f32(INVERSE_FOCAL).unwrap().1[0],
        );
        assert!((found.0 - expected.0).abs() < 1e-6 && (found.1 - expected.1).abs() < 1e-6);
        for (view, steps) in [0, 2, 4, 8, 12, 14].into_iter().enumerate() {
            let color = &views[(6 + view) * 768..];
            assert_eq!(step(color), (step(input) + steps) % 16);
        }
        // Seen from the front (step 12) the surface faces the viewer.
        if step(input) == 12 {
            assert!(views[0].abs() < 0.02 && views[256].abs() < 0.02 && views[512] > 0.99);
        }
    }
    assert!((2..18).contains(&pinholes), "{pinholes}");
}

#[test]
fn bad_sets_are_refused() {
    bad_meshes_refused(at);
    let refused = |make: &dyn Fn(&Path), expected: &str| set_refused(at, make, expected);
    // For all frames, so that it does not matter which one is drawn.
    let with = |part: &'static str, ending: &'static str, text: &'static str| {
        move |folder: &Path| {
            rendered(folder, "a");
            for frame in 0..32 {
                std::fs::write(folder.join(format!("a/{part}/{frame:03}.{ending}")), text).unwrap();
            }
        }
    };
    refused(&with("image", "png", "no picture"), "image/0");
    refused(&with("normal", "png", "no picture"), "normal/0");
    refused(&with("camera", "json", "{}"), "camera/000.json");
    let camera = |azimuth: &str, elevation: &str, focal: &str| {
        format!(r#"{{"camera": "persp", "azimuth_degrees": {azimuth}, "elevation_degrees": {elevation}{focal}}}"#).leak() as &'static str
    };
    refused(&with("camera", "json", camera("10", "0", "")), "22.5");
    refused(
        &with("camera", "json", camera("0", "100", "")),
        "elevation is 100",
    );
    refused(
        &with("camera", "json", camera("0", "0", "")),
        "focal length",
    );
    refused(
        &with("camera", "json", camera("0", "0", ", \"focal_mm\": 50")),
        "has no",
    );
    let pickles = |folder: &Path| {
        rendered(folder, "a");
        for frame in 0..32 {
            let path = folder.join(format!("a/camera/{frame:03}.json"));
            std::fs::rename(&path, path.with_extension("npy")).unwrap();
        }
    };
    refused(&pickles, "allow_pickle");
}

#[test]
fn wrong_settings_name_their_key() {
    let wrong = |key: &str, edit: &dyn Fn(&mut Era3dConfig)| {
        let mut config = small();
        edit(&mut config);
        let opened = Era3d::open(config, Host::detached());
        refused(opened, &format!("`task.{key}`"));
    };
    wrong("data.image_size", &|config| config.data.image_size = 8);
    wrong("data.supersampling", &|config| {
        config.data.supersampling = 9
    });
    wrong("data.elevations", &|config| {
        config.data.elevations = [10.0, -10.0];
    });
    wrong("dropout.all", &|config| config.dropout.all = 1.5);
    wrong("dropout.input_view", &|config| {
        config.dropout.input_view = -0.5
    });
    wrong("dropout.pose", &|config| config.dropout.pose = f64::NAN);
    wrong("camera_weight", &|config| config.camera_weight = f64::NAN);
    wrong("camera_weight", &|config| config.camera_weight = -1.0);
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
    let conditions = task.conditions(&json!({"image": path})).unwrap();
    let samples = batch(&*task.dataset(TRAIN).unwrap(), &[0], &[0], false);
    assert_eq!(conditions.f32(POSE).unwrap(), samples.f32(POSE).unwrap());
    // The camera is estimated, not told.
    let told = task.conditions(&json!({"image": path, "elevation": 3}));
    refused(told, "`elevation`");
}

#[test]
fn scores_are_those_of_known_differences() {
    let task = open(small());
    testing::measures_known_differences(&task);
    testing::refuses_to_measure_what_does_not_fit(&task);
    let mut evaluator = task.evaluator().unwrap().unwrap();
    let mut angle =
        |change: &dyn Fn(f32) -> f32, name: &str| measured(&task, &mut *evaluator, change)(name);
    let facing = angle(&|value| value, "normal_error/facing");
    assert!((10.0..120.0).contains(&facing), "{facing}");
    let mut error = |change: &dyn Fn(f32) -> f32| angle(change, "normal_error");
    assert!(error(&|value| value) < 0.1);
    // The other way round: half a turn. Longer or shorter: the same direction.
    assert!(error(&|value| -value) > 179.9);
    assert!(error(&|value| 0.5 * value) < 0.1);
    assert!((error(&|_| 0.0) - 90.0).abs() < 1e-9);
}

#[test]
fn pictures_have_rows_of_truth_where_it_is_known() {
    testing::shows_samples(&open(Era3dConfig::default()), 7, 2);
}
