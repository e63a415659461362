//! What a run leaves to look at: `metrics.jsonl`, TensorBoard files, sample pictures; and what is
//! shown on stderr meanwhile.

mod append;
mod memory;
mod metrics;
mod picture;
mod progress;
mod tensorboard;

use std::path::PathBuf;

use image::RgbImage;

use crate::run_dir::{RunDir, RunDirError, write_atomic};

pub use memory::peak_memory_bytes;
pub use metrics::{Metrics, MetricsWriter, Scalar, read_metrics};
pub use picture::{
    GridLayout, PictureError, Samples, ScatterLayout, grid, picture, png_bytes, scatter, write_png,
};
pub use progress::{
    PluginProgress, Progress, ProgressMode, SpeedMeter, describe_duration, training_details,
    write_stderr,
};
pub use tensorboard::EventWriter;

/// Why something of a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] RunDirError),
    /// Samples cannot be drawn.
    #[error(transparent)]
    Picture(#[from] PictureError),
}

/// The files of a run that say how it goes.
#[derive(Debug)]
pub struct Report {
    metrics: MetricsWriter,
    events: EventWriter,
    samples: PathBuf,
    evaluation: PathBuf,
}

impl Report {
    /// Begins the report of a new run.
    ///
    /// # Errors
    /// [`RunDirError`] of the file that could not be made.
    pub fn create(run: &RunDir) -> Result<Self, RunDirError> {
        Ok(Self {
            metrics: MetricsWriter::create(&run.metrics_path())?,
            events: EventWriter::create(&run.tensorboard_path())?,
            samples: run.samples_path(),
            evaluation: run.evaluation_path(),
        })
    }

    /// Goes on with the report of a run that is resumed from the checkpoint of `step`: what was
    /// reported of later steps is taken back (see [`MetricsWriter::resume`] and
    /// [`EventWriter::resume`]). Pictures of later steps are written again when their step comes.
    ///
    /// # Errors
    /// [`RunDirError`] of the file that could not be written.
    pub fn resume(run: &RunDir, step: u64) -> Result<Self, RunDirError> {
        Ok(Self {
            metrics: MetricsWriter::resume(&run.metrics_path(), step)?,
            events: EventWriter::resume(&run.tensorboard_path(), step)?,
            samples: run.samples_path(),
            evaluation: run.evaluation_path(),
        })
    }

    /// Writes the values of a step, to both `metrics.jsonl` and TensorBoard. One call per step; it
    /// comes before the checkpoint of that step.
    ///
    /// # Errors
    /// [`RunDirError::DiskFull`] or [`RunDirError::Io`].
    pub fn log(&mut self, step: u64, metrics: &Metrics) -> Result<(), RunDirError> {
        self.metrics.append(step, metrics)?;
        self.events.scalars(step, metrics)
    }

    /// Draws the samples of a step to `samples/step-….png` and to TensorBoard, and gives the
    /// picture's path. `reference` is what points of the plane are drawn over.
    ///
    /// # Errors
    /// [`ReportError::Picture`] for samples that cannot be drawn, [`ReportError::File`].
    pub fn samples(
        &mut self,
        step: u64,
        samples: Samples<'_>,
        reference: Option<Samples<'_>>,
    ) -> Result<PathBuf, ReportError> {
        let drawn: RgbImage = picture(samples, reference)?;
        Ok(self.picture(step, &drawn)?)
    }

    /// As [`Self::samples`] for samples that are drawn already.
    ///
    /// # Errors
    /// [`RunDirError::DiskFull`] or [`RunDirError::Io`].
    pub fn picture(&mut self, step: u64, picture: &RgbImage) -> Result<PathBuf, RunDirError> {
        let path = self.samples.join(sample_name(step));
        write_png(&path, picture)?;
        self.events.image(step, "samples", picture)?;
        Ok(path)
    }

    /// Writes a file that the plugin's evaluator made to `evaluation/step-…/NAME`, and gives its path. `name` is a plain
    /// file name.
    ///
    /// # Errors
    /// [`RunDirError::DiskFull`] or [`RunDirError::Io`].
    pub fn artefact(&self, step: u64, name: &str, bytes: &[u8]) -> Result<PathBuf, RunDirError> {
        let folder = self.evaluation.join(format!("step-{step:08}"));
        std::fs::create_dir_all(&folder)
            .map_err(|source| RunDirError::io("make", &folder, source))?;
        let path = folder.join(name);
        write_atomic(&path, bytes)?;
        Ok(path)
    }

    /// Writes `samples/prompts.json` once: what the pictures show, in the order of their tiles
    /// (prompts, seeds, sampler).
    ///
    /// # Errors
    /// [`RunDirError::DiskFull`] or [`RunDirError::Io`].
    pub fn prompts(&self, prompts: &serde_json::Value) -> Result<PathBuf, RunDirError> {
        let path = self.samples.join(PROMPTS);
        let text = format!("{prompts:#}\n");
        if std::fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
            return Ok(path);
        }
        write_atomic(&path, text.as_bytes())?;
        Ok(path)
    }

    /// Brings the metrics to disk; to be called before a checkpoint is saved.
    ///
    /// # Errors
    /// [`RunDirError::DiskFull`] or [`RunDirError::Io`].
    pub fn sync(&self) -> Result<(), RunDirError> {
        self.metrics.sync()
    }
}

/// What the pictures show, beside them.
pub(crate) const PROMPTS: &str = "prompts.json";

/// As many digits as keep a folder in order.
pub(crate) fn sample_name(step: u64) -> String {
    format!("step-{step:08}.png")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_resumed_report_goes_on_where_the_checkpoint_is() {
        let temp = tempfile::tempdir().unwrap();
        let run = RunDir::create(&temp.path().join("run")).unwrap();
        let mut report = Report::create(&run).unwrap();
        let line = |step: u64| Metrics::from_iter([("loss/generator", step as f64)]);
        for step in 1..=4 {
            report.log(step, &line(step)).unwrap();
        }
        report.sync().unwrap();
        drop(report);
        let mut report = Report::resume(&run, 2).unwrap();
        for step in 3..=5 {
            report.log(step, &line(step)).unwrap();
        }
        let steps: Vec<u64> = read_metrics(&run.metrics_path())
            .unwrap()
            .into_iter()
            .map(|(step, _)| step)
            .collect();
        assert_eq!(steps, [1, 2, 3, 4, 5]);
        let events = fs::read_dir(run.tensorboard_path()).unwrap().count();
        assert_eq!(events, 2);
    }

    #[test]
    fn pictures_and_prompts_lie_side_by_side() {
        let temp = tempfile::tempdir().unwrap();
        let run = RunDir::create(&temp.path().join("run")).unwrap();
        let mut report = Report::create(&run).unwrap();
        let values = [0.5; 2 * 3 * 4 * 4];
        let samples = Samples::new(&values, [2, 3, 4, 4]).unwrap();
        let path = report.samples(500, samples, None).unwrap();
        assert_eq!(path, run.sample_path(500));
        assert!(image::open(&path).is_ok());
        let prompts = serde_json::json!({ "prompts": ["red apple", "dog"] });
        let path = report.prompts(&prompts).unwrap();
        report.prompts(&prompts).unwrap();
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains("red apple"));
    }
}
