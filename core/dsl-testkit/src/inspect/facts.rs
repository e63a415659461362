//! The child's side: collects what the plugin says, and answers after each part, so that a crash loses one part only.

use std::io;

use dsl_loader::{LoaderError, Plugin, TaskHandle};
use serde_json::{Map, Value};

use super::{AssetFact, ConfigKey, EvaluatorFacts, Inspection, MetricFact, SplitFacts};
use crate::{
    case::Verdict,
    context::Context,
    feed::{Feed, Leave},
    job::{Question, answer},
};

pub(crate) fn run(context: &Context) -> io::Result<()> {
    let mut found = Inspection::default();
    let mut save = |found: &Inspection| answer(&context.job, found);
    let result = collect(context, &mut found, &mut save);
    if let Err(Stop::Plugin(problem, help)) = result {
        found.problem = Some(problem);
        found.help = help;
    } else if let Err(Stop::Answer(error)) = result {
        return Err(error);
    }
    save(&found)
}

enum Stop {
    Plugin(String, Option<String>),
    Answer(io::Error),
}

impl From<LoaderError> for Stop {
    fn from(error: LoaderError) -> Self {
        Self::Plugin(error.to_string(), error.help())
    }
}

impl From<Verdict> for Stop {
    fn from(verdict: Verdict) -> Self {
        Self::Plugin(
            verdict.message,
            Some(verdict.help).filter(|help| !help.is_empty()),
        )
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Answer(error)
    }
}

fn collect(
    context: &Context,
    found: &mut Inspection,
    save: &mut impl FnMut(&Inspection) -> io::Result<()>,
) -> Result<(), Stop> {
    let plugin = context.plugin()?;
    found.manifest = Some(plugin.manifest().clone());
    save(found)?;
    if context.job.question == Question::Manifest {
        return Ok(());
    }
    found.assets = assets(&plugin)?;
    let (schema, defaults) = (plugin.config_schema()?, plugin.default_config()?);
    keys(&schema, &schema, &defaults, "", &mut found.config);
    found.host_defaults = Some(plugin.host_defaults()?);
    save(found)?;
    let task = plugin.open_task(&context.config(&plugin)?)?;
    let description = task.describe();
    found.target = Some(description.target.clone());
    found.conditioning.clone_from(&description.injections);
    found.sample_prompts.clone_from(&description.sample_prompts);
    save(found)?;
    for split in task.splits() {
        let dataset = task.dataset(split)?;
        found.splits.push(SplitFacts {
            name: split.clone(),
            samples: dataset.len(),
            columns: dataset.columns().to_vec(),
        });
        save(found)?;
    }
    found.evaluator = evaluator(&task)?;
    Ok(())
}

fn assets(plugin: &Plugin) -> Result<Vec<AssetFact>, LoaderError> {
    let mut assets = Vec::new();
    for name in plugin.asset_names()? {
        let bytes = plugin.asset(&name)?.map_or(0, |asset| asset.len() as u64);
        assets.push(AssetFact { name, bytes });
    }
    Ok(assets)
}

/// Walks the properties of a schema, through references to its own definitions.
fn keys(root: &Value, schema: &Value, default: &Value, prefix: &str, found: &mut Vec<ConfigKey>) {
    let schema = resolve(root, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let key = format!("{prefix}{name}");
        let default = &default[name.as_str()];
        let inner = resolve(root, property);
        let has_keys = inner["properties"]
            .as_object()
            .is_some_and(|keys| !keys.is_empty());
        if has_keys && default.is_object() {
            keys(root, inner, default, &format!("{key}."), found);
            continue;
        }
        let text = |value: &Value| value["description"].as_str().map(str::to_owned);
        found.push(ConfigKey {
            key,
            kind: kind(root, property),
            default: default.clone(),
            description: text(property)
                .or_else(|| text(inner))
                .unwrap_or_default()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        });
    }
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let target = schema["$ref"]
        .as_str()
        .and_then(|reference| reference.strip_prefix('#'))
        .and_then(|pointer| root.pointer(pointer));
    target.unwrap_or(schema)
}

fn kind(root: &Value, schema: &Value) -> String {
    let schema = resolve(root, schema);
    let join = |kinds: Vec<String>| {
        let mut unique: Vec<String> = Vec::new();
        for kind in kinds {
            if !unique.contains(&kind) {
                unique.push(kind);
            }
        }
        unique.join(" or ")
    };
    if let Some(values) = schema["enum"].as_array() {
        return join(values.iter().map(Value::to_string).collect());
    }
    if let Some(value) = schema.get("const") {
        return value.to_string();
    }
    match &schema["type"] {
        Value::String(kind) => return kind.clone(),
        Value::Array(kinds) => {
            return join(
                kinds
                    .iter()
                    .filter_map(|kind| kind.as_str().map(str::to_owned))
                    .collect(),
            );
        }
        _ => {}
    }
    for several in ["anyOf", "oneOf"] {
        if let Some(options) = schema[several].as_array() {
            return join(options.iter().map(|option| kind(root, option)).collect());
        }
    }
    let is_any = schema.as_object().is_none_or(Map::is_empty);
    if is_any { "any" } else { "see the schema" }.to_owned()
}

fn evaluator(task: &TaskHandle) -> Result<Option<EvaluatorFacts>, Stop> {
    const SAMPLES: usize = 8;
    let Some(mut evaluator) = task.evaluator()? else {
        return Ok(None);
    };
    let requirements = evaluator.requirements().clone();
    let feed = Feed::new(task, &evaluator, SAMPLES)?;
    feed.feed(&mut evaluator, 0, SAMPLES, Leave::Nothing)?;
    let (metrics, artefacts) = evaluator.finish()?;
    Ok(Some(EvaluatorFacts {
        requirements,
        metrics: (metrics.into_iter())
            .map(|metric| MetricFact {
                name: metric.name,
                direction: metric.direction,
                unit: metric.unit,
            })
            .collect(),
        artefacts: artefacts
            .into_iter()
            .map(|artefact| artefact.name)
            .collect(),
    }))
}
