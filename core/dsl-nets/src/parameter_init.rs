//! Initial values of parameters: a function of (seed, parameter path) alone.
//!
//! Every parameter draws from its own ChaCha8 stream, chosen by its path, so that a network starts with the same weights in
//! whatever order its parts are built, on any device, and beside any other thread. Parameter ids are taken from the path too:
//! two networks of the same shape have the same ids.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// A place in the parameter tree under construction: seed, device, and the path so far.
#[derive(Debug, Clone)]
pub struct ParameterInit {
    seed: u64,
    device: Device,
    path: String,
    deferred: bool,
}

impl ParameterInit {
    /// The root of a tree whose values follow from `seed`.
    pub fn new(seed: u64, device: &Device) -> Self {
        Self {
            seed,
            device: device.clone(),
            path: String::new(),
            deferred: false,
        }
    }

    /// As [`Self::new`], but no value is computed and no memory taken until a parameter is read: for networks whose values
    /// come from a file at once, and for counting.
    ///
    /// Clones of a network share parameters that have not been read, and what is said of one (that it does not train) is said of
    /// all: read or load all of them before anything else.
    pub fn deferred(seed: u64, device: &Device) -> Self {
        Self {
            deferred: true,
            ..Self::new(seed, device)
        }
    }

    /// The place `name` below this one; names are joined by dots, as in weight files.
    pub fn at(&self, name: impl std::fmt::Display) -> Self {
        let path = if self.path.is_empty() {
            name.to_string()
        } else {
            format!("{}.{name}", self.path)
        };
        Self {
            seed: self.seed,
            device: self.device.clone(),
            path,
            deferred: self.deferred,
        }
    }

    /// The device on which parameters are made.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A parameter drawn from U(-bound, bound).
    pub fn uniform<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
        bound: f64,
    ) -> Param<Tensor<D>> {
        self.param(name, shape, move |rng| uniform(rng, bound))
    }

    /// As [`Self::uniform`], with zeros from `channels` on along the second axis; the others have the values of a
    /// parameter without these.
    pub(crate) fn uniform_then_zeros(
        &self,
        name: &str,
        shape: [usize; 4],
        bound: f64,
        channels: usize,
    ) -> Param<Tensor<4>> {
        let mut index = 0;
        self.param(name, shape, move |rng| {
            let channel = index / (shape[2] * shape[3]) % shape[1];
            index = (index + 1) % shape.iter().product::<usize>();
            if channel < channels {
                uniform(rng, bound)
            } else {
                0.0
            }
        })
    }

    /// A parameter drawn from N(0, std²).
    pub fn normal<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
        std: f64,
    ) -> Param<Tensor<D>> {
        self.param(name, shape, move |rng| {
            let z: f64 = StandardNormal.sample(rng);
            (z * std) as f32
        })
    }

    /// A parameter with one value everywhere.
    pub fn constant<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
        value: f32,
    ) -> Param<Tensor<D>> {
        self.param(name, shape, move |_| value)
    }

    fn param<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
        mut draw: impl FnMut(&mut ChaCha8Rng) -> f32 + Send + Sync + 'static,
    ) -> Param<Tensor<D>> {
        let path_hash = fnv1a(self.at(name).path.as_bytes());
        let seed = self.seed;
        let mut values = move || {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(path_hash);
            let values: Vec<f32> = (0..shape.iter().product())
                .map(|_| draw(&mut rng))
                .collect();
            TensorData::new(values, shape)
        };
        let id = ParamId::from(path_hash);
        if self.deferred {
            let init = move |device: &Device, require_grad: bool| {
                Tensor::from_data(values(), device).set_require_grad(require_grad)
            };
            return Param::uninitialized(id, init, self.device.clone(), true, shape.into());
        }
        let mut param = Param::from_data(values(), &self.device);
        param.id = id;
        param
    }
}

/// One draw from U(-bound, bound).
fn uniform(rng: &mut ChaCha8Rng, bound: f64) -> f32 {
    // 24 bits, so that every value is exact in f32 and the result does not depend on a library's conversion.
    let unit = f64::from(rng.next_u32() >> 8) / f64::from(1u32 << 24);
    ((2.0 * unit - 1.0) * bound) as f32
}

/// FNV-1a with 64 bits: short, stable for ever, and good enough to keep a few thousand paths apart.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
