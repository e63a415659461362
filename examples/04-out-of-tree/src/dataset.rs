//! The rows as a dataset.

use std::sync::Arc;

use dsl_sdk::{
    Batch, BatchRequest, Column, ColumnData, ColumnRole, ColumnSpec, DType, Dataset, PluginError,
};

use crate::rows::Rows;

/// The column that is trained on: `f32 [number of columns of the table]`.
pub(crate) const ROW: &str = "row";

/// Some of the rows.
pub(crate) struct TableRows {
    pub(crate) rows: Arc<Rows>,
    /// Numbers of the rows.
    pub(crate) chosen: Vec<usize>,
    pub(crate) jitter: f32,
}

impl Dataset for TableRows {
    fn len(&self) -> u64 {
        self.chosen.len() as u64
    }

    fn columns(&self) -> Vec<ColumnSpec> {
        vec![ColumnSpec {
            name: ROW.into(),
            dtype: DType::F32,
            shape: vec![Some(self.rows.names.len() as u64)],
            role: ColumnRole::Vector,
        }]
    }

    fn batch(&self, request: &BatchRequest<'_>) -> Result<Batch, PluginError> {
        let width = self.rows.names.len();
        let mut values = Vec::with_capacity(width * request.indices.len());
        for (&index, &seed) in request.indices.iter().zip(request.seeds) {
            let row = self.rows.row(self.chosen[index as usize]);
            let jitter = if request.augment { self.jitter } else { 0.0 };
            let mut random = Random(seed);
            values.extend(row.iter().map(|value| value + jitter * random.normal()));
        }
        let shape = vec![request.indices.len() as u64, width as u64];
        Ok(Batch {
            columns: vec![Column {
                name: ROW.into(),
                data: ColumnData::F32 { shape, values },
            }],
        })
    }
}

/// Normal numbers from a seed: SplitMix64 and the method of Box and Muller.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 40) as f32 / (1_u64 << 24) as f32
    }

    fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.uniform()).cos()
    }
}
