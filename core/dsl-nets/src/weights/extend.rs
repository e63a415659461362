//! The weights of a base in a network that has more than it: what a task added.

use std::collections::BTreeSet;

use burn::module::Module;

use super::apply::{complete, load_set_sharing};
use super::{LoadReport, WeightDType, WeightFile, WeightSet};
use crate::denoiser::Denoiser;
use crate::error::NetsError;
use crate::model::Model;
use crate::task_modules::TaskModuleKind;

/// What of a parameter is a task's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskShare {
    /// The module that it belongs to.
    pub kind: TaskModuleKind,
    /// The last columns along its second axis, where the others are the base's; all of it without.
    pub columns: Option<usize>,
}

/// What a base did not have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extension {
    /// What became of each key; nothing is missing.
    pub report: LoadReport,
    /// Parameters of the task's modules that kept their fresh values.
    pub fresh: Vec<String>,
    /// Parameters that got columns of zeros.
    pub widened: Vec<String>,
    /// The modules that are fresh, as a whole or by their columns.
    pub kinds: Vec<TaskModuleKind>,
}

impl Extension {
    /// Whether the base had all of the task's modules.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }
}

/// As [`load_complete`](super::load_complete), but what `share` says to be a task's may be absent: whole modules, which
/// keep their fresh values, and columns, which are then zero.
///
/// # Errors
/// As [`load`](super::load); [`NetsError::BaseLacks`] for anything else that is missing or of another shape, and for a
/// module of which the file has a part.
pub fn load_extending<M: Module>(
    module: M,
    file: &WeightFile,
    prefixes: &[(&str, &str)],
    share: impl Fn(&str) -> Option<TaskShare>,
) -> Result<(M, Extension), NetsError> {
    let set = super::apply::prefixed(file, prefixes);
    load_set_extending(module, &set, WeightDType::F32, share)
}

/// As [`load_extending`], from a set, as numbers of `dtype`.
///
/// # Errors
/// As [`load_extending`].
pub fn load_set_extending<M: Module>(
    module: M,
    set: &WeightSet,
    dtype: WeightDType,
    share: impl Fn(&str) -> Option<TaskShare>,
) -> Result<(M, Extension), NetsError> {
    let (module, mut report, widened) = load_set_sharing(module, set, dtype, &share)?;
    let whole = |key: &str| share(key).filter(|share| share.columns.is_none());
    let there: BTreeSet<_> = report
        .applied
        .iter()
        .filter_map(|key| whole(key))
        .map(|share| share.kind)
        .collect();
    let mut kinds: BTreeSet<_> = widened
        .iter()
        .filter_map(|key| share(key))
        .map(|share| share.kind)
        .collect();
    let mut fresh = Vec::new();
    report.missing.retain(|missing| {
        let kind = whole(&missing.key).map(|share| share.kind);
        match kind.filter(|kind| !there.contains(kind)) {
            Some(kind) => {
                kinds.insert(kind);
                fresh.push(missing.key.clone());
                false
            }
            None => true,
        }
    });
    if !report.is_complete() {
        return Err(NetsError::BaseLacks {
            path: set.name().to_owned(),
            report: Box::new(report),
        });
    }
    complete(&report, set.name())?;
    let extension = Extension {
        report,
        fresh,
        widened,
        kinds: kinds.into_iter().collect(),
    };
    Ok((module, extension))
}

impl TaskShare {
    /// Of the parameter at `path` below a UNet that has `concat_channels`.
    pub fn in_unet(path: &str, concat_channels: usize) -> Option<Self> {
        let kind = TaskModuleKind::in_unet(path, concat_channels)?;
        let columns = (kind == TaskModuleKind::ConcatChannels).then_some(concat_channels);
        Some(Self { kind, columns })
    }
}

impl Denoiser {
    /// Takes the values of a base, which may lack what a task adds.
    ///
    /// # Errors
    /// As [`load_extending`].
    pub fn load_extending(self, file: &WeightFile) -> Result<(Self, Extension), NetsError> {
        let channels = self.concat_channels();
        load_extending(self, file, &[], |path| TaskShare::in_unet(path, channels))
    }
}

impl Model {
    /// As [`Self::load_complete`], from a base that may lack what a task adds.
    ///
    /// # Errors
    /// As [`load_extending`].
    pub fn load_extending(self, file: &WeightFile) -> Result<(Self, Extension), NetsError> {
        let channels = self.denoiser.concat_channels();
        load_extending(self, file, Self::PREFIXES, |path| {
            match path.strip_prefix("denoiser.") {
                Some(below) => TaskShare::in_unet(below, channels),
                None => TaskShare::in_unet(path, 0),
            }
        })
    }
}
