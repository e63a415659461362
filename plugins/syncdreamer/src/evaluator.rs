//! Scores of generated views against true ones, beside those of the input view taken for each of them.

use dsl_sdk::{Artefacts, Batch, Evaluator, MetricValue, PluginError, Requirements};
use dsl_views::{ColorScores, GENERATED, INPUT_VIEW, VIEWS, alike, views};

use crate::sheet::blocks;

/// Means over views, then objects, of PSNR and SSIM, on white; of the generated views, and of the input view in place of each.
///
/// The difference in PSNR says what generating gains over repeating what was given.
#[derive(Debug)]
pub struct ViewScores {
    requirements: Requirements,
    colors: ColorScores,
}

impl ViewScores {
    pub(crate) fn new(requirements: Requirements) -> Self {
        Self {
            requirements,
            colors: ColorScores::default(),
        }
    }
}

impl Evaluator for ViewScores {
    fn requirements(&self) -> Requirements {
        self.requirements.clone()
    }

    fn update(&mut self, inputs: &Batch, _first_index: u64) -> Result<(), PluginError> {
        let (truth, generated) = (views(inputs, VIEWS)?, views(inputs, GENERATED)?);
        let given = views(inputs, INPUT_VIEW)?;
        if !alike(&truth, &generated) || !alike(&truth, &given) || generated.views != truth.views {
            let message = format!("`{GENERATED}` and `{INPUT_VIEW}` do not fit `{VIEWS}`");
            return Err(PluginError::contract(message));
        }
        let shape = truth.shape();
        for object in 0..truth.objects {
            let given = given.values(object, 0);
            for view in 0..truth.views {
                let (truth, own) = (truth.values(object, view), generated.values(object, view));
                self.colors.add(truth, own, given, shape)?;
            }
        }
        self.colors.show(blocks(inputs)?);
        Ok(())
    }

    fn finish(&mut self, artefacts: &mut Artefacts) -> Result<Vec<MetricValue>, PluginError> {
        let done = std::mem::replace(self, Self::new(self.requirements.clone()));
        Ok(done.colors.finish(artefacts))
    }
}
