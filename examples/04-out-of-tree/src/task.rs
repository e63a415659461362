//! The task.

use std::sync::Arc;

use dsl_sdk::serde_json::{Value, json};
use dsl_sdk::{
    Dataset, Evaluator, Host, PluginError, Requirements, Task, TaskDescription, tracing,
};

use crate::config::TableConfig;
use crate::dataset::{ROW, TableRows};
use crate::evaluator::NoiseError;
use crate::lorenz;
use crate::rows::Rows;

/// Rows of numbers. `[any thread]`
pub struct Table {
    rows: Arc<Rows>,
    held_out: usize,
    jitter: f32,
}

impl Task for Table {
    const ID: &'static str = "table";
    const NAME: &'static str = "Table";
    const DESCRIPTION: &'static str = "Rows of numbers from a CSV file";

    type Config = TableConfig;

    fn host_defaults() -> Value {
        json!({
            "model": {
                "base": "none",
                "denoiser": {"kind": "mlp", "features": 3, "hidden_sizes": [128, 128, 128]}
            },
            "train": {"steps": 1000, "batch_size": 256, "learning_rate": 0.002},
            "sampling": {"count": 256}
        })
    }

    fn open(config: TableConfig, host: Host) -> Result<Self, PluginError> {
        config.check()?;
        let rows = match &config.path {
            Some(path) => Rows::read(path, config.columns.as_deref(), &host)?,
            None if config.columns.is_some() => {
                return Err(PluginError::config(
                    "`task.columns` names columns, and there is no `task.path`",
                )
                .with_help("set `task.path` to a CSV file"));
            }
            None => {
                Rows::standardised(lorenz::NAMES.map(str::to_owned).to_vec(), lorenz::states())?
            }
        };
        let held_out = ((rows.count() as f64 * config.held_out) as usize).max(1);
        tracing::info!(
            rows = rows.count(),
            columns = rows.names.len(),
            held_out,
            "table read"
        );
        Ok(Self {
            rows: Arc::new(rows),
            held_out,
            jitter: config.jitter,
        })
    }

    fn describe(&self) -> TaskDescription {
        TaskDescription {
            target: ROW.into(),
            injections: vec![],
            sample_prompts: vec![],
            dropout: 0.0,
        }
    }

    fn splits(&self) -> Vec<String> {
        vec!["train".into(), "test".into()]
    }

    fn dataset(&self, split: &str) -> Result<Box<dyn Dataset>, PluginError> {
        let count = self.rows.count();
        // Held-out rows are spread over the table, since tables are often sorted.
        let is_held_out =
            |row: usize| row * self.held_out / count != (row + 1) * self.held_out / count;
        let wanted = match split {
            "train" => false,
            "test" => true,
            other => {
                return Err(PluginError::unsupported(format!(
                    "there is no split `{other}`; there are: train, test"
                )));
            }
        };
        Ok(Box::new(TableRows {
            rows: self.rows.clone(),
            chosen: (0..count)
                .filter(|&row| is_held_out(row) == wanted)
                .collect(),
            jitter: self.jitter,
        }))
    }

    fn evaluator(&self) -> Result<Option<Box<dyn Evaluator>>, PluginError> {
        Ok(Some(Box::new(NoiseError::new(
            Requirements::NoisePredictions {
                split: "test".into(),
                count: self.held_out as u64,
            },
        ))))
    }
}
