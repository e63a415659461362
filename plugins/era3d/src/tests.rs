//! The task as a host uses it, on the furniture inside and on sets made on disk.

use std::path::Path;

use dsl_sdk::serde_json::json;
use dsl_sdk::{
    Artefacts, Batch, BatchRequest, Column, Dataset, Host, Injection, PluginError, Task,
};
use tempfile::TempDir;

use crate::config::{Background, ElevationPer, Era3dConfig};
use crate::dataset::{ELEVATION, INPUT_VIEW, INVERSE_FOCAL, MASK, POSE, VIEWS};
use crate::task::Era3d;

fn small() -> Era3dConfig {
    let mut config = Era3dConfig::default();
    (config.data.image_size, config.data.supersampling) = (16, 2);
    config
}

fn open(config: Era3dConfig) -> Era3d {
    Era3d::open(config, Host::detached()).unwrap()
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
fn at(folder: &TempDir) -> Result<Era3d, PluginError> {
    let mut config = small();
    config.data.path = Some(folder.path().display().to_string());
    Era3d::open(config, Host::detached())
}

#[test]
fn shapes_and_ranges_are_as_declared() {
    let task = open(Era3dConfig::default());
    let dataset = task.dataset("train").unwrap();
    assert_eq!(
        (dataset.len(), task.dataset("test").unwrap().len()),
        (49, 12)
    );
    let batch = batch(&*dataset, &[3, 40], &[1, 2], true);
    for (name, shape) in [
        (VIEWS, vec![2, 12, 3, 16, 16]),
        (INPUT_VIEW, vec![2, 3, 16, 16]),
        (POSE, vec![2, 12, 4]),
        (ELEVATION, vec![2]),
        (INVERSE_FOCAL, vec![2]),
        (MASK, vec![2, 6, 16, 16]),
    ] {
        let (found, values) = batch.f32(name).unwrap();
        assert_eq!(found, shape, "{name}");
        assert_eq!(values.len() as u64, shape.iter().product::<u64>(), "{name}");
    }
    let (_, views) = batch.f32(VIEWS).unwrap();
    assert!(views.iter().all(|value| (-1.0..=1.0).contains(value)));
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
    let dataset = open(small()).dataset("train").unwrap();
    let both = batch(&*dataset, &[5, 9], &[7, 7], true);
    let mut config = small();
    config.data.cache_mib = 0;
    let other = open(config).dataset("train").unwrap();
    let second = batch(&*other, &[9], &[7], true);
    for column in &second.columns {
        let (_, all) = both.f32(&column.name).unwrap();
        let (_, one) = second.f32(&column.name).unwrap();
        assert_eq!(&all[all.len() / 2..], one, "{}", column.name);
    }
    assert!((8..12).any(|seed| batch(&*dataset, &[9], &[seed], true) != second));
    assert_eq!(
        batch(&*dataset, &[9], &[1], false),
        batch(&*dataset, &[9], &[2], false)
    );
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
    let task = at(&folder).unwrap();
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
    let refused = |make: &dyn Fn(&Path), expected: &str| {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path());
        let error = at(&folder).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    };
    // For all frames, so that it does not matter which one is drawn.
    let with = |part: &'static str, ending: &'static str, text: &'static str| {
        move |folder: &Path| {
            rendered(folder, "a");
            for frame in 0..32 {
                std::fs::write(folder.join(format!("a/{part}/{frame:03}.{ending}")), text).unwrap();
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
    let refused = |edit: &dyn Fn(&mut Era3dConfig), key: &str| {
        let mut config = small();
        edit(&mut config);
        let error = Era3d::open(config, Host::detached()).expect_err(key);
        assert!(
            error.message.contains(&format!("`task.{key}`")),
            "{}",
            error.message
        );
    };
    refused(&|config| config.data.image_size = 8, "data.image_size");
    refused(
        &|config| config.data.elevations = [10.0, -10.0],
        "data.elevations",
    );
    refused(
        &|config| config.dropout.input_view = -0.5,
        "dropout.input_view",
    );
    refused(&|config| config.camera_weight = f64::NAN, "camera_weight");
    refused(
        &|config| config.evaluation.objects = 0,
        "evaluation.objects",
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
    let conditions = task.conditions(&json!({"image": path})).unwrap();
    let (shape, values) = conditions.f32(INPUT_VIEW).unwrap();
    assert_eq!((shape, values[0]), (&[1, 3, 16, 16][..], 1.0));
    assert!((values[8 * 16 + 8] - (200.0 / 127.5 - 1.0)).abs() < 1e-5);
    let samples = batch(&*task.dataset("test").unwrap(), &[0], &[0], false);
    assert_eq!(conditions.f32(POSE).unwrap(), samples.f32(POSE).unwrap());
    let error = |inputs| task.conditions(&inputs).unwrap_err().to_string();
    assert!(error(json!({})).contains("`image` is missing"));
    assert!(error(json!({"image": path, "elevation": 3})).contains("`elevation`"));
    assert!(error(json!({"image": "/nowhere.png"})).contains("/nowhere.png"));
}

/// A batch as an evaluator gets it, `generated` made of the truth.
fn evaluated(task: &Era3d, change: impl Fn(f32) -> f32) -> Batch {
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
    assert!(perfect("normal_error") < 0.1, "{}", perfect("normal_error"));
    assert!((10.0..120.0).contains(&perfect("normal_error/facing")));
    assert!(perfect("psnr/input_view") < 30.0);
    let shifted = measure(&|value| {
        if value > 0.0 {
            value - 0.2
        } else {
            value + 0.2
        }
    });
    assert!((shifted("psnr") - 20.0).abs() < 1e-3);
    // The other way round: half a turn. Longer or shorter: the same direction.
    assert!(measure(&|value| -value)("normal_error") > 179.9);
    assert!(measure(&|value| 0.5 * value)("normal_error") < 0.1);
    assert!((measure(&|_| 0.0)("normal_error") - 90.0).abs() < 1e-9);
    assert!(
        evaluator
            .finish(&mut Artefacts::default())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn pictures_have_rows_of_truth_where_it_is_known() {
    let task = open(Era3dConfig::default());
    let mut batch = evaluated(&task, |value| -value);
    if let Some(folder) = std::env::var_os("DSL_PICTURES") {
        let sheet = dsl_render::Sheet::new(&crate::sheet::blocks(&batch).unwrap());
        std::fs::write(Path::new(&folder).join("era3d.png"), sheet.png()).unwrap();
    }
    let picture = task.picture(&batch).unwrap().unwrap();
    assert_eq!(
        (picture.width(), picture.height()),
        (7 * 66 + 2, 8 * 66 + 2 + 10)
    );
    batch.columns.retain(|column| column.name != VIEWS);
    assert_eq!(
        task.picture(&batch).unwrap().unwrap().height(),
        4 * 66 + 2 + 10
    );
}
