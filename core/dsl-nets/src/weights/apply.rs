//! From parameters to keys and back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};

use super::file::write_tensors;
use super::{FileTensor, LoadReport, MissingKey, ShapeMismatch, WeightDType, WeightFile};
use crate::error::NetsError;
use crate::lora::peft::transpose;
use crate::parameters::{ParameterPath, named_parameters};

/// Gives `module` the values in `file`, and reports what became of each key.
///
/// `prefixes` are pairs (in the file, in the module): a key that starts with the first is looked for under the second.
/// `[("unet.", "denoiser.")]` reads `unet.conv_in.weight` into `denoiser.conv_in.weight`.
/// Weights of 1×1 convolutions and of linear layers stand for each other: `[a, b]` and `[a, b, 1, 1]` are the same.
///
/// # Errors
/// [`NetsError::Io`] and [`NetsError::WeightFile`] from reading; what does not fit is in the report.
pub fn load<M: Module>(
    module: M,
    file: &WeightFile,
    prefixes: &[(&str, &str)],
) -> Result<(M, LoadReport), NetsError> {
    // Buffers that old files hold beside their weights.
    let buffer = |key: &str| key.ends_with("position_ids");
    let keys: BTreeMap<String, String> = file
        .keys()
        .into_iter()
        .filter(|key| !buffer(key))
        .map(|key| {
            let renamed = prefixes
                .iter()
                .find_map(|(from, to)| key.strip_prefix(from).map(|rest| format!("{to}{rest}")));
            (renamed.unwrap_or_else(|| key.clone()), key)
        })
        .collect();
    let mut loader = Loader {
        file,
        unused: keys.keys().cloned().collect(),
        keys,
        path: ParameterPath::default(),
        report: LoadReport::default(),
        failure: None,
    };
    let module = module.map(&mut loader);
    let Loader {
        mut report,
        unused,
        failure,
        ..
    } = loader;
    if let Some(error) = failure {
        return Err(error);
    }
    for missing in &mut report.missing {
        missing.did_you_mean = nearest(&missing.key, &unused);
    }
    report.unused = unused.into_iter().collect();
    Ok((module, report))
}

/// As [`load`], but every parameter must be in the file with its shape; keys left over are logged.
///
/// # Errors
/// As [`load`], and [`NetsError::WeightsDoNotFit`].
pub fn load_complete<M: Module>(
    module: M,
    file: &WeightFile,
    prefixes: &[(&str, &str)],
) -> Result<M, NetsError> {
    let (module, report) = load(module, file, prefixes)?;
    if !report.is_complete() {
        return Err(NetsError::WeightsDoNotFit {
            path: file.name().to_owned(),
            report: Box::new(report),
        });
    }
    if !report.unused.is_empty() {
        tracing::warn!(file = %file.name().display(), "weights left over: {report}");
    }
    Ok(module)
}

/// Writes every parameter of `module`, adapters excepted, whole or not at all.
///
/// `metadata` goes into the header, beside `format: pt`, without which some readers refuse the file.
///
/// # Errors
/// [`NetsError::Io`] when the file cannot be written.
pub fn save<M: Module>(
    module: &M,
    path: &Path,
    dtype: WeightDType,
    metadata: &BTreeMap<String, String>,
) -> Result<(), NetsError> {
    let tensors = named_parameters(module)
        .into_iter()
        .filter(|parameter| !parameter.is_adapter())
        .map(|parameter| {
            let mut tensor = FileTensor {
                shape: parameter.shape,
                values: parameter.values,
            };
            if parameter.is_transposed {
                let [rows, columns] = [tensor.shape[0], tensor.shape[1]];
                tensor = FileTensor {
                    shape: vec![columns, rows],
                    values: transpose(&tensor.values, rows, columns),
                };
            }
            (parameter.path, tensor)
        })
        .collect();
    let mut all = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    all.extend(metadata.clone());
    write_tensors(path, tensors, dtype, &all)
}

struct Loader<'a> {
    file: &'a WeightFile,
    /// Parameter path to key in the file.
    keys: BTreeMap<String, String>,
    unused: BTreeSet<String>,
    path: ParameterPath,
    report: LoadReport,
    failure: Option<NetsError>,
}

impl Loader<'_> {
    /// The values for the parameter at the current path, in the network's layout.
    fn find(&mut self, path: &str, shape: &[usize]) -> Option<Vec<f32>> {
        let transposed = self.path.is_transposed();
        let expected: Vec<usize> = if transposed {
            shape.iter().rev().copied().collect()
        } else {
            shape.to_vec()
        };
        let Some(key) = self.keys.get(path) else {
            self.report.missing.push(MissingKey {
                key: path.to_owned(),
                did_you_mean: None,
            });
            return None;
        };
        self.unused.remove(path);
        let found = self.file.shape(key).unwrap_or_default();
        if !same_but_for_ones(found, &expected) {
            let found = found.to_vec();
            self.report.mismatched.push(ShapeMismatch {
                key: path.to_owned(),
                expected,
                found,
            });
            return None;
        }
        match self.file.read(key) {
            Ok(tensor) => {
                self.report.applied.push(path.to_owned());
                Some(if transposed {
                    transpose(&tensor.values, expected[0], expected[1])
                } else {
                    tensor.values
                })
            }
            Err(error) => {
                self.failure = self.failure.take().or(Some(error));
                None
            }
        }
    }
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.joined();
        if self.path.is_adapter() {
            return param;
        }
        let shape = param.dims();
        match self.find(&path, &shape) {
            Some(values) => {
                let id = param.id;
                let values = Tensor::from_data(TensorData::new(values, shape), &param.device());
                param.transform_for_load(values, id)
            }
            None => param,
        }
    }
}

/// Whether two shapes are equal, axes of length 1 at the end left aside.
fn same_but_for_ones(a: &[usize], b: &[usize]) -> bool {
    let trim = |shape: &[usize]| {
        let keep = shape
            .iter()
            .rposition(|&n| n != 1)
            .map_or(0, |last| last + 1);
        shape[..keep].to_vec()
    };
    trim(a) == trim(b)
}

/// The candidate spelt most like `key`, if any is near.
fn nearest(key: &str, candidates: &BTreeSet<String>) -> Option<String> {
    const ENOUGH: f64 = 0.85;
    candidates
        .iter()
        .map(|candidate| (strsim::normalized_levenshtein(key, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.clone())
}
