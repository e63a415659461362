//! A low-resolution picture of a user's own.

use dsl_sdk::image::{Picture, Window};
use dsl_sdk::serde_json::Value;
use dsl_sdk::{Batch, PluginError, tracing};

use crate::config::StableSrConfig;
use crate::dataset::{LOW, SMALL, picture_column, prompt_column};
use crate::degradation::{SCALE, bicubic};
use crate::raster::Raster;

/// The one key that is understood.
const KEY: &str = "image";

/// The condition columns of `{"image": "low.png"}`.
pub(crate) fn conditions(inputs: &Value, config: &StableSrConfig) -> Result<Batch, PluginError> {
    let low = read(path(inputs)?, config)?;
    let size = config.data.size as usize;
    let small = Raster::of(&low);
    let enlarged = bicubic(&small, size, size);
    let values = |raster: &Raster| {
        let mut values = Vec::new();
        raster.append_signed(&mut values);
        values
    };
    let mut columns = vec![
        picture_column(LOW, 1, size, values(&enlarged)),
        picture_column(SMALL, 1, size / SCALE, values(&small)),
    ];
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

/// The picture, cut to the size that the model takes.
fn read(path: &str, config: &StableSrConfig) -> Result<Picture, PluginError> {
    let cannot = |error: std::io::Error| {
        PluginError::io(format!("the input `{KEY}`: cannot read `{path}`: {error}"))
            .with_help("check the path; a relative path starts at the folder from which the program was called")
    };
    let bytes = std::fs::read(path).map_err(cannot)?;
    let picture =
        Picture::decode(&bytes, path, config.data.background).map_err(|error| PluginError {
            message: format!("the input `{KEY}`: {}", error.message),
            ..error
        })?;
    let (width, height) = (picture.width(), picture.height());
    let (size, small) = (config.data.size, config.data.size / SCALE as u32);
    let is = format!("the input `{KEY}`: `{path}` is {width} × {height} pixels");
    if width > size || height > size {
        return Err(PluginError::config(format!(
            "{is}, larger than the picture to be made, which is {size} × {size}"
        ))
        .with_help(format!("this model takes {small} × {small} pixels: make the picture smaller, or cut it into pieces")));
    }
    if width < small || height < small {
        return Err(
            PluginError::config(format!("{is}, but the model takes {small} × {small}"))
                .with_help("take a larger picture"),
        );
    }
    if (width, height) != (small, small) {
        tracing::warn!("{is}: the {small} × {small} in its middle are taken");
    }
    Ok(picture.crop(Window::within(width, height, small, small, 0.5, 0.5)))
}
