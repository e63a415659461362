//! Feature networks and distances that the host computes.

use dsl_abi::{
    RawDType, Tensor, TensorView,
    buffer::{bytes_of, elements_of},
    services::FeaturesObject,
};

use super::answer;
use crate::{FeatureInfo, PluginError};

/// Feature networks and distances of the host. `[any thread]`
///
/// Pictures are row-major `f32 [n, 3, height, width]` in −1..1 of any height and width: the host resizes and normalises
/// them as the network wants. Ask once for many pictures: they go to the host's device in one piece.
#[derive(Clone, Copy)]
pub struct Features<'a>(pub(super) &'a FeaturesObject);

impl Features<'_> {
    /// Every network and distance that the host knows, those included that it cannot compute now, with how to get them.
    ///
    /// # Errors
    /// A host that breaks the contract.
    pub fn describe(&self) -> Result<Vec<FeatureInfo>, PluginError> {
        let text = answer(self.0.describe())?;
        serde_json::from_str(&text).map_err(|error| {
            PluginError::contract(format!(
                "the host's list of features cannot be read: {error}"
            ))
        })
    }

    /// Features of pictures of shape `[n, 3, height, width]`: `n` rows, one after the other, each as long as
    /// [`Features::describe`] says.
    ///
    /// # Errors
    /// [`crate::ErrorCode::Unsupported`] for an unknown network and for one whose weights are missing, with how to get
    /// it; a shape that does not fit.
    pub fn extract(
        &self,
        id: &str,
        shape: [u64; 4],
        images: &[f32],
    ) -> Result<Vec<f32>, PluginError> {
        let view = pictures("images", &shape, images)?;
        numbers(id, shape[0], &answer(self.0.extract(id.into(), &view))?)
    }

    /// Distances between the pictures of two batches of the same shape, pair by pair: `n` numbers.
    ///
    /// # Errors
    /// As for [`Features::extract`].
    pub fn distance(
        &self,
        id: &str,
        shape: [u64; 4],
        first: &[f32],
        second: &[f32],
    ) -> Result<Vec<f32>, PluginError> {
        let (first, second) = (
            pictures("first", &shape, first)?,
            pictures("second", &shape, second)?,
        );
        let distances = answer(self.0.distance(id.into(), &first, &second))?;
        numbers(id, shape[0], &distances)
    }
}

fn pictures<'a>(
    name: &'static str,
    shape: &'a [u64; 4],
    values: &'a [f32],
) -> Result<TensorView<'a>, PluginError> {
    let count = shape
        .iter()
        .try_fold(1_u64, |product, &length| product.checked_mul(length));
    if shape[1] != 3 || count != Some(values.len() as u64) {
        return Err(PluginError::contract(format!(
            "features want pictures as [n, 3, height, width], found the shape {shape:?} and {} values",
            values.len()
        )));
    }
    Ok(TensorView {
        name: name.into(),
        dtype: RawDType::F32,
        shape: shape[..].into(),
        data: bytes_of(values).into(),
    })
}

fn numbers(id: &str, rows: u64, tensor: &Tensor) -> Result<Vec<f32>, PluginError> {
    let values = elements_of::<f32>(tensor.data.as_bytes())
        .filter(|_| tensor.dtype == RawDType::F32 && tensor.shape.first() == Some(&rows));
    values.map(<[f32]>::to_vec).ok_or_else(|| {
        PluginError::contract(format!(
            "the host answered for `{id}` with data type {} and shape {:?}, expected f32 and {rows} rows",
            tensor.dtype.0,
            tensor.shape.as_slice()
        ))
    })
}
