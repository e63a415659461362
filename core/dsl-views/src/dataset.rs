//! Batches of what a task makes of each object.

use dsl_sdk::{Batch, BatchRequest, Column, ColumnSpec, Dataset, Host, PluginError};

use crate::objects::Objects;

/// What a task makes of one object. `[any thread]`
pub trait ObjectSampler: Send + Sync {
    /// The objects of the split.
    fn objects(&self) -> &Objects;

    /// The columns, all of floats.
    fn columns(&self) -> Vec<ColumnSpec>;

    /// The values of each column, in their order, of the object at a place. They follow from the place and the seed alone;
    /// without a seed nothing is augmented.
    ///
    /// # Errors
    /// Files that cannot be read.
    fn sample(&self, place: usize, seed: Option<u64>) -> Result<Vec<Vec<f32>>, PluginError>;
}

/// The dataset of a split: a sample for each object. `[any thread]`
#[derive(Debug)]
pub struct ObjectDataset<S> {
    sampler: S,
    host: Host,
}

impl<S: ObjectSampler> ObjectDataset<S> {
    /// Samples are made on the host's threads.
    pub fn new(sampler: S, host: &Host) -> Self {
        let host = host.clone();
        Self { sampler, host }
    }
}

impl<S: ObjectSampler> Dataset for ObjectDataset<S> {
    fn len(&self) -> u64 {
        self.sampler.objects().len() as u64
    }

    fn columns(&self) -> Vec<ColumnSpec> {
        self.sampler.columns()
    }

    fn batch(&self, request: &BatchRequest<'_>) -> Result<Batch, PluginError> {
        let BatchRequest {
            indices,
            seeds,
            augment,
        } = *request;
        request.check_seeds()?;
        let samples = self.host.parallel(indices.len(), |row| {
            if self.host.cancelled() {
                return Err(PluginError::cancelled());
            }
            let place = self.sampler.objects().place(indices[row])?;
            self.sampler.sample(place, augment.then_some(seeds[row]))
        })?;
        let columns = self.columns().into_iter().enumerate().map(|(at, spec)| {
            let inner = spec.shape.iter().copied().flatten();
            let shape = std::iter::once(samples.len() as u64).chain(inner).collect();
            let rows: Vec<&[f32]> = (samples.iter())
                .filter_map(|sample| sample.get(at).map(Vec::as_slice))
                .collect();
            Column::f32(&spec.name, shape, rows.concat())
        });
        Ok(Batch {
            columns: columns.collect(),
        })
    }
}

/// Makes the first sample of a split: what is wrong with the first object is mostly wrong with all, and should be said
/// before any work begins.
///
/// # Errors
/// Those of the sample.
pub fn try_first(dataset: &dyn Dataset) -> Result<(), PluginError> {
    let first = BatchRequest {
        indices: &[0],
        seeds: &[0],
        augment: false,
    };
    dataset.batch(&first).map(drop)
}

#[cfg(test)]
mod tests {
    use dsl_render::{Normalization, furniture};
    use dsl_sdk::{ColumnRole, ErrorCode};

    use super::*;
    use crate::columns::column;
    use crate::objects::Drawing;
    use crate::testing::batch;

    /// Samples that say what was asked for.
    struct Told(Objects);

    impl ObjectSampler for Told {
        fn objects(&self) -> &Objects {
            &self.0
        }

        fn columns(&self) -> Vec<ColumnSpec> {
            let column = |name, shape: &[u64]| column(name, shape, ColumnRole::Other);
            vec![column("place", &[]), column("seed", &[2])]
        }

        fn sample(&self, place: usize, seed: Option<u64>) -> Result<Vec<Vec<f32>>, PluginError> {
            let seed = seed.map_or(-1.0, |seed| seed as f32);
            Ok(vec![vec![place as f32], vec![seed; 2]])
        }
    }

    fn told() -> ObjectDataset<Told> {
        let drawing = Drawing {
            normalization: Normalization::MaxSide,
            image_size: 16,
            supersampling: 1,
            cache_mib: 0,
        };
        let objects = Objects::new(furniture::splits().train, drawing);
        ObjectDataset::new(Told(objects), &Host::detached())
    }

    #[test]
    fn samples_lie_one_after_the_other() {
        let dataset = told();
        assert_eq!(dataset.len(), 49);
        let found = batch(&dataset, &[5, 3], &[7, 8], true);
        assert_eq!(found.f32("place").unwrap(), (&[2][..], &[5.0, 3.0][..]));
        let seeds = [7.0, 7.0, 8.0, 8.0];
        assert_eq!(found.f32("seed").unwrap(), (&[2, 2][..], &seeds[..]));
        // Seeds are for augmentation alone.
        let found = batch(&dataset, &[5], &[7], false);
        assert_eq!(found.f32("seed").unwrap().1, [-1.0, -1.0]);
        let found = batch(&dataset, &[], &[], true);
        assert_eq!(found.f32("seed").unwrap(), (&[0, 2][..], &[][..]));
    }

    #[test]
    fn requests_that_cannot_be_are_refused() {
        let refused = |indices: &[u64], seeds: &[u64], expected: &str| {
            let request = BatchRequest {
                indices,
                seeds,
                augment: true,
            };
            let error = told().batch(&request).unwrap_err();
            assert_eq!(error.code, ErrorCode::Contract);
            assert!(error.message.contains(expected), "{error}");
        };
        refused(&[0, 49], &[0, 0], "index 49 of a dataset of 49 samples");
        refused(&[0, 1], &[0], "2 indices, but 1 seeds");
    }
}
