//! The rules of a batch, checked by the SDK before it leaves a plugin and by the loader when it arrives.
//!
//! Both check, because a plugin need not be built with the SDK, and because an author wants to read the error where it
//! was made.

use crate::declare::{ColumnRole, ColumnSpec, DType};

/// A batch that breaks what the dataset declared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column `{column}`: expected {expected}, found {found}")]
pub struct Breach {
    /// Name of the column.
    pub column: String,
    /// What was declared or asked for.
    pub expected: String,
    /// What came.
    pub found: String,
}

/// What is known of a column that came, whichever way it came.
#[derive(Debug, Clone, Copy)]
pub struct FoundColumn<'a> {
    /// Name.
    pub name: &'a str,
    /// Element type.
    pub dtype: DType,
    /// Shape with the batch axis; not looked at for text.
    pub shape: &'a [u64],
    /// Number of elements that came; for text the number of texts.
    pub elements: u64,
}

/// Writes a shape as `[3, 32, _]`, an unfixed length as `_`.
fn show(shape: impl IntoIterator<Item = Option<u64>>) -> String {
    let lengths: Vec<_> = shape
        .into_iter()
        .map(|length| length.map_or_else(|| "_".to_owned(), |n| n.to_string()))
        .collect();
    format!("[{}]", lengths.join(", "))
}

/// Checks the declaration of a dataset: names are unique and not empty, a text's shape has fixed lengths.
///
/// # Errors
/// The first column that breaks a rule.
pub fn check_declaration(declared: &[ColumnSpec]) -> Result<(), Breach> {
    for (index, column) in declared.iter().enumerate() {
        let breach = |expected: &str, found: String| Breach {
            column: column.name.clone(),
            expected: expected.into(),
            found,
        };
        if column.name.is_empty() {
            return Err(breach(
                "a name",
                format!("an empty name for column {index}"),
            ));
        }
        if declared[..index]
            .iter()
            .any(|earlier| earlier.name == column.name)
        {
            return Err(breach(
                "a name used once",
                "two columns of that name".into(),
            ));
        }
        if column.dtype == DType::Text && texts_of(column).is_none() {
            return Err(breach(
                "a shape of fixed lengths for text",
                format!("shape {}", show(column.shape.iter().copied())),
            ));
        }
    }
    Ok(())
}

/// Texts of one sample of a text column; nothing where their number is not fixed, or more than can be.
fn texts_of(column: &ColumnSpec) -> Option<u64> {
    column
        .shape
        .iter()
        .try_fold(1_u64, |product, length| product.checked_mul((*length)?))
}

/// One of [`check_batch`] and [`check_conditions`].
pub type Check = fn(&[ColumnSpec], u64, &[FoundColumn<'_>]) -> Result<(), Breach>;

/// Checks one batch of `rows` samples against the declaration.
///
/// # Errors
/// The first column that is missing, not declared, twice there, or of another type, shape or length.
pub fn check_batch(
    declared: &[ColumnSpec],
    rows: u64,
    found: &[FoundColumn<'_>],
) -> Result<(), Breach> {
    for column in declared {
        if !found.iter().any(|candidate| candidate.name == column.name) {
            return Err(Breach {
                column: column.name.clone(),
                expected: "the declared column".into(),
                found: "a batch without it".into(),
            });
        }
    }
    check_columns(declared, rows, found)
}

fn check_columns(
    declared: &[ColumnSpec],
    rows: u64,
    found: &[FoundColumn<'_>],
) -> Result<(), Breach> {
    for (index, column) in found.iter().enumerate() {
        let breach = |expected: String, found: String| {
            Err(Breach {
                column: column.name.to_owned(),
                expected,
                found,
            })
        };
        let Some(spec) = declared.iter().find(|spec| spec.name == column.name) else {
            let names: Vec<_> = declared
                .iter()
                .map(|spec| format!("`{}`", spec.name))
                .collect();
            return breach(
                format!("only the declared columns ({})", names.join(", ")),
                "a further column".into(),
            );
        };
        if found[..index]
            .iter()
            .any(|earlier| earlier.name == column.name)
        {
            return breach("one column of that name".into(), "two".into());
        }
        if spec.dtype != column.dtype {
            return breach(spec.dtype.to_string(), column.dtype.to_string());
        }
        if column.dtype == DType::Text {
            let expected = texts_of(spec).and_then(|texts| texts.checked_mul(rows));
            if expected != Some(column.elements) {
                return breach(
                    format!("{} texts for {rows} samples", expected.unwrap_or(u64::MAX)),
                    column.elements.to_string(),
                );
            }
            continue;
        }
        let expected = || std::iter::once(Some(rows)).chain(spec.shape.iter().copied());
        let fits = column.shape.len() == spec.shape.len() + 1
            && expected()
                .zip(column.shape)
                .all(|(declared, &length)| declared.is_none_or(|n| n == length));
        if !fits {
            let came = show(column.shape.iter().copied().map(Some));
            return breach(
                format!("shape {}", show(expected())),
                format!("shape {came}"),
            );
        }
        let elements = column
            .shape
            .iter()
            .try_fold(1_u64, |product, &length| product.checked_mul(length));
        if elements != Some(column.elements) {
            let shape = show(column.shape.iter().copied().map(Some));
            let count = elements.map_or_else(
                || "more values than can be".into(),
                |n| format!("{n} values"),
            );
            return breach(
                format!("{count} for shape {shape}"),
                format!("{} values", column.elements),
            );
        }
    }
    Ok(())
}

/// Checks the buckets of a dataset: each is a shape of the target, of lengths above 0.
///
/// # Errors
/// The first bucket that breaks a rule; [`Breach::column`] is the target's name.
pub fn check_buckets(target: &ColumnSpec, buckets: &[Vec<u64>]) -> Result<(), Breach> {
    for (number, bucket) in buckets.iter().enumerate() {
        let fits = bucket.len() == target.shape.len()
            && (bucket.iter().zip(&target.shape))
                .all(|(&length, declared)| length > 0 && declared.is_none_or(|n| n == length));
        if !fits {
            return Err(Breach {
                column: target.name.clone(),
                expected: format!(
                    "buckets of lengths above 0 that fit the declared shape {}",
                    show(target.shape.iter().copied())
                ),
                found: format!(
                    "{} as bucket {number}",
                    show(bucket.iter().copied().map(Some))
                ),
            });
        }
    }
    Ok(())
}

/// Checks that the target of a batch has the shape of its samples' bucket.
///
/// # Errors
/// A target of another shape. A batch without it is not this check's.
pub fn check_target(target: &str, bucket: &[u64], found: &[FoundColumn<'_>]) -> Result<(), Breach> {
    let column = found.iter().find(|column| column.name == target);
    match column.and_then(|column| column.shape.get(1..)) {
        Some(shape) if shape != bucket => Err(Breach {
            column: target.to_owned(),
            expected: format!(
                "samples of the shape {} of their bucket",
                show(bucket.iter().copied().map(Some))
            ),
            found: show(shape.iter().copied().map(Some)),
        }),
        _ => Ok(()),
    }
}

/// As [`check_batch`] for the conditions that a user asks for: some of the declared columns. Pictures among them may be of
/// any height and width.
///
/// # Errors
/// The first column that is not declared, twice there, or of another type, shape or length.
pub fn check_conditions(
    declared: &[ColumnSpec],
    rows: u64,
    found: &[FoundColumn<'_>],
) -> Result<(), Breach> {
    let declared: Vec<ColumnSpec> = declared
        .iter()
        .cloned()
        .map(|mut column| {
            if column.role == ColumnRole::Image {
                for length in column.shape.iter_mut().rev().take(2) {
                    *length = None;
                }
            }
            column
        })
        .collect();
    check_columns(&declared, rows, found)
}

/// Checks the artefacts of an evaluation, given as (name, media type, length in bytes): names are unique file names with
/// an extension, of letters, digits, `.`, `_` and `-`, without folders; a media type has two parts; no file is empty.
///
/// # Errors
/// The first artefact that breaks a rule; [`Breach::column`] is its name.
pub fn check_artefacts(artefacts: &[(&str, &str, u64)]) -> Result<(), Breach> {
    for (index, &(name, media_type, length)) in artefacts.iter().enumerate() {
        let breach = |expected: &str, found: String| {
            Err(Breach {
                column: name.to_owned(),
                expected: expected.to_owned(),
                found,
            })
        };
        let plain = |text: &str| {
            !text.is_empty()
                && (text.bytes())
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte))
        };
        let is_file_name = plain(name)
            && !name.starts_with('.')
            && name
                .rsplit_once('.')
                .is_some_and(|(_, end)| !end.is_empty());
        if !is_file_name {
            return breach(
                "a file name of letters, digits, `.`, `_` and `-` with an extension",
                format!("`{name}`"),
            );
        }
        if artefacts[..index].iter().any(|earlier| earlier.0 == name) {
            return breach("a name used once", "two artefacts of that name".to_owned());
        }
        if !(media_type.split_once('/')).is_some_and(|(kind, sub)| plain(kind) && plain(sub)) {
            return breach(
                "a media type such as `image/png`",
                format!("`{media_type}`"),
            );
        }
        if length == 0 {
            return breach("content", "an empty file".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declare::ColumnRole;

    #[test]
    fn artefacts_are_plain_files() {
        let fine = [("grid-1.png", "image/png", 3), ("table.csv", "text/csv", 1)];
        assert_eq!(check_artefacts(&fine), Ok(()));
        for (name, media_type, length, found) in [
            ("", "image/png", 1, "``"),
            ("../x.png", "image/png", 1, "`../x.png`"),
            (".png", "image/png", 1, "`.png`"),
            ("grid", "image/png", 1, "`grid`"),
            ("grid.png", "png", 1, "`png`"),
            ("grid.png", "image/", 1, "`image/`"),
            ("grid.png", "image/png", 0, "an empty file"),
            ("table.csv", "text/csv", 1, "two artefacts of that name"),
        ] {
            let breach = check_artefacts(&[fine[1], (name, media_type, length)]).unwrap_err();
            assert_eq!(breach.found, found, "{name} {media_type} {length}");
        }
    }

    fn spec(name: &str, dtype: DType, shape: &[Option<u64>]) -> ColumnSpec {
        ColumnSpec {
            name: name.into(),
            dtype,
            shape: shape.to_vec(),
            role: ColumnRole::Other,
        }
    }

    fn check(found: &[Found<'_>]) -> String {
        let declared = [
            spec("image", DType::F32, &[Some(3), None]),
            spec("caption", DType::Text, &[]),
        ];
        let found: Vec<_> = found
            .iter()
            .map(|&(name, dtype, shape, elements)| FoundColumn {
                name,
                dtype,
                shape,
                elements,
            })
            .collect();
        check_batch(&declared, 2, &found)
            .map_or_else(|breach| breach.to_string(), |()| "fine".into())
    }

    type Found<'a> = (&'a str, DType, &'a [u64], u64);

    const CAPTION: Found<'_> = ("caption", DType::Text, &[2], 2);

    fn image(shape: &[u64], elements: u64) -> Found<'_> {
        ("image", DType::F32, shape, elements)
    }

    #[test]
    fn a_batch_as_declared_is_fine_in_any_order() {
        assert_eq!(
            check(&[CAPTION, ("image", DType::F32, &[2, 3, 5], 30)]),
            "fine"
        );
    }

    #[test]
    fn every_breach_names_column_expected_and_found() {
        for (found, message) in [
            (
                vec![CAPTION],
                "column `image`: expected the declared column, found a batch without it",
            ),
            (
                vec![CAPTION, image(&[2, 4, 5], 40)],
                "column `image`: expected shape [2, 3, _], found shape [2, 4, 5]",
            ),
            (
                vec![CAPTION, image(&[3, 3, 5], 45)],
                "column `image`: expected shape [2, 3, _], found shape [3, 3, 5]",
            ),
            (
                vec![CAPTION, image(&[2, 3], 6)],
                "column `image`: expected shape [2, 3, _], found shape [2, 3]",
            ),
            (
                vec![CAPTION, image(&[2, 3, 5], 29)],
                "column `image`: expected 30 values for shape [2, 3, 5], found 29 values",
            ),
            (
                vec![CAPTION, image(&[2, 3, u64::MAX], 1)],
                "column `image`: expected more values than can be for shape [2, 3, 18446744073709551615], found 1 values",
            ),
            (
                vec![CAPTION, ("image", DType::U8, &[2, 3, 5], 30)],
                "column `image`: expected f32, found u8",
            ),
            (
                vec![("caption", DType::Text, &[3], 3), image(&[2, 3, 5], 30)],
                "column `caption`: expected 2 texts for 2 samples, found 3",
            ),
            (
                vec![CAPTION, CAPTION, image(&[2, 3, 5], 30)],
                "column `caption`: expected one column of that name, found two",
            ),
            (
                vec![
                    CAPTION,
                    image(&[2, 3, 5], 30),
                    ("extra", DType::I64, &[2], 2),
                ],
                "column `extra`: expected only the declared columns (`image`, `caption`), found a further column",
            ),
        ] {
            assert_eq!(check(&found), message);
        }
    }

    #[test]
    fn declarations_are_checked_too() {
        let twice = [spec("a", DType::U8, &[]), spec("a", DType::F32, &[])];
        assert!(
            check_declaration(&twice)
                .unwrap_err()
                .to_string()
                .contains("two columns")
        );
        assert!(check_declaration(&[spec("", DType::U8, &[])]).is_err());
        assert!(check_declaration(&[spec("t", DType::Text, &[Some(3)])]).is_ok());
        assert!(check_declaration(&[spec("t", DType::Text, &[None])]).is_err());
        assert!(
            check_declaration(&[spec("a", DType::U8, &[]), spec("t", DType::Text, &[])]).is_ok()
        );
    }
}
