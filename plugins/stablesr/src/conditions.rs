//! A low-resolution picture of a user's own.

use dsl_sdk::image::Picture;
use dsl_sdk::serde_json::Value;
use dsl_sdk::{Batch, PluginError};

use crate::config::StableSrConfig;
use crate::dataset::{LOW, SMALL, picture_column, prompt_column};
use crate::degradation::{SCALE, bicubic};
use crate::raster::Raster;

/// The one key that is understood.
const KEY: &str = "image";
/// Sides of a picture in pixels: of fewer there is hardly anything to see, and of more the result takes gigabytes.
const MIN_SIDE: u32 = 8;
const MAX_SIDE: u32 = 1024;

/// The condition columns of `{"image": "low.png"}`, a picture of any size within the limits.
///
/// # Shapes
/// - `low_resolution`: `[1, 3, 4 height, 4 width]`, enlarged by the bicubic filter, values in −1..1
/// - `low_resolution_small`: `[1, 3, height, width]`, as it is
pub(crate) fn conditions(inputs: &Value, config: &StableSrConfig) -> Result<Batch, PluginError> {
    let low = read(path(inputs)?, config.data.background)?;
    let small = Raster::of(&low);
    let enlarged = bicubic(&small, SCALE * small.width, SCALE * small.height);
    let column = |name: &str, raster: &Raster| {
        let mut values = Vec::with_capacity(raster.values.len());
        raster.append_signed(&mut values);
        picture_column(name, 1, [raster.width, raster.height], values)
    };
    let mut columns = vec![column(LOW, &enlarged), column(SMALL, &small)];
    columns.extend(prompt_column(&config.prompt, 1));
    Ok(Batch { columns })
}

fn path(inputs: &Value) -> Result<&str, PluginError> {
    let help = format!("give a small picture: `--input {KEY}=low.png`");
    let Some(object) = inputs.as_object() else {
        return Err(PluginError::config(format!(
            "the inputs are {inputs}, expected an object with the key `{KEY}`"
        ))
        .with_help(help));
    };
    if let Some(other) = object.keys().find(|key| *key != KEY) {
        return Err(
            PluginError::config(format!("unknown input `{other}`; there is: `{KEY}`"))
                .with_help(help),
        );
    }
    match object.get(KEY) {
        Some(Value::String(path)) => Ok(path),
        Some(other) => Err(PluginError::config(format!(
            "the input `{KEY}` is {other}, expected the path of a picture"
        ))
        .with_help(help)),
        None => Err(PluginError::config(format!("the input `{KEY}` is missing")).with_help(help)),
    }
}

/// The picture as it is.
fn read(path: &str, background: [u8; 3]) -> Result<Picture, PluginError> {
    let cannot = |error: std::io::Error| {
        PluginError::io(format!("the input `{KEY}`: cannot read `{path}`: {error}"))
            .with_help("check the path; a relative path starts at the folder from which the program was called")
    };
    let bytes = std::fs::read(path).map_err(cannot)?;
    let picture = Picture::decode(&bytes, path, background).map_err(|error| PluginError {
        message: format!("the input `{KEY}`: {}", error.message),
        ..error
    })?;
    let (width, height) = (picture.width(), picture.height());
    let refused = |flaw: String, help: &str| {
        let is = format!("the input `{KEY}`: `{path}` is {width} × {height} pixels");
        Err(PluginError::config(format!("{is}, {flaw}")).with_help(help))
    };
    if width.min(height) < MIN_SIDE {
        return refused(
            format!("expected at least {MIN_SIDE} × {MIN_SIDE}"),
            "take a larger picture",
        );
    }
    if width.max(height) > MAX_SIDE {
        return refused(
            format!(
                "expected at most {MAX_SIDE} a side: what is made of it is {SCALE} times as wide and as high"
            ),
            "cut it into pieces, or make it smaller first",
        );
    }
    Ok(picture)
}
