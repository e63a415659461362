//! Sets whose samples come in several shapes: validation, margins and steps ask for those of one shape at a time.

use burn::tensor::{Device, TensorData};
use dsl_engine::{EngineError, SampleSource, Samples, Stream, Streams, Trainer, ValidationConfig};

use super::support::{Pictures, dsl, tiny_unet};

/// [`Pictures`] of which some are twice as wide; those cannot be asked for together with others.
struct Mixed {
    pictures: Pictures,
    wide: Vec<bool>,
}

impl SampleSource for Mixed {
    fn len(&self) -> u64 {
        self.pictures.len()
    }

    fn bucket_of(&self, index: u64) -> u32 {
        u32::from(self.wide[index as usize])
    }

    fn samples(&self, indices: &[u64]) -> Result<Samples, EngineError> {
        let bucket = self.bucket_of(indices[0]);
        assert!(
            indices.iter().all(|&index| self.bucket_of(index) == bucket),
            "{indices:?}"
        );
        let mut samples = self.pictures.samples(indices)?;
        if bucket == 1 {
            let wide =
                |&index: &u64| Streams::new(6).normal(Stream::new("wide"), 0, index, [1, 3, 8, 16]);
            let values: Vec<f32> = indices.iter().flat_map(wide).collect();
            samples.x_0 = TensorData::new(values, [indices.len(), 3, 8, 16]);
        }
        Ok(samples)
    }
}

fn mixed(wide: &[u64]) -> Mixed {
    Mixed {
        pictures: Pictures(9),
        wide: (0..9).map(|index| wide.contains(&index)).collect(),
    }
}

fn trainer() -> Trainer {
    let mut config = dsl(|_| {});
    config.train.batch_size = 4;
    Trainer::new(config, tiny_unet(1), &Device::flex()).unwrap()
}

fn validated(set: &dyn SampleSource) -> Vec<(String, f64)> {
    let config = ValidationConfig {
        samples: 9,
        ..ValidationConfig::default()
    };
    trainer().validate(&config, set).unwrap().values
}

#[test]
fn one_bucket_is_as_none() {
    let (all, none) = (mixed(&[]), Pictures(9));
    assert_eq!(validated(&all), validated(&none));
}

#[test]
fn validation_and_steps_take_samples_of_one_bucket_at_a_time() {
    for wide in [&[1, 4, 5, 7][..], &[3], &[0, 1, 2, 3, 4, 5, 6, 7, 8]] {
        let set = mixed(wide);
        let values = validated(&set);
        assert!(
            values
                .iter()
                .any(|(name, _)| name == "validation/conditioning_gain")
        );
        assert!(
            values
                .iter()
                .all(|(_, value)| value.is_finite() && *value > 0.0)
        );
        assert_eq!(validated(&set), values);

        // The first step measures the margin over the whole set.
        let mut trainer = trainer();
        let narrow: Vec<u64> = (0..9).filter(|index| !wide.contains(index)).collect();
        for batch in [wide, &narrow]
            .into_iter()
            .filter(|batch| !batch.is_empty())
        {
            let parts: Vec<Samples> = (batch.chunks(2))
                .map(|part| set.samples(part).unwrap())
                .collect();
            let report = trainer.step(&parts, &set).unwrap();
            assert!(report.get("loss/generator").unwrap().is_finite());
        }
    }
}
