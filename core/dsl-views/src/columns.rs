//! Columns that these tasks have in common, and views in them.

use dsl_render::Views;
use dsl_sdk::{Batch, ColumnRole, ColumnSpec, DType, PluginError};

/// The column with the target views.
pub const VIEWS: &str = "views";
/// The column with the input view.
pub const INPUT_VIEW: &str = "input_view";
/// The column that says of each target view which it is.
pub const POSE: &str = "pose";
/// The column that the host generates.
pub const GENERATED: &str = "generated";

/// A column of floats; its shape is that of one sample.
pub fn column(name: &str, shape: &[u64], role: ColumnRole) -> ColumnSpec {
    ColumnSpec {
        name: name.into(),
        dtype: DType::F32,
        shape: shape.iter().copied().map(Some).collect(),
        role,
    }
}

/// A column of views, `[objects, views, 3, side, side]` or `[objects, 3, side, side]`.
///
/// # Errors
/// A broken contract, when there is no such column, or it holds something else.
pub fn views<'a>(batch: &'a Batch, name: &str) -> Result<Views<'a>, PluginError> {
    let (shape, values) = batch.f32(name)?;
    Views::new(shape, values).ok_or_else(|| {
        let message =
            format!("column `{name}`: expected views of 3 × side × side, found {shape:?}");
        PluginError::contract(message)
    })
}

#[cfg(test)]
mod tests {
    use dsl_sdk::Column;

    use super::*;

    #[test]
    fn columns_that_hold_no_views_are_named() {
        let batch = |shape: &[u64]| Batch {
            columns: vec![Column::f32(VIEWS, shape.to_vec(), vec![0.0; 48])],
        };
        assert_eq!(views(&batch(&[2, 2, 3, 2, 2]), VIEWS).unwrap().views, 2);
        assert_eq!(views(&batch(&[4, 3, 2, 2]), VIEWS).unwrap().views, 1);
        let error = views(&batch(&[2, 3, 2, 4]), VIEWS).unwrap_err();
        assert!(error.message.contains("`views`") && error.message.contains("[2, 3, 2, 4]"));
        let error = views(&batch(&[4, 3, 2, 2]), GENERATED).unwrap_err();
        assert!(error.message.contains("`generated`"), "{error}");
    }
}
