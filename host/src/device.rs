//! Devices by name: `cpu`, `cuda:0`, `vulkan:0`, `tch`.
//!
//! The CPU is always there. The others are cargo features of this crate, and are looked for when
//! they are asked for: a machine without them runs the same binary.

mod list;
#[cfg(any(feature = "cuda", feature = "vulkan", feature = "tch", test))]
mod quiet;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use burn::tensor::{Device, FloatDType};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub use list::{DeviceEntry, DeviceList, list_devices};

/// The device that a configuration names.
///
/// `cuda` alone means `cuda:0`, and `vulkan` alone `vulkan:0`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum DeviceSelector {
    /// The pure-Rust CPU device.
    #[default]
    Cpu,
    /// The NVIDIA GPU of this number, as the driver counts them.
    Cuda(usize),
    /// The Vulkan device of this number: as `dsl-host devices` counts them, discrete GPUs first.
    Vulkan(usize),
    /// LibTorch on the CPU.
    Tch,
}

/// What [`DeviceSelector`] accepts, as a regular expression.
pub const DEVICE_PATTERN: &str = "^(cpu|cuda(:[0-9]+)?|vulkan(:[0-9]+)?|tch)$";

/// Why a device cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// No device has such a name.
    #[error(
        "`{0}` is no device\nhint: devices are `cpu`, `cuda:0`, `vulkan:0` and `tch`; `dsl-host devices` lists those of \
         this machine"
    )]
    Unknown(String),
    /// The program was built without it.
    #[error(
        "this dsl-host was built without support for `{device}`\n\
         hint: build it with `cargo build --release --package dsl-host --features {feature}`, or use `device: cpu`"
    )]
    NotBuilt {
        /// The device.
        device: DeviceSelector,
        /// The cargo feature that adds it.
        feature: &'static str,
    },
    /// The machine does not have it.
    #[error("there is no device `{device}` here; there is {}\nhint: {hint}", .available.join(", "))]
    Absent {
        /// The device.
        device: DeviceSelector,
        /// Those that are there.
        available: Vec<String>,
        /// What to look at.
        hint: &'static str,
    },
    /// It is there and does not work.
    #[error("the device `{device}` is there but does not work: {reason}\nhint: {hint}")]
    Broken {
        /// The device.
        device: DeviceSelector,
        /// What it said.
        reason: String,
        /// What to look at.
        hint: &'static str,
    },
    /// It does not compute in bf16.
    #[error(
        "the device `{0}` does not compute in bf16\nhint: use f32, or a device for which `dsl-host devices` says bf16"
    )]
    NoBf16(DeviceSelector),
}

impl fmt::Display for DeviceSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Vulkan(index) => write!(f, "vulkan:{index}"),
            Self::Tch => f.write_str("tch"),
        }
    }
}

impl FromStr for DeviceSelector {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown(text.to_owned());
        let (kind, index) = match text.split_once(':') {
            Some((kind, index)) if index.bytes().all(|byte| byte.is_ascii_digit()) => {
                (kind, Some(index.parse::<usize>().map_err(|_| unknown())?))
            }
            Some(_) => return Err(unknown()),
            None => (text, None),
        };
        match (kind, index) {
            ("cpu", None) => Ok(Self::Cpu),
            ("cuda", index) => Ok(Self::Cuda(index.unwrap_or(0))),
            ("vulkan", index) => Ok(Self::Vulkan(index.unwrap_or(0))),
            ("tch", None) => Ok(Self::Tch),
            _ => Err(unknown()),
        }
    }
}

impl TryFrom<String> for DeviceSelector {
    type Error = DeviceError;

    fn try_from(text: String) -> Result<Self, DeviceError> {
        text.parse()
    }
}

impl From<DeviceSelector> for String {
    fn from(selector: DeviceSelector) -> Self {
        selector.to_string()
    }
}

impl JsonSchema for DeviceSelector {
    fn schema_name() -> Cow<'static, str> {
        "DeviceSelector".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The device to compute on: cpu, cuda:0, vulkan:0 or tch.",
            "pattern": DEVICE_PATTERN,
            "examples": ["cpu", "cuda:0", "vulkan:0", "tch"],
        })
    }
}

impl DeviceSelector {
    /// Opens the device, without autodiff. Any but the CPU is tried out with a small computation,
    /// so that a driver or a library that is missing is found here and not in the first step. (The
    /// try makes tensors, after which burn lets the device's default types no longer be changed.)
    ///
    /// # Errors
    /// [`DeviceError::NotBuilt`], [`DeviceError::Absent`], [`DeviceError::Broken`].
    pub fn open(self) -> Result<Device, DeviceError> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            Self::Cuda(index) => self.open_cuda(index),
            Self::Vulkan(index) => self.open_vulkan(index),
            Self::Tch => self.open_tch(),
        }
    }

    #[cfg(feature = "cuda")]
    fn open_cuda(self, index: usize) -> Result<Device, DeviceError> {
        const HINT: &str = "check that `nvidia-smi` shows the GPU, that CUDA_VISIBLE_DEVICES does not hide it, and that \
                            the driver is one for this user and container";
        if index >= list::cuda_devices().len() {
            return Err(self.absent(HINT));
        }
        self.tried(
            move || Device::cuda(index),
            "CUDA kernels are compiled when first run: that needs the library NVRTC, and the CUDA headers in the folder \
             that CUDA_PATH names",
        )
    }

    #[cfg(feature = "vulkan")]
    fn open_vulkan(self, index: usize) -> Result<Device, DeviceError> {
        const HINT: &str = "check that `vulkaninfo --summary` shows the GPU, and that its Vulkan driver is installed";
        let Some(device) = list::vulkan_devices().into_iter().nth(index) else {
            return Err(self.absent(HINT));
        };
        if list::is_software(&device) {
            tracing::warn!(
                "`{self}` is no GPU but a program that stands in for one: `device: cpu` is faster and sounder"
            );
        }
        self.tried(move || device, HINT)
    }

    #[cfg(feature = "tch")]
    fn open_tch(self) -> Result<Device, DeviceError> {
        #[allow(deprecated, reason = "LibTorch stays as long as burn has it")]
        let device = Device::libtorch;
        self.tried(
            device,
            "LibTorch has to be of the version that this burn was made for",
        )
    }

    #[cfg(not(feature = "cuda"))]
    fn open_cuda(self, _index: usize) -> Result<Device, DeviceError> {
        Err(self.not_built("cuda"))
    }

    #[cfg(not(feature = "vulkan"))]
    fn open_vulkan(self, _index: usize) -> Result<Device, DeviceError> {
        Err(self.not_built("vulkan"))
    }

    #[cfg(not(feature = "tch"))]
    fn open_tch(self) -> Result<Device, DeviceError> {
        Err(self.not_built("tch"))
    }

    #[cfg(not(all(feature = "cuda", feature = "vulkan", feature = "tch")))]
    fn not_built(self, feature: &'static str) -> DeviceError {
        DeviceError::NotBuilt {
            device: self,
            feature,
        }
    }

    #[cfg(any(feature = "cuda", feature = "vulkan"))]
    fn absent(self, hint: &'static str) -> DeviceError {
        DeviceError::Absent {
            device: self,
            available: list::device_names(),
            hint,
        }
    }

    /// The device that `open` gives, after it has squared two numbers.
    #[cfg(any(feature = "cuda", feature = "vulkan", feature = "tch", test))]
    fn tried(
        self,
        open: impl FnOnce() -> Device,
        hint: &'static str,
    ) -> Result<Device, DeviceError> {
        use burn::tensor::Tensor;

        let broken = |reason: String| DeviceError::Broken {
            device: self,
            reason,
            hint,
        };
        quiet::quietly(|| {
            let device = open();
            let x = Tensor::<1>::from_floats([1.5, -2.0], &device);
            let squares = (x.clone() * x).into_data().try_to_vec::<f32>();
            match squares {
                Ok(squares) if squares == [2.25, 4.0] => Ok(device),
                Ok(squares) => Err(format!(
                    "it finds the squares of 1.5 and -2 to be {squares:?}"
                )),
                Err(error) => Err(format!("{error:?}")),
            }
        })
        .flatten()
        .map_err(broken)
    }

    /// Checks that an opened device computes in bf16.
    ///
    /// # Errors
    /// [`DeviceError::NoBf16`].
    pub fn require_bf16(self, device: &Device) -> Result<(), DeviceError> {
        if supports_bf16(device) {
            Ok(())
        } else {
            Err(DeviceError::NoBf16(self))
        }
    }
}

/// Whether an opened device computes (and not only stores) bf16.
pub fn supports_bf16(device: &Device) -> bool {
    device.supports_dtype(FloatDType::BF16)
}

/// Bytes that an opened device's allocator holds at present, free ones for reuse included; `None`
/// for the CPU and LibTorch, whose memory is the process's own.
pub fn device_memory_bytes(device: &Device) -> Option<u64> {
    device.memory_pool_usage().map(|usage| usage.bytes_reserved)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;

    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (text, selector, written) in [
            ("cpu", DeviceSelector::Cpu, "cpu"),
            ("cuda", DeviceSelector::Cuda(0), "cuda:0"),
            ("cuda:1", DeviceSelector::Cuda(1), "cuda:1"),
            ("vulkan:12", DeviceSelector::Vulkan(12), "vulkan:12"),
            ("tch", DeviceSelector::Tch, "tch"),
        ] {
            assert_eq!(text.parse(), Ok(selector));
            assert_eq!(selector.to_string(), written);
            let json = serde_json::to_string(&selector).unwrap();
            assert_eq!(json, format!("\"{written}\""));
            assert_eq!(
                serde_json::from_str::<DeviceSelector>(&json).unwrap(),
                selector
            );
        }
        for text in [
            "",
            "gpu",
            "cuda:",
            "cuda:-1",
            "cuda:x",
            "cpu:0",
            "CPU",
            "cuda:99999999999999999999",
        ] {
            let error = text.parse::<DeviceSelector>().unwrap_err();
            assert!(error.to_string().contains("dsl-host devices"), "{text}");
        }
    }

    #[test]
    fn the_schema_accepts_what_the_parser_accepts() {
        let schema = serde_json::to_value(schemars::schema_for!(DeviceSelector)).unwrap();
        for text in [
            "cpu", "cuda", "cuda:1", "vulkan:0", "tch", "gpu", "cuda:", "cuda:x", "cpu:0", "",
        ] {
            let valid = jsonschema::is_valid(&schema, &serde_json::json!(text));
            assert_eq!(valid, text.parse::<DeviceSelector>().is_ok(), "{text}");
        }
    }

    #[test]
    fn the_cpu_is_there_and_computes() {
        let device = DeviceSelector::Cpu.open().unwrap();
        let x = Tensor::<1>::from_floats([3.0], &device);
        assert_eq!((x.clone() * x).into_scalar::<f32>(), 9.0);
        assert!(!device.is_autodiff());
        assert_eq!(
            DeviceSelector::Cpu.require_bf16(&device).is_ok(),
            supports_bf16(&device)
        );
        assert_eq!(device_memory_bytes(&device), None);
    }

    #[test]
    fn a_device_that_cannot_be_had_says_what_to_do() {
        let far = 999;
        for (selector, feature, built) in [
            (DeviceSelector::Cuda(far), "cuda", cfg!(feature = "cuda")),
            (
                DeviceSelector::Vulkan(far),
                "vulkan",
                cfg!(feature = "vulkan"),
            ),
        ] {
            let error = selector.open().unwrap_err();
            let message = error.to_string();
            if built {
                assert!(matches!(error, DeviceError::Absent { .. }), "{message}");
                assert!(message.contains("there is cpu"), "{message}");
            } else {
                assert_eq!(
                    error,
                    DeviceError::NotBuilt {
                        device: selector,
                        feature
                    }
                );
                assert!(
                    message.contains(&format!("--features {feature}")),
                    "{message}"
                );
            }
        }
    }

    #[test]
    fn a_device_is_tried_out_before_it_is_used() {
        let device = DeviceSelector::Cpu.tried(Device::flex, "").unwrap();
        assert_eq!(device, Device::flex());
        let error = DeviceSelector::Cuda(0)
            .tried(|| panic!("cannot load libnvrtc.so"), "set CUDA_PATH")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the device `cuda:0` is there but does not work: cannot load libnvrtc.so\nhint: set CUDA_PATH"
        );
    }
}
