//! Samples as people look at them: boxes and phrases drawn into the pictures, the truth beside each.

use dsl_sdk::image::{Picture, Window};
use dsl_sdk::{Batch, PluginError};
use font8x8::{BASIC_FONTS, UnicodeFonts};

use crate::dataset::{BOXES, BOXES_MASK, IMAGE, PHRASES};

/// Sides of pictures that labels are legible in.
const SMALLEST_SIDE: u32 = 192;
/// One more pixel of a letter's dots for each so many of the picture's.
const SIDE_PER_DOT: u32 = 384;
const GAP: u32 = 6;
const BACKGROUND: [u8; 3] = [255; 3];
/// Colours that differ in hue and in lightness, one for each phrase of a sample.
const COLORS: [[u8; 3]; 8] = [
    [255, 214, 0],
    [230, 25, 75],
    [70, 240, 240],
    [145, 30, 180],
    [60, 180, 75],
    [255, 130, 48],
    [0, 90, 220],
    [250, 190, 212],
];

/// The boxes of one sample that are there: edges in 0..1, and phrases.
pub(crate) type Boxes<'a> = Vec<([f32; 4], &'a str)>;

/// The boxes of each of `count` samples.
///
/// # Errors
/// Columns that are missing or do not fit together.
pub(crate) fn boxes_of(samples: &Batch, count: usize) -> Result<Vec<Boxes<'_>>, PluginError> {
    let (_, edges) = samples.f32(BOXES)?;
    let (_, mask) = samples.f32(BOXES_MASK)?;
    let phrases = samples.texts(PHRASES)?;
    let slots = mask.len();
    if count == 0 || slots % count != 0 || edges.len() != 4 * slots || phrases.len() != slots {
        return Err(PluginError::contract(format!(
            "{count} samples with {slots} values in `{BOXES_MASK}`, {} in `{BOXES}` and {} in `{PHRASES}`",
            edges.len(),
            phrases.len()
        )));
    }
    let all: Vec<_> = (edges.chunks_exact(4).zip(phrases).zip(mask))
        .map(|((edges, phrase), mask)| {
            let edges = [edges[0], edges[1], edges[2], edges[3]];
            (*mask > 0.5).then_some((edges, phrase.as_str()))
        })
        .collect();
    Ok(all
        .chunks((slots / count).max(1))
        .map(|sample| sample.iter().flatten().copied().collect())
        .collect())
}

/// Generated pictures with their boxes, each with the truth to its right where that is known.
///
/// # Errors
/// Columns that are missing or do not fit together.
pub(crate) fn picture(samples: &Batch) -> Result<Option<Picture>, PluginError> {
    let generated = samples.pictures("generated")?;
    if generated.is_empty() {
        return Ok(None);
    }
    let truth = match samples.column(IMAGE) {
        Some(_) => samples.pictures(IMAGE)?,
        None => Vec::new(),
    };
    let boxes = match samples.column(BOXES) {
        Some(_) => boxes_of(samples, generated.len())?,
        None => vec![Vec::new(); generated.len()],
    };
    let tiles = (generated.iter().zip(boxes).enumerate()).map(|(index, (generated, boxes))| {
        let mut pair = vec![with_boxes(generated, &boxes)];
        pair.extend(truth.get(index).map(|truth| with_boxes(truth, &boxes)));
        pair
    });
    Ok(sheet(tiles.collect()))
}

/// The tiles of several samples on one sheet, about as wide as high.
pub(crate) fn sheet(tiles: Vec<Vec<Picture>>) -> Option<Picture> {
    let pairs: Vec<Picture> = tiles
        .into_iter()
        .filter_map(|tile| Picture::grid(&[tile], 2, BACKGROUND))
        .collect();
    let first = pairs.first()?;
    let (width, height) = (f64::from(first.width()), f64::from(first.height()));
    let columns = ((pairs.len() as f64 * height / width).sqrt().ceil() as usize).max(1);
    let rows: Vec<Vec<Picture>> = pairs.chunks(columns).map(<[Picture]>::to_vec).collect();
    Picture::grid(&rows, GAP, BACKGROUND)
}

/// The picture, enlarged by a whole factor where it is small, with boxes and labels. Small boxes are drawn last, over large ones.
pub(crate) fn with_boxes(picture: &Picture, boxes: &Boxes<'_>) -> Picture {
    let side = picture.width().min(picture.height());
    let mut drawn = picture.enlarged(SMALLEST_SIDE.div_ceil(side));
    let (width, height) = (drawn.width(), drawn.height());
    let dot = (width.min(height) / SIDE_PER_DOT).max(1);
    let mut phrases: Vec<&str> = Vec::new();
    let mut labels = Vec::new();
    for (edges, phrase) in boxes {
        let place = phrases.iter().position(|known| known == phrase);
        let place = place.unwrap_or_else(|| {
            phrases.push(phrase);
            phrases.len() - 1
        });
        let color = COLORS[place % COLORS.len()];
        let pixel = |edge: f32, side: u32| (edge.clamp(0.0, 1.0) * side as f32).round() as u32;
        let (left, right) = (pixel(edges[0], width), pixel(edges[2], width));
        let (top, bottom) = (pixel(edges[1], height), pixel(edges[3], height));
        outline(&mut drawn, [left, top, right, bottom], 2 * dot, color);
        labels.push((left, top, *phrase, color));
    }
    // Labels last: no edge runs through one.
    for (left, top, phrase, color) in labels {
        label(&mut drawn, left, top, phrase, dot, color);
    }
    drawn
}

/// The edge of a box, drawn inside it.
fn outline(picture: &mut Picture, edges: [u32; 4], thick: u32, color: [u8; 3]) {
    let [left, top, right, bottom] = edges;
    let (width, height) = (right.saturating_sub(left), bottom.saturating_sub(top));
    let (across, down) = (thick.min(width), thick.min(height));
    let mut fill = |left, top, width, height| {
        let window = Window {
            left,
            top,
            width,
            height,
        };
        picture.fill(window, color);
    };
    fill(left, top, width, down);
    fill(left, bottom - down, width, down);
    fill(left, top, across, height);
    fill(right - across, top, across, height);
}

/// A phrase on a ground of its box's colour; moved into the picture, and cut where it is too long for it.
fn label(picture: &mut Picture, left: u32, top: u32, phrase: &str, dot: u32, color: [u8; 3]) {
    let letter = 8 * dot;
    let fitting = (picture.width().saturating_sub(2 * dot) / letter) as usize;
    let letters: Vec<char> = phrase.chars().take(fitting).collect();
    let ground = Window {
        left: 0,
        top: 0,
        width: letters.len() as u32 * letter + 2 * dot,
        height: letter + 2 * dot,
    };
    let left = left.min(picture.width().saturating_sub(ground.width));
    let top = top.min(picture.height().saturating_sub(ground.height));
    let ground = Window {
        left,
        top,
        ..ground
    };
    picture.fill(ground, color);
    let [red, green, blue] = color.map(u32::from);
    let is_light = 299 * red + 587 * green + 114 * blue > 128_000;
    let ink = if is_light { [0; 3] } else { [255; 3] };
    for (place, letter_char) in (0..).zip(letters) {
        let rows = BASIC_FONTS
            .get(letter_char)
            .or_else(|| BASIC_FONTS.get('?'))
            .unwrap_or_default();
        for (row, bits) in (0..).zip(rows) {
            for column in (0..8).filter(|column| bits >> column & 1 == 1) {
                let window = Window {
                    left: left + dot + place * letter + column * dot,
                    top: top + dot + row * dot,
                    width: dot,
                    height: dot,
                };
                picture.fill(window, ink);
            }
        }
    }
}
