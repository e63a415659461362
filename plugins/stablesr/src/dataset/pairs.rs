//! Pictures that come in pairs: a low-resolution one and its target, with equal names in two folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dsl_sdk::PluginError;
use dsl_sdk::image_folder::ImageFolder;
use image::ImageReader;

use super::locate::{Entry, INPUTS, Place, TARGETS};
use crate::degradation::SCALE;

/// The pairs of `folder`, by name. The sizes of all are read, not their pixels.
pub(super) fn pairs_in(folder: &Path, _root: &Path) -> Result<Vec<Entry>, PluginError> {
    let (inputs, targets) = (named(&folder.join(INPUTS))?, named(&folder.join(TARGETS))?);
    for (found, there, missing) in [(&inputs, &targets, TARGETS), (&targets, &inputs, INPUTS)] {
        if let Some((name, path)) = found.iter().find(|(name, _)| !there.contains_key(*name)) {
            return Err(PluginError::config(format!(
                "`{}` has no partner: there is no `{missing}/{name}` in `{}`",
                path.display(),
                folder.display()
            ))
            .with_help("pictures of a pair have the same name; their endings may differ"));
        }
    }
    let mut pairs = Vec::with_capacity(inputs.len());
    for (name, low) in inputs {
        let Some(target) = targets.get(&name).cloned() else {
            continue;
        };
        check_sizes(&name, sides(&low)?, sides(&target)?)?;
        pairs.push(Entry {
            target: Place::File(target),
            low: Some(low),
        });
    }
    Ok(pairs)
}

/// Refuses a pair whose target is not [`SCALE`] times as wide and as high.
pub(super) fn check_sizes(
    name: &str,
    [low_width, low_height]: [u32; 2],
    [width, height]: [u32; 2],
) -> Result<(), PluginError> {
    let pair = format!(
        "the pair `{name}` is {low_width} × {low_height} in `{INPUTS}` and {width} × {height} in `{TARGETS}`"
    );
    let scale = SCALE as u32;
    if low_width > width || low_height > height {
        return Err(PluginError::config(format!(
            "{pair}: the low-resolution picture is larger than its target"
        ))
        .with_help(format!(
            "`{INPUTS}` holds the small pictures, `{TARGETS}` those to be made of them"
        )));
    }
    if low_width.checked_mul(scale) != Some(width) || low_height.checked_mul(scale) != Some(height)
    {
        return Err(PluginError::config(format!(
            "{pair}: expected a target {scale} times as wide and as high"
        ))
        .with_help("resize or crop one of the two pictures"));
    }
    Ok(())
}

/// Pictures by their path inside the folder, without the ending.
fn named(folder: &Path) -> Result<BTreeMap<String, PathBuf>, PluginError> {
    let found = ImageFolder::open(folder, None).map_err(|error| {
        error.with_help(format!(
            "pairs lie in the folders `{INPUTS}` and `{TARGETS}`, as PNG, JPEG or WebP"
        ))
    })?;
    let mut pictures = BTreeMap::new();
    for entry in found.entries {
        let inside = entry.image.strip_prefix(folder).unwrap_or(&entry.image);
        let name = inside.with_extension("").to_string_lossy().into_owned();
        if let Some(other) = pictures.insert(name, entry.image.clone()) {
            return Err(PluginError::config(format!(
                "`{}` and `{}` have the same name but for their ending",
                other.display(),
                entry.image.display()
            ))
            .with_help("names tell which pictures are a pair: rename one"));
        }
    }
    Ok(pictures)
}

/// Width and height as the file's header states them.
fn sides(path: &Path) -> Result<[u32; 2], PluginError> {
    let cannot = |cause: String| {
        PluginError::io(format!(
            "cannot read the image `{}`: {cause}",
            path.display()
        ))
        .with_help("replace the file, or leave the pair out; PNG, JPEG and WebP are read")
    };
    let reader = ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .map_err(|error| cannot(error.to_string()))?;
    let (width, height) = reader
        .into_dimensions()
        .map_err(|error| cannot(error.to_string()))?;
    Ok([width, height])
}
