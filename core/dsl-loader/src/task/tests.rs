//! Tasks that break the rules below the SDK, which would not let them.

use std::sync::{Arc, Mutex};

use dsl_abi::{
    AbiError, BatchColumns, BatchView, Buffer, RawDType, RawErrorCode, Tensor, TextColumn,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{RErr, RNone, ROk, ROption, RResult, RSlice, RSome, RStr, RString},
    },
    task::{
        DatasetMethods, DatasetMethods_TO, DatasetObject, EvaluatorObject, TaskMethods,
        TaskMethods_TO,
    },
    tensor::{join_texts, split_texts},
};

use super::*;
use crate::{ErrorCode, HostColumnData, InputData};

/// What a user may give; anything else is an error of the plugin.
const INPUTS: &str = r#"{"caption":"a toy"}"#;

/// Answers with what it was given.
#[derive(Default)]
struct Raw {
    injections: &'static str,
    conditions: Mutex<Option<BatchColumns>>,
    picture: Mutex<Option<Tensor>>,
    /// What a picture was asked for with.
    samples: Arc<Mutex<Vec<String>>>,
}

const COLUMNS: &str = r#"[{"name":"image","dtype":"f32","shape":[3,2,2],"role":"image"},
    {"name":"caption","dtype":"text","shape":[],"role":"text"},
    {"name":"phrases","dtype":"text","shape":[2],"role":"text"},
    {"name":"low","dtype":"f32","shape":[3,2,2],"role":"image"}]"#;

impl TaskMethods for Raw {
    fn describe(&self) -> RResult<RString, AbiError> {
        let injections = self.injections;
        ROk(
            format!(r#"{{"target":"image","injections":[{injections}],"sample_prompts":[]}}"#)
                .into(),
        )
    }

    fn splits(&self) -> RResult<RString, AbiError> {
        ROk(r#"["train"]"#.into())
    }

    fn dataset(&self, _: RStr<'_>) -> RResult<DatasetObject, AbiError> {
        ROk(DatasetMethods_TO::from_value(Nothing, TD_Opaque))
    }

    fn evaluator(&self) -> RResult<ROption<EvaluatorObject>, AbiError> {
        ROk(RNone)
    }

    fn conditions(&self, inputs: RStr<'_>) -> RResult<BatchColumns, AbiError> {
        if inputs.as_str() != INPUTS {
            return RErr(AbiError {
                code: RawErrorCode::CONFIG,
                message: format!("no such inputs: {inputs}").into(),
                help: "give a caption".into(),
                detail: RString::new(),
            });
        }
        ROk(self.conditions.lock().unwrap().take().unwrap())
    }

    fn picture(&self, samples: &BatchView<'_>) -> RResult<ROption<Tensor>, AbiError> {
        let mut seen = self.samples.lock().unwrap();
        for tensor in samples.tensors {
            seen.push(format!("{} {:?}", tensor.name, tensor.shape));
        }
        for text in samples.texts {
            let texts = split_texts(text.bytes.as_slice(), text.offsets.as_slice()).unwrap();
            seen.push(format!("{} {texts:?}", text.name));
        }
        ROk(self.picture.lock().unwrap().take().map_or(RNone, RSome))
    }
}

/// A dataset that is only asked for its columns.
struct Nothing;

impl DatasetMethods for Nothing {
    fn len(&self) -> RResult<u64, AbiError> {
        ROk(0)
    }

    fn columns(&self) -> RResult<RString, AbiError> {
        ROk(COLUMNS.into())
    }

    fn batch(
        &self,
        _: RSlice<'_, u64>,
        _: RSlice<'_, u64>,
        _: bool,
    ) -> RResult<BatchColumns, AbiError> {
        unreachable!("nobody asks for samples")
    }
}

fn task(raw: Raw) -> Result<TaskHandle, LoaderError> {
    let caller = Caller {
        plugin: "raw".into(),
    };
    TaskHandle::new(caller, TaskMethods_TO::from_value(raw, TD_Opaque), None)
}

fn tensor(name: &str, dtype: RawDType, shape: &[u64], data: Buffer) -> Tensor {
    Tensor {
        name: name.into(),
        dtype,
        shape: shape.to_vec().into(),
        data,
    }
}

fn floats(name: &str, shape: &[u64]) -> Tensor {
    let values = vec![0.5_f32; shape.iter().product::<u64>() as usize];
    tensor(name, RawDType::F32, shape, Buffer::from_vec(values))
}

fn texts(name: &str, texts: &[&str]) -> TextColumn {
    let (bytes, offsets) = join_texts(texts);
    TextColumn {
        name: name.into(),
        bytes: Buffer::from_vec(bytes),
        offsets: Buffer::from_vec(offsets),
    }
}

#[test]
fn descriptions_that_cannot_be_are_refused() {
    let refused = |injections| {
        let error = task(Raw {
            injections,
            ..Raw::default()
        });
        let error = error.and_then(|task| task.dataset("train")).unwrap_err();
        assert!(matches!(error, LoaderError::Contract { .. }), "{error:?}");
        error.to_string()
    };
    assert_eq!(
        refused(r#"{"kind":"cross_attention","column":"caption","dropout":2}"#),
        "plugin `raw`, describe: expected a dropout in 0..1 for injection cross_attention, found 2.0"
    );
    assert_eq!(
        refused(r#"{"kind":"class_label","column":"low","classes":3,"dropout":0}"#),
        "plugin `raw`, columns of dataset `train`: expected i64 [] in `low` for injection class_label, found f32 [3, 2, 2]"
    );
}

fn conditions(
    tensors: Vec<Tensor>,
    texts: Vec<TextColumn>,
) -> Result<Vec<HostColumn>, LoaderError> {
    let batch = BatchColumns {
        tensors: tensors.into(),
        texts: texts.into(),
    };
    let raw = Raw {
        conditions: Mutex::new(Some(batch)),
        ..Raw::default()
    };
    task(raw)?.conditions(&serde_json::from_str(INPUTS).unwrap())
}

#[test]
fn conditions_are_some_of_the_columns_in_the_declared_order() {
    // A user's picture is as large as it is.
    let low = floats("low", &[1, 3, 5, 4]);
    let address = low.data.as_bytes().as_ptr();
    let columns = conditions(
        vec![low],
        vec![texts("phrases", &["a", "b"]), texts("caption", &["a toy"])],
    )
    .unwrap();
    let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["caption", "phrases", "low"]);
    let (HostColumnData::Text(phrases), HostColumnData::Tensor(low)) =
        (&columns[1].data, &columns[2].data)
    else {
        panic!("{columns:?}")
    };
    assert_eq!(phrases, &["a", "b"]);
    assert_eq!(low.bytes().as_ptr(), address);
    assert!(conditions(vec![], vec![]).unwrap().is_empty());
}

#[test]
fn conditions_that_break_the_contract_are_refused() {
    for (tensors, texts, expected) in [
        (
            vec![floats("low", &[2, 3, 2, 2])],
            vec![],
            "expected shape [1, 3, _, _] for column `low`, found shape [2, 3, 2, 2]",
        ),
        (
            vec![floats("image", &[1, 3, 2, 2])],
            vec![],
            "expected conditions, found the target `image` among them",
        ),
        (
            vec![floats("mood", &[1])],
            vec![],
            "expected only the declared columns (`image`, `caption`, `phrases`, `low`) for column `mood`, found a further \
             column",
        ),
        (
            vec![],
            vec![texts("phrases", &["a"])],
            "expected 2 texts for 1 samples for column `phrases`, found 1",
        ),
        (
            vec![],
            vec![texts("caption", &["a"]), texts("caption", &["a"])],
            "expected one column of that name for column `caption`, found two",
        ),
    ] {
        let error = conditions(tensors, texts).unwrap_err();
        assert!(matches!(error, LoaderError::Contract { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!("plugin `raw`, conditions: {expected}")
        );
    }
}

#[test]
fn inputs_that_cannot_be_are_an_error_of_the_plugin() {
    let inputs = serde_json::json!({"mood": "blue"});
    let error = task(Raw::default())
        .unwrap()
        .conditions(&inputs)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"plugin `raw`, conditions: no such inputs: {"mood":"blue"}"#
    );
    assert_eq!(error.help().unwrap(), "give a caption");
    assert!(
        matches!(error, LoaderError::Plugin { code, .. } if code == ErrorCode::Config),
        "{error:?}"
    );
}

fn picture(picture: Option<Tensor>) -> Result<Option<RgbPicture>, LoaderError> {
    let raw = Raw {
        picture: Mutex::new(picture),
        ..Raw::default()
    };
    task(raw)?.picture(&[])
}

fn bytes(shape: &[u64], count: usize) -> Option<Tensor> {
    let data = Buffer::from_vec((0..count).map(|value| value as u8).collect());
    Some(tensor("picture", RawDType::U8, shape, data))
}

#[test]
fn a_picture_arrives_without_a_copy_or_not_at_all() {
    assert!(picture(None).unwrap().is_none());
    let made = bytes(&[2, 3, 3], 18);
    let address = made.as_ref().unwrap().data.as_bytes().as_ptr();
    let made = picture(made).unwrap().unwrap();
    assert_eq!((made.width, made.height), (3, 2));
    assert_eq!(made.bytes.as_ptr(), address);
    assert_eq!(made.bytes[17], 17);
}

#[test]
fn a_picture_is_asked_for_with_numbers_and_with_several_texts_a_sample() {
    let raw = Raw::default();
    let seen = raw.samples.clone();
    let phrases = ["a", "b", "c", "d"].map(str::to_owned);
    let shape = [2, 1];
    let generated = InputData::F32 {
        shape: &shape,
        values: &[0.0, 1.0],
    };
    let columns = [
        ("generated", generated),
        ("phrases", InputData::Text(&phrases)),
    ];
    let columns = columns.map(|(name, data)| InputColumn { name, data });
    task(raw).unwrap().picture(&columns).unwrap();
    assert_eq!(
        *seen.lock().unwrap(),
        ["generated [2, 1]", r#"phrases ["a", "b", "c", "d"]"#]
    );
}

#[test]
fn pictures_that_cannot_be_are_refused() {
    let form = "a picture, u8 [height, width, 3] with sides of 1 to 16384";
    let odd = tensor(
        "picture",
        RawDType(77),
        &[1, 1, 3],
        Buffer::from_vec(vec![0_u8; 3]),
    );
    for (made, expected) in [
        (bytes(&[0, 3, 3], 0), format!("{form}, found u8 [0, 3, 3]")),
        (
            bytes(&[1, 16_385, 3], 3 * 16_385),
            format!("{form}, found u8 [1, 16385, 3]"),
        ),
        (
            bytes(&[u64::MAX, u64::MAX, 3], 3),
            format!("{form}, found u8 [{0}, {0}, 3]", u64::MAX),
        ),
        (bytes(&[2, 3], 6), format!("{form}, found u8 [2, 3]")),
        (bytes(&[2, 3, 4], 24), format!("{form}, found u8 [2, 3, 4]")),
        (
            Some(floats("picture", &[2, 3, 3])),
            format!("{form}, found f32 [2, 3, 3]"),
        ),
        (
            bytes(&[2, 3, 3], 17),
            "18 bytes for a picture of 3×2, found 17 bytes".to_owned(),
        ),
        (
            Some(odd),
            "data type u8, f32 or i64 for column `picture`, found data type number 77, which this host cannot read"
                .to_owned(),
        ),
    ] {
        let error = picture(made).unwrap_err();
        assert!(matches!(error, LoaderError::Contract { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!("plugin `raw`, picture: expected {expected}")
        );
    }
}
