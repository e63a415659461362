//! A plugin that is wrong on purpose, in the way its configuration says: tests load it to see what a host makes of it.

use std::sync::atomic::{AtomicU64, Ordering};

use dsl_sdk::{
    Batch, BatchRequest, Column, ColumnData, ColumnRole, ColumnSpec, DType, Dataset, Host,
    Injection, PluginError, Task, TaskDescription,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
    tracing,
};

/// What goes wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", rename_all = "kebab-case")]
#[schemars(crate = "dsl_sdk::schemars")]
pub enum Fault {
    /// Nothing: points on a line.
    #[default]
    None,
    /// Panics while opening.
    PanicInOpen,
    /// Panics in every batch.
    PanicInBatch,
    /// Panics when its dataset is dropped.
    PanicInDrop,
    /// Returns an error with help.
    ErrorInBatch,
    /// Returns batches of another shape than declared.
    WrongShape,
    /// Names a target that is no column.
    NoTarget,
    /// Asks for a dropout of 2.
    WrongDropout,
    /// Logs a warning in every batch.
    Warns,
    /// Works until the host asks for a stop.
    Endless,
    /// The same, after four batches of training.
    EndlessAfterFour,
}

/// Settings.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct MisbehaveConfig {
    /// What goes wrong.
    pub fault: Fault,
}

/// The task.
pub struct Misbehave {
    fault: Fault,
    host: Host,
}

impl Task for Misbehave {
    const ID: &'static str = "misbehave";
    const NAME: &'static str = "Misbehave";
    const DESCRIPTION: &'static str = "Wrong on purpose, for tests";
    type Config = MisbehaveConfig;

    fn open(config: MisbehaveConfig, host: Host) -> Result<Self, PluginError> {
        assert!(
            config.fault != Fault::PanicInOpen,
            "told to panic while opening"
        );
        Ok(Self {
            fault: config.fault,
            host,
        })
    }

    fn describe(&self) -> TaskDescription {
        let dropout = if self.fault == Fault::WrongDropout {
            2.0
        } else {
            0.1
        };
        TaskDescription {
            target: if self.fault == Fault::NoTarget {
                "nowhere"
            } else {
                "point"
            }
            .into(),
            injections: vec![Injection::CrossAttention {
                column: "name".into(),
                dropout,
            }],
            sample_prompts: vec![],
        }
    }

    fn splits(&self) -> Vec<String> {
        vec!["train".into()]
    }

    fn dataset(&self, _split: &str) -> Result<Box<dyn Dataset>, PluginError> {
        Ok(Box::new(Line {
            fault: self.fault,
            host: self.host.clone(),
            batches: AtomicU64::new(0),
        }))
    }
}

struct Line {
    fault: Fault,
    host: Host,
    /// Batches of training so far.
    batches: AtomicU64,
}

impl Drop for Line {
    fn drop(&mut self) {
        assert!(
            self.fault != Fault::PanicInDrop,
            "told to panic while being dropped"
        );
    }
}

impl Dataset for Line {
    fn len(&self) -> u64 {
        100
    }

    fn columns(&self) -> Vec<ColumnSpec> {
        let column = |name: &str, dtype, shape, role| ColumnSpec {
            name: name.into(),
            dtype,
            shape,
            role,
        };
        vec![
            column("point", DType::F32, vec![Some(2)], ColumnRole::Vector),
            column("name", DType::Text, vec![], ColumnRole::Text),
        ]
    }

    fn batch(&self, request: &BatchRequest<'_>) -> Result<Batch, PluginError> {
        let mut width = 2;
        let before = match request.augment {
            true => self.batches.fetch_add(1, Ordering::Relaxed),
            false => 0,
        };
        match self.fault {
            Fault::PanicInBatch => panic!("told to panic at sample {:?}", request.indices.first()),
            Fault::ErrorInBatch => {
                return Err(PluginError::io("shard 7 is gone")
                    .with_help("bring it back")
                    .with_detail("all of it"));
            }
            Fault::WrongShape => width = 3,
            Fault::Warns => tracing::warn!(count = request.indices.len(), "told to warn"),
            Fault::EndlessAfterFour if before < 4 => {}
            Fault::Endless | Fault::EndlessAfterFour => {
                for done in 0.. {
                    if self.host.cancelled() {
                        return Err(PluginError::cancelled());
                    }
                    self.host.progress(done, 0, "waiting for a stop");
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            }
            _ => {}
        }
        let values = request
            .indices
            .iter()
            .flat_map(|&index| vec![index as f32; width])
            .collect();
        let names = request
            .indices
            .iter()
            .map(|index| format!("point {index}"))
            .collect();
        let shape = vec![request.indices.len() as u64, width as u64];
        Ok(Batch {
            columns: vec![
                Column {
                    name: "name".into(),
                    data: ColumnData::Text(names),
                },
                Column {
                    name: "point".into(),
                    data: ColumnData::F32 { shape, values },
                },
            ],
        })
    }
}

dsl_sdk::export_plugin!(Misbehave);
