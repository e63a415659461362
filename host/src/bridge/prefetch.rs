//! Reads the next batches while the networks work on this one.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use dsl_engine::{EngineError, Samples};

use super::data::TrainingBatches;

/// Batches read ahead. Two are enough to hide one slow read; more only take memory.
const AHEAD: usize = 2;

/// A thread that reads batches in order.
pub struct Prefetch {
    batches: Option<Receiver<Result<Vec<Samples>, EngineError>>>,
    thread: Option<JoinHandle<()>>,
}

impl Prefetch {
    /// Reads the batches of the steps `first..last` (from 0).
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn start(mut batches: TrainingBatches, first: u64, last: u64) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(AHEAD);
        let thread = std::thread::Builder::new()
            .name("data".to_owned())
            .spawn(move || {
                for step in first..last {
                    let batch = batches.batch(step);
                    let failed = batch.is_err();
                    // A closed channel: training has ended early.
                    if sender.send(batch).is_err() || failed {
                        return;
                    }
                }
            })?;
        Ok(Self {
            batches: Some(receiver),
            thread: Some(thread),
        })
    }

    /// The next batch, in order.
    ///
    /// # Errors
    /// What the data set says.
    pub fn next_batch(&mut self) -> Result<Vec<Samples>, EngineError> {
        let received = self.batches.as_ref().map(Receiver::recv);
        match received {
            Some(Ok(batch)) => batch,
            _ => Err(EngineError::Data(
                "the thread that reads the data has ended".into(),
            )),
        }
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        // Closing the channel ends the thread after the batch it is reading.
        drop(self.batches.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
