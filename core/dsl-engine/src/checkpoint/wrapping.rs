//! Checkpoints of the training of feature wrapping: both small networks and their moments. The autoencoder stays where it is,
//! and its SHA-256 is kept.

use std::path::PathBuf;

use burn::module::Module;

use super::read::Files;
use super::write::{Saved, moments};
use super::{
    Checkpoint, Checkpoints, DISCRIMINATOR, DISCRIMINATOR_OPTIMIZER, FORMAT, State, WRAPPING,
    WRAPPING_OPTIMIZER,
};
use crate::error::EngineError;
use crate::wrapping::WrappingTrainer;

impl Checkpoints {
    /// As [`Checkpoints::save`].
    ///
    /// # Errors
    /// As [`Checkpoints::save`].
    pub fn save_wrapping(&self, trainer: &WrappingTrainer) -> Result<PathBuf, EngineError> {
        self.put(trainer.step_count(), || {
            let state = State {
                format: FORMAT,
                step: trainer.step_count(),
                adversary: None,
                frozen_sha256: Some(trainer.autoencoder_sha256().to_owned()),
            };
            let (wrapping, discriminator) = (&trainer.wrapping, &trainer.discriminator);
            let weights = Saved::of_trained(wrapping.module());
            let of_discriminator = Saved::of_trained(discriminator.module());
            Ok(vec![
                state.file()?,
                (WRAPPING, weights.weights(wrapping.module(), WRAPPING)?),
                (
                    WRAPPING_OPTIMIZER,
                    moments(wrapping.optimizer(), WRAPPING_OPTIMIZER)?,
                ),
                (
                    DISCRIMINATOR,
                    of_discriminator.weights(discriminator.module(), DISCRIMINATOR)?,
                ),
                (
                    DISCRIMINATOR_OPTIMIZER,
                    moments(discriminator.optimizer(), DISCRIMINATOR_OPTIMIZER)?,
                ),
            ])
        })
    }
}

impl WrappingTrainer {
    /// Goes back to where `checkpoint` was taken. The trainer must have the settings and the autoencoder it had then.
    ///
    /// # Errors
    /// [`EngineError::Mismatch`] for another autoencoder and for networks of another shape; the trainer is left as it was.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), EngineError> {
        if checkpoint.state.frozen_sha256.as_deref() != Some(self.autoencoder_sha256()) {
            return Err(EngineError::Mismatch {
                message: "it was trained around another autoencoder".to_owned(),
                help: "go on with the pipeline that it was begun with".to_owned(),
            });
        }
        let files = Files(&checkpoint.files);
        let (wrapping, discriminator) = (self.wrapping.module(), self.discriminator.module());
        let saved = Saved::of_trained(wrapping);
        let wrapping = files.module(wrapping, &saved, WRAPPING)?;
        let of_wrapping = files.optimizer(self.wrapping.optimizer(), WRAPPING_OPTIMIZER)?;
        let saved = Saved::of_trained(discriminator);
        let discriminator = files.module(discriminator, &saved, DISCRIMINATOR)?;
        let of_discriminator =
            files.optimizer(self.discriminator.optimizer(), DISCRIMINATOR_OPTIMIZER)?;

        // Everything fits: from here on nothing fails.
        self.wrapping.restore(wrapping.train(), of_wrapping);
        self.discriminator
            .restore(discriminator.train(), of_discriminator);
        self.step = checkpoint.step();
        Ok(())
    }
}
