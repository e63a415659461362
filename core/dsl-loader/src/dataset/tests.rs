//! Datasets that break the rules below the SDK, which would not let them.

use std::sync::Mutex;

use dsl_abi::{
    AbiError, BatchColumns, Buffer, RawDType, Tensor, TextColumn,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{ROk, RResult, RSlice, RString, RVec},
    },
    buffer::elements_of,
    task::{DatasetMethods, DatasetMethods_TO},
    tensor::join_texts,
};

use super::*;
use crate::HostColumnData;

/// Answers with what it was given.
struct Raw {
    columns: &'static str,
    batch: Mutex<Option<BatchColumns>>,
}

impl DatasetMethods for Raw {
    fn len(&self) -> RResult<u64, AbiError> {
        ROk(10)
    }

    fn columns(&self) -> RResult<RString, AbiError> {
        ROk(self.columns.into())
    }

    fn batch(
        &self,
        _: RSlice<'_, u64>,
        _: RSlice<'_, u64>,
        _: bool,
    ) -> RResult<BatchColumns, AbiError> {
        ROk(self.batch.lock().unwrap().take().unwrap())
    }
}

const COLUMNS: &str = r#"[{"name":"caption","dtype":"text","shape":[],"role":"text"},
    {"name":"image","dtype":"f32","shape":[3,null],"role":"image"}]"#;

fn handle(
    columns: &'static str,
    tensors: Vec<Tensor>,
    texts: Vec<TextColumn>,
) -> Result<DatasetHandle, LoaderError> {
    let batch = BatchColumns {
        tensors: tensors.into(),
        texts: texts.into(),
    };
    let raw = Raw {
        columns,
        batch: Mutex::new(Some(batch)),
    };
    let object = DatasetMethods_TO::from_value(raw, TD_Opaque);
    DatasetHandle::new(
        Caller {
            plugin: "raw".into(),
        },
        "train",
        object,
    )
}

fn batch(tensors: Vec<Tensor>, texts: Vec<TextColumn>) -> Result<Vec<HostColumn>, LoaderError> {
    handle(COLUMNS, tensors, texts)
        .unwrap()
        .batch(&[4, 2], &[0, 0], false)
}

fn image(shape: &[u64], values: usize) -> Tensor {
    let data = Buffer::from_vec((0..values).map(|value| value as f32).collect());
    Tensor {
        name: "image".into(),
        dtype: RawDType::F32,
        shape: shape.to_vec().into(),
        data,
    }
}

fn caption(texts: &[&str]) -> TextColumn {
    let (bytes, offsets) = join_texts(texts);
    TextColumn {
        name: "caption".into(),
        bytes: Buffer::from_vec(bytes),
        offsets: Buffer::from_vec(offsets),
    }
}

fn check_refused(tensors: Vec<Tensor>, texts: Vec<TextColumn>, expected: &str) {
    let error = batch(tensors, texts).unwrap_err();
    assert!(matches!(error, LoaderError::Contract { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!("plugin `raw`, batch of dataset `train` (2 samples, 4 … 2): {expected}")
    );
}

#[test]
fn a_batch_arrives_in_the_declared_order_without_a_copy() {
    let tensor = image(&[2, 3, 2], 12);
    let address = tensor.data.as_bytes().as_ptr();
    let columns = batch(vec![tensor], vec![caption(&["a", "bc"])]).unwrap();
    assert_eq!(
        columns
            .iter()
            .map(|column| column.name.as_str())
            .collect::<Vec<_>>(),
        ["caption", "image"]
    );
    let (HostColumnData::Text(texts), HostColumnData::Tensor(tensor)) =
        (&columns[0].data, &columns[1].data)
    else {
        panic!("{columns:?}");
    };
    assert_eq!(texts, &["a", "bc"]);
    assert_eq!(tensor.shape(), [2, 3, 2]);
    assert_eq!(tensor.as_f32().unwrap()[11], 11.0);
    assert_eq!(tensor.as_i64(), None);
    assert_eq!(tensor.bytes().as_ptr(), address);
}

#[test]
fn a_sample_may_have_several_texts() {
    let columns = r#"[{"name":"caption","dtype":"text","shape":[2,3],"role":"text"}]"#;
    let batch = |texts: &[&str]| {
        handle(columns, vec![], vec![caption(texts)])
            .unwrap()
            .batch(&[4, 2], &[0, 0], false)
    };
    let texts = ["a", "b", "c", "d", "e", "f", "g", "h", "", "", "k", "l"];
    let HostColumnData::Text(found) = &batch(&texts).unwrap()[0].data else {
        panic!()
    };
    assert_eq!(found, &texts);
    let error = batch(&texts[..11]).unwrap_err().to_string();
    assert!(
        error.ends_with("expected 12 texts for 2 samples for column `caption`, found 11"),
        "{error}"
    );
}

#[test]
fn the_memory_of_the_plugin_lives_as_long_as_the_bytes() {
    let columns = batch(vec![image(&[2, 3, 2], 12)], vec![caption(&["a", "b"])]).unwrap();
    let HostColumnData::Tensor(tensor) = columns.into_iter().nth(1).unwrap().data else {
        panic!()
    };
    let (_, _, bytes) = tensor.into_parts();
    let clone = bytes.clone();
    drop(bytes);
    assert_eq!(elements_of::<f32>(&clone).unwrap()[11], 11.0);
}

#[test]
fn batches_that_break_the_contract_are_refused_with_column_expected_and_found() {
    let captions = || vec![caption(&["a", "b"])];
    check_refused(
        vec![image(&[2, 4, 2], 16)],
        captions(),
        "expected shape [2, 3, _] for column `image`, found shape [2, 4, 2]",
    );
    check_refused(
        vec![image(&[2, 3, 2], 11)],
        captions(),
        "expected 12 values for shape [2, 3, 2] for column `image`, found 11 values",
    );
    check_refused(
        vec![],
        captions(),
        "expected the declared column for column `image`, found a batch without it",
    );
    let odd = Tensor {
        dtype: RawDType(77),
        ..image(&[2, 3, 2], 12)
    };
    check_refused(
        vec![odd],
        captions(),
        "expected data type u8, f32 or i64 for column `image`, found data type number 77, which this host cannot read",
    );
    check_refused(
        vec![image(&[2, 3, 2], 12)],
        vec![caption(&["a"])],
        "expected 2 texts for 2 samples for column `caption`, found 1",
    );
    let torn = TextColumn {
        offsets: Buffer::from_vec(vec![0_i64, 2, 1]),
        ..caption(&["a", "b"])
    };
    check_refused(
        vec![image(&[2, 3, 2], 12)],
        vec![torn],
        "expected texts for column `caption`, found offsets run from 0 to 1, not from 0 to 2 (the bytes)",
    );
}

#[test]
fn bytes_that_are_not_whole_elements_are_refused() {
    let cut = Tensor {
        data: Buffer::from_vec(vec![0_u8; 47]),
        ..image(&[2, 3, 2], 12)
    };
    let error = batch(vec![cut], vec![caption(&["a", "b"])])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(
            "expected column `image` aligned to 4 bytes and whole elements, found 47 bytes"
        ),
        "{error}"
    );
}

#[test]
fn declarations_that_cannot_be_read_are_refused() {
    for (columns, expected) in [
        ("{}", "expected declared columns as JSON"),
        (
            r#"[{"name":"a","dtype":"f64","shape":[],"role":"other"}]"#,
            "unknown variant `f64`",
        ),
        (
            r#"[{"name":"a","dtype":"u8","shape":[],"role":"other"},{"name":"a","dtype":"u8","shape":[],"role":"other"}]"#,
            "expected a name used once for column `a`, found two columns of that name",
        ),
        (
            r#"[{"name":"a","dtype":"text","shape":[null],"role":"text"}]"#,
            "expected a shape of fixed lengths for text for column `a`, found shape [_]",
        ),
    ] {
        let error = handle(columns, vec![], vec![]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

thread_local! {
    /// What a plugin says of its buckets: shapes as JSON, and the bucket of each of the samples that were asked for.
    static SAID: std::cell::RefCell<(String, Vec<u32>)> = std::cell::RefCell::default();
}

extern "C" fn shapes(_: &DatasetObject) -> RResult<RString, AbiError> {
    ROk(SAID.with_borrow(|said| said.0.as_str().into()))
}

extern "C" fn of_samples(_: &DatasetObject, _: u64, _: u64) -> RResult<RVec<u32>, AbiError> {
    ROk(SAID.with_borrow(|said| said.1.clone().into()))
}

const BUCKETS: BucketsInterface = BucketsInterface { shapes, of_samples };

fn in_buckets(
    shapes: &str,
    of_samples: &[u32],
    tensors: Vec<Tensor>,
) -> Result<DatasetHandle, LoaderError> {
    SAID.replace((shapes.to_owned(), of_samples.to_vec()));
    let mut handle = handle(COLUMNS, tensors, vec![caption(&["a", "b"])])?;
    handle.learn_buckets(&BUCKETS, "image")?;
    Ok(handle)
}

#[test]
fn buckets_are_shapes_of_the_target_and_every_sample_has_one() {
    let of_samples = [0, 1, 1, 0, 1, 0, 0, 0, 0, 0];
    let dataset = in_buckets("[[3, 8], [3, 4]]", &of_samples, vec![]).unwrap();
    let buckets = dataset.buckets().unwrap();
    assert_eq!(buckets.target(), "image");
    assert_eq!(buckets.shapes(), [[3, 8], [3, 4]]);
    assert_eq!(buckets.of_sample(), of_samples);
    assert!(in_buckets("[]", &[], vec![]).unwrap().buckets().is_none());

    for (shapes, of_samples, parts) in [
        (
            "{}",
            vec![],
            ["shapes of the target as JSON", "something else"],
        ),
        (
            "[[3, 8, 8]]",
            vec![0; 10],
            ["fit the declared shape [3, _]", "[3, 8, 8] as bucket 0"],
        ),
        (
            "[[3, 8], [1, 8]]",
            vec![0; 10],
            ["fit the declared shape [3, _]", "[1, 8] as bucket 1"],
        ),
        (
            "[[3, 0]]",
            vec![0; 10],
            ["lengths above 0", "[3, 0] as bucket 0"],
        ),
        (
            "[[3, 8]]",
            vec![0; 4],
            ["the buckets of 10 samples from 0 on", "4 of them"],
        ),
        (
            "[[3, 8]]",
            vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
            ["buckets 0 to 0", "1 for sample 3"],
        ),
    ] {
        let error = in_buckets(shapes, &of_samples, vec![])
            .unwrap_err()
            .to_string();
        for part in parts.into_iter().chain(["buckets of dataset `train`"]) {
            assert!(error.contains(part), "{error}");
        }
    }
}

#[test]
fn the_target_of_a_batch_has_the_shape_of_its_bucket() {
    let of_samples = [0, 1, 1, 0, 1, 0, 0, 0, 0, 0];
    let ask = |width: u64, indices: &[u64]| {
        let image = image(&[2, 3, width], 6 * width as usize);
        in_buckets("[[3, 8], [3, 4]]", &of_samples, vec![image])
            .unwrap()
            .batch(indices, &[0, 0], false)
    };
    assert!(ask(4, &[4, 2]).is_ok());
    assert!(ask(8, &[0, 3]).is_ok());
    let error = ask(8, &[4, 2]).unwrap_err().to_string();
    for part in [
        "the shape [3, 4] of their bucket for column `image`",
        "[3, 8]",
    ] {
        assert!(error.contains(part), "{error}");
    }
    // Of samples of several buckets the plugin has to say something.
    assert!(ask(8, &[0, 1]).is_ok());
}
