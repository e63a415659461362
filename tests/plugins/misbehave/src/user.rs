//! What a user gives and sees: conditions of their own, and pictures.

use std::sync::atomic::{AtomicU64, Ordering};

use dsl_sdk::{
    Batch, Column, ColumnData, PluginError,
    image::Picture,
    serde_json::{Map, Value},
};

use crate::fault::Fault;

/// How many pictures and conditions there were.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// The name of a point.
pub(crate) fn conditions(fault: Fault, inputs: &Map<String, Value>) -> Result<Batch, PluginError> {
    fault.panic_if(Fault::PanicInConditions, "in conditions");
    let unknown = inputs.keys().find(|key| *key != "name");
    if let Some(key) = unknown.filter(|_| fault != Fault::AnyInputs) {
        return Err(PluginError::config(format!("there is no input `{key}`"))
            .with_help("the one input is `name`"));
    }
    let Some(name) = inputs.get("name") else {
        return Ok(Batch::default());
    };
    let text = name.as_str();
    if fault == Fault::PanicOnOddInput {
        assert!(text.is_some(), "told to panic at an odd input");
    }
    let text = text.ok_or_else(|| {
        PluginError::config(format!("the input `name` is {name}, expected a text"))
    })?;
    let texts = match fault {
        Fault::ConditionsTwice => vec![text.to_owned(); 2],
        Fault::ConditionsChange => vec![format!("{text} {}", CALLS.fetch_add(1, Ordering::SeqCst))],
        _ => vec![text.to_owned()],
    };
    Ok(Batch {
        columns: vec![Column {
            name: "name".into(),
            data: ColumnData::Text(texts),
        }],
    })
}

/// A row of pixels for each sample: its values, and after them the true ones where they are known.
pub(crate) fn picture(fault: Fault, samples: &Batch) -> Result<Option<Picture>, PluginError> {
    fault.panic_if(Fault::PanicInPicture, "in a picture");
    if fault == Fault::PicturesNothing {
        return Ok(Picture::from_rgb(1, 1, vec![0; 3]));
    }
    if fault == Fault::PanicOnMissingCondition {
        assert!(samples.texts("name").is_ok(), "told to panic without names");
    }
    let names = samples.texts("name")?;
    let (_, generated) = samples.f32("generated")?;
    let truth = match samples.f32("point") {
        Ok((_, truth)) => truth,
        Err(error) if fault == Fault::PictureNeedsTruth => return Err(error),
        Err(_) => &[],
    };
    let shift = match fault {
        Fault::PictureChanges => CALLS.fetch_add(1, Ordering::SeqCst) as u8,
        _ => 0,
    };
    let shade = |value: &f32| ((value.clamp(-1.0, 1.0) + 1.0) * 100.0) as u8 + shift % 50;
    let width = (generated.len() + truth.len()) / names.len().max(1);
    let mut pixels = Vec::new();
    for row in 0..names.len() {
        for values in [generated, truth] {
            let length = values.len() / names.len();
            let row = &values[row * length..(row + 1) * length];
            pixels.extend(row.iter().flat_map(|value| [shade(value); 3]));
        }
    }
    Ok(Picture::from_rgb(width as u32, names.len() as u32, pixels))
}
