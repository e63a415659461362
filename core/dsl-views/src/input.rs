//! A user's own picture.

use std::path::Path;

use dsl_render::{append_chw, subject};
use dsl_sdk::{Column, PluginError};

use crate::columns::INPUT_VIEW;
use crate::failed;

/// The input of a user that is a picture.
pub const IMAGE: &str = "image";

const WHITE: [f32; 3] = [1.0; 3];

/// The input view made of the picture at `path`, the value of the input [`IMAGE`]: the thing in it in the middle of a white
/// square of `size` pixels, its longer side `share` of the square's.
///
/// # Shapes
/// - result: `[1, 3, size, size]`, values in −1..1
///
/// # Errors
/// A file that cannot be read, and a picture in which there is nothing. They name the input and the file.
pub fn input_view(path: &Path, size: u32, share: f64) -> Result<Column, PluginError> {
    let picture = subject(path, size, share, WHITE).map_err(|error| {
        let error = failed(error);
        PluginError {
            message: format!("the input `{IMAGE}`: {}", error.message),
            ..error
        }
    })?;
    let side = u64::from(size);
    let mut values = Vec::new();
    append_chw(&picture, &mut values);
    Ok(Column::f32(INPUT_VIEW, vec![1, 3, side, side], values))
}

#[cfg(test)]
mod tests {
    use dsl_sdk::{Batch, ErrorCode};

    use super::*;
    use crate::testing::{cut_out, picture_file};

    #[test]
    fn a_picture_is_cut_out_and_brought_to_a_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = picture_file(folder.path());
        for size in [16, 32] {
            let column = input_view(&path, size, 0.8).unwrap();
            let columns = vec![column];
            cut_out(&Batch { columns }, size);
        }
    }

    #[test]
    fn errors_name_the_input_and_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str, bytes: &[u8], expected: &str| {
            let path = folder.path().join(name);
            if !bytes.is_empty() {
                std::fs::write(&path, bytes).unwrap();
            }
            let error = input_view(&path, 16, 0.8).unwrap_err();
            assert_eq!(error.code, ErrorCode::Io);
            for part in ["the input `image`: ", name, expected] {
                assert!(error.message.contains(part), "{error}");
            }
            assert!(!error.help.is_empty());
        };
        refused("missing.png", b"", "cannot read");
        refused("text.png", b"text", "cannot be used");
        let white = image::RgbImage::from_pixel(9, 9, image::Rgb([255; 3]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        white.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        refused("white.png", bytes.get_ref(), "all of it is white");
    }
}
