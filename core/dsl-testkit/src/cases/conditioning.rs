//! Whether columns hold what their injections say; the loader checks that they are there, with their types and shapes.

use dsl_loader::{HostColumn, HostColumnData, Injection};

use super::case;
use crate::{
    Case,
    case::{Outcome, Verdict},
    context::{Context, seeds, some_indices},
};

/// Samples of each split that are looked at.
const SAMPLES: usize = 64;

pub(super) const CASES: &[Case] = &[
    case(
        "conditioning-in-range",
        "Classes, boxes, masks and cameras lie in the range that their injection names, and an empty box has no phrase",
        in_range,
    ),
    case(
        "learned-tokens-said",
        "The texts of the split `train` say every word that is to be learned",
        tokens_said,
    ),
];

fn in_range(context: &Context) -> Outcome {
    let (_, task) = context.task()?;
    let injections = &task.describe().injections;
    if injections.is_empty() {
        return Ok(Verdict::skipped("nothing conditions the network"));
    }
    for split in task.splits() {
        let dataset = task.dataset(split)?;
        if dataset.is_empty() {
            continue;
        }
        let indices = some_indices(&dataset, SAMPLES);
        for augment in [false, true] {
            let columns = dataset.batch(&indices, &seeds(&indices, 5), augment)?;
            if let Some(problem) = out_of_range(injections, &columns) {
                return Err(Verdict::failed(format!("split `{split}`: {problem}")));
            }
        }
    }
    Ok(Verdict::passed(""))
}

fn numbers<'a>(columns: &'a [HostColumn], name: &str) -> &'a [f32] {
    let column = columns.iter().find(|column| column.name == name);
    match column.map(|column| &column.data) {
        Some(HostColumnData::Tensor(tensor)) => tensor.as_f32().unwrap_or_default(),
        _ => &[],
    }
}

fn texts<'a>(columns: &'a [HostColumn], name: &str) -> &'a [String] {
    let column = columns.iter().find(|column| column.name == name);
    match column.map(|column| &column.data) {
        Some(HostColumnData::Text(texts)) => texts,
        _ => &[],
    }
}

/// The first value that is not as its injection says, in words. Columns that are not there are not looked at.
pub(super) fn out_of_range(injections: &[Injection], columns: &[HostColumn]) -> Option<String> {
    injections.iter().find_map(|injection| match injection {
        Injection::ClassLabel {
            column, classes, ..
        } => class_out_of_range(columns, column, *classes),
        Injection::GroundingTokens {
            boxes,
            phrases,
            mask,
            ..
        } => box_out_of_range(columns, boxes, phrases, mask),
        Injection::CameraRegression {
            elevation,
            inverse_focal,
            ..
        } => {
            let up = std::f32::consts::FRAC_PI_2 + 1e-4;
            let elevations = numbers(columns, elevation).iter();
            let focals = numbers(columns, inverse_focal).iter();
            let odd = |name: &str, value: &f32, expected: &str| {
                format!("column `{name}` has the value {value}, expected {expected}")
            };
            (elevations.clone())
                .find(|value| !(-up..=up).contains(*value))
                .map(|value| odd(elevation, value, "radians in −π/2..π/2"))
                .or_else(|| {
                    focals
                        .clone()
                        .find(|value| **value < 0.0)
                        .map(|value| odd(inverse_focal, value, "0 or more"))
                })
        }
        _ => None,
    })
}

fn class_out_of_range(columns: &[HostColumn], name: &str, classes: u64) -> Option<String> {
    let column = columns.iter().find(|column| column.name == name)?;
    let HostColumnData::Tensor(tensor) = &column.data else {
        return None;
    };
    let mut labels = tensor.as_i64()?.iter();
    let label =
        labels.find(|label| u64::try_from(**label).map_or(true, |label| label >= classes))?;
    Some(format!(
        "column `{name}` has the class {label}, expected 0..{classes}"
    ))
}

fn box_out_of_range(
    columns: &[HostColumn],
    boxes: &str,
    phrases: &str,
    mask: &str,
) -> Option<String> {
    let corners = numbers(columns, boxes).chunks(4);
    let present = numbers(columns, mask);
    if let Some(value) = present
        .iter()
        .find(|value| **value != 0.0 && **value != 1.0)
    {
        return Some(format!(
            "column `{mask}` has the value {value}, expected 1 for a box and 0 for none"
        ));
    }
    let is_box = |corners: &[f32]| {
        let in_picture = corners.iter().all(|value| (0.0..=1.0).contains(value));
        matches!(corners, [left, top, right, bottom] if in_picture && left < right && top < bottom)
    };
    let there = corners.zip(present).filter(|(_, present)| **present == 1.0);
    if let Some((corners, _)) = there.clone().find(|(corners, _)| !is_box(corners)) {
        return Some(format!(
            "column `{boxes}` has the box {corners:?}, expected left < right and top < bottom in 0..1"
        ));
    }
    let phrase = (texts(columns, phrases).iter().zip(present))
        .find(|(phrase, present)| **present == 0.0 && !phrase.is_empty());
    phrase.map(|(phrase, _)| {
        format!("column `{phrases}` has the phrase `{phrase}` where there is no box")
    })
}

fn tokens_said(context: &Context) -> Outcome {
    let (_, task) = context.task()?;
    let injections = &task.describe().injections;
    let tokens = injections.iter().find_map(|injection| match injection {
        Injection::LearnedTokens { tokens, .. } => Some(tokens),
        _ => None,
    });
    let column = injections.iter().find_map(|injection| match injection {
        Injection::CrossAttention { column, .. } => Some(column),
        _ => None,
    });
    let Some((tokens, column)) = tokens.zip(column) else {
        return Ok(Verdict::skipped("no words are to be learned"));
    };
    let dataset = task.dataset("train")?;
    if dataset.is_empty() {
        return Ok(Verdict::skipped("the split `train` is empty"));
    }
    let indices = some_indices(&dataset, SAMPLES);
    let mut said = Vec::new();
    for augment in [false, true] {
        let columns = dataset.batch(&indices, &seeds(&indices, 5), augment)?;
        said.extend_from_slice(texts(&columns, column));
    }
    match (tokens.iter()).find(|token| !said.iter().any(|text| text.contains(token.as_str()))) {
        None => Ok(Verdict::passed(tokens.join(", "))),
        Some(token) => Err(Verdict::failed(format!(
            "no text of {} says `{token}`, such as `{}`",
            said.len(),
            said.first().map_or("", String::as_str)
        ))
        .with_help("a word that no text says is never trained")),
    }
}
