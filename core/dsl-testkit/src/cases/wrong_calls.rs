//! Requests that are at the edge of what may be asked, or beyond.

use dsl_loader::{ErrorCode, HostColumnData, LoaderError};

use super::case;
use crate::{
    Case,
    case::{Outcome, Verdict},
    context::{Context, affordable, columns_of, rows, some_indices},
};

pub(super) const CASES: &[Case] = &[
    case(
        "out-of-range-index",
        "An index beyond the dataset is an error, and no panic",
        out_of_range,
    ),
    case(
        "empty-index-list",
        "An empty list of indices gives an empty batch with every column",
        empty,
    ),
    case(
        "large-batch",
        "A batch may be larger than the dataset, as far as memory goes",
        large,
    ),
    case(
        "usable-after-an-error",
        "After a failed call the dataset still gives its samples",
        after_error,
    ),
    case(
        "batch-outlives-its-task",
        "The memory of a batch stays valid when dataset and task are gone, and may be released on another thread",
        outlives,
    ),
];

fn out_of_range(context: &Context) -> Outcome {
    let dataset = context.train()?;
    for index in [dataset.len(), dataset.len() + 1, u64::MAX] {
        for indices in [vec![index], vec![0, index]] {
            match dataset.batch(&indices, &vec![0; indices.len()], false) {
                Ok(_) => {
                    return Err(Verdict::failed(format!(
                        "batch({indices:?}) gives samples; there are {}",
                        dataset.len()
                    )));
                }
                Err(
                    error @ LoaderError::Plugin {
                        code: ErrorCode::Panic,
                        ..
                    },
                ) => return Err(error.into()),
                Err(_) => {}
            }
        }
    }
    Ok(Verdict::passed(""))
}

fn empty(context: &Context) -> Outcome {
    let dataset = context.train()?;
    for augment in [false, true] {
        let columns = dataset.batch(&[], &[], augment)?;
        for column in &columns {
            let count = match &column.data {
                HostColumnData::Text(texts) => texts.len() as u64,
                HostColumnData::Tensor(tensor) => tensor.shape().first().copied().unwrap_or(0),
            };
            if count != 0 {
                return Err(Verdict::failed(format!(
                    "column `{}` of an empty batch has {count} rows",
                    column.name
                )));
            }
        }
    }
    Ok(Verdict::passed(""))
}

fn large(context: &Context) -> Outcome {
    let dataset = context.train()?;
    let wanted = (dataset.len() as usize).saturating_add(3).min(512);
    let count = affordable(&dataset, wanted)?.max(2);
    let some = some_indices(&dataset, 16.min(count / 2));
    let indices: Vec<u64> = some.iter().copied().cycle().take(count).collect();
    let columns = dataset.batch(&indices, &vec![7; count], false)?;
    for (name, rows) in rows(&columns_of(&dataset), &columns) {
        if let Some(row) = (some.len()..rows.len()).find(|&row| rows[row] != rows[row % some.len()])
        {
            return Err(Verdict::failed(format!(
                "column `{name}`: sample {} is not the same at places {row} and {}",
                indices[row],
                row % some.len()
            )));
        }
    }
    Ok(Verdict::passed(format!("{count} samples")))
}

fn after_error(context: &Context) -> Outcome {
    let dataset = context.train()?;
    let specs = columns_of(&dataset);
    let before = rows(&specs, &dataset.batch(&[0], &[0], false)?);
    for _ in 0..3 {
        // Whether this fails is the question of another case.
        let _ = dataset.batch(&[u64::MAX], &[0], false);
    }
    let after = rows(&specs, &dataset.batch(&[0], &[0], false)?);
    if before == after {
        Ok(Verdict::passed(""))
    } else {
        Err(Verdict::failed(
            "sample 0 is another one after a failed call",
        ))
    }
}

fn outlives(context: &Context) -> Outcome {
    let dataset = context.train()?;
    let specs = dataset.columns().to_vec();
    let indices = some_indices(&dataset, 8);
    let columns = dataset.batch(&indices, &vec![0; indices.len()], false)?;
    let before = rows(&specs, &columns);
    drop(dataset);
    // What was freed is likely used again by these.
    let dust: Vec<Vec<u8>> = (1..200).map(|size| vec![0xA5; size * 97]).collect();
    let after = rows(&specs, &columns);
    drop(dust);
    let released = std::thread::spawn(move || drop(columns)).join();
    match (before == after, released) {
        (true, Ok(())) => Ok(Verdict::passed("")),
        (false, _) => Err(Verdict::failed(
            "the values of a batch change when its dataset is gone",
        )),
        (_, Err(_)) => Err(Verdict::failed(
            "releasing a batch on another thread panics",
        )),
    }
}
