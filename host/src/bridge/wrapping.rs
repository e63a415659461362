//! Controllable feature wrapping of a pipeline's decoder: its file in a run's folder, and what samples are decoded with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use burn::tensor::Device;
use dsl_nets::{
    ControllableFeatureWrapping, ControllableFeatureWrappingConfig, ParameterInit, WeightDType,
    WeightFile, weights,
};

use super::latents::LatentCoder;
use crate::failure;

/// Metadata key of the shape.
const SHAPE: &str = "controllable_feature_wrapping";
/// How much of it counts where nothing else is said: StableSR's.
const WEIGHT: f64 = 0.5;

/// What wraps a decoder, and how much of it counts.
pub struct Wrapping {
    /// The network.
    pub module: ControllableFeatureWrapping,
    /// Between 0, which is the decoder alone, and 1.
    pub weight: f64,
}

/// The stage's folder in a run.
pub fn folder(run: &Path) -> PathBuf {
    run.join("wrapping")
}

/// The network's file in the stage's folder.
pub fn file(folder: &Path) -> PathBuf {
    folder.join("wrapping.safetensors")
}

/// The decoder of a run.
///
/// # Errors
/// A usage error for a run in pixel space, which has none.
pub fn coder_of<'a>(latents: Option<&'a LatentCoder>, run: &Path) -> Result<&'a LatentCoder> {
    latents.ok_or_else(|| {
        failure::usage(anyhow!(
            "`{}` works on pixels: there is no decoder that could be wrapped\nhint: runs on latents have one, such as those \
             whose `model.base` is a pipeline's folder",
            run.display()
        ))
    })
}

/// What samples of a run are decoded with: nothing where the run has no wrapping, or where `weight` is 0.
///
/// # Errors
/// A usage error for a weight that is not in 0..1, and for one of a run that has no wrapping; a file that cannot be read.
pub fn of_run(
    run: &Path,
    latents: Option<&LatentCoder>,
    weight: Option<f64>,
    device: &Device,
) -> Result<Option<Wrapping>> {
    let path = file(&folder(run));
    let weight = match weight {
        Some(weight) if !(0.0..=1.0).contains(&weight) => {
            return Err(failure::usage(anyhow!(
                "`--wrapping-weight {weight}` is not between 0 and 1"
            )));
        }
        Some(weight) => weight,
        None if latents.is_some() && path.is_file() => WEIGHT,
        None => 0.0,
    };
    if weight == 0.0 {
        return Ok(None);
    }
    let coder = coder_of(latents, run)?;
    if !path.is_file() {
        return Err(failure::usage(anyhow!(
            "there is no `{}`\nhint: `dsl-host wrap --run {}` trains it",
            path.display(),
            run.display()
        )));
    }
    let module = read(&path, coder, device)?;
    Ok(Some(Wrapping { module, weight }))
}

/// Writes the network with its shape.
///
/// # Errors
/// A file that cannot be written.
pub fn write(
    path: &Path,
    module: &ControllableFeatureWrapping,
    shape: &ControllableFeatureWrappingConfig,
) -> Result<()> {
    let metadata = BTreeMap::from([(SHAPE.to_owned(), serde_json::to_string(shape)?)]);
    Ok(weights::save(module, path, WeightDType::F32, &metadata)?)
}

fn read(path: &Path, coder: &LatentCoder, device: &Device) -> Result<ControllableFeatureWrapping> {
    let file = WeightFile::open(path)?;
    let metadata = file.metadata();
    let shape = metadata
        .get(SHAPE)
        .with_context(|| format!("`{}` does not say its shape", path.display()))?;
    let shape = serde_json::from_str(shape)
        .with_context(|| format!("the shape that `{}` says is not one", path.display()))?;
    let init = ParameterInit::deferred(0, device);
    let module = ControllableFeatureWrapping::new(&shape, coder.autoencoder_config(), &init)?;
    Ok(weights::load_complete(module, &file, &[])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_on_pixels_has_no_decoder_to_wrap() {
        let run = tempfile::tempdir().unwrap();
        let device = Device::flex();
        let of_run = |weight| of_run(run.path(), None, weight, &device);
        assert!(of_run(None).unwrap().is_none());
        assert!(of_run(Some(0.0)).unwrap().is_none());
        for (weight, message) in [(0.5, "works on pixels"), (1.5, "not between 0 and 1")] {
            let error = of_run(Some(weight)).err().unwrap();
            assert!(format!("{error:#}").contains(message), "{error:#}");
            assert_eq!(failure::report(&error), 2, "a mistake of the user's");
        }
        // A file that is there by mistake changes nothing.
        std::fs::create_dir(folder(run.path())).unwrap();
        std::fs::write(file(&folder(run.path())), []).unwrap();
        assert!(of_run(None).unwrap().is_none());
    }
}
