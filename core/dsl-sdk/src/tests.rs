//! The exported interfaces of a small task, called as a host calls them, within one process.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use dsl_abi::{
    BatchView, RawDType, RawErrorCode, Service, TensorView, TextView,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{RArc, RNone, ROption, RStr},
    },
    assets::{ASSETS_V1, AssetsInterface},
    buckets::{BUCKETS_V1, BucketsInterface},
    buffer::bytes_of,
    host::{HostInterface, HostInterface_TO, HostObject, LogRecord, RawLevel},
    root::Entry,
    self_test::SELF_TEST_V1,
    task::{DatasetObject, TASK_V1, TaskInterface, TaskObject},
    tensor::join_texts,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    __private::{Exported, Package},
    Artefacts, Asset, Batch, BatchRequest, Buckets, Column, ColumnData, ColumnRole, ColumnSpec,
    DType, Dataset, Direction, Evaluator, Host, Injection, Manifest, MetricValue, PluginError,
    Requirements, Task, TaskDescription,
    image::Picture,
};

#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// What goes wrong.
    fault: String,
}

struct Faulty {
    fault: String,
    host: Host,
}

impl Task for Faulty {
    const ID: &'static str = "faulty";
    const NAME: &'static str = "Faulty";
    const DESCRIPTION: &'static str = "Goes wrong as it is told";
    type Config = Config;

    fn host_defaults() -> serde_json::Value {
        serde_json::json!({"train": {"steps": 3}})
    }

    fn assets() -> &'static [Asset] {
        &[Asset {
            name: "base",
            bytes: b"weights",
        }]
    }

    fn open(config: Config, host: Host) -> Result<Self, PluginError> {
        match config.fault.as_str() {
            "open" => {
                Err(PluginError::config("`fault` is open").with_help("set it to something else"))
            }
            "open-panic" => panic!("no luck"),
            _ => Ok(Self {
                fault: config.fault,
                host,
            }),
        }
    }

    fn describe(&self) -> TaskDescription {
        let injection = Injection::CrossAttention {
            column: "name".into(),
            dropout: 0.1,
        };
        TaskDescription {
            target: "point".into(),
            injections: vec![injection],
            sample_prompts: vec!["a".into()],
            dropout: 0.0,
        }
    }

    fn splits(&self) -> Vec<String> {
        vec!["train".into()]
    }

    fn dataset(&self, split: &str) -> Result<Box<dyn Dataset>, PluginError> {
        match split {
            "train" => Ok(Box::new(Points {
                buckets: self.fault.strip_prefix("buckets").map(|fault| Buckets {
                    shapes: vec![vec![2], vec![3]],
                    // The last three have three numbers.
                    of_sample: (0..10 - fault.len() as u32)
                        .map(|i| u32::from(i > 6))
                        .collect(),
                }),
                fault: self.fault.clone(),
                host: self.host.clone(),
            })),
            other => Err(PluginError::unsupported(format!("no split `{other}`"))),
        }
    }

    fn evaluator(&self) -> Result<Option<Box<dyn Evaluator>>, PluginError> {
        Ok(Some(Box::new(Mean(Vec::new()))))
    }

    fn conditions(&self, inputs: &serde_json::Value) -> Result<Batch, PluginError> {
        let name = inputs["name"].as_str().unwrap_or_default().to_owned();
        let names = match self.fault.as_str() {
            "two-conditions" => vec![name; 2],
            _ => vec![name],
        };
        Ok(Batch {
            columns: vec![Column {
                name: "name".into(),
                data: ColumnData::Text(names),
            }],
        })
    }

    fn picture(&self, samples: &Batch) -> Result<Option<Picture>, PluginError> {
        let (shape, values) = samples.f32("generated")?;
        if samples.texts("name")?.is_empty() {
            return Ok(None);
        }
        let grey = values.iter().flat_map(|value| [*value as u8; 3]);
        Ok(Picture::from_rgb(
            shape[1] as u32,
            shape[0] as u32,
            grey.collect(),
        ))
    }
}

struct Points {
    buckets: Option<Buckets>,
    fault: String,
    host: Host,
}

impl Drop for Points {
    fn drop(&mut self) {
        assert!(self.fault != "drop-panic", "not even dropped");
    }
}

impl Dataset for Points {
    fn len(&self) -> u64 {
        10
    }

    fn columns(&self) -> Vec<ColumnSpec> {
        let column = |name: &str, dtype, shape, role| ColumnSpec {
            name: name.into(),
            dtype,
            shape,
            role,
        };
        let second = if self.fault == "declaration" {
            "point"
        } else {
            "name"
        };
        let width = match self.buckets {
            Some(_) => vec![None],
            None => vec![Some(2)],
        };
        vec![
            column("point", DType::F32, width, ColumnRole::Vector),
            column(second, DType::Text, vec![], ColumnRole::Text),
        ]
    }

    fn buckets(&self) -> Option<&Buckets> {
        self.buckets.as_ref()
    }

    fn batch(&self, request: &BatchRequest<'_>) -> Result<Batch, PluginError> {
        let mut width = match request.indices {
            [0..=6, ..] | [] => 2,
            _ if self.buckets.is_some() => 3,
            _ => 2,
        };
        match self.fault.as_str() {
            "panic" => panic!("sample {} is unlucky", request.indices[0]),
            "thread-panic" => {
                let outcome = std::thread::spawn(|| panic!("elsewhere")).join();
                std::panic::resume_unwind(outcome.unwrap_err());
            }
            "other-panic" => {
                let _ = std::panic::catch_unwind(|| panic!("caught"));
                std::panic::resume_unwind(Box::new("thrown again".to_owned()));
            }
            "shape" => width = 3,
            "cancelled" if self.host.cancelled() => return Err(PluginError::cancelled()),
            _ => {}
        }
        self.host.progress(1, 2, "batches");
        let values: Vec<f32> = request
            .indices
            .iter()
            .flat_map(|&index| vec![index as f32; width])
            .collect();
        let names = request
            .indices
            .iter()
            .map(|index| format!("point {index}"))
            .collect();
        let data = ColumnData::F32 {
            shape: vec![request.indices.len() as u64, width as u64],
            values,
        };
        Ok(Batch {
            columns: vec![
                Column {
                    name: "name".into(),
                    data: ColumnData::Text(names),
                },
                Column {
                    name: "point".into(),
                    data,
                },
            ],
        })
    }
}

struct Mean(Vec<f32>);

impl Evaluator for Mean {
    fn requirements(&self) -> Requirements {
        Requirements::NoisePredictions {
            split: "train".into(),
            count: 4,
        }
    }

    fn update(&mut self, inputs: &Batch, _: u64) -> Result<(), PluginError> {
        self.0.extend(inputs.f32("x_t")?.1);
        Ok(())
    }

    fn finish(&mut self, artefacts: &mut Artefacts) -> Result<Vec<MetricValue>, PluginError> {
        let values = std::mem::take(&mut self.0);
        artefacts.add("count.txt", "text/plain", values.len().to_string());
        if values.len() > 99 {
            artefacts.add("../count.txt", "text/plain", "too many");
        }
        let value = f64::from(values.iter().sum::<f32>()) / values.len() as f64;
        Ok(vec![MetricValue {
            name: "mean".into(),
            value,
            direction: Direction::LowerIsBetter,
            unit: String::new(),
        }])
    }
}

struct ThisPackage;

impl Package for ThisPackage {
    type Task = Faulty;
    const VERSION: &'static str = "1.2.3";
    const AUTHORS: &'static str = "";
    const LICENSE: &'static str = "MIT";
}

#[derive(Default)]
struct TestHost {
    cancelled: AtomicBool,
    heard: Mutex<Vec<String>>,
}

#[derive(Clone, Default)]
struct Shared(Arc<TestHost>);

impl HostInterface for Shared {
    fn log_enabled(&self, level: RawLevel, _: RStr<'_>) -> bool {
        level <= RawLevel::INFO
    }

    fn log(&self, record: &LogRecord<'_>) {
        self.0
            .heard
            .lock()
            .unwrap()
            .push(format!("{} {}", record.message, record.fields));
    }

    fn cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    fn progress(&self, done: u64, total: u64, what: RStr<'_>) {
        self.0
            .heard
            .lock()
            .unwrap()
            .push(format!("{done}/{total} {what}"));
    }

    fn service(&self, _: RStr<'_>) -> ROption<Service> {
        RNone
    }
}

impl Shared {
    fn object(&self) -> HostObject {
        HostInterface_TO::from_ptr(RArc::new(self.clone()), TD_Opaque)
    }
}

fn interface<T: dsl_abi::abi_stable::StableAbi>(id: &str) -> &'static T {
    Exported::<ThisPackage>::extension(id.into())
        .unwrap()
        .get::<T>()
        .unwrap()
}

fn open(fault: &str) -> (TaskObject, Shared) {
    let host = Shared::default();
    let config = serde_json::json!({ "fault": fault }).to_string();
    let task = (interface::<TaskInterface>(TASK_V1).open)(config.as_str().into(), host.object());
    (
        task.into_result()
            .unwrap_or_else(|error| panic!("{}", error.message)),
        host,
    )
}

fn dataset(fault: &str) -> (DatasetObject, Shared) {
    let (task, host) = open(fault);
    (
        task.dataset("train".into())
            .into_result()
            .unwrap_or_else(|error| panic!("{}", error.message)),
        host,
    )
}

fn check_fails(fault: &str, code: RawErrorCode, expected: &str) -> dsl_abi::AbiError {
    let (dataset, _) = dataset(fault);
    let error = dataset
        .batch([3_u64, 4][..].into(), [0_u64, 0][..].into(), false)
        .unwrap_err();
    assert_eq!(error.code, code);
    assert!(
        error.message.contains(expected),
        "`{expected}` is not in: {}",
        error.message
    );
    error
}

#[test]
fn a_batch_crosses_with_numbers_and_texts() {
    let (dataset, host) = dataset("");
    assert_eq!(dataset.len().unwrap(), 10);
    let batch = dataset
        .batch([3_u64, 5][..].into(), [0_u64, 0][..].into(), true)
        .unwrap();
    let tensor = &batch.tensors[0];
    assert_eq!(
        (tensor.name.as_str(), tensor.dtype, &tensor.shape[..]),
        ("point", RawDType::F32, &[2, 2][..])
    );
    assert_eq!(tensor.data.as_bytes(), bytes_of(&[3_f32, 3.0, 5.0, 5.0]));
    assert_eq!(batch.texts[0].bytes.as_bytes(), b"point 3point 5");
    assert_eq!(batch.texts[0].offsets.as_bytes(), bytes_of(&[0_i64, 7, 14]));
    assert_eq!(*host.0.heard.lock().unwrap(), ["1/2 batches"]);
}

#[test]
fn cold_documents_are_json() {
    let manifest: Manifest = serde_json::from_str(&Exported::<ThisPackage>::manifest()).unwrap();
    assert_eq!(
        (manifest.id.as_str(), manifest.version.as_str()),
        ("faulty", "1.2.3")
    );
    assert!(manifest.rustc.starts_with("rustc "), "{}", manifest.rustc);
    assert_eq!(
        manifest.extensions,
        [TASK_V1, ASSETS_V1, SELF_TEST_V1, BUCKETS_V1]
    );
    assert!(manifest.target.contains('-'), "{}", manifest.target);
    let task = interface::<TaskInterface>(TASK_V1);
    assert!((task.config_schema)().unwrap().contains("What goes wrong."));
    assert_eq!((task.default_config)().unwrap(), r#"{"fault":""}"#);
    assert_eq!((task.host_defaults)().unwrap(), r#"{"train":{"steps":3}}"#);
    let (task, _) = open("");
    let description: TaskDescription = serde_json::from_str(&task.describe().unwrap()).unwrap();
    assert_eq!(description.target, "point");
    assert_eq!(task.splits().unwrap(), r#"["train"]"#);
}

#[test]
fn assets_are_found_by_name() {
    let assets = interface::<AssetsInterface>(ASSETS_V1);
    assert_eq!((assets.names)().unwrap(), r#"["base"]"#);
    assert_eq!(
        (assets.get)("base".into()).unwrap().unwrap().as_slice(),
        b"weights"
    );
    assert!((assets.get)("other".into()).unwrap().is_none());
}

#[test]
fn panics_become_errors_with_message_place_and_backtrace() {
    let error = check_fails("panic", RawErrorCode::PANIC, "sample 3 is unlucky");
    assert!(error.message.contains("tests.rs:"), "{}", error.message);
    assert!(error.detail.contains("batch"), "{}", error.detail);
    let error = check_fails("thread-panic", RawErrorCode::PANIC, "elsewhere");
    assert!(error.message.contains("tests.rs:"), "{}", error.message);
}

#[test]
fn a_panic_that_is_thrown_again_has_no_place_of_another() {
    let error = check_fails("other-panic", RawErrorCode::PANIC, "thrown again");
    assert_eq!(error.message, "the plugin panicked: thrown again");
    assert!(error.detail.is_empty(), "{}", error.detail);
}

#[test]
fn a_panic_while_dropping_stays_inside() {
    let (dataset, _) = dataset("drop-panic");
    drop(dataset);
}

#[test]
fn what_the_author_returns_is_checked() {
    check_fails(
        "shape",
        RawErrorCode::CONTRACT,
        "column `point`: expected shape [2, 2], found shape [2, 3]",
    );
    let (task, _) = open("declaration");
    let error = task.dataset("train".into()).map(drop).unwrap_err();
    assert!(
        error.message.contains("column `point`"),
        "{}",
        error.message
    );
}

#[test]
fn what_the_host_asks_is_checked() {
    let (dataset, _) = dataset("");
    let error = dataset
        .batch([10_u64][..].into(), [0_u64][..].into(), false)
        .map(drop)
        .unwrap_err();
    assert!(
        error.message.contains("sample 10 of a dataset of 10"),
        "{}",
        error.message
    );
    let error = dataset
        .batch([1_u64][..].into(), (&[][..]).into(), false)
        .map(drop)
        .unwrap_err();
    assert!(
        error.message.contains("0 seeds for 1 indices"),
        "{}",
        error.message
    );
}

#[test]
fn a_refused_configuration_is_an_error_of_its_own() {
    let open_raw = interface::<TaskInterface>(TASK_V1).open;
    for (config, code, expected) in [
        (
            r#"{"fault":"open"}"#,
            RawErrorCode::CONFIG,
            "`fault` is open",
        ),
        (
            r#"{"folt":""}"#,
            RawErrorCode::CONFIG,
            "unknown field `folt`",
        ),
        ("{", RawErrorCode::CONFIG, "refused"),
        (r#"{"fault":"open-panic"}"#, RawErrorCode::PANIC, "no luck"),
    ] {
        let error = open_raw(config.into(), Shared::default().object())
            .map(drop)
            .unwrap_err();
        assert_eq!(error.code, code, "{config}");
        assert!(error.message.contains(expected), "{}", error.message);
    }
    let (task, _) = open("");
    assert_eq!(
        task.dataset("test".into()).map(drop).unwrap_err().code,
        RawErrorCode::UNSUPPORTED
    );
}

#[test]
fn a_stop_reaches_the_author() {
    let (dataset, host) = dataset("cancelled");
    let ask = || {
        dataset
            .batch([0_u64][..].into(), [0_u64][..].into(), false)
            .map(drop)
            .into_result()
    };
    assert!(ask().is_ok());
    host.0.cancelled.store(true, Ordering::SeqCst);
    assert_eq!(ask().unwrap_err().code, RawErrorCode::CANCELLED);
}

#[test]
fn evaluators_see_what_the_host_lends() {
    let (task, _) = open("");
    let mut evaluator = task.evaluator().unwrap().unwrap();
    let values = [1_f32, 2.0, 3.0, 6.0];
    let tensor = |name: &'static str, shape: &'static [u64]| TensorView {
        name: name.into(),
        dtype: RawDType::F32,
        shape: shape.into(),
        data: bytes_of(&values).into(),
    };
    let mut update = |tensor: TensorView<'_>| {
        let tensors = [tensor];
        let batch = BatchView {
            tensors: tensors[..].into(),
            texts: (&[][..]).into(),
        };
        evaluator
            .update(&batch, 0)
            .into_result()
            .map_err(|error| error.message.to_string())
    };
    update(tensor("x_t", &[2, 2])).unwrap();
    assert!(
        update(tensor("x_0", &[2, 2]))
            .unwrap_err()
            .contains("column `x_t`")
    );
    assert!(
        update(tensor("x_t", &[2, 3]))
            .unwrap_err()
            .contains("16 bytes for shape [2, 3]")
    );
    let unknown = TensorView {
        dtype: RawDType(99),
        ..tensor("x_t", &[2, 2])
    };
    assert!(update(unknown).unwrap_err().contains("data type 99"));
    let metrics: Vec<MetricValue> =
        serde_json::from_str(&evaluator.finish().unwrap().metrics).unwrap();
    assert_eq!((metrics[0].name.as_str(), metrics[0].value), ("mean", 3.0));
    // An empty mean is not a number; that too arrives.
    let metrics: Vec<MetricValue> =
        serde_json::from_str(&evaluator.finish().unwrap().metrics).unwrap();
    assert!(metrics[0].value.is_nan());
}

#[test]
fn conditions_of_a_user_are_one_sample_of_declared_columns() {
    let (task, _) = open("");
    let made = task.conditions(r#"{"name":"red"}"#.into()).unwrap();
    assert!(made.tensors.is_empty());
    assert_eq!(made.texts[0].name, "name");
    assert_eq!(made.texts[0].bytes.as_bytes(), b"red");
    for (fault, inputs, expected) in [
        (
            "two-conditions",
            "{}",
            "column `name`: expected 1 texts for 1 samples, found 2",
        ),
        (
            "",
            "[1]",
            "the host sent the inputs [1], expected keys and values",
        ),
        ("", "{", "the host sent inputs that are not JSON"),
    ] {
        let error = open(fault).0.conditions(inputs.into()).map(drop);
        let error = error.unwrap_err();
        assert_eq!(error.code, RawErrorCode::CONTRACT);
        assert!(error.message.contains(expected), "{}", error.message);
    }
}

#[test]
fn samples_become_a_picture_or_nothing() {
    let (task, _) = open("");
    let values = [1_f32, 2.0, 3.0, 4.0, 5.0, 6.0];
    let show = |names: &[&str]| {
        let (bytes, offsets) = join_texts(names);
        let tensors = [TensorView {
            name: "generated".into(),
            dtype: RawDType::F32,
            shape: (&[3, 2][..]).into(),
            data: bytes_of(&values).into(),
        }];
        let texts = [TextView {
            name: "name".into(),
            bytes: bytes.as_slice().into(),
            offsets: offsets.as_slice().into(),
        }];
        let samples = BatchView {
            tensors: tensors[..].into(),
            texts: texts[..].into(),
        };
        task.picture(&samples).unwrap().into_option()
    };
    let picture = show(&["a", "b", "c"]).unwrap();
    assert_eq!(
        (picture.dtype, &picture.shape[..]),
        (RawDType::U8, &[3, 2, 3][..])
    );
    assert_eq!(picture.data.as_bytes()[15..], [6; 3]);
    assert!(show(&[]).is_none());
    let nothing = BatchView {
        tensors: (&[][..]).into(),
        texts: (&[][..]).into(),
    };
    let error = task.picture(&nothing).map(drop).unwrap_err();
    assert!(
        error.message.contains("column `generated`"),
        "{}",
        error.message
    );
}

#[test]
fn buckets_of_a_dataset_are_asked_for_by_another_interface() {
    let buckets = interface::<BucketsInterface>(BUCKETS_V1);
    let (plain, _) = dataset("");
    assert_eq!((buckets.shapes)(&plain).unwrap(), "[]");
    let error = (buckets.of_samples)(&plain, 0, 1).unwrap_err();
    assert_eq!(error.code, RawErrorCode::CONTRACT);
    assert!(error.message.contains("no buckets"), "{}", error.message);

    let (dataset, _) = dataset("buckets");
    assert_eq!((buckets.shapes)(&dataset).unwrap(), "[[2],[3]]");
    assert_eq!(
        (buckets.of_samples)(&dataset, 5, 4).unwrap().as_slice(),
        [0, 0, 1, 1]
    );
    for (first, count) in [(0, 11), (10, 1), (u64::MAX, 2)] {
        let error = (buckets.of_samples)(&dataset, first, count).unwrap_err();
        assert!(error.message.contains("of 10 samples"), "{}", error.message);
    }
    let ask =
        |indices: &[u64]| dataset.batch(indices.into(), vec![0; indices.len()][..].into(), false);
    assert_eq!(ask(&[9, 7]).unwrap().tensors[0].shape.as_slice(), [2, 3]);
    assert_eq!(ask(&[6, 0]).unwrap().tensors[0].shape.as_slice(), [2, 2]);
    let error = ask(&[6, 7]).unwrap_err();
    assert!(
        error
            .message
            .contains("6 and 7 in one batch, which are of different buckets"),
        "{}",
        error.message
    );
}

#[test]
fn a_dataset_whose_samples_lack_buckets_is_refused() {
    let (task, _) = open("buckets...");
    let error = task.dataset("train".into()).into_result().err().unwrap();
    assert_eq!(error.code, RawErrorCode::CONTRACT);
    let expected =
        "the buckets of split `train` break a rule: 7 samples have one, and there are 10";
    assert!(error.message.contains(expected), "{}", error.message);
}
