//! Reading a fixture folder.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

/// One fixture folder, read whole.
pub struct Fixture {
    path: PathBuf,
    bytes: Vec<u8>,
    meta: Value,
}

/// A float32 tensor.
pub struct Floats {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

fn folder() -> PathBuf {
    match std::env::var_os("DSL_FIXTURES") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures"),
    }
}

impl Fixture {
    pub fn open(name: &str) -> Self {
        let path = folder().join(name);
        let read = |file: &str| {
            let path = path.join(file);
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let meta = serde_json::from_slice(&read("meta.json")).expect("meta.json is JSON");
        Self {
            bytes: read("io.safetensors"),
            meta,
            path,
        }
    }

    /// [`Self::open`], for a fixture that a folder need not hold.
    pub fn try_open(name: &str) -> Option<Self> {
        folder().join(name).exists().then(|| Self::open(name))
    }

    /// The fixture's own relative tolerance for outputs.
    pub fn tolerance(&self) -> f32 {
        let tolerance = self.meta["tolerance_rel_to_max_abs"]["out"].as_f64();
        tolerance.expect("meta.json states a tolerance") as f32
    }

    pub fn cases(&self) -> &Map<String, Value> {
        self.meta["cases"]
            .as_object()
            .expect("meta.json lists the cases")
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let tensors = self.meta["tensors"]
            .as_object()
            .expect("meta.json lists the tensors");
        tensors.keys().map(String::as_str)
    }

    pub fn floats(&self, key: &str) -> Floats {
        let floats = self.try_floats(key);
        floats.unwrap_or_else(|| panic!("{} holds no `{key}`", self.path.display()))
    }

    pub fn try_floats(&self, key: &str) -> Option<Floats> {
        let file = self.tensors();
        let view = file.tensor(key).ok()?;
        assert_eq!(view.dtype(), Dtype::F32, "{key}");
        let values = view.data().chunks_exact(4);
        let values = values
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        Some(Floats {
            shape: view.shape().to_vec(),
            values,
        })
    }

    /// Whole or fractional numbers, int64 or float32.
    pub fn numbers(&self, key: &str) -> Vec<f64> {
        let file = self.tensors();
        let view = file
            .tensor(key)
            .unwrap_or_else(|error| panic!("{key}: {error}"));
        match view.dtype() {
            Dtype::I64 => {
                let values = view.data().chunks_exact(8);
                values
                    .map(|b| i64::from_le_bytes(b.try_into().expect("8 bytes")) as f64)
                    .collect()
            }
            _ => self.floats(key).values.into_iter().map(f64::from).collect(),
        }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).expect("io.safetensors is whole")
    }
}

/// A rank-4 input.
pub fn tensor(fixture: &Fixture, key: &str) -> Tensor<4> {
    let Floats { shape, values } = fixture.floats(key);
    let shape: [usize; 4] = shape.try_into().expect("rank 4");
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// `max |found - expected| <= tolerance * max |expected|`.
#[track_caller]
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    let scale = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(
            error <= tolerance * scale,
            "{what}: value {i} is {found}, not {expected}; off by {:.2} of the tolerance",
            error / (tolerance * scale)
        );
    }
}
