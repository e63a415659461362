//! Finds weight files of feature networks: in `features.path`, in the folders of `DSL_FEATURES_PATH`, and in
//! `dsl/features` in the user's cache folder. None is ever downloaded.

use std::env;
use std::path::{Path, PathBuf};

use dsl_loader::{ErrorCode, HostError};

use super::catalogue::Feature;

/// Names further folders with weight files, separated as in `PATH`.
pub(super) const VARIABLE: &str = "DSL_FEATURES_PATH";
/// What may follow the name: in any precision, or saying which.
const ENDINGS: [&str; 3] = ["safetensors", "f32.safetensors", "f16.safetensors"];

/// A folder that is searched, and why.
struct Place {
    folder: PathBuf,
    reason: &'static str,
}

/// The weight file of a feature.
///
/// # Errors
/// `Unsupported`, naming the file, where it was looked for, and how to get it.
pub(super) fn find(feature: Feature, configured: Option<&Path>) -> Result<PathBuf, HostError> {
    let stem = feature.weights().stem();
    let places = places(configured);
    let candidates = places
        .iter()
        .flat_map(|place| ENDINGS.map(|ending| place.folder.join(format!("{stem}.{ending}"))));
    if let Some(found) = candidates.into_iter().find(|path| path.is_file()) {
        return Ok(found);
    }
    let looked: Vec<String> = places
        .iter()
        .map(|place| format!("{} ({})", place.folder.display(), place.reason))
        .collect();
    Err(HostError {
        code: ErrorCode::Unsupported,
        message: format!(
            "the weights of `{}` are not installed: there is no `{stem}.safetensors` (nor `{stem}.f16.safetensors`) in {}",
            feature.id(),
            if looked.is_empty() {
                "any folder, since none is set".to_owned()
            } else {
                looked.join(", ")
            }
        ),
        help: format!(
            "{}; then name its folder with `features.path` or {VARIABLE}, or move it to one of these",
            feature.weights().how_to_get()
        ),
    })
}

fn places(configured: Option<&Path>) -> Vec<Place> {
    let place = |reason| move |folder: PathBuf| Place { folder, reason };
    let variable = env::var_os(VARIABLE).unwrap_or_default();
    let listed = env::split_paths(&variable).filter(|folder| !folder.as_os_str().is_empty());
    configured
        .map(Path::to_owned)
        .into_iter()
        .map(place("features.path"))
        .chain(listed.map(place(VARIABLE)))
        .chain(cache_folder().into_iter().map(place("cache folder")))
        .collect()
}

/// `dsl/features` in the user's cache folder, if there is one.
fn cache_folder() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    (set("XDG_CACHE_HOME").map(PathBuf::from))
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .map(|folder| folder.join("dsl/features"))
}
