//! What devices there are.

use burn::tensor::{Device, FloatDType};
use serde::Serialize;

use super::DeviceSelector;

/// The devices of this machine that this program can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceList {
    /// The CPU first.
    pub devices: Vec<DeviceEntry>,
    /// Cargo features for devices that this program was built without.
    pub not_built: Vec<&'static str>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceEntry {
    /// What `device` in a configuration calls it.
    pub device: DeviceSelector,
    /// What it calls itself.
    pub name: String,
    /// Its memory, where it says.
    pub memory_bytes: Option<u64>,
    /// Types that it computes in.
    pub dtypes: Vec<&'static str>,
    /// Why it cannot be used, if it cannot.
    pub problem: Option<String>,
}

/// Looks for all devices, and opens each to ask what it can do.
pub fn list_devices() -> DeviceList {
    let features = [
        ("cuda", cfg!(feature = "cuda")),
        ("tch", cfg!(feature = "tch")),
        ("vulkan", cfg!(feature = "vulkan")),
    ];
    let found = [vec![cpu()], cuda(), vulkan(), tch()];
    DeviceList {
        devices: found.into_iter().flatten().collect(),
        not_built: features
            .into_iter()
            .filter_map(|(feature, built)| (!built).then_some(feature))
            .collect(),
    }
}

/// Types worth naming, narrowest first.
const DTYPES: [(FloatDType, &str); 4] = [
    (FloatDType::BF16, "bf16"),
    (FloatDType::F16, "f16"),
    (FloatDType::F32, "f32"),
    (FloatDType::F64, "f64"),
];

fn dtypes(device: &Device) -> Vec<&'static str> {
    DTYPES
        .into_iter()
        .filter(|(dtype, _)| device.supports_dtype(*dtype))
        .map(|(_, name)| name)
        .collect()
}

fn cpu() -> DeviceEntry {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let model = cpu_model().unwrap_or_else(|| format!("{} processor", std::env::consts::ARCH));
    DeviceEntry {
        device: DeviceSelector::Cpu,
        name: format!("{model}, {threads} threads"),
        memory_bytes: machine_memory_bytes(),
        dtypes: dtypes(&Device::flex()),
        problem: None,
    }
}

fn cpu_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// `MemTotal:  12345 kB`, where kB are 1024 bytes.
fn machine_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The names of the devices that are there, for an error that names another.
#[cfg(any(feature = "cuda", feature = "vulkan"))]
pub(super) fn device_names() -> Vec<String> {
    let mut names = vec![DeviceSelector::Cpu.to_string()];
    #[cfg(feature = "cuda")]
    names.extend((0..cuda_devices().len()).map(|index| DeviceSelector::Cuda(index).to_string()));
    #[cfg(feature = "vulkan")]
    names
        .extend((0..vulkan_devices().len()).map(|index| DeviceSelector::Vulkan(index).to_string()));
    #[cfg(feature = "tch")]
    names.push(DeviceSelector::Tch.to_string());
    names
}

/// The NVIDIA GPUs. None where there is no driver, or one that cannot be talked to.
#[cfg(feature = "cuda")]
pub(super) fn cuda_devices() -> Vec<Device> {
    use burn::tensor::DeviceType;

    super::quiet::quietly(|| Device::enumerate(DeviceType::Cuda).into_vec()).unwrap_or_else(
        |reason| {
            tracing::warn!("the CUDA driver could not be asked for its devices: {reason}");
            Vec::new()
        },
    )
}

/// The Vulkan devices, discrete GPUs first, programs that stand in for one last.
#[cfg(feature = "vulkan")]
pub(super) fn vulkan_devices() -> Vec<Device> {
    use burn::tensor::DeviceType;

    super::quiet::quietly(|| Device::enumerate(DeviceType::Vulkan).into_vec()).unwrap_or_else(
        |reason| {
            tracing::warn!("Vulkan could not be asked for its devices: {reason}");
            Vec::new()
        },
    )
}

/// Whether a Vulkan device is a program on the CPU.
#[cfg(feature = "vulkan")]
pub(super) fn is_software(device: &Device) -> bool {
    use burn::tensor::DeviceKind;

    *device == Device::vulkan(DeviceKind::Cpu)
}

#[cfg(feature = "cuda")]
fn cuda() -> Vec<DeviceEntry> {
    let entry = |(index, device): (usize, Device)| DeviceEntry {
        memory_bytes: nvidia_memory_bytes(&device),
        ..gpu(DeviceSelector::Cuda(index), &device)
    };
    cuda_devices().into_iter().enumerate().map(entry).collect()
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Vec<DeviceEntry> {
    Vec::new()
}

#[cfg(feature = "vulkan")]
fn vulkan() -> Vec<DeviceEntry> {
    let entry = |(index, device): (usize, Device)| {
        let selector = DeviceSelector::Vulkan(index);
        if !is_software(&device) {
            return gpu(selector, &device);
        }
        // Not opened: some of these end the process instead of answering.
        DeviceEntry {
            device: selector,
            name: "a program that stands in for a GPU".into(),
            memory_bytes: None,
            dtypes: Vec::new(),
            problem: Some("slower than `cpu`, and not reliable".into()),
        }
    };
    vulkan_devices()
        .into_iter()
        .enumerate()
        .map(entry)
        .collect()
}

#[cfg(not(feature = "vulkan"))]
fn vulkan() -> Vec<DeviceEntry> {
    Vec::new()
}

#[cfg(any(feature = "cuda", feature = "vulkan"))]
fn gpu(selector: DeviceSelector, device: &Device) -> DeviceEntry {
    let asked = super::quiet::quietly(|| {
        let name = device.identity().map(|identity| identity.name);
        (name.unwrap_or_default(), dtypes(device))
    });
    let (name, dtypes, problem) = match asked {
        Ok((name, dtypes)) => (name, dtypes, None),
        Err(reason) => (String::new(), Vec::new(), Some(reason)),
    };
    DeviceEntry {
        device: selector,
        name,
        memory_bytes: None,
        dtypes,
        problem,
    }
}

/// What the driver's management library says of the card behind `device`, found by its place on the
/// bus: the two count cards differently.
#[cfg(feature = "cuda")]
fn nvidia_memory_bytes(device: &Device) -> Option<u64> {
    let address = super::quiet::quietly(|| device.identity())
        .ok()??
        .physical?
        .pci_address?
        .to_string();
    let library = nvml_wrapper::Nvml::init().ok()?;
    let card = library.device_by_pci_bus_id(address).ok()?;
    Some(card.memory_info().ok()?.total)
}

#[cfg(feature = "tch")]
fn tch() -> Vec<DeviceEntry> {
    let opened = DeviceSelector::Tch.open();
    vec![DeviceEntry {
        device: DeviceSelector::Tch,
        name: "LibTorch on the CPU".into(),
        memory_bytes: machine_memory_bytes(),
        dtypes: opened.as_ref().map(dtypes).unwrap_or_default(),
        problem: opened.err().map(|error| error.to_string()),
    }]
}

#[cfg(not(feature = "tch"))]
fn tch() -> Vec<DeviceEntry> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_comes_first_with_what_it_can_do() {
        let list = list_devices();
        let cpu = &list.devices[0];
        assert_eq!(cpu.device, DeviceSelector::Cpu);
        assert!(cpu.dtypes.contains(&"f32"));
        assert!(cpu.name.ends_with("threads"), "{}", cpu.name);
        assert_eq!(cpu.problem, None);
        #[cfg(target_os = "linux")]
        assert!(cpu.memory_bytes.is_some_and(|bytes| bytes > 100 << 20));
        assert_eq!(list.not_built.contains(&"cuda"), !cfg!(feature = "cuda"));
    }
}
