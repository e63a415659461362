//! Reading reference values: folders with `io.safetensors` and `meta.json`.
//!
//! Folders lie in `DSL_FIXTURES`, or in the workspace's `tests/fixtures`. Nothing about a fixture is known here but its layout.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use dsl_nets::weights::FileTensor;
use dsl_nets::{LoadOptions, Pretrained, UNet2DCondition, WeightFile, load_folder};
use serde_json::Value;

pub struct Fixture {
    pub folder: PathBuf,
    pub meta: Value,
    pub io: WeightFile,
}

pub fn root() -> PathBuf {
    std::env::var_os("DSL_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures"),
        PathBuf::from,
    )
}

impl Fixture {
    pub fn open(name: &str) -> Self {
        let folder = root().join(name);
        let meta = std::fs::read_to_string(folder.join("meta.json"))
            .unwrap_or_else(|e| panic!("{}: {e}; set DSL_FIXTURES", folder.display()));
        Self {
            meta: serde_json::from_str(&meta).unwrap(),
            io: WeightFile::open(&folder.join("io.safetensors")).unwrap(),
            folder,
        }
    }

    /// Tolerance relative to the largest magnitude of a tensor: for "out", "loss" or "grad".
    pub fn tolerance(&self, kind: &str) -> f64 {
        self.meta["tolerance_rel_to_max_abs"][kind]
            .as_f64()
            .unwrap()
    }

    pub fn read(&self, key: &str) -> FileTensor {
        self.io.read(key).unwrap()
    }

    pub fn tensor<const D: usize>(&self, key: &str, device: &Device) -> Tensor<D> {
        let tensor = self.read(key);
        let shape: [usize; D] = tensor.shape.try_into().unwrap();
        Tensor::from_data(TensorData::new(tensor.values, shape), device)
    }

    pub fn check(&self, kind: &str, key: &str, found: &[f32]) {
        let expected = self.read(key);
        assert_close(key, found, &expected.values, self.tolerance(kind));
    }

    /// The UNet in the fixture's folder `unet`, or in the one that `meta.base` points to.
    pub fn unet(&self, device: &Device) -> UNet2DCondition {
        let folder = match self.meta["base"].as_str() {
            Some(base) => self.folder.join(base),
            None => self.folder.join("unet"),
        };
        load_from(&folder, device)
    }

    /// The network in a folder of the fixture.
    pub fn load<T: Pretrained>(&self, folder: &str, device: &Device) -> T {
        load_from(&self.folder.join(folder), device)
    }

    pub fn ids(&self, key: &str, device: &Device) -> Tensor<2, Int> {
        let tensor = self.read(key);
        let shape: [usize; 2] = tensor.shape.try_into().unwrap();
        let ids: Vec<i64> = tensor.values.iter().map(|id| *id as i64).collect();
        Tensor::from_data(TensorData::new(ids, shape), device)
    }
}

/// A whole network: nothing missing, nothing left over.
pub fn load_from<T: Pretrained>(folder: &Path, device: &Device) -> T {
    let loaded = load_folder::<T>(folder, &LoadOptions::default(), device).unwrap();
    assert!(loaded.report.unused.is_empty(), "{}", loaded.report);
    loaded.module
}

/// Checks every `grad.…` in a fixture that is a parameter's, whose name there `rename` changes into ours.
pub fn check_gradients<M: Module>(
    fixture: &Fixture,
    module: &M,
    grads: &Gradients,
    rename: impl Fn(&str) -> String,
) {
    let by_key = crate::unet::gradients_by_key(module, grads);
    let mut checked = 0;
    for key in fixture.io.keys() {
        let Some(parameter) = key
            .strip_prefix("grad.")
            .filter(|name| !name.starts_with("in."))
        else {
            continue;
        };
        fixture.check("grad", &key, &by_key[&rename(parameter)]);
        checked += 1;
    }
    assert!(checked > 3, "only {checked} gradients in the fixture");
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

#[track_caller]
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: number of elements");
    let max_abs = expected
        .iter()
        .fold(0.0f64, |m, v| m.max(f64::from(v.abs())));
    let worst = found
        .iter()
        .zip(expected)
        .map(|(a, b)| f64::from((a - b).abs()))
        .fold(0.0, f64::max);
    assert!(
        found.iter().all(|v| v.is_finite()),
        "{what}: a value is not finite"
    );
    assert!(
        worst <= tolerance * max_abs,
        "{what}: differs by {worst:e}, allowed {tolerance:e} of {max_abs:e}"
    );
}
