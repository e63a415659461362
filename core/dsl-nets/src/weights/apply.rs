//! From parameters to keys and back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Tensor, TensorData};
use half::{bf16, f16};

use super::extend::TaskShare;
use super::numbers::Number;
use super::set::Renamed;
use super::write::write_tensors;
use super::{
    FileTensor, LoadReport, MissingKey, ShapeMismatch, WeightDType, WeightFile, WeightSet,
    transpose,
};
use crate::error::NetsError;
use crate::parameters::{ParameterPath, named_parameters, parameter_infos};

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
    load_set(module, &prefixed(file, prefixes), WeightDType::F32)
}

/// The tensors of a file under the module's names.
pub(crate) fn prefixed(file: &WeightFile, prefixes: &[(&str, &str)]) -> WeightSet {
    WeightSet::from(file.clone()).rename(|key| {
        let renamed = prefixes
            .iter()
            .find_map(|(from, to)| key.strip_prefix(from).map(|rest| format!("{to}{rest}")));
        Some(Renamed::As(renamed.unwrap_or_else(|| key.to_owned())))
    })
}

/// Gives `module` the values in `set` as numbers of `dtype`, straight to its device, and reports what became of each key.
///
/// # Errors
/// As [`load`].
pub fn load_set<M: Module>(
    module: M,
    set: &WeightSet,
    dtype: WeightDType,
) -> Result<(M, LoadReport), NetsError> {
    let (module, report, _) = load_set_sharing(module, set, dtype, &|_| None)?;
    Ok((module, report))
}

/// As [`load_set`], with columns of zeros where a file lacks those that `share` says to be a task's; the third result names
/// the parameters that got them.
pub(super) fn load_set_sharing<M: Module>(
    module: M,
    set: &WeightSet,
    dtype: WeightDType,
    share: &dyn Fn(&str) -> Option<TaskShare>,
) -> Result<(M, LoadReport, Vec<String>), NetsError> {
    // Buffers that old files hold beside their weights.
    let buffer = |key: &str| key.ends_with("position_ids");
    let unused = set.keys().filter(|key| !buffer(key)).map(str::to_owned);
    let mut loader = Loader {
        set,
        dtype,
        share,
        widened: Vec::new(),
        unused: unused.collect(),
        path: ParameterPath::default(),
        report: LoadReport::default(),
        failure: None,
    };
    let module = module.map(&mut loader);
    let Loader {
        mut report,
        unused,
        failure,
        widened,
        ..
    } = loader;
    if let Some(error) = failure {
        return Err(error);
    }
    // Enough for a slip of the pen; the file of another network has no neighbours worth the search.
    const COMPARED: usize = 20;
    for missing in report.missing.iter_mut().take(COMPARED) {
        missing.did_you_mean = nearest(&missing.key, &unused);
    }
    report.unused = unused.into_iter().collect();
    Ok((module, report, widened))
}

/// What [`load_set`] would report, from names and shapes alone: nothing is read.
pub fn compare<M: Module>(module: &M, set: &WeightSet) -> LoadReport {
    let mut report = LoadReport::default();
    let mut unused: BTreeSet<String> = set
        .keys()
        .filter(|key| !key.ends_with("position_ids"))
        .map(str::to_owned)
        .collect();
    let parameters = parameter_infos(module).into_iter();
    for parameter in parameters.filter(|parameter| !parameter.is_adapter()) {
        let expected = parameter.file_shape();
        let key = parameter.path;
        match set.shape(&key) {
            None => report.missing.push(MissingKey {
                key,
                did_you_mean: None,
            }),
            Some(found) => {
                unused.remove(&key);
                if same_but_for_ones(&found, &expected) {
                    report.applied.push(key);
                } else {
                    report.mismatched.push(ShapeMismatch {
                        key,
                        expected,
                        found,
                    });
                }
            }
        }
    }
    report.unused = unused.into_iter().collect();
    report
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
    complete(&report, file.name())?;
    Ok(module)
}

/// That every parameter was found; what is left over is logged.
pub(crate) fn complete(report: &LoadReport, path: &Path) -> Result<(), NetsError> {
    if !report.is_complete() {
        return Err(NetsError::WeightsDoNotFit {
            path: path.to_owned(),
            report: Box::new(report.clone()),
        });
    }
    if !report.unused.is_empty() {
        tracing::warn!(file = %path.display(), "weights left over: {report}");
    }
    Ok(())
}

/// Every parameter of `module`, adapters excepted, as files hold them. Copies all values to the host.
pub(crate) fn file_tensors<M: Module>(module: &M) -> Vec<(String, FileTensor)> {
    named_parameters(module)
        .into_iter()
        .filter(|parameter| !parameter.is_adapter())
        .map(|parameter| {
            let mut tensor = FileTensor {
                shape: parameter.shape,
                values: parameter.values,
            };
            if parameter.is_scalar {
                tensor.shape = Vec::new();
            } else if parameter.is_transposed {
                let [rows, columns] = [tensor.shape[0], tensor.shape[1]];
                tensor = FileTensor {
                    shape: vec![columns, rows],
                    values: transpose(&tensor.values, rows, columns),
                };
            }
            (parameter.path, tensor)
        })
        .collect()
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
    let mut all = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    all.extend(metadata.clone());
    write_tensors(path, file_tensors(module), dtype, &all)
}

struct Loader<'a> {
    set: &'a WeightSet,
    dtype: WeightDType,
    share: &'a dyn Fn(&str) -> Option<TaskShare>,
    widened: Vec<String>,
    unused: BTreeSet<String>,
    path: ParameterPath,
    report: LoadReport,
    failure: Option<NetsError>,
}

impl Loader<'_> {
    /// The values for the parameter at the current path, in the network's layout.
    fn find(&mut self, path: &str, shape: &[usize]) -> Option<TensorData> {
        let transposed = self.path.is_transposed();
        let expected: Vec<usize> = if transposed {
            shape.iter().rev().copied().collect()
        } else {
            shape.to_vec()
        };
        let Some(found) = self.set.shape(path) else {
            self.report.missing.push(MissingKey {
                key: path.to_owned(),
                did_you_mean: None,
            });
            return None;
        };
        self.unused.remove(path);
        let widens = (self.share)(path)
            .and_then(|share| share.columns)
            .is_some_and(|columns| is_narrower(&found, &expected, columns));
        if !widens && !same_but_for_ones(&found, &expected) {
            self.report.mismatched.push(ShapeMismatch {
                key: path.to_owned(),
                expected,
                found,
            });
            return None;
        }
        let layout = if widens {
            self.widened.push(path.to_owned());
            Layout::Widened(found)
        } else if transposed {
            Layout::Transposed([expected[0], *expected.last().unwrap_or(&1)])
        } else {
            Layout::AsItIs
        };
        let data = match self.dtype {
            WeightDType::F32 => read::<f32>(self.set, path, shape, &layout),
            WeightDType::F16 => read::<f16>(self.set, path, shape, &layout),
            WeightDType::Bf16 => read::<bf16>(self.set, path, shape, &layout),
        };
        match data {
            Ok(data) => {
                self.report.applied.push(path.to_owned());
                Some(data)
            }
            Err(error) => {
                self.failure = self.failure.take().or(Some(error));
                None
            }
        }
    }
}

/// How a file's values become a parameter's.
enum Layout {
    AsItIs,
    /// Rows and columns of the matrix in the file.
    Transposed([usize; 2]),
    /// Zeros behind the columns of this shape in the file.
    Widened(Vec<usize>),
}

/// Whether only the last `columns` along the second axis are not there.
fn is_narrower(found: &[usize], expected: &[usize], columns: usize) -> bool {
    found.len() == expected.len()
        && found.len() > 1
        && found
            .iter()
            .zip(expected)
            .enumerate()
            .all(
                |(axis, (a, b))| {
                    if axis == 1 { a + columns == *b } else { a == b }
                },
            )
}

/// `values` of shape `found` with zeros up to `shape`, which has more along the second axis.
fn widen<T: Copy + Default>(values: &[T], found: &[usize], shape: &[usize]) -> Vec<T> {
    let [old, new] = [found, shape].map(|shape| shape[1..].iter().product::<usize>());
    let mut wide = Vec::with_capacity(shape[0] * new);
    for row in values.chunks(old.max(1)) {
        wide.extend_from_slice(row);
        wide.resize(wide.len() + new - old, T::default());
    }
    wide
}

fn read<T: Number + Default + burn::tensor::Element>(
    set: &WeightSet,
    key: &str,
    shape: &[usize],
    layout: &Layout,
) -> Result<TensorData, NetsError> {
    let values = set.read_as(key, T::convert)?;
    let values = match layout {
        Layout::AsItIs => values,
        Layout::Transposed([rows, columns]) => transpose(&values, *rows, *columns),
        Layout::Widened(found) => widen(&values, found, shape),
    };
    Ok(TensorData::new(values, shape.to_vec()))
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
        let shape: [usize; D] = param.lazy_shape().dims();
        match self.find(&path, &shape) {
            Some(data) => {
                let id = param.id;
                let dtype = match self.dtype {
                    WeightDType::F32 => DType::F32,
                    WeightDType::F16 => DType::F16,
                    WeightDType::Bf16 => DType::BF16,
                };
                let values = Tensor::from_data(data, (&param.lazy_device(), dtype));
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
