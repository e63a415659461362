//! Captions with a gap for the new word. What stands around it varies, so that only what the pictures share is left to the word.

use crate::config::LearnableProperty;

/// The gap.
pub(crate) const GAP: &str = "{}";

const OBJECT: [&str; 27] = [
    "a photo of a {}",
    "a photo of the {}",
    "a photo of one {}",
    "a photo of my {}",
    "a good photo of a {}",
    "a close photo of the {}",
    "a bright photo of a {}",
    "a dark photo of the {}",
    "a sharp photo of a {}",
    "a blurred photo of the {}",
    "a small photo of a {}",
    "a large photo of the {}",
    "a picture of a {}",
    "a picture of the {}",
    "a nice picture of my {}",
    "a plain picture of a {}",
    "a view of a {}",
    "a view of the {}",
    "a side view of a {}",
    "a rendering of a {}",
    "a rendering of the {}",
    "a depiction of a {}",
    "a cropped picture of a {}",
    "a clean {}",
    "one {} on white",
    "the {} in the middle",
    "here is a {}",
];

const STYLE: [&str; 19] = [
    "a picture in the style of {}",
    "a painting in the style of {}",
    "a drawing in the style of {}",
    "a rendering in the style of {}",
    "a sketch in the style of {}",
    "a print in the style of {}",
    "a poster in the style of {}",
    "a photo in the style of {}",
    "an illustration in the style of {}",
    "a work of art in the style of {}",
    "a small painting in the style of {}",
    "a large painting in the style of {}",
    "a bright painting in the style of {}",
    "a dark painting in the style of {}",
    "a cropped painting in the style of {}",
    "a detail of a painting in the style of {}",
    "a quiet scene in the style of {}",
    "one more picture in the style of {}",
    "the world in the style of {}",
];

/// Captions worth sampling while training.
const OBJECT_PROMPTS: [&str; 4] = [
    "a photo of a {}",
    "a side view of a {}",
    "a drawing of a {}",
    "a red {}",
];
const STYLE_PROMPTS: [&str; 4] = [
    "a painting in the style of {}",
    "a house in the style of {}",
    "an apple in the style of {}",
    "a tree in the style of {}",
];

/// The captions to learn with.
pub(crate) fn templates(property: LearnableProperty) -> &'static [&'static str] {
    match property {
        LearnableProperty::Object => &OBJECT,
        LearnableProperty::Style => &STYLE,
    }
}

/// The captions to sample.
pub(crate) fn prompts(property: LearnableProperty) -> &'static [&'static str] {
    match property {
        LearnableProperty::Object => &OBJECT_PROMPTS,
        LearnableProperty::Style => &STYLE_PROMPTS,
    }
}
