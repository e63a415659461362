//! Samples as people look at them: the given pictures in the first row, generated ones below.

use dsl_sdk::image::Picture;

/// Sides of pictures that can be looked at.
const SMALLEST_SIDE: u32 = 96;
const FEWEST_COLUMNS: usize = 4;
const GAP: u32 = 4;
const BACKGROUND: [u8; 3] = [128; 3];

/// The sheet; nothing where there are no generated pictures.
pub(crate) fn sheet(given: &[Picture], generated: &[Picture]) -> Option<Picture> {
    if generated.is_empty() {
        return None;
    }
    let enlarged = |picture: &Picture| {
        let side = picture.width().min(picture.height());
        picture.enlarged(SMALLEST_SIDE.div_ceil(side))
    };
    let columns = given.len().max(FEWEST_COLUMNS);
    let below = generated.chunks(columns);
    let rows = std::iter::once(given).chain(below);
    let rows: Vec<Vec<Picture>> = rows.map(|row| row.iter().map(enlarged).collect()).collect();
    Picture::grid(&rows, GAP, BACKGROUND)
}
