//! What a user asks for in place of the data: conditions of their own.

use dsl_loader::{
    ColumnSpec, DType, ErrorCode, HostColumn, HostColumnData, Injection, LoaderError, TaskHandle,
};
use serde_json::{Map, Value, json};

use super::{case, evaluator::no_panic};
use crate::{
    Case,
    case::{Outcome, Verdict},
    context::{Context, first_difference, rows},
};

/// A key that no task has.
const UNKNOWN: &str = "no_such_key_as_this";

pub(super) const CASES: &[Case] = &[
    case(
        "conditions-unknown-key-refused",
        "An input of an unknown name is an error that names it, and no panic",
        unknown_key,
    ),
    case(
        "conditions-odd-inputs",
        "Inputs of any type and value give conditions as declared or an error, and no panic",
        odd_inputs,
    ),
    case(
        "conditions-repeatable",
        "The same inputs give the same conditions, also of another task and after other inputs",
        repeatable,
    ),
];

/// The task, if it takes inputs at all.
fn open(context: &Context) -> Result<TaskHandle, Verdict> {
    let (_, task) = context.task()?;
    match task.conditions(&json!({})) {
        Err(LoaderError::Plugin {
            code: ErrorCode::Unsupported,
            ..
        }) => Err(Verdict::skipped("the task takes no inputs of a user's own")),
        outcome => {
            drop(asked(outcome)?);
            Ok(task)
        }
    }
}

/// As [`no_panic`]; columns that the SDK refuses are a mistake of the plugin as well.
fn asked(
    outcome: Result<Vec<HostColumn>, LoaderError>,
) -> Result<Result<Vec<HostColumn>, LoaderError>, Verdict> {
    match outcome {
        Ok(columns) => Ok(Ok(columns)),
        Err(
            error @ LoaderError::Plugin {
                code: ErrorCode::Contract,
                ..
            },
        ) => Err(error.into()),
        Err(error) => {
            no_panic::<()>(Err(error.clone()))?;
            Ok(Err(error))
        }
    }
}

fn unknown_key(context: &Context) -> Outcome {
    let task = open(context)?;
    for value in [json!(1), json!("text"), json!({"nested": []})] {
        match asked(task.conditions(&json!({UNKNOWN: value})))? {
            Ok(_) => {
                return Err(Verdict::failed(format!(
                    "there are conditions for the unknown input `{UNKNOWN}`"
                ))
                .with_help(
                    "users mistype keys: an unknown one is an error that lists the known ones",
                ));
            }
            Err(error) if !error.to_string().contains(UNKNOWN) => {
                return Ok(Verdict::warning(format!(
                    "the error does not name the input: {error}"
                )));
            }
            Err(_) => {}
        }
    }
    Ok(Verdict::passed(""))
}

/// Names that an input may have: those of the columns that condition the network, and what tasks usually take.
fn names(columns: &[ColumnSpec], target: &str) -> Vec<String> {
    let usual = [
        "prompt", "image", "class", "boxes", "phrases", "path", "seed",
    ];
    let mut names = usual.map(str::to_owned).to_vec();
    let own = columns.iter().map(|column| column.name.clone());
    names.extend(own.filter(|name| name != target && !usual.contains(&name.as_str())));
    names
}

fn odd_inputs(context: &Context) -> Outcome {
    let task = open(context)?;
    let train = task.dataset("train")?;
    let names = names(train.columns(), &task.describe().target);
    let values = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("no/such/file.png"),
        json!("a\u{0}b 🍏 \u{202e}"),
        json!("long ".repeat(10_000)),
        json!([]),
        json!([[], {}, null]),
        json!([[0.9, 0.9, 0.1, 0.1]]),
        json!([1e300, -1e300, 0, 1]),
        json!({"a": {"b": [1, "c"]}}),
    ];
    let (mut asked_for, mut made) = (0, 0);
    let mut ask = |inputs: &Value| -> Result<(), Verdict> {
        asked_for += 1;
        made += usize::from(asked(task.conditions(inputs))?.is_ok());
        Ok(())
    };
    for value in &values {
        for name in &names {
            ask(&json!({name.as_str(): value}))?;
        }
        // And all at once.
        let all: Map<_, _> = (names.iter())
            .map(|name| (name.clone(), value.clone()))
            .collect();
        ask(&Value::Object(all))?;
    }
    Ok(Verdict::passed(format!(
        "conditions for {made} of {asked_for} inputs"
    )))
}

/// Inputs that a task may well take: none, and one for each column and usual name.
fn likely(names: &[String], columns: &[ColumnSpec]) -> Vec<Value> {
    let mut inputs = vec![json!({})];
    for name in names {
        let dtype = (columns.iter())
            .find(|column| column.name == *name)
            .map(|column| column.dtype);
        let values = match dtype {
            Some(DType::Text) => vec![json!("a red apple")],
            Some(DType::I64) => vec![json!(0), json!("0")],
            Some(_) => vec![json!(0.5), json!("0.5"), json!([[0.1, 0.1, 0.9, 0.9]])],
            None => vec![json!("a red apple"), json!(0), json!("0")],
        };
        inputs.extend(
            values
                .into_iter()
                .map(|value| json!({name.as_str(): value})),
        );
    }
    inputs
}

fn repeatable(context: &Context) -> Outcome {
    let (task, other) = (open(context)?, open(context)?);
    let train = task.dataset("train")?;
    let columns = train.columns();
    let likely = likely(&names(columns, &task.describe().target), columns);
    let mut first = Vec::new();
    for inputs in &likely {
        if let Ok(made) = asked(task.conditions(inputs))? {
            check_values(&task.describe().injections, inputs, &made)?;
            first.push((inputs, rows(columns, &made)));
        }
    }
    if first.is_empty() {
        return Ok(Verdict::skipped(
            "the task takes other inputs than this check can guess",
        ));
    }
    for task in [&task, &other] {
        for (inputs, before) in &first {
            let after = rows(columns, &task.conditions(inputs)?);
            let names = |rows: &[(String, _)]| -> Vec<String> {
                rows.iter().map(|(name, _)| name.clone()).collect()
            };
            let difference = match names(before) == names(&after) {
                true => first_difference(&[0], before, &after),
                false => Some("there are other columns".to_owned()),
            };
            if let Some(difference) = difference {
                return Err(Verdict::failed(format!(
                    "the inputs {inputs} a second time: {difference}"
                )));
            }
        }
    }
    Ok(Verdict::passed(format!("{} inputs", first.len())))
}

/// Numbers are finite, and what the injections ask of data holds for a user's inputs as well.
fn check_values(
    injections: &[Injection],
    inputs: &Value,
    columns: &[HostColumn],
) -> Result<(), Verdict> {
    let of = |problem: String| Verdict::failed(format!("the inputs {inputs}: {problem}"));
    for column in columns {
        if let HostColumnData::Tensor(tensor) = &column.data
            && let Some(value) = tensor
                .as_f32()
                .and_then(|values| values.iter().find(|value| !value.is_finite()))
        {
            return Err(of(format!(
                "column `{}` has the value {value}",
                column.name
            )));
        }
    }
    match super::conditioning::out_of_range(injections, columns) {
        Some(problem) => Err(of(problem)),
        None => Ok(()),
    }
}
