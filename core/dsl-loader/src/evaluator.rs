//! An evaluator of a task.

use bytes::Bytes;
use dsl_abi::{check::check_artefacts, task::EvaluatorObject};

use crate::{
    HostArtefact, InputColumn, LoaderError, MetricValue, Requirements,
    call::{Caller, Held},
    columns::Lent,
    in_call::Label,
    lend::lend,
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
        lend(inputs, |batch| {
            self.caller.call_as(
                self.update,
                format_args!("update of the evaluator at sample {first_index}"),
                || self.object.update(batch, first_index),
            )
        })
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

impl std::fmt::Debug for EvaluatorHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EvaluatorHandle")
            .field("plugin", &self.caller.plugin)
            .finish_non_exhaustive()
    }
}
