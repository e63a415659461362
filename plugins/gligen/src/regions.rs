//! Boxes with phrases: reading them from records, checking them, and moving them along with their picture.

use dsl_sdk::PluginError;
use dsl_sdk::boxes::PixelBox;
use dsl_sdk::captions;
use dsl_sdk::image::{Resize, Window};
use dsl_sdk::serde_json::{Map, Value};

/// Records round to whole pixels, or to a few digits: by so much a box may reach outside, and is then cut.
const PIXEL_TOLERANCE: f32 = 1.0;
const SHARE_TOLERANCE: f32 = 0.005;

const HELP: &str = "boxes are `objects: {bbox: [[x, y, width, height], …], categories: [text, …]}` in pixels, or `boxes: [{xyxy: [left, \
                    top, right, bottom], phrase: text}, …]` in 0..1; `task.data.on_error: skip` leaves such pictures out";

/// A box and what is in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Region {
    pub place: Place,
    pub phrase: String,
}

/// Where a box is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// In pixels of the file.
    Pixels(PixelBox),
    /// In shares of the picture's sides, 0..1.
    Shares(PixelBox),
}

/// What is wrong with the field of a record.
fn wrong(origin: &str, field: &str, why: &str) -> PluginError {
    PluginError::config(format!("{origin}: `{field}` {why}")).with_help(HELP)
}

/// The boxes of a record: its `boxes`, or else its `objects`.
///
/// # Errors
/// A record with neither, and boxes or phrases that cannot be; each with the record's place and the field.
pub(crate) fn regions_of(
    record: &Map<String, Value>,
    origin: &str,
) -> Result<Vec<Region>, PluginError> {
    if let Some(boxes) = record.get("boxes") {
        return with_phrases(boxes, origin);
    }
    let Some(objects) = record.get("objects") else {
        let keys: Vec<_> = record.keys().map(|key| format!("`{key}`")).collect();
        let there = if keys.is_empty() {
            "nothing".to_owned()
        } else {
            keys.join(", ")
        };
        return Err(PluginError::config(format!(
            "{origin}: there are no boxes: neither `boxes` nor `objects`; there is {there}"
        ))
        .with_help(HELP));
    };
    let boxes = list(objects.get("bbox"), origin, "objects.bbox")?;
    let (names, field) = match (objects.get("categories"), objects.get("category")) {
        (None, Some(names)) => (Some(names), "objects.category"),
        (names, _) => (names, "objects.categories"),
    };
    let names = list(names, origin, field)?;
    if boxes.len() != names.len() {
        let why = format!("holds {} phrases for {} boxes", names.len(), boxes.len());
        return Err(wrong(origin, field, &why));
    }
    (boxes.iter().zip(names).enumerate())
        .map(|(index, (place, name))| {
            let phrase = phrase_of(Some(name), origin, &format!("{field}[{index}]"))?;
            let field = format!("objects.bbox[{index}]");
            let place = PixelBox::from_xywh(four_numbers(place, origin, &field)?);
            let place = Place::Pixels(not_empty(place, origin, &field)?);
            Ok(Region { place, phrase })
        })
        .collect()
}

/// The boxes of a list of `{xyxy, phrase}`, in 0..1.
///
/// # Errors
/// As [`regions_of`].
pub(crate) fn with_phrases(boxes: &Value, origin: &str) -> Result<Vec<Region>, PluginError> {
    let boxes = list(Some(boxes), origin, "boxes")?;
    (boxes.iter().enumerate())
        .map(|(index, item)| {
            let field = format!("boxes[{index}]");
            let Value::Object(item) = item else {
                let why = format!("is {item}, expected {{\"xyxy\": […], \"phrase\": …}}");
                return Err(wrong(origin, &field, &why));
            };
            let known = ["xyxy", "phrase"];
            if let Some(key) = item.keys().find(|key| !known.contains(&key.as_str())) {
                let why = format!("has the key `{key}`, expected `xyxy` and `phrase`");
                return Err(wrong(origin, &field, &why));
            }
            let phrase = phrase_of(item.get("phrase"), origin, &format!("{field}.phrase"))?;
            let field = format!("{field}.xyxy");
            let place = four_numbers(item.get("xyxy").unwrap_or(&Value::Null), origin, &field)?;
            Ok(Region {
                place: Place::Shares(shares(place, origin, &field)?),
                phrase,
            })
        })
        .collect()
}

/// A box in shares of a picture's sides, checked.
pub(crate) fn shares(
    [left, top, right, bottom]: [f32; 4],
    origin: &str,
    field: &str,
) -> Result<PixelBox, PluginError> {
    let place = PixelBox {
        left,
        top,
        right,
        bottom,
    };
    let place = not_empty(place, origin, field)?;
    let cut = inside(place, (1.0, 1.0), SHARE_TOLERANCE).ok_or_else(|| {
        let why = format!("reaches outside of 0..1: {}", edges(place));
        wrong(origin, field, &why)
    })?;
    not_empty(cut, origin, field)
}

/// Checks what only the picture can tell: whether boxes in pixels lie inside it. `height` and `width` are the file's.
///
/// # Errors
/// The first box that reaches outside, by its field in the record.
pub(crate) fn check_inside(
    regions: &[Region],
    [height, width]: [u32; 2],
    origin: &str,
) -> Result<(), PluginError> {
    for (index, region) in regions.iter().enumerate() {
        let Place::Pixels(place) = region.place else {
            continue;
        };
        if inside(place, (width as f32, height as f32), PIXEL_TOLERANCE).is_none() {
            let why = format!(
                "reaches outside of the picture, which is {width} × {height} pixels: {}",
                edges(place)
            );
            return Err(wrong(origin, &format!("objects.bbox[{index}]"), &why));
        }
    }
    Ok(())
}

/// The box itself, cut at the edges, when it reaches beyond them by no more than `tolerance`.
fn inside(place: PixelBox, (width, height): (f32, f32), tolerance: f32) -> Option<PixelBox> {
    let far = |low: f32, high: f32, end: f32| low < -tolerance || high > end + tolerance;
    if far(place.left, place.right, width) || far(place.top, place.bottom, height) {
        return None;
    }
    Some(PixelBox {
        left: place.left.max(0.0),
        top: place.top.max(0.0),
        right: place.right.min(width),
        bottom: place.bottom.min(height),
    })
}

fn not_empty(place: PixelBox, origin: &str, field: &str) -> Result<PixelBox, PluginError> {
    let why = if place.right < place.left || place.bottom < place.top {
        "is reversed"
    } else if place.right == place.left || place.bottom == place.top {
        "is empty"
    } else {
        return Ok(place);
    };
    Err(wrong(origin, field, &format!("{why}: {}", edges(place))))
}

fn edges(place: PixelBox) -> String {
    format!(
        "left {}, top {}, right {}, bottom {}",
        place.left, place.top, place.right, place.bottom
    )
}

fn list<'a>(
    value: Option<&'a Value>,
    origin: &str,
    field: &str,
) -> Result<&'a [Value], PluginError> {
    match value {
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(wrong(
            origin,
            field,
            &format!("is {other}, expected a list"),
        )),
        None => Err(wrong(origin, field, "is missing")),
    }
}

fn four_numbers(value: &Value, origin: &str, field: &str) -> Result<[f32; 4], PluginError> {
    let numbers: Option<Vec<f32>> = value.as_array().and_then(|items| {
        let number = |item: &Value| item.as_f64().map(|number| number as f32);
        items.iter().map(number).collect()
    });
    let finite = |numbers: &Vec<f32>| numbers.iter().all(|number| number.is_finite());
    numbers
        .filter(finite)
        .and_then(|numbers| <[f32; 4]>::try_from(numbers).ok())
        .ok_or_else(|| {
            let why = match value {
                Value::Null => "is missing".to_owned(),
                other => format!("is {other}, expected four finite numbers"),
            };
            wrong(origin, field, &why)
        })
}

fn phrase_of(value: Option<&Value>, origin: &str, field: &str) -> Result<String, PluginError> {
    let phrase = value.and_then(Value::as_str).map(captions::clean);
    phrase.filter(|phrase| !phrase.is_empty()).ok_or_else(|| {
        let why = match value {
            None => "is missing".to_owned(),
            Some(other) => format!("is {other}, expected a phrase"),
        };
        wrong(origin, field, &why)
    })
}

/// How a picture became a sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    /// Height and width of the file.
    pub original: [u32; 2],
    pub resolution: u32,
    pub resize: Resize,
    pub window: Window,
    pub flip: bool,
}

/// The boxes of the sample in 0..1, the largest first, with their phrases: cut at the edges, without those that cover less than
/// `min_area` of the sample, and at most `most`.
pub(crate) fn in_sample(
    regions: &[Region],
    moved: Moved,
    min_area: f64,
    most: usize,
) -> Vec<([f32; 4], &str)> {
    let [height, width] = moved.original;
    let (wide, high) = (moved.window.width, moved.window.height);
    let mut found: Vec<(f32, [f32; 4], &str)> = regions
        .iter()
        .filter_map(|region| {
            let place = match region.place {
                Place::Pixels(place) => place,
                Place::Shares(place) => PixelBox {
                    left: place.left * width as f32,
                    top: place.top * height as f32,
                    right: place.right * width as f32,
                    bottom: place.bottom * height as f32,
                },
            };
            let fitted = place.fit(width, height, moved.resolution, moved.resize);
            let cut = fitted.crop(moved.window)?;
            let turned = if moved.flip { cut.flip(wide) } else { cut };
            let share = turned.area() / (wide as f32 * high as f32);
            (f64::from(share) >= min_area).then(|| {
                let edges = turned.normalized(wide, high);
                (share, edges, region.phrase.as_str())
            })
        })
        .collect();
    // Stable: of equally large ones, the first.
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.truncate(most);
    found
        .into_iter()
        .map(|(_, edges, phrase)| (edges, phrase))
        .collect()
}

/// The phrases, each once, as a caption of their own.
pub(crate) fn pseudo_caption<'a>(phrases: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = Vec::new();
    for phrase in phrases {
        if !names.contains(&phrase) {
            names.push(phrase);
        }
    }
    names.join(", ")
}
