//! Conditions of a user's own: a caption and boxes, as `dsl-host sample --input KEY=VALUE` gives them.

use dsl_sdk::captions;
use dsl_sdk::serde_json::{self, Value};
use dsl_sdk::{Batch, PluginError};

use crate::config::DataConfig;
use crate::dataset::Conditions;
use crate::regions::{Place, Region, pseudo_caption, shares, with_phrases};

const ORIGIN: &str = "input";
const HELP: &str = "give `caption` as text, and `boxes` as `left,top,right,bottom,phrase; …` with edges in 0..1, such as \
                    `0.1,0.1,0.5,0.5,tree`, or as JSON: [{\"xyxy\": [0.1, 0.1, 0.5, 0.5], \"phrase\": \"tree\"}]";

/// One sample of the conditions in `inputs`: `caption` (without, the phrases), and `boxes`, in the order given.
///
/// # Errors
/// Other keys, boxes that cannot be, and more of them than the network was told of.
pub(crate) fn conditions(inputs: &Value, config: &DataConfig) -> Result<Batch, PluginError> {
    let wrong = |why: String| PluginError::config(why).with_help(HELP);
    let Value::Object(inputs) = inputs else {
        return Err(wrong(format!(
            "the inputs are {inputs}, expected an object"
        )));
    };
    let mut regions = Vec::new();
    let mut caption = None;
    for (key, value) in inputs {
        match (key.as_str(), value) {
            ("caption", Value::String(text)) => caption = Some(captions::clean(text)),
            ("boxes", value) => regions = boxes(value)?,
            ("caption", other) => {
                return Err(wrong(format!("`caption` is {other}, expected a text")));
            }
            (other, _) => {
                return Err(wrong(format!(
                    "there is no input `{other}`; there are: `caption`, `boxes`"
                )));
            }
        }
    }
    let most = config.max_boxes as usize;
    if regions.len() > most {
        return Err(wrong(format!(
            "`boxes` holds {} boxes, but `task.data.max_boxes` is {most}",
            regions.len()
        )));
    }
    let phrases = || regions.iter().map(|region| region.phrase.as_str());
    let caption = caption.unwrap_or_else(|| pseudo_caption(phrases()));
    let edges = regions.iter().map(|region| match region.place {
        Place::Shares(place) | Place::Pixels(place) => place.normalized(1, 1),
    });
    let boxes: Vec<_> = edges.zip(phrases()).collect();
    let mut conditions = Conditions::default();
    conditions.push(caption, &boxes, config);
    Ok(Batch {
        columns: conditions.into_columns(config),
    })
}

fn boxes(value: &Value) -> Result<Vec<Region>, PluginError> {
    match value {
        Value::String(text) if text.trim_start().starts_with('[') => {
            let value = serde_json::from_str(text).map_err(|error| {
                PluginError::config(format!("`boxes` is not JSON: {error}")).with_help(HELP)
            })?;
            with_phrases(&value, ORIGIN)
        }
        Value::String(text) => {
            let parts = text.split(';').map(str::trim).enumerate();
            parts
                .filter(|(_, part)| !part.is_empty())
                .map(|(index, part)| of_text(part, &format!("boxes[{index}]")))
                .collect()
        }
        list => with_phrases(list, ORIGIN),
    }
    .map_err(|error| error.with_help(HELP))
}

/// A box of `left,top,right,bottom,phrase`; the phrase may hold commas.
fn of_text(part: &str, field: &str) -> Result<Region, PluginError> {
    let pieces: Vec<&str> = part.splitn(5, ',').map(str::trim).collect();
    let edges: Option<Vec<f32>> = pieces
        .iter()
        .take(4)
        .map(|piece| piece.parse().ok().filter(|edge: &f32| edge.is_finite()))
        .collect();
    let edges = edges.and_then(|edges| <[f32; 4]>::try_from(edges).ok());
    let Some(edges) = edges else {
        return Err(PluginError::config(format!(
            "{ORIGIN}: `{field}` is `{part}`, expected left,top,right,bottom,phrase"
        )));
    };
    let phrase = captions::clean(pieces.get(4).unwrap_or(&""));
    if phrase.is_empty() {
        return Err(PluginError::config(format!(
            "{ORIGIN}: `{field}` is `{part}`, which has no phrase"
        )));
    }
    Ok(Region {
        place: Place::Shares(shares(edges, ORIGIN, field)?),
        phrase,
    })
}
