//! Generated samples beside what they were made of and what they should be: read from a batch, colours corrected.

use dsl_sdk::{Batch, PluginError};

use crate::config::ColorFix;
use crate::dataset::{IMAGE, LOW, SMALL};
use crate::raster::CHANNELS;

/// The column that the host adds.
pub(crate) const GENERATED: &str = "generated";

/// Pictures of one size, one after the other: `[count, 3, height, width]`, values in −1..1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pictures<'a> {
    pub width: usize,
    pub height: usize,
    values: &'a [f32],
}

impl<'a> Pictures<'a> {
    /// The pictures of a column.
    pub fn of(batch: &'a Batch, name: &str) -> Result<Self, PluginError> {
        let (shape, values) = batch.f32(name)?;
        match *shape {
            [count, 3, height, width]
                if width > 0 && height > 0 && values.len() as u64 == count * 3 * height * width =>
            {
                Ok(Self {
                    width: width as usize,
                    height: height as usize,
                    values,
                })
            }
            _ => Err(PluginError::contract(format!(
                "column `{name}`: expected [samples, 3, height, width], found {shape:?}"
            ))),
        }
    }

    pub fn count(&self) -> usize {
        self.values.len() / self.length()
    }

    /// Width and height.
    pub fn size(&self) -> [usize; 2] {
        [self.width, self.height]
    }

    /// `[3, height, width]`.
    pub fn get(&self, index: usize) -> &'a [f32] {
        &self.values[index * self.length()..(index + 1) * self.length()]
    }

    fn length(&self) -> usize {
        CHANNELS * self.width * self.height
    }
}

/// The samples of a batch.
#[derive(Debug)]
pub(crate) struct Samples<'a> {
    /// The low-resolution pictures at the size of the target.
    pub low: Pictures<'a>,
    /// As they are, where the batch has them.
    pub small: Option<Pictures<'a>>,
    /// The truth, where it is known.
    pub truth: Option<Pictures<'a>>,
    generated: Pictures<'a>,
    color_fix: ColorFix,
}

impl<'a> Samples<'a> {
    /// Reads the columns; those of the size of the target have to be of one size and number.
    pub fn of(batch: &'a Batch, color_fix: ColorFix) -> Result<Self, PluginError> {
        let optional = |name: &str| match batch.column(name) {
            Some(_) => Pictures::of(batch, name).map(Some),
            None => Ok(None),
        };
        let generated = Pictures::of(batch, GENERATED)?;
        let samples = Self {
            low: Pictures::of(batch, LOW)?,
            small: optional(SMALL)?,
            truth: optional(IMAGE)?,
            generated,
            color_fix,
        };
        for (name, pictures) in [(LOW, Some(samples.low)), (IMAGE, samples.truth)] {
            if let Some(pictures) = pictures
                && (pictures.size(), pictures.count()) != (generated.size(), generated.count())
            {
                let is = |of: Pictures<'_>| {
                    format!(
                        "{} pictures of {} × {} pixels",
                        of.count(),
                        of.width,
                        of.height
                    )
                };
                return Err(PluginError::contract(format!(
                    "column `{name}`: expected {} like `{GENERATED}`, found {}",
                    is(generated),
                    is(pictures)
                )));
            }
        }
        if let Some(small) = samples.small
            && small.count() != generated.count()
        {
            return Err(PluginError::contract(format!(
                "column `{SMALL}`: expected {} pictures, found {}",
                generated.count(),
                small.count()
            )));
        }
        Ok(samples)
    }

    pub fn count(&self) -> usize {
        self.generated.count()
    }

    /// Width and height of the target.
    pub fn size(&self) -> [usize; 2] {
        self.generated.size()
    }

    /// A generated picture, its colours corrected: as a whole, in however many tiles it was drawn.
    pub fn generated(&self, index: usize) -> Result<Vec<f32>, PluginError> {
        let [width, height] = self.size();
        let shape = [CHANNELS, height, width];
        self.color_fix
            .apply(self.generated.get(index), self.low.get(index), shape)
    }
}
