//! The metrics beside the reference packages.
//!
//! Fixtures lie in `DSL_FIXTURES`, or in the workspace's `tests/fixtures`: folders with `io.safetensors` and `meta.json`.

use std::path::{Path, PathBuf};

use dsl_metrics::{
    FeatureStatistics, Features, InceptionScoreConfig, IsSplits, MeanStd, Picture, SsimVariant,
    frechet_distance, inception_score, kid_of_subsets, mmd2_unbiased, precision_recall, psnr, ssim,
};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

struct Fixture {
    folder: PathBuf,
    meta: Value,
    io: Vec<u8>,
}

impl Fixture {
    fn open(name: &str) -> Self {
        let root = std::env::var_os("DSL_FIXTURES").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures"),
            PathBuf::from,
        );
        let folder = root.join(name);
        let read = |file| {
            let path = folder.join(file);
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        Self {
            meta: serde_json::from_slice(&read("meta.json")).unwrap(),
            io: read("io.safetensors"),
            folder,
        }
    }

    fn read(&self, key: &str) -> (Vec<usize>, Vec<f64>) {
        let io = SafeTensors::deserialize(&self.io).unwrap();
        let tensor = io
            .tensor(key)
            .unwrap_or_else(|error| panic!("{key}: {error}"));
        let bytes = tensor.data().chunks_exact(8).map(|b| b.try_into().unwrap());
        let values = match tensor.dtype() {
            Dtype::F64 => bytes.map(f64::from_le_bytes).collect(),
            Dtype::I64 => bytes.map(|b| i64::from_le_bytes(b) as f64).collect(),
            other => panic!("{key} is stored as {other:?}"),
        };
        (tensor.shape().to_vec(), values)
    }

    fn features(&self, key: &str) -> Features {
        let (shape, values) = self.read(key);
        Features::new(values, shape[1]).unwrap()
    }

    fn indices(&self, key: &str) -> Vec<Vec<usize>> {
        let (shape, values) = self.read(key);
        let rows = values.chunks(*shape.last().unwrap());
        rows.map(|row| row.iter().map(|&value| value as usize).collect())
            .collect()
    }

    /// Within the fixture's tolerance, relative to the largest magnitude.
    #[track_caller]
    fn check(&self, key: &str, found: &[f64]) {
        let tolerance = self.meta["tolerance_rel_to_max_abs"]["out"].as_f64();
        self.check_within(tolerance.unwrap(), key, found);
    }

    #[track_caller]
    fn check_within(&self, tolerance: f64, key: &str, found: &[f64]) {
        let (_, expected) = self.read(key);
        assert_eq!(found.len(), expected.len(), "{key}");
        let largest = expected.iter().fold(0.0f64, |most, v| most.max(v.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            let difference = (found - expected).abs();
            assert!(
                difference <= tolerance * largest,
                "{key}: {found} for {expected}"
            );
        }
    }
}

fn both(value: MeanStd) -> [f64; 2] {
    [value.mean, value.std]
}

#[test]
fn distances_of_features_match_the_fixture() {
    let fixture = Fixture::open("metrics_features");
    for case in ["full", "deficient"] {
        let key = |name: &str| format!("{name}.{case}");
        let sets = ["a", "b"].map(|set| fixture.features(&format!("{}.{set}", key("in"))));
        let statistics = [0, 1].map(|set: usize| {
            let mut statistics = FeatureStatistics::new(sets[set].length());
            // In pieces, as a run hands them over.
            let indices: Vec<usize> = (0..sets[set].count()).collect();
            for piece in indices.chunks(7) {
                statistics.add(&sets[set].select(piece).unwrap()).unwrap();
            }
            let name = ["a", "b"][set];
            fixture.check(&format!("{}.mean_{name}", key("out")), statistics.mean());
            let covariance = statistics.covariance().unwrap();
            fixture.check(&format!("{}.cov_{name}", key("out")), &covariance);
            statistics
        });
        let fid = frechet_distance(&statistics[0], &statistics[1]).unwrap();
        for package in ["pytorch_fid", "clean_fid", "torch_fidelity"] {
            fixture.check(&format!("{}.fid_{package}", key("out")), &[fid]);
        }
        let all = mmd2_unbiased(&sets[0], &sets[1]).unwrap();
        fixture.check(&format!("{}.kid_all", key("out")), &[all]);
        let subsets =
            ["a", "b"].map(|set| fixture.indices(&format!("{}.kid_subsets_{set}", key("in"))));
        let [first, second] = subsets;
        let subsets: Vec<_> = first.into_iter().zip(second).map(|(a, b)| [a, b]).collect();
        let kid = kid_of_subsets(&sets[0], &sets[1], &subsets).unwrap();
        fixture.check(&format!("{}.kid_subsets_mean_std", key("out")), &both(kid));
        let found = precision_recall(&sets[0], &sets[1], 3).unwrap();
        let found = [found.precision, found.recall, found.f_score()];
        fixture.check(&format!("{}.precision_recall_f", key("out")), &found);
    }
}

#[test]
fn the_inception_score_matches_the_fixture() {
    let fixture = Fixture::open("metrics_features");
    let logits = fixture.features("in.logits");
    let score = |logits: &Features, splits| {
        let config = InceptionScoreConfig {
            splits: IsSplits::Count(splits),
            shuffle: None,
        };
        both(inception_score(logits, config).unwrap())
    };
    for splits in [1, 5] {
        let key = format!("out.inception_score_splits{splits}");
        fixture.check(&key, &score(&logits, splits));
    }
    let permuted = logits
        .select(&fixture.indices("in.permutation")[0])
        .unwrap();
    fixture.check("out.inception_score_splits5_shuffled", &score(&permuted, 5));
}

#[test]
fn scores_of_pictures_match_the_fixture() {
    let fixture = Fixture::open("metrics_images");
    let open = |name: &str, index: usize| {
        let path = fixture.folder.join(format!("{name}{index}.png"));
        let picture = image::open(path).unwrap().to_rgb8();
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        Picture::from_rgb8(picture.as_raw(), height, width).unwrap()
    };
    let count = fixture.read("out.psnr_y").1.len();
    let pairs: Vec<_> = (0..count).map(|i| (open("a", i), open("b", i))).collect();
    let check = |key: &str, score: &dyn Fn(&Picture, &Picture) -> f64| {
        let found: Vec<f64> = pairs.iter().map(|(a, b)| score(a, b)).collect();
        fixture.check(key, &found);
    };
    let luma = |picture: &Picture| picture.luma().unwrap();
    check("out.psnr_skimage_rgb", &|a, b| psnr(a, b, 255.0).unwrap());
    check("out.psnr_torchmetrics", &|a, b| psnr(a, b, 255.0).unwrap());
    check("out.psnr_y", &|a, b| {
        psnr(&luma(a), &luma(b), 255.0).unwrap()
    });
    let of = |variant| move |a: &Picture, b: &Picture| ssim(a, b, 255.0, variant).unwrap();
    check("out.ssim_skimage_default", &of(SsimVariant::Uniform7));
    check("out.ssim_skimage_gaussian", &of(SsimVariant::SkimageGauss));
    // torchmetrics computes in float32, whose rounding the variances of flat parts show; in float64 it gives our digits.
    let found: Vec<f64> = (pairs.iter())
        .map(|(a, b)| ssim(a, b, 255.0, SsimVariant::Torchmetrics).unwrap())
        .collect();
    fixture.check_within(5e-5, "out.ssim_torchmetrics", &found);
    check("out.ssim_skimage_gaussian_y", &|a, b| {
        ssim(&luma(a), &luma(b), 255.0, SsimVariant::SkimageGauss).unwrap()
    });
}
