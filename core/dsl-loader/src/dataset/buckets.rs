//! The shapes that the targets of a dataset may have.

use dsl_abi::{
    buckets::BucketsInterface,
    check::{Breach, check_buckets},
    task::DatasetObject,
};

use crate::{ColumnSpec, LoaderError, call::Caller};

/// How many samples are asked for at once.
const CHUNK: u64 = 1 << 16;

/// The shapes that the targets of a dataset have, and which of them each sample has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets {
    target: String,
    shapes: Vec<Vec<u64>>,
    of_sample: Vec<u32>,
}

impl Buckets {
    /// Asks the plugin; nothing where the dataset has no buckets.
    pub(super) fn ask(
        interface: &BucketsInterface,
        caller: &Caller,
        call: &str,
        dataset: &DatasetObject,
        target: &ColumnSpec,
        count: u64,
    ) -> Result<Option<Self>, LoaderError> {
        let expected = "shapes of the target as JSON";
        let shapes: Vec<Vec<u64>> = caller.json(call, expected, || (interface.shapes)(dataset))?;
        if shapes.is_empty() {
            return Ok(None);
        }
        check_buckets(target, &shapes).map_err(
            |Breach {
                 column,
                 expected,
                 found,
             }| {
                caller.contract(call, format!("{expected} for column `{column}`"), found)
            },
        )?;
        let mut of_sample = Vec::new();
        for first in (0..count).step_by(CHUNK as usize) {
            let asked = CHUNK.min(count - first);
            let found = caller.call(call, || {
                (interface.of_samples)(dataset, first, asked).map(|found| found.to_vec())
            })?;
            if found.len() as u64 != asked {
                let expected = format!("the buckets of {asked} samples from {first} on");
                return Err(caller.contract(call, expected, format!("{} of them", found.len())));
            }
            if let Some(place) = found.iter().position(|&of| of as usize >= shapes.len()) {
                let expected = format!("buckets 0 to {}", shapes.len() - 1);
                let found = format!("{} for sample {}", found[place], first + place as u64);
                return Err(caller.contract(call, expected, found));
            }
            of_sample.extend(found);
        }
        Ok(Some(Self {
            target: target.name.clone(),
            shapes,
            of_sample,
        }))
    }

    /// The column whose shape they are.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Shape of one sample's target in each bucket. Samples are drawn at the first one where nothing else says.
    pub fn shapes(&self) -> &[Vec<u64>] {
        &self.shapes
    }

    /// For each sample the place of its bucket among [`Self::shapes`].
    pub fn of_sample(&self) -> &[u32] {
        &self.of_sample
    }

    /// The target's name and the shape that it has in a batch; nothing for no samples, or for some that are not of one
    /// bucket, about which the plugin has to say something.
    pub(super) fn target_of(&self, indices: &[u64]) -> Option<(&str, &[u64])> {
        let of = |index: &u64| {
            let place = usize::try_from(*index).ok()?;
            self.of_sample.get(place).copied()
        };
        let bucket = of(indices.first()?)?;
        let shape = self.shapes.get(bucket as usize)?;
        (indices.iter().all(|index| of(index) == Some(bucket))).then_some((&self.target, shape))
    }
}
