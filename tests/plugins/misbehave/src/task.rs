//! The task.

use std::time::Duration;

use dsl_sdk::{
    Asset, Batch, Dataset, Evaluator, Host, Injection, PluginError, Task, TaskDescription,
    image::Picture,
    schemars::{JsonSchema, Schema, SchemaGenerator},
    serde::{Deserialize, Serialize},
    serde_json::{Value, json},
};

use crate::{
    conditioning,
    dataset::Line,
    evaluator::MeanSquare,
    fault::{Fault, hang},
    services, user,
};

/// Settings.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars", transform = silence)]
pub struct MisbehaveConfig {
    /// What goes wrong. `none` leaves it to the environment.
    pub fault: Fault,
    /// How many batches of training are right before it goes wrong.
    pub after: u64,
    /// Distance between points.
    #[schemars(schema_with = "scale_schema")]
    pub scale: f32,
}

fn scale_schema(generator: &mut SchemaGenerator) -> Schema {
    Fault::of_environment().panic_if(Fault::PanicInSchema, "in the schema");
    generator.subschema_for::<f32>()
}

fn silence(schema: &mut Schema) {
    let scale = schema.pointer_mut("/properties/scale");
    if let Some(scale) = scale.and_then(Value::as_object_mut)
        && Fault::of_environment() == Fault::SilentKey
    {
        scale.remove("description");
    }
}

impl Default for MisbehaveConfig {
    fn default() -> Self {
        Fault::of_environment().panic_if(Fault::PanicInDefaultConfig, "in the default");
        Self {
            fault: Fault::None,
            after: 0,
            scale: 1.0,
        }
    }
}

/// The task.
pub struct Misbehave {
    fault: Fault,
    after: u64,
    scale: f32,
    host: Host,
}

impl Task for Misbehave {
    const ID: &'static str = "misbehave";
    const NAME: &'static str = "Misbehave";
    const DESCRIPTION: &'static str = "Wrong on purpose, for tests";
    type Config = MisbehaveConfig;

    fn host_defaults() -> Value {
        let fault = Fault::of_environment();
        fault.panic_if(Fault::PanicInHostDefaults, "in the recommendations");
        match fault {
            Fault::WorksBeforeOpen => drop(std::thread::spawn(|| hang())),
            Fault::SlowBeforeOpen => std::thread::sleep(Duration::from_millis(300)),
            _ => {}
        }
        json!({})
    }

    fn assets() -> &'static [Asset] {
        Fault::of_environment().panic_if(Fault::PanicInAssets, "in the list of files");
        &[]
    }

    fn open(config: MisbehaveConfig, host: Host) -> Result<Self, PluginError> {
        let fault = match config.fault {
            Fault::None => Fault::of_environment(),
            fault => fault,
        };
        fault.panic_if(Fault::PanicInOpen, "while opening");
        match fault {
            Fault::HangInOpen => hang(),
            Fault::AbortInOpen => std::process::abort(),
            Fault::PanicOnZeroScale => assert!(config.scale != 0.0, "told to panic at 0"),
            Fault::TellsServices => return Err(services::tell(&host)),
            Fault::LeaksThreads => drop(std::thread::spawn(|| hang())),
            Fault::ExitLater => drop(std::thread::spawn(|| {
                std::thread::sleep(Duration::from_millis(400));
                std::process::exit(0)
            })),
            Fault::LeavesProcess => {
                // Its name is how a test finds it.
                let number = std::env::var("DSL_MISBEHAVE_SLEEP").unwrap_or_else(|_| "60".into());
                drop(std::process::Command::new("sleep").arg(number).spawn());
                hang()
            }
            Fault::ChangesFolder => {
                std::env::set_current_dir(std::env::temp_dir())
                    .map_err(|error| PluginError::io(error.to_string()))?;
            }
            _ => {}
        }
        Ok(Self {
            fault,
            after: config.after,
            scale: config.scale,
            host,
        })
    }

    fn describe(&self) -> TaskDescription {
        self.fault
            .panic_if(Fault::PanicInDescribe, "in the description");
        let (target, dropout) = match self.fault {
            Fault::NoTarget => ("nowhere", 0.1),
            Fault::WrongDropout => ("point", 2.0),
            _ => ("point", 0.1),
        };
        let mut injections = vec![Injection::CrossAttention {
            column: "name".into(),
            dropout,
        }];
        if self.fault.is_conditioned() {
            injections.extend(conditioning::injections());
        }
        TaskDescription {
            target: target.into(),
            injections,
            sample_prompts: vec![],
            dropout: 0.0,
        }
    }

    fn splits(&self) -> Vec<String> {
        self.fault
            .panic_if(Fault::PanicInSplits, "in the list of splits");
        vec!["train".into(), "test".into()]
    }

    fn dataset(&self, split: &str) -> Result<Box<dyn Dataset>, PluginError> {
        self.fault
            .panic_if(Fault::PanicInDataset, "while a dataset is made");
        if !["train", "test"].contains(&split) && self.fault != Fault::AnySplit {
            return Err(PluginError::unsupported(format!(
                "there is no split `{split}`; there are: train, test"
            )));
        }
        let line = Line::new(self.fault, self.after, self.scale, self.host.clone());
        Ok(Box::new(line))
    }

    fn evaluator(&self) -> Result<Option<Box<dyn Evaluator>>, PluginError> {
        self.fault
            .panic_if(Fault::PanicInEvaluator, "while an evaluator is made");
        Ok(Some(Box::new(MeanSquare::new(
            self.fault,
            self.host.clone(),
        ))))
    }

    fn conditions(&self, inputs: &Value) -> Result<Batch, PluginError> {
        let keys = inputs.as_object().ok_or_else(|| {
            PluginError::config(format!("the inputs are {inputs}, expected keys and values"))
        })?;
        user::conditions(self.fault, keys)
    }

    fn picture(&self, samples: &Batch) -> Result<Option<Picture>, PluginError> {
        user::picture(self.fault, samples)
    }
}
