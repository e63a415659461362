//! Reading a folder of reference values: `io.safetensors` and `meta.json`.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use dsl_nets::{
    Denoiser, ParameterInit, UNet2DCondition, UNet2DConditionConfig, WeightFile, weights,
};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

pub struct Fixture {
    pub folder: PathBuf,
    pub meta: Value,
    bytes: Vec<u8>,
}

impl Fixture {
    pub fn open(name: &str) -> Self {
        let root = std::env::var_os("DSL_FIXTURES").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures"),
            PathBuf::from,
        );
        let folder = root.join(name);
        let read = |file: &str| {
            let path = folder.join(file);
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        Self {
            meta: serde_json::from_slice(&read("meta.json")).unwrap(),
            bytes: read("io.safetensors"),
            folder,
        }
    }

    pub fn number(&self, pointer: &str) -> f64 {
        self.meta
            .pointer(pointer)
            .and_then(Value::as_f64)
            .unwrap_or_else(|| panic!("meta.json has no {pointer}"))
    }

    /// Names of all tensors, sorted.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self
            .tensors()
            .names()
            .into_iter()
            .map(str::to_owned)
            .collect();
        keys.sort_unstable();
        keys
    }

    /// Shape and values, whatever they are stored as.
    pub fn read(&self, key: &str) -> (Vec<usize>, Vec<f32>) {
        let tensors = self.tensors();
        let view = tensors
            .tensor(key)
            .unwrap_or_else(|error| panic!("{key}: {error}"));
        let bytes = view.data();
        let values = match view.dtype() {
            Dtype::F32 => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect(),
            Dtype::I64 => bytes
                .chunks_exact(8)
                .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f32)
                .collect(),
            Dtype::U8 => bytes.iter().map(|&b| f32::from(b)).collect(),
            other => panic!("{key}: {other:?}"),
        };
        (view.shape().to_vec(), values)
    }

    pub fn values(&self, key: &str) -> Vec<f32> {
        self.read(key).1
    }

    pub fn scalar(&self, key: &str) -> f64 {
        let values = self.values(key);
        assert_eq!(values.len(), 1, "{key}");
        f64::from(values[0])
    }

    pub fn data(&self, key: &str) -> TensorData {
        let (shape, values) = self.read(key);
        TensorData::new(values, shape)
    }

    pub fn tensor<const D: usize>(&self, key: &str, device: &Device) -> Tensor<D> {
        Tensor::from_data(self.data(key), device)
    }

    /// Compares with tensor `key` within the tolerance that the fixture states for `kind`: "out", "loss" or "grad".
    #[track_caller]
    pub fn check(&self, kind: &str, key: &str, found: &[f32]) {
        self.check_values(kind, key, found, &self.values(key));
    }

    #[track_caller]
    pub fn check_values(&self, kind: &str, what: &str, found: &[f32], expected: &[f32]) {
        let tolerance = self.number(&format!("/tolerance_rel_to_max_abs/{kind}"));
        assert_eq!(found.len(), expected.len(), "{what}: number of elements");
        let max_abs = expected
            .iter()
            .fold(0.0f64, |max, v| max.max(f64::from(v.abs())));
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            let error = f64::from((found - expected).abs());
            assert!(
                error <= tolerance * max_abs,
                "{what}: value {i} is {found}, not {expected}: off by {error:e}, allowed {tolerance:e} of {max_abs:e}"
            );
        }
    }

    /// The UNet of the folder that `meta.base` names, on the plain device.
    pub fn base(&self) -> Denoiser {
        let folder = self.folder.join(self.meta["base"].as_str().unwrap());
        let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
        let config = UNet2DConditionConfig::from_diffusers_json(&config).unwrap();
        let unet = UNet2DCondition::new(&config, &ParameterInit::new(0, &Device::flex())).unwrap();
        let file = WeightFile::open(&folder.join("diffusion_pytorch_model.safetensors")).unwrap();
        Denoiser::Unet(weights::load_complete(unet, &file, &[]).unwrap())
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }
}
