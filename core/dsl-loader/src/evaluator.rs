//! An evaluator of a task.

use bytes::Bytes;
use dsl_abi::{
    BatchView, TensorView, TextView,
    buffer::{Element, bytes_of},
    check::check_artefacts,
    task::EvaluatorObject,
    tensor::join_texts,
};

use crate::{
    DType, HostArtefact, InputColumn, InputData, LoaderError, MetricValue, Requirements,
    call::{Caller, Held},
    columns::Lent,
    in_call::Label,
};

/// An evaluator of a task. `[one thread at a time]`
pub struct EvaluatorHandle {
    caller: Caller,
    object: Held<EvaluatorObject>,
    update: &'static Label,
    requirements: Requirements,
}

impl EvaluatorHandle {
    pub(crate) fn new(caller: Caller, object: EvaluatorObject) -> Result<Self, LoaderError> {
        let object = Held::new(&caller, "the evaluator", object);
        let requirements = caller.json(
            "requirements of the evaluator",
            "requirements that this host understands",
            || object.requirements(),
        )?;
        Ok(Self {
            update: caller.label("update of the evaluator"),
            caller,
            object,
            requirements,
        })
    }

    /// What to feed to [`EvaluatorHandle::update`].
    pub const fn requirements(&self) -> &Requirements {
        &self.requirements
    }

    /// Feeds one batch; `first_index` numbers its first sample within this evaluation.
    ///
    /// # Errors
    /// An error of the plugin.
    ///
    /// # Panics
    /// If a column has another number of values than its shape says: a mistake of the caller.
    pub fn update(
        &mut self,
        inputs: &[InputColumn<'_>],
        first_index: u64,
    ) -> Result<(), LoaderError> {
        let (mut tensors, mut joined) = (Vec::new(), Vec::new());
        for input in inputs {
            match input.data {
                InputData::F32 { shape, values } => {
                    tensors.push(view(input.name, DType::F32, shape, values))
                }
                InputData::U8 { shape, values } => {
                    tensors.push(view(input.name, DType::U8, shape, values))
                }
                InputData::I64 { shape, values } => {
                    tensors.push(view(input.name, DType::I64, shape, values))
                }
                InputData::Text(texts) => joined.push((input.name, join_texts(texts))),
            }
        }
        let texts: Vec<_> = (joined.iter())
            .map(|(name, (bytes, offsets))| TextView {
                name: (*name).into(),
                bytes: bytes.as_slice().into(),
                offsets: offsets.as_slice().into(),
            })
            .collect();
        let batch = BatchView {
            tensors: tensors.as_slice().into(),
            texts: texts.as_slice().into(),
        };
        self.caller.call_as(
            self.update,
            format_args!("update of the evaluator at sample {first_index}"),
            || self.object.update(&batch, first_index),
        )
    }

    /// The metrics of everything fed since the last call, and the files that the evaluator made; it is then as new.
    ///
    /// # Errors
    /// An error of the plugin, metrics that cannot be read, or artefacts that break a rule of
    /// [`dsl_abi::check::check_artefacts`].
    pub fn finish(&mut self) -> Result<(Vec<MetricValue>, Vec<HostArtefact>), LoaderError> {
        let call = "finish of the evaluator";
        let release = self.caller.label("release of an artefact");
        let (metrics, arrived) = self.caller.call(call, || {
            self.object.finish().map(|evaluated| {
                let artefacts = evaluated.artefacts.into_iter().map(|artefact| {
                    (
                        String::from(artefact.name),
                        String::from(artefact.media_type),
                        Lent::take(artefact.data, release),
                    )
                });
                let artefacts: Vec<_> = artefacts.collect();
                (String::from(evaluated.metrics), artefacts)
            })
        })?;
        let metrics: Vec<MetricValue> = self.caller.read(call, "metrics as JSON", &metrics)?;
        let mut artefacts = Vec::with_capacity(arrived.len());
        for (name, media_type, data) in arrived {
            let data = data.map_err(|found| {
                let expected = format!("memory for artefact `{name}`");
                self.caller.contract(call, expected, found)
            })?;
            artefacts.push(HostArtefact {
                name,
                media_type,
                bytes: Bytes::from_owner(data),
            });
        }
        let found: Vec<_> = (artefacts.iter())
            .map(|artefact| {
                (
                    artefact.name.as_str(),
                    artefact.media_type.as_str(),
                    artefact.bytes.len() as u64,
                )
            })
            .collect();
        check_artefacts(&found).map_err(|breach| {
            let expected = format!("{} for artefact `{}`", breach.expected, breach.column);
            self.caller.contract(call, expected, breach.found)
        })?;
        Ok((metrics, artefacts))
    }
}

fn view<'a, T: Element>(
    name: &'a str,
    dtype: DType,
    shape: &'a [u64],
    values: &'a [T],
) -> TensorView<'a> {
    assert_eq!(
        shape.iter().product::<u64>(),
        values.len() as u64,
        "values of column `{name}` for shape {shape:?}"
    );
    let raw = dtype.raw().expect("text is not viewed as a tensor");
    TensorView {
        name: name.into(),
        dtype: raw,
        shape: shape.into(),
        data: bytes_of(values).into(),
    }
}

impl std::fmt::Debug for EvaluatorHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EvaluatorHandle")
            .field("plugin", &self.caller.plugin)
            .finish_non_exhaustive()
    }
}
