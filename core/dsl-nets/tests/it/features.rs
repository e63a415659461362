//! The feature networks beside their references.
//!
//! Narrow copies with seeded weights lie in `tests/features`, with the script that made them. Networks of full size are
//! compared where `DSL_FIXTURES` has them, and with published weights where `DSL_FEATURES_PATH` names a folder of those.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use dsl_nets::features::{
    ClipImages, ClipVit, Filter, InceptionV3, Lpips, LpipsNet, MobileNetV2, PictureBatch, Resample,
    ResizeMode, lpips_layer_distance, lpips_scaling, resize_plane,
};
use dsl_nets::{ClipModelConfig, WeightFile};

use crate::fixture::{Fixture, assert_close, root, values};

/// Rounding of float32, and of another order of sums.
const TOLERANCE: f64 = 1e-4;

struct Narrow {
    model: WeightFile,
    io: WeightFile,
}

impl Narrow {
    fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/features");
        let open = |file| WeightFile::open(&folder.join(name).join(file)).unwrap();
        Self {
            model: open("model.safetensors"),
            io: open("io.safetensors"),
        }
    }

    fn tensor(&self, key: &str) -> Tensor<4> {
        tensor(&self.io, key)
    }

    #[track_caller]
    fn check<const D: usize>(&self, key: &str, found: Tensor<D>) {
        let expected = self.io.read(key).unwrap();
        assert_eq!(found.dims().as_slice(), expected.shape, "{key}");
        assert_close(key, &values(found), &expected.values, TOLERANCE);
    }
}

fn tensor(io: &WeightFile, key: &str) -> Tensor<4> {
    let read = io.read(key).unwrap();
    let shape: [usize; 4] = read.shape.try_into().unwrap();
    Tensor::from_data(TensorData::new(read.values, shape), &Device::flex())
}

/// The value at row y, column x, channel k is `(a x + b y + c k) mod 256`, here in −1..1.
fn pattern(side: usize, [a, b, c]: [usize; 3]) -> Vec<f32> {
    (0..3 * side * side)
        .map(|i| {
            let (k, y, x) = (i / (side * side), i / side % side, i % side);
            ((a * x + b * y + c * k) % 256) as f32 / 127.5 - 1.0
        })
        .collect()
}

fn distances_match(net: LpipsNet, lpips: &Lpips, io: &WeightFile, total: &str) {
    let found = lpips.forward(tensor(io, "in.a"), tensor(io, "in.b"));
    let compare = |key: &str, found: Tensor<1>| {
        let expected = io.read(key).unwrap();
        assert_close(
            &format!("{net:?} {key}"),
            &values(found),
            &expected.values,
            TOLERANCE,
        );
    };
    compare(total, found.total);
    assert_eq!(found.layers.len(), 5);
    for (index, layer) in found.layers.into_iter().enumerate() {
        compare(&format!("out.layer{index}"), layer);
    }
}

#[test]
fn narrow_inception_v3_matches_its_fixture() {
    let (fixture, device) = (Narrow::open("inception_v3"), Device::flex());
    let network = InceptionV3::read_narrow(&fixture.model, &device, 16).unwrap();
    let pixels = pattern(299, [3, 5, 50]);
    let pictures = PictureBatch::new(&pixels, [1, 299, 299]).unwrap();
    let features = network.forward(InceptionV3::prepare(&pictures, ResizeMode::Clean, &device));
    let logits = network.logits_unbiased(features.pool3.clone());
    fixture.check("out.pool3", features.pool3);
    fixture.check("out.spatial", features.spatial);
    fixture.check("out.logits_unbiased", logits);
}

#[test]
fn narrow_mobilenet_v2_matches_its_fixture() {
    let fixture = Narrow::open("mobilenet_v2");
    let network = MobileNetV2::read_narrow(&fixture.model, &Device::flex(), 8).unwrap();
    fixture.check("out.pooled", network.forward(fixture.tensor("in.image")));
}

#[test]
fn narrow_perceptual_distances_match_their_fixtures() {
    for (net, name) in [
        (LpipsNet::Alex, "lpips_alex"),
        (LpipsNet::Vgg, "lpips_vgg"),
        (LpipsNet::ShiftTolerantAlex, "stlpips_alex"),
    ] {
        let fixture = Narrow::open(name);
        let lpips = Lpips::read_narrow(net, &fixture.model, &Device::flex(), 16).unwrap();
        distances_match(net, &lpips, &fixture.io, "out.total");
        let picture = fixture.tensor("in.a");
        let same = lpips.forward(picture.clone(), picture);
        assert_eq!(values(same.total), [0.0, 0.0], "{net:?}");
        // The least side is one at which every layer still has a position.
        let side = net.least_side();
        let small = Tensor::zeros([1, 3, side, side], &Device::flex());
        let distance = lpips.forward(small.clone(), small);
        assert_eq!(values(distance.total), [0.0], "{net:?}");
    }
}

#[test]
fn files_of_another_network_are_refused_with_what_does_not_fit() {
    let (device, fixture) = (Device::flex(), Narrow::open("mobilenet_v2"));
    let message = |error: dsl_nets::NetsError| error.to_string();
    let missing = message(InceptionV3::read(&fixture.model, &device).unwrap_err());
    assert!(
        missing.contains("missing: `Conv2d_1a_3x3.conv.weight`") && missing.contains("more"),
        "{missing}"
    );
    let narrow = message(MobileNetV2::read(&fixture.model, &device).unwrap_err());
    assert!(
        narrow.contains("`features.0.0.weight` (expected [32, 3, 3, 3], found [4, 3, 3, 3])"),
        "{narrow}"
    );
    let headless = Narrow::open("lpips_alex").model;
    let error = Lpips::read_narrow(LpipsNet::Vgg, &headless, &device, 16).unwrap_err();
    assert!(
        message(error).contains("net.slice1.2.weight"),
        "the report names the layers"
    );
}

/// A fixture of the networks at full size: only where `DSL_FIXTURES` has it, since it is tens of megabytes.
fn full(name: &str) -> Option<(Fixture, WeightFile)> {
    if !root().join(name).is_dir() {
        eprintln!("no fixture `{name}`: set DSL_FIXTURES to compare the network at full size");
        return None;
    }
    let fixture = Fixture::open(name);
    let model = WeightFile::open(&fixture.folder.join("model.safetensors")).unwrap();
    Some((fixture, model))
}

/// RGB pictures `image0.png` and on, in −1..1, with height and width.
fn images(folder: &Path) -> Vec<(Vec<f32>, [usize; 2])> {
    (0..)
        .map_while(|index| image::open(folder.join(format!("image{index}.png"))).ok())
        .map(|picture| {
            let picture = picture.to_rgb8();
            let (width, height) = (picture.width() as usize, picture.height() as usize);
            let planes = (0..3).flat_map(|channel| {
                let pixels = picture.pixels();
                pixels.map(move |pixel| f32::from(pixel.0[channel]) / 127.5 - 1.0)
            });
            (planes.collect(), [height, width])
        })
        .collect()
}

#[test]
fn full_inception_v3_matches_its_fixture() {
    let Some((fixture, model)) = full("inception") else {
        return;
    };
    let device = Device::flex();
    let network = InceptionV3::read(&model, &device).unwrap();
    let mut found = std::collections::BTreeMap::<&str, Vec<f32>>::new();
    for (pixels, [height, width]) in images(&fixture.folder) {
        let pictures = PictureBatch::new(&pixels, [1, height, width]).unwrap();
        for (mode, pool3, logits) in [
            (ResizeMode::TorchBilinear, "out.pytorch_fid.2048", None),
            (ResizeMode::Clean, "out.clean_fid.2048", None),
            (
                ResizeMode::Tf1Bilinear,
                "out.torch_fidelity.2048",
                Some("out.torch_fidelity.logits_unbiased"),
            ),
        ] {
            let features = network.forward(InceptionV3::prepare(&pictures, mode, &device));
            if let Some(logits) = logits {
                let row = network.logits_unbiased(features.pool3.clone());
                found.entry(logits).or_default().extend(values(row));
            }
            found
                .entry(pool3)
                .or_default()
                .extend(values(features.pool3));
        }
    }
    for (key, values) in found {
        fixture.check("out", key, &values);
    }
}

#[test]
fn full_mobilenet_v2_matches_its_fixture() {
    let Some((fixture, model)) = full("mobilenet_v2") else {
        return;
    };
    let network = MobileNetV2::read(&model, &Device::flex()).unwrap();
    let found = network.forward(tensor(&fixture.io, "in.image"));
    fixture.check("out", "out.features", &values(found));
}

#[test]
fn full_lpips_matches_its_fixtures() {
    for (net, name) in [(LpipsNet::Alex, "lpips_alex"), (LpipsNet::Vgg, "lpips_vgg")] {
        if let Some((fixture, model)) = full(name) {
            let lpips = Lpips::read(net, &model, &Device::flex()).unwrap();
            distances_match(net, &lpips, &fixture.io, "out.lpips");
        }
    }
}

#[test]
fn heads_and_scaling_match_the_fixture_metrics_lpips() {
    let (fixture, device) = (Fixture::open("metrics_lpips"), Device::flex());
    let mut total = 0.0;
    for layer in 0..5 {
        let [a, b, lin] = ["feat0", "feat1", "lin"]
            .map(|name| fixture.tensor::<4>(&format!("in.{name}.{layer}"), &device));
        let found = values(lpips_layer_distance(a, b, lin));
        fixture.check("out", &format!("out.layer.{layer}"), &found);
        total += found[0];
    }
    fixture.check("out", "out.lpips", &[total]);
    let scaled = lpips_scaling(fixture.tensor("in.image", &device));
    fixture.check("out", "out.scaled_image", &values(scaled));
}

#[test]
fn resizes_match_the_fixture_metrics_resize() {
    let fixture = Fixture::open("metrics_resize");
    let bytes = std::fs::read(fixture.folder.join("io.safetensors")).unwrap();
    let whole_numbers = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let pictures = images(&fixture.folder);
    assert!(!pictures.is_empty());
    let filters = [
        ("bicubic", Filter::Bicubic),
        ("bilinear", Filter::Bilinear),
        ("lanczos", Filter::Lanczos),
        ("box", Filter::Box),
    ];
    for (index, (pixels, [height, width])) in pictures.iter().enumerate() {
        let size = fixture.read(&format!("in.{index}.size")).values;
        let size = [size[1] as usize, size[0] as usize];
        let mut cases = vec![
            ("torch_bilinear".to_owned(), Resample::Bilinear, size, 1),
            ("tf1_bilinear".to_owned(), Resample::Tf1Bilinear, size, 1),
            (
                "clean299".to_owned(),
                ResizeMode::Clean.resample(),
                [299; 2],
                13,
            ),
            (
                "pytorch_fid299".to_owned(),
                Resample::Bilinear,
                [299; 2],
                13,
            ),
            (
                "torch_bicubic_antialias".to_owned(),
                Resample::Antialias(Filter::Bicubic),
                size,
                1,
            ),
            (
                "torch_bilinear_antialias".to_owned(),
                ResizeMode::TorchAntialias.resample(),
                size,
                1,
            ),
        ];
        for (name, filter) in filters {
            cases.push((
                format!("pil_float_{name}"),
                Resample::Pillow(filter),
                size,
                1,
            ));
            cases.push((
                format!("pil_uint8_{name}"),
                Resample::Pillow8Bit(filter),
                size,
                1,
            ));
        }
        for (name, resample, target, every) in cases {
            let planes: Vec<Vec<f32>> = pixels
                .chunks(height * width)
                .map(|plane| {
                    let plane: Vec<f32> =
                        plane.iter().map(|v| ((v + 1.0) * 127.5).round()).collect();
                    resize_plane(&plane, [*height, *width], target, resample)
                })
                .collect();
            let mut found = Vec::new();
            for y in (0..target[0]).step_by(every) {
                for x in (0..target[1]).step_by(every) {
                    found.extend(planes.iter().map(|plane| plane[y * target[1] + x]));
                }
            }
            let key = format!("out.{index}.{name}");
            if name.starts_with("pil_uint8") {
                let expected = whole_numbers.tensor(&key).unwrap();
                let expected: Vec<f32> = expected.data().iter().map(|&v| f32::from(v)).collect();
                assert_eq!(found, expected, "{key}");
            } else {
                fixture.check("out", &key, &found);
            }
        }
    }
}

/// A published file of `DSL_FEATURES_PATH`, if it is there.
fn published(name: &str) -> Option<WeightFile> {
    let folders = std::env::var_os("DSL_FEATURES_PATH")?;
    let paths: Vec<PathBuf> = std::env::split_paths(&folders).collect();
    let file = paths.iter().map(|folder| folder.join(name));
    Some(WeightFile::open(&file.into_iter().find(|path| path.is_file())?).unwrap())
}

#[test]
fn published_mobilenet_v2_gives_the_published_features() {
    let Some(file) = published("mobilenet_v2.f16.safetensors") else {
        eprintln!("set DSL_FEATURES_PATH to check the published weights of MobileNetV2");
        return;
    };
    let device = Device::flex();
    let network = MobileNetV2::read(&file, &device).unwrap();
    let pixels = pattern(224, [3, 5, 50]);
    let pictures = PictureBatch::new(&pixels, [1, 224, 224]).unwrap();
    let found = values(network.forward(MobileNetV2::prepare(&pictures, &device)));
    // torchvision 0.24.0 on the same file, widened to float32.
    let first = [0.60652, 0.01212, 0.64955, 0.76102, 0.0, 0.0, 0.0, 0.0];
    assert_close("pooled", &found[..8], &first, 1e-3);
    let norm = found.iter().map(|v| v * v).sum::<f32>().sqrt();
    let mean = found.iter().sum::<f32>() / found.len() as f32;
    assert!((norm - 38.61118).abs() < 1e-3 * 38.6, "{norm}");
    assert!((mean - 0.586_075).abs() < 1e-3 * 0.586, "{mean}");
}

#[test]
fn published_st_lpips_gives_the_published_distances() {
    let Some(file) = published("stlpips_alex.f16.safetensors") else {
        eprintln!("set DSL_FEATURES_PATH to check the published weights of ST-LPIPS");
        return;
    };
    let device = Device::flex();
    let lpips = Lpips::read(LpipsNet::ShiftTolerantAlex, &file, &device).unwrap();
    let picture = |numbers| {
        let data = TensorData::new(pattern(64, numbers), [1, 3, 64, 64]);
        Tensor::<4>::from_data(data, &device)
    };
    let (x, y) = (picture([3, 5, 50]), picture([5, 3, 80]));
    let middle = (x.clone() + y.clone()) / 2.0;
    for (other, total, layers) in [
        (
            y,
            0.520_125,
            [0.138_952, 0.045_492, 0.088_182, 0.106_487, 0.141_011],
        ),
        (
            middle,
            0.274_599,
            [0.068_616, 0.021_483, 0.027_022, 0.045_216, 0.112_262],
        ),
    ] {
        let found = lpips.forward(x.clone(), other);
        assert_close("total", &values(found.total), &[total], 1e-3);
        let found: Vec<f32> = found.layers.into_iter().flat_map(values).collect();
        assert_close("layers", &found, &layers, 1e-3);
    }
}

#[test]
fn clip_embeddings_match_the_fixture_clip_model() {
    let fixture = Fixture::open("clip_model");
    let folder = fixture.folder.join("clip");
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let config = ClipModelConfig::from_transformers_json(&config).unwrap();
    let shape = dsl_nets::ClipVisionConfig {
        projection_dim: config.projection_dim,
        ..config.vision_config
    };
    let open = || WeightFile::open(&folder.join("model.safetensors")).unwrap();
    let device = Device::flex();
    let clip = ClipImages::read_shape(shape, open(), &device).unwrap();
    let found = clip.forward(tensor(&fixture.io, "in.pixel_values"));
    fixture.check("out", "out.image_embeds", &values(found));

    // Taller than wide: the middle of the shorter side's height.
    let pixels = pattern(40, [3, 5, 50]);
    let square = PictureBatch::new(&pixels, [1, 40, 40]).unwrap();
    assert_eq!(clip.prepare(&square, &device).dims(), [1, 3, 32, 32]);
    let tall: Vec<f32> = (0..3)
        .flat_map(|_| (0..65 * 32).map(|i| (i / 32) as f32 / 127.5 - 1.0))
        .collect();
    let tall = PictureBatch::new(&tall, [1, 65, 32]).unwrap();
    let red = values(clip.prepare(&tall, &device).narrow(1, 0, 1).narrow(3, 0, 1));
    // 65 rows stay 65; rows 16 to 47 remain.
    let expected: Vec<f32> = (16..48)
        .map(|row| (row as f32 / 255.0 - 0.481_454_66) / 0.268_629_54)
        .collect();
    assert_close("rows", &red, &expected, 1e-6);

    // Another model's file says what it lacks.
    let error = ClipImages::read(ClipVit::B32, open(), &device).unwrap_err();
    assert!(error.to_string().contains("vision_model."), "{error}");
}
