//! The services, as the host's callbacks answer them.

use dsl_abi::{
    AbiError, Buffer, RawDType, RawErrorCode, Service, Tensor, TensorView,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{RArc, RErr, ROk, RResult, RStr, RString},
    },
    buffer::elements_of,
    services::{
        CacheDirMethods, CacheDirMethods_TO, FeaturesMethods, FeaturesMethods_TO, Job,
        ParallelMethods, ParallelMethods_TO,
    },
};

use super::{HostAdapter, HostError, quietly, share::share};
use crate::{
    Pictures,
    in_call::{assist, current},
};

pub(super) fn parallel(host: &HostAdapter) -> Service {
    let object = ParallelMethods_TO::from_ptr(RArc::new(Parallel(host.clone())), TD_Opaque);
    Service::new(object)
}

pub(super) fn cache_dir(host: &HostAdapter) -> Service {
    let object = CacheDirMethods_TO::from_ptr(RArc::new(CacheDir(host.clone())), TD_Opaque);
    Service::new(object)
}

pub(super) fn features(host: &HostAdapter) -> Service {
    let object = FeaturesMethods_TO::from_ptr(RArc::new(Features(host.clone())), TD_Opaque);
    Service::new(object)
}

struct Parallel(HostAdapter);

impl ParallelMethods for Parallel {
    fn threads(&self) -> u64 {
        quietly(1, || self.0.callbacks.threads() as u64)
    }

    fn run(&self, count: u64, job: &Job<'_>) {
        // Work on other threads belongs to the call that asked for it.
        let label = current();
        quietly((), || {
            share(self.0.callbacks.threads(), count, &|index| {
                let _part = label.map(assist);
                job.call(index);
            });
        });
    }
}

struct CacheDir(HostAdapter);

impl CacheDirMethods for CacheDir {
    fn path(&self) -> RResult<RString, AbiError> {
        answer(|| {
            let path = self.0.callbacks.cache_dir(&self.0.plugin)?;
            match path.into_os_string().into_string() {
                Ok(path) => Ok(path.into()),
                Err(path) => Err(HostError {
                    code: crate::ErrorCode::Io,
                    message: format!("the cache folder {} is not UTF-8", path.display()),
                    help: "set XDG_CACHE_HOME to another folder".to_owned(),
                }
                .into()),
            }
        })
    }
}

struct Features(HostAdapter);

impl FeaturesMethods for Features {
    fn describe(&self) -> RResult<RString, AbiError> {
        answer(|| {
            serde_json::to_string(&self.0.callbacks.features())
                .map(RString::from)
                .map_err(|error| {
                    mistake(format!("the list of features cannot be written: {error}"))
                })
        })
    }

    fn extract(&self, id: RStr<'_>, images: &TensorView<'_>) -> RResult<Tensor, AbiError> {
        answer(|| {
            let images = pictures(images)?;
            let rows = images.shape[0];
            let values = self.0.callbacks.extract(id.as_str(), &images)?;
            let length = (values.len() as u64).checked_div(rows).unwrap_or(0);
            tensor(vec![rows, length], values)
        })
    }

    fn distance(
        &self,
        id: RStr<'_>,
        first: &TensorView<'_>,
        second: &TensorView<'_>,
    ) -> RResult<Tensor, AbiError> {
        answer(|| {
            let (first, second) = (pictures(first)?, pictures(second)?);
            if first.shape != second.shape {
                return Err(contract(format!(
                    "expected two batches of one shape, found {:?} and {:?}",
                    first.shape, second.shape
                )));
            }
            let values = self.0.callbacks.distance(id.as_str(), &first, &second)?;
            tensor(vec![first.shape[0]], values)
        })
    }
}

fn answer<T>(body: impl FnOnce() -> Result<T, AbiError>) -> RResult<T, AbiError> {
    let panicked = Err(mistake("the host panicked".to_owned()));
    match quietly(panicked, body) {
        Ok(value) => ROk(value),
        Err(error) => RErr(error),
    }
}

fn mistake(message: String) -> AbiError {
    AbiError {
        code: RawErrorCode::OTHER,
        message: message.into(),
        help: "this is a mistake in the host".into(),
        detail: RString::new(),
    }
}

fn contract(message: String) -> AbiError {
    AbiError {
        code: RawErrorCode::CONTRACT,
        message: message.into(),
        help: RString::new(),
        detail: RString::new(),
    }
}

fn pictures<'a>(view: &TensorView<'a>) -> Result<Pictures<'a>, AbiError> {
    let shape = <[u64; 4]>::try_from(view.shape.as_slice()).ok();
    let values = elements_of::<f32>(view.data.as_slice());
    match (shape, values) {
        (Some(shape), Some(values))
            if view.dtype == RawDType::F32
                && shape[1] == 3
                && shape
                    .iter()
                    .try_fold(1_u64, |product, &length| product.checked_mul(length))
                    == Some(values.len() as u64) =>
        {
            Ok(Pictures { shape, values })
        }
        _ => Err(contract(format!(
            "expected pictures as f32 [n, 3, height, width], found data type {} and shape {:?}",
            view.dtype.0,
            view.shape.as_slice()
        ))),
    }
}

fn tensor(shape: Vec<u64>, values: Vec<f32>) -> Result<Tensor, AbiError> {
    if shape.iter().product::<u64>() != values.len() as u64 {
        return Err(mistake(format!(
            "{} features do not fill the shape {shape:?}",
            values.len()
        )));
    }
    Ok(Tensor {
        name: "features".into(),
        dtype: RawDType::F32,
        shape: shape.into(),
        data: Buffer::from_vec(values),
    })
}
