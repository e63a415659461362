//! From the author's traits to the interfaces of the boundary.

use std::{marker::PhantomData, sync::Arc};

use dsl_abi::{
    AbiError, BatchColumns, BatchView, Buffer, Extension, RawDType, Tensor,
    abi_stable::{
        sabi_trait::{TD_CanDowncast, TD_Opaque},
        std_types::{RNone, ROption, RResult, RSlice, RSome, RStr, RString, RVec},
    },
    assets::{ASSETS_V1, AssetsInterface},
    buckets::{BUCKETS_V1, BucketsInterface},
    check::{check_buckets, check_declaration},
    host::HostObject,
    root::Entry,
    self_test::{SELF_TEST_V1, SelfTestInterface},
    task::{
        DatasetMethods, DatasetMethods_TO, DatasetObject, Evaluated, EvaluatorMethods,
        EvaluatorMethods_TO, EvaluatorObject, TASK_V1, TaskInterface, TaskMethods, TaskMethods_TO,
        TaskObject,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Artefacts, Batch, BatchRequest, ColumnSpec, Dataset, Evaluator, Host, Manifest, PluginError,
    Task,
    guard::{Guarded, catch, guard},
    log,
};

/// Makes a library a plugin: exports the task under the symbol that hosts look for.
///
/// Once in a library, at its root.
#[macro_export]
macro_rules! export_plugin {
    ($task:ty) => {
        const _: () = {
            struct ThisPackage;

            impl $crate::__private::Package for ThisPackage {
                type Task = $task;
                const VERSION: &'static str = ::core::env!("CARGO_PKG_VERSION");
                const AUTHORS: &'static str = ::core::env!("CARGO_PKG_AUTHORS");
                const LICENSE: &'static str = ::core::env!("CARGO_PKG_LICENSE");
            }

            // The lint `unsafe_code` is silent about macros of other crates, so that authors may even forbid it.
            #[allow(non_upper_case_globals)]
            #[unsafe(no_mangle)]
            pub static _1as_0lib_1header_0root_bmodule_bloader: $crate::__private::LibHeader =
                $crate::__private::header::<$crate::__private::Exported<ThisPackage>>();
        };
    };
}

/// A task with what its package says of itself.
pub trait Package: 'static {
    /// The task.
    type Task: Task;
    /// Version of the package.
    const VERSION: &'static str;
    /// Authors of the package.
    const AUTHORS: &'static str;
    /// Licence of the package.
    const LICENSE: &'static str;
}

/// The interfaces of a task.
pub struct Exported<P>(PhantomData<P>);

impl<P: Package> Entry for Exported<P> {
    extern "C" fn manifest() -> RString {
        let manifest = catch(|| {
            to_json(&Manifest {
                id: P::Task::ID.to_owned(),
                name: P::Task::NAME.to_owned(),
                description: P::Task::DESCRIPTION.to_owned(),
                version: P::VERSION.to_owned(),
                license: P::LICENSE.to_owned(),
                authors: P::AUTHORS.to_owned(),
                sdk: env!("CARGO_PKG_VERSION").to_owned(),
                rustc: env!("DSL_SDK_RUSTC").to_owned(),
                target: env!("DSL_SDK_TARGET").to_owned(),
                panic_strategy: if cfg!(panic = "unwind") {
                    "unwind"
                } else {
                    "abort"
                }
                .to_owned(),
                extensions: [TASK_V1, ASSETS_V1, SELF_TEST_V1, BUCKETS_V1]
                    .map(str::to_owned)
                    .to_vec(),
            })
        });
        // Constants alone go in: an error here cannot be, and an empty text would be refused by the host.
        manifest.unwrap_or_default()
    }

    extern "C" fn extension(id: RStr<'_>) -> ROption<Extension> {
        match id.as_str() {
            TASK_V1 => RSome(Extension::new(Self::TASK)),
            ASSETS_V1 => RSome(Extension::new(Self::ASSETS)),
            SELF_TEST_V1 => RSome(Extension::new(Self::SELF_TEST)),
            BUCKETS_V1 => RSome(Extension::new(Self::BUCKETS)),
            _ => RNone,
        }
    }
}

impl<P: Package> Exported<P> {
    const TASK: &'static TaskInterface = &TaskInterface {
        config_schema: Self::config_schema,
        default_config: Self::default_config,
        host_defaults: Self::host_defaults,
        open: Self::open,
    };

    const ASSETS: &'static AssetsInterface = &AssetsInterface {
        names: Self::asset_names,
        get: Self::asset,
    };

    const SELF_TEST: &'static SelfTestInterface = &SelfTestInterface {
        panic: Self::self_test_panic,
        log: Self::self_test_log,
        nothing: Self::self_test_nothing,
    };

    const BUCKETS: &'static BucketsInterface = &BucketsInterface {
        shapes: Self::bucket_shapes,
        of_samples: Self::buckets_of_samples,
    };

    extern "C" fn bucket_shapes(dataset: &DatasetObject) -> RResult<RString, AbiError> {
        guard(|| to_json(&own(dataset)?.bucket_shapes()))
    }

    extern "C" fn buckets_of_samples(
        dataset: &DatasetObject,
        first: u64,
        count: u64,
    ) -> RResult<RVec<u32>, AbiError> {
        guard(|| Ok(own(dataset)?.buckets_of(first, count)?.to_vec().into()))
    }

    extern "C" fn self_test_panic(message: RStr<'_>) -> RResult<(), AbiError> {
        guard(|| panic!("{message}"))
    }

    extern "C" fn self_test_log(host: HostObject, message: RStr<'_>) -> RResult<(), AbiError> {
        guard(|| {
            log::connect(&Arc::new(host));
            tracing::info!(number = 7, "{message}");
            Ok(())
        })
    }

    extern "C" fn self_test_nothing() -> RResult<(), AbiError> {
        guard(|| {
            tracing::trace!("nothing");
            Ok(())
        })
    }

    extern "C" fn config_schema() -> RResult<RString, AbiError> {
        guard(|| to_json(&schemars::schema_for!(<P::Task as Task>::Config)))
    }

    extern "C" fn default_config() -> RResult<RString, AbiError> {
        guard(|| to_json(&<P::Task as Task>::Config::default()))
    }

    extern "C" fn host_defaults() -> RResult<RString, AbiError> {
        guard(|| to_json(&P::Task::host_defaults()))
    }

    extern "C" fn open(config: RStr<'_>, host: HostObject) -> RResult<TaskObject, AbiError> {
        guard(|| {
            let host = Arc::new(host);
            log::connect(&host);
            let config = read_config(config.as_str())?;
            let task = P::Task::open(config, Host::attached(host))?;
            Ok(TaskMethods_TO::from_value(
                TaskAdapter(Guarded::new(task)),
                TD_Opaque,
            ))
        })
    }

    extern "C" fn asset_names() -> RResult<RString, AbiError> {
        guard(|| {
            to_json(
                &P::Task::assets()
                    .iter()
                    .map(|asset| asset.name)
                    .collect::<Vec<_>>(),
            )
        })
    }

    extern "C" fn asset(name: RStr<'_>) -> RResult<ROption<RSlice<'static, u8>>, AbiError> {
        guard(|| {
            let asset = P::Task::assets()
                .iter()
                .find(|asset| asset.name == name.as_str());
            Ok(asset.map(|asset| RSlice::from_slice(asset.bytes)).into())
        })
    }
}

/// Reads a configuration; an error names the key, from `task` on, as the user wrote it.
fn read_config<C: DeserializeOwned>(text: &str) -> Result<C, PluginError> {
    let refused = |place: String, error: serde_json::Error| {
        PluginError::config(format!("the configuration was refused at {place}: {error}"))
    };
    // Through a value: errors then carry no line and column of a text that the user never saw.
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| refused("`task`".to_owned(), error))?;
    if !value.is_object() {
        // A list would be read as the values of the fields, in order.
        return Err(PluginError::config(
            "the configuration was refused at `task`: expected keys and values",
        ));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." {
            "`task`".to_owned()
        } else {
            format!("`task.{path}`")
        };
        refused(place, error.into_inner())
    })
}

fn to_json(value: &impl Serialize) -> Result<RString, PluginError> {
    serde_json::to_string(value)
        .map(RString::from)
        .map_err(|error| {
            PluginError::contract(format!(
                "a {} cannot be written as JSON: {error}",
                std::any::type_name_of_val(value)
            ))
        })
}

struct TaskAdapter<T>(Guarded<T>);

impl<T: Task> TaskMethods for TaskAdapter<T> {
    fn describe(&self) -> RResult<RString, AbiError> {
        guard(|| to_json(&self.0.describe()))
    }

    fn splits(&self) -> RResult<RString, AbiError> {
        guard(|| to_json(&self.0.splits()))
    }

    fn dataset(&self, split: RStr<'_>) -> RResult<DatasetObject, AbiError> {
        guard(|| {
            let dataset = Guarded::new(self.0.dataset(split.as_str())?);
            let (count, columns) = (dataset.len(), dataset.columns());
            check_declaration(&columns).map_err(|breach| {
                PluginError::contract(format!(
                    "the declared columns of split `{split}` break a rule: {breach}"
                ))
            })?;
            let adapter = DatasetAdapter {
                target: self.0.describe().target,
                dataset,
                count,
                columns,
            };
            adapter.check_buckets(split.as_str())?;
            // What is asked of a dataset by another interface finds its way back.
            Ok(DatasetMethods_TO::from_value(adapter, TD_CanDowncast))
        })
    }

    fn evaluator(&self) -> RResult<ROption<EvaluatorObject>, AbiError> {
        guard(|| {
            let evaluator = self.0.evaluator()?;
            Ok(evaluator
                .map(|evaluator| {
                    EvaluatorMethods_TO::from_value(
                        EvaluatorAdapter(Guarded::new(evaluator)),
                        TD_Opaque,
                    )
                })
                .into())
        })
    }

    fn conditions(&self, inputs: RStr<'_>) -> RResult<BatchColumns, AbiError> {
        guard(|| {
            let inputs: serde_json::Value =
                serde_json::from_str(inputs.as_str()).map_err(|error| {
                    PluginError::contract(format!(
                        "the host sent inputs that are not JSON: {error}"
                    ))
                })?;
            if !inputs.is_object() {
                // A list would be read as the values of the fields, in order.
                return Err(PluginError::contract(format!(
                    "the host sent the inputs {inputs}, expected keys and values"
                )));
            }
            let columns = self.0.dataset("train")?.columns();
            self.0.conditions(&inputs)?.conditions_into_abi(&columns)
        })
    }

    fn picture(&self, samples: &BatchView<'_>) -> RResult<ROption<Tensor>, AbiError> {
        guard(|| {
            let picture = self.0.picture(&Batch::from_view(samples)?)?;
            Ok(picture
                .map(|picture| Tensor {
                    name: "picture".into(),
                    dtype: RawDType::U8,
                    shape: vec![u64::from(picture.height()), u64::from(picture.width()), 3].into(),
                    data: Buffer::from_vec(picture.rgb().to_vec()),
                })
                .into())
        })
    }
}

struct DatasetAdapter {
    dataset: Guarded<Box<dyn Dataset>>,
    // Both are the same at every call, so they are asked for once.
    count: u64,
    columns: Vec<ColumnSpec>,
    /// Name of the target's column.
    target: String,
}

/// The adapter behind a dataset that comes back from the host.
fn own(dataset: &DatasetObject) -> Result<&DatasetAdapter, PluginError> {
    (dataset.obj.downcast_as::<DatasetAdapter>())
        .map_err(|_| PluginError::contract("the host sent a dataset that this plugin did not make"))
}

impl DatasetAdapter {
    fn bucket_shapes(&self) -> &[Vec<u64>] {
        self.dataset
            .buckets()
            .map_or(&[], |buckets| &buckets.shapes)
    }

    fn buckets_of(&self, first: u64, count: u64) -> Result<&[u32], PluginError> {
        let place = |at: u64| usize::try_from(at).ok();
        let range = place(first).zip(first.checked_add(count).and_then(place));
        let of_sample = self.dataset.buckets().map(|buckets| &buckets.of_sample[..]);
        (of_sample.zip(range))
            .and_then(|(of_sample, (first, end))| of_sample.get(first..end))
            .ok_or_else(|| {
                PluginError::contract(format!(
                    "the host asked for the buckets of {count} samples from {first} on, of a dataset of {}",
                    match of_sample {
                        Some(of_sample) => format!("{} samples", of_sample.len()),
                        None => "no buckets".to_owned(),
                    }
                ))
            })
    }

    /// Buckets are shapes of the target, and every sample has one of them.
    fn check_buckets(&self, split: &str) -> Result<(), PluginError> {
        let Some(buckets) = self.dataset.buckets() else {
            return Ok(());
        };
        let broken = |what: String| {
            Err(PluginError::contract(format!(
                "the buckets of split `{split}` break a rule: {what}"
            )))
        };
        let target = (self.columns.iter()).find(|column| column.name == self.target);
        if let Some(Err(breach)) = target.map(|target| check_buckets(target, &buckets.shapes)) {
            return broken(breach.to_string());
        }
        let (of_sample, shapes) = (&buckets.of_sample, buckets.shapes.len());
        if of_sample.len() as u64 != self.count {
            return broken(format!(
                "{} samples have one, and there are {}",
                of_sample.len(),
                self.count
            ));
        }
        match (of_sample.iter()).position(|&bucket| bucket as usize >= shapes) {
            Some(sample) => broken(format!(
                "sample {sample} is of bucket {}, and there are {shapes}",
                of_sample[sample]
            )),
            None => Ok(()),
        }
    }

    /// The target and the shape of the bucket that a request's samples are of; nothing without buckets, or without samples.
    fn bucket_of(&self, indices: &[u64]) -> Result<Option<(&str, &[u64])>, PluginError> {
        let (Some(buckets), Some(&first)) = (self.dataset.buckets(), indices.first()) else {
            return Ok(None);
        };
        let of = |index: u64| buckets.of_sample.get(index as usize).copied();
        if let Some(&other) = indices.iter().find(|&&index| of(index) != of(first)) {
            return Err(PluginError::contract(format!(
                "the host asked for the samples {first} and {other} in one batch, which are of different buckets"
            )));
        }
        let shape = of(first).and_then(|bucket| buckets.shapes.get(bucket as usize));
        Ok(shape.map(|shape| (self.target.as_str(), &shape[..])))
    }
}

impl DatasetMethods for DatasetAdapter {
    fn len(&self) -> RResult<u64, AbiError> {
        guard(|| Ok(self.count))
    }

    fn columns(&self) -> RResult<RString, AbiError> {
        guard(|| to_json(&self.columns))
    }

    fn batch(
        &self,
        indices: RSlice<'_, u64>,
        seeds: RSlice<'_, u64>,
        augment: bool,
    ) -> RResult<BatchColumns, AbiError> {
        guard(|| {
            let (indices, seeds) = (indices.as_slice(), seeds.as_slice());
            if indices.len() != seeds.len() {
                return Err(PluginError::contract(format!(
                    "the host asked with {} seeds for {} indices, expected one for each",
                    seeds.len(),
                    indices.len()
                )));
            }
            if let Some(index) = indices.iter().find(|&&index| index >= self.count) {
                return Err(PluginError::contract(format!(
                    "the host asked for sample {index} of a dataset of {} samples",
                    self.count
                )));
            }
            let bucket = self.bucket_of(indices)?;
            self.dataset
                .batch(&BatchRequest {
                    indices,
                    seeds,
                    augment,
                })?
                .into_abi(&self.columns, indices.len(), bucket)
        })
    }
}

struct EvaluatorAdapter(Guarded<Box<dyn Evaluator>>);

impl EvaluatorMethods for EvaluatorAdapter {
    fn requirements(&self) -> RResult<RString, AbiError> {
        guard(|| to_json(&self.0.requirements()))
    }

    fn update(&mut self, inputs: &BatchView<'_>, first_index: u64) -> RResult<(), AbiError> {
        guard(|| self.0.update(&Batch::from_view(inputs)?, first_index))
    }

    fn finish(&mut self) -> RResult<Evaluated, AbiError> {
        guard(|| {
            let mut artefacts = Artefacts::default();
            let metrics = to_json(&self.0.finish(&mut artefacts)?)?;
            Ok(Evaluated {
                metrics,
                artefacts: artefacts.into_abi()?.into(),
            })
        })
    }
}
