//! Classes, boxes, words and a camera beside the points, in the faults that are about them.

use dsl_sdk::{Column, ColumnData, ColumnRole, ColumnSpec, DType, Injection};

use crate::fault::Fault;

/// The word that is to be learned, in the name of every point.
pub(crate) const WORD: &str = "<dot>";

/// Boxes of a sample; every second sample leaves the last one empty.
const BOXES: u64 = 2;

impl Fault {
    /// Whether points have all of this.
    pub(crate) const fn is_conditioned(self) -> bool {
        matches!(
            self,
            Self::Conditioned
                | Self::LabelOutOfRange
                | Self::BoxOutOfRange
                | Self::MaskBetween
                | Self::PhraseWithoutBox
                | Self::TokenNeverSaid
                | Self::ElevationInDegrees
        )
    }
}

pub(crate) fn injections() -> Vec<Injection> {
    vec![
        Injection::ClassLabel {
            column: "label".into(),
            classes: 3,
            dropout: 0.1,
        },
        Injection::GroundingTokens {
            boxes: "boxes".into(),
            phrases: "phrases".into(),
            mask: "mask".into(),
            dropout: 0.1,
        },
        Injection::LearnedTokens {
            tokens: vec![WORD.into()],
            initializer: "point".into(),
        },
        Injection::CameraRegression {
            elevation: "elevation".into(),
            inverse_focal: "inverse_focal".into(),
            weight: 1.0,
        },
    ]
}

pub(crate) fn columns() -> Vec<ColumnSpec> {
    let column = |name: &str, dtype, shape: &[u64]| ColumnSpec {
        name: name.into(),
        dtype,
        shape: shape.iter().copied().map(Some).collect(),
        role: ColumnRole::Other,
    };
    vec![
        column("label", DType::I64, &[]),
        column("boxes", DType::F32, &[BOXES, 4]),
        column("phrases", DType::Text, &[BOXES]),
        column("mask", DType::F32, &[BOXES]),
        column("elevation", DType::F32, &[]),
        column("inverse_focal", DType::F32, &[]),
    ]
}

pub(crate) fn batch(fault: Fault, indices: &[u64]) -> Vec<Column> {
    let (mut labels, mut boxes, mut phrases, mut mask, mut elevation) =
        (vec![], vec![], vec![], vec![], vec![]);
    for index in indices {
        let classes = match fault {
            Fault::LabelOutOfRange => 4,
            _ => 3,
        };
        labels.push((index % classes) as i64);
        for place in 0..BOXES {
            let is_there = place == 0 || index % 2 == 0;
            let right = match fault {
                Fault::BoxOutOfRange => 1.5,
                _ => 0.75,
            };
            boxes.extend(match is_there {
                true => [0.25, 0.25, right, 0.5],
                false => [0.0; 4],
            });
            let has_phrase = is_there || fault == Fault::PhraseWithoutBox;
            phrases.push(match has_phrase {
                true => format!("part {place} of point {index}"),
                false => String::new(),
            });
            mask.push(match (is_there, fault) {
                (true, Fault::MaskBetween) => 0.5,
                (true, _) => 1.0,
                (false, _) => 0.0,
            });
        }
        elevation.push(match fault {
            Fault::ElevationInDegrees => 30.0,
            _ => 0.5,
        });
    }
    let count = indices.len() as u64;
    let floats = |shape: &[u64], values| ColumnData::F32 {
        shape: [&[count], shape].concat(),
        values,
    };
    let labels = ColumnData::I64 {
        shape: vec![count],
        values: labels,
    };
    [
        ("label", labels),
        ("boxes", floats(&[BOXES, 4], boxes)),
        ("phrases", ColumnData::Text(phrases)),
        ("mask", floats(&[BOXES], mask)),
        ("elevation", floats(&[], elevation)),
        ("inverse_focal", floats(&[], vec![0.5; indices.len()])),
    ]
    .map(|(name, data)| Column {
        name: name.into(),
        data,
    })
    .into()
}
