//! Checks of settings that these tasks have in common. Schemas say the same, but not everyone comes through the host.

use std::fmt::Display;
use std::ops::RangeInclusive;

use dsl_sdk::PluginError;

/// The error of a setting; `key` is its place below `task`.
pub fn wrong(key: &str, found: impl Display, expected: impl Display) -> PluginError {
    PluginError::config(format!("`task.{key}` is {found}, expected {expected}"))
}

/// Checks a whole number.
///
/// # Errors
/// One outside the range.
pub fn in_range(key: &str, value: u32, range: RangeInclusive<u32>) -> Result<(), PluginError> {
    let (low, high) = (range.start(), range.end());
    if range.contains(&value) {
        return Ok(());
    }
    Err(wrong(key, value, format_args!("{low} to {high}")))
}

/// Checks a count that must not be 0.
///
/// # Errors
/// 0.
pub fn at_least_one(key: &str, value: u64) -> Result<(), PluginError> {
    if value > 0 {
        return Ok(());
    }
    Err(wrong(key, value, "at least 1"))
}

/// Checks a probability.
///
/// # Errors
/// A number outside 0..1.
pub fn probability(key: &str, value: f64) -> Result<(), PluginError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(wrong(key, value, "a probability from 0 to 1"))
}

/// Checks a range of elevations in degrees.
///
/// # Errors
/// Angles that are none of a camera, and a lower one that is not.
pub fn elevations(key: &str, [low, high]: [f64; 2]) -> Result<(), PluginError> {
    if -90.0 <= low && low <= high && high <= 90.0 {
        return Ok(());
    }
    let expected = "two angles from -90 to 90 degrees, the lower one first";
    Err(wrong(key, format_args!("[{low}, {high}]"), expected))
}

/// Checks `data.train_split` and `data.test_split`, which are names of folders or lists.
///
/// # Errors
/// A name that is a path or blank, and one name for both.
pub fn split_names(train: &str, test: Option<&str>) -> Result<(), PluginError> {
    let names = [("data.train_split", Some(train)), ("data.test_split", test)];
    for (key, name) in names {
        if let Some(name) = name
            .filter(|name| name.trim().is_empty() || name.contains(['/', '\\']) || *name == "..")
        {
            return Err(wrong(key, format_args!("`{name}`"), "a name, not a path"));
        }
    }
    if test == Some(train) {
        return Err(wrong(
            "data.test_split",
            format_args!("`{train}`"),
            "another name than `train_split`",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_key_value_and_what_may_be() {
        let says = |result: Result<(), PluginError>, expected: &str| {
            assert_eq!(result.unwrap_err().message, expected);
        };
        in_range("data.views", 2, 2..=64).unwrap();
        says(
            in_range("data.views", 65, 2..=64),
            "`task.data.views` is 65, expected 2 to 64",
        );
        at_least_one("evaluation.objects", 1).unwrap();
        says(
            at_least_one("evaluation.objects", 0),
            "`task.evaluation.objects` is 0, expected at least 1",
        );
        probability("dropout.all", 1.0).unwrap();
        says(
            probability("dropout.all", -0.5),
            "`task.dropout.all` is -0.5, expected a probability from 0 to 1",
        );
        assert!(probability("dropout.all", f64::NAN).is_err());
        elevations("data.elevations", [-90.0, 90.0]).unwrap();
        elevations("data.elevations", [30.0, 30.0]).unwrap();
        says(
            elevations("data.elevations", [10.0, -10.0]),
            "`task.data.elevations` is [10, -10], expected two angles from -90 to 90 degrees, the lower one first",
        );
        for angles in [[f64::NAN, 0.0], [0.0, f64::NAN], [-91.0, 0.0], [0.0, 91.0]] {
            assert!(elevations("data.elevations", angles).is_err());
        }
    }

    #[test]
    fn splits_have_names_of_their_own() {
        split_names("train", None).unwrap();
        split_names("train", Some("..held-out")).unwrap();
        for name in ["", " ", "a/b", "a\\b", ".."] {
            let error = split_names(name, None).unwrap_err();
            assert!(error.message.contains("`task.data.train_split`"), "{error}");
            let error = split_names("train", Some(name)).unwrap_err();
            assert!(error.message.contains("`task.data.test_split`"), "{error}");
        }
        let error = split_names("mine", Some("mine")).unwrap_err();
        let expected = "`task.data.test_split` is `mine`, expected another name than `train_split`";
        assert_eq!(error.message, expected);
    }
}
